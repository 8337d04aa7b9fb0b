//! Two processes: the parent executes, the child (this program, started again) commands, over a sealed memfd.
//!
//! `cargo run -p ringbar-examples --example 02-two-processes` prints, with process numbers of your own,
//!
//! ```text
//! executor 4711: a client named "child" connects
//! client 4712: 7 squared is 49, says process 4711
//! client 4712: 9 squared is 81, says process 4711
//! executor 4711: the client is gone after 2 commands
//! ```
#![forbid(unsafe_code)]

use ringbar::handshake::{Connection, Deadline, Hello, Listener};
use ringbar::link::Options;
use ringbar::rendezvous::{self, Hosted};
use ringbar::reply::Ticket;
use ringbar::worker::Next;
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

type Anything = Box<dyn Error + Send + Sync>;

/// Both sides must speak the same commands: here "a number, to be squared".
const VOCABULARY: u64 = 0x7371_7561_7265_0001;
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Anything> {
    match std::env::args_os().nth(1) {
        Some(socket) => client(Path::new(&socket)),
        None => executor(),
    }
}

fn executor() -> Result<(), Anything> {
    let me = std::process::id();
    let socket = std::env::temp_dir().join(format!("ringbar-example-{me}.sock"));
    let listener = Listener::bind(&socket)?;
    let mut child = Command::new(std::env::current_exe()?).arg(&socket).spawn()?;
    let connection = listener.accept(Deadline::after(PATIENCE))?;

    let deadline = Deadline::after(PATIENCE);
    let hosted = rendezvous::host(connection, VOCABULARY, Options::default(), deadline)?;
    println!("executor {me}: a client named {:?} connects", hosted.hello.name.as_str());
    let commands = square(hosted)?;
    println!("executor {me}: the client is gone after {commands} commands");
    child.wait()?;
    Ok(())
}

/// Squares numbers until the client leaves, or dies.
fn square(Hosted { mut worker, .. }: Hosted) -> Result<u32, Anything> {
    let completions = worker.completions().clone();
    let mut commands = 0;
    loop {
        match worker.next()? {
            Next::Command(record) => {
                commands += 1;
                let number = u64::from_le_bytes(record.bytes.try_into()?);
                let squared = number.wrapping_mul(number).to_le_bytes();
                if let Some(slot) = record.reply_slot {
                    completions.reply(Ticket { slot, position: record.position }, &squared);
                }
            }
            Next::Idle => {}
            Next::ClientGone => return Ok(commands),
        }
    }
}

fn client(socket: &Path) -> Result<(), Anything> {
    let me = std::process::id();
    let deadline = Deadline::after(PATIENCE);
    let connection = Connection::connect(socket, deadline)?;
    let hello = Hello::new(VOCABULARY, "child");
    let joined = rendezvous::join(connection, &hello, Options::default(), deadline)?;
    let (client, welcome) = (joined.client, joined.welcome);

    let mut caller = client.caller()?;
    for number in [7_u64, 9] {
        let reply = caller.call(&number.to_le_bytes())?;
        let squared = u64::from_le_bytes(reply.try_into()?);
        println!("client {me}: {number} squared is {squared}, says process {}", welcome.worker_pid);
    }
    Ok(())
}

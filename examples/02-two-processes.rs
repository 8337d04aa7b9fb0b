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

use ringbar::handshake::{
    Capabilities, Connection, Deadline, Hello, Listener, Message, SessionToken, Text, Version,
    Welcome, negotiate,
};
use ringbar::layout::Sizes;
use ringbar::link::{self, MemfdChannel, Options};
use ringbar::os::doorbell::EventFd;
use ringbar::os::liveness::PeerWatch;
use ringbar::region::{Expect, Terms};
use ringbar::reply::Ticket;
use ringbar::worker::Next;
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
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

    let hello = connection.receive_hello(Deadline::after(PATIENCE))?;
    println!("executor {me}: a client named {:?} connects", hello.name.as_str());
    let ours = Capabilities {
        protocol: Version::OURS,
        features: link::features_here(),
        required_features: 0,
        vocabulary_hash: VOCABULARY,
    };
    let chosen = match negotiate(&hello, &ours) {
        Ok(chosen) => chosen,
        Err(refusal) => {
            connection.send(&Message::Refused(refusal), &[], Deadline::after(PATIENCE))?;
            return Err("the client speaks another protocol".into());
        }
    };
    let terms = Terms { vocabulary_hash: VOCABULARY, features: chosen.features };
    let channel = MemfdChannel::create("example", hello.sizes, terms)?;
    channel.channel().offer(1);
    let welcome = Welcome {
        protocol: chosen.protocol,
        features: chosen.features,
        token: SessionToken::random()?,
        generation: 1,
        channel: 0,
        region_bytes: channel.region_bytes(),
        worker_pid: me,
    };
    connection.send(&Message::Welcome(welcome), &channel.fds(), Deadline::after(PATIENCE))?;

    let commands = square(&channel, &connection.watch()?)?;
    println!("executor {me}: the client is gone after {commands} commands");
    child.wait()?;
    Ok(())
}

/// Squares numbers until the client leaves, or dies.
fn square(channel: &MemfdChannel, watch: &PeerWatch) -> Result<u32, Anything> {
    let mut worker = channel.worker(1, watch, Options::default())?;
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
    let connection = Connection::connect(socket, Deadline::after(PATIENCE))?;
    let hello = Hello {
        protocol: Version::OURS,
        features: link::features_here(),
        vocabulary_hash: VOCABULARY,
        sizes: Sizes::default(),
        resume: None,
        name: Text::new("child"),
    };
    let attached = connection.attach(&hello, Deadline::after(PATIENCE))?;
    let welcome = attached.welcome;
    let want =
        Expect { vocabulary_hash: VOCABULARY, features: welcome.features, ..Expect::default() };
    let bells: (EventFd, EventFd) = (attached.worker_doorbell, attached.client_doorbell);
    let channel =
        MemfdChannel::receive(attached.region, welcome.channel as usize, want, bells.0, bells.1)?;
    let watch = PeerWatch::of_connection(Arc::clone(connection.socket()));
    let client = channel.client(welcome.generation, watch, Options::default())?;

    let mut caller = client.caller()?;
    for number in [7_u64, 9] {
        let reply = caller.call(&number.to_le_bytes())?;
        let squared = u64::from_le_bytes(reply.try_into()?);
        println!("client {me}: {number} squared is {squared}, says process {}", welcome.worker_pid);
    }
    Ok(())
}

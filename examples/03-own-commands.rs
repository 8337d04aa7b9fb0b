//! Commands of your own: a counter server with three of them, typed on both sides, through a channel with replies.
//!
//! `cargo run -p ringbar-examples --example 03-own-commands` prints
//!
//! ```text
//! counter 1 is 42 after 1000 posts
//! counter 9: the server has no such counter (status 1)
//! the server saw 1002 commands
//! ```
#![forbid(unsafe_code)]

use bytemuck::{Pod, Zeroable};
use ringbar::client::Caller;
use ringbar::layout::Sizes;
use ringbar::link::{self, Options};
use ringbar::park::FdBlock;
use ringbar::region::Terms;
use ringbar::reply::Ticket;
use ringbar::spsc::Violation;
use ringbar::worker::{Next, Worker};
use std::error::Error;

/// One layout for every command of this server: 24 bytes, little-endian, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Command {
    opcode: u32,
    counter: u32,
    amount: i64,
    reserved: u64,
}

const ADD: u32 = 1;
const READ: u32 = 2;
const NO_SUCH_COUNTER: u32 = 1;

/// Whoever speaks another vocabulary is refused when it attaches. Change it with the commands.
const VOCABULARY: u64 = 0x636f_756e_7465_7201;

fn execute(command: &Command, counters: &mut [i64; 8]) -> Result<i64, u32> {
    let counter = counters.get_mut(command.counter as usize).ok_or(NO_SUCH_COUNTER)?;
    if command.opcode == ADD {
        *counter = counter.wrapping_add(command.amount);
    }
    Ok(*counter)
}

/// The bytes are the client's: anything that is not a command of ours ends its channel.
fn decode(bytes: &[u8]) -> Option<Command> {
    let command: Command = bytemuck::try_pod_read_unaligned(bytes).ok()?;
    let known = matches!(command.opcode, ADD | READ) && command.reserved == 0;
    known.then_some(command)
}

fn serve(mut worker: Worker<FdBlock>) -> Result<u64, ringbar::Error> {
    let completions = worker.completions().clone();
    let mut counters = [0; 8];
    let mut seen = 0;
    loop {
        let record = match worker.next()? {
            Next::Command(record) => record,
            Next::Idle => continue,
            Next::ClientGone => return Ok(seen),
        };
        let position = record.position;
        let Some(command) = decode(record.bytes) else {
            let what = "not a counter command".into();
            return Err(completions.poison(Violation::Command { position, what }));
        };
        seen += 1;
        let result = execute(&command, &mut counters);
        match (record.reply_slot, result) {
            (Some(slot), Ok(value)) => {
                let reply = [0_i64.to_le_bytes(), value.to_le_bytes()].concat();
                completions.reply(Ticket { slot, position }, &reply);
            }
            (Some(slot), Err(status)) => {
                completions.reply(Ticket { slot, position }, &u64::from(status).to_le_bytes());
            }
            (None, Ok(_)) => {}
            (None, Err(status)) => completions.post_failed(position, status),
        }
    }
}

fn read(caller: &mut Caller, counter: u32) -> Result<i64, Box<dyn Error>> {
    let command = Command { opcode: READ, counter, amount: 0, reserved: 0 };
    let reply = caller.call(bytemuck::bytes_of(&command))?;
    let word =
        |at: usize| reply.get(at..at + 8).and_then(|b| b.try_into().ok()).map(i64::from_le_bytes);
    match (word(0), word(8)) {
        (Some(0), Some(value)) => Ok(value),
        (status, _) => {
            let status = status.unwrap_or(-1);
            Err(format!("the server has no such counter (status {status})").into())
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let terms = Terms { vocabulary_hash: VOCABULARY, features: link::features_here() };
    let (client, worker) = link::pair(Sizes::default(), terms, Options::default())?;
    let server = std::thread::spawn(move || serve(worker));

    for i in 0..1000 {
        let amount = if i % 2 == 0 { 42 } else { -42 };
        let amount = if i == 999 { 0 } else { amount };
        client.post(bytemuck::bytes_of(&Command {
            opcode: ADD,
            counter: 1,
            amount,
            reserved: 0,
        }))?;
    }
    let mut caller = client.caller()?;
    println!("counter 1 is {} after 1000 posts", read(&mut caller, 1)?);
    if let Err(error) = read(&mut caller, 9) {
        println!("counter 9: {error}");
    }
    client.close();
    let seen = server.join().map_err(|_| "the server panicked")??;
    println!("the server saw {seen} commands");
    Ok(())
}

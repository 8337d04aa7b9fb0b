//! The worker process of the two old ways: takes requests, executes them on the mock, answers.

use super::doorbell::{Shared, wait_for_hang_up};
use super::socket::Socket;
use super::wire::{ANSWER_BYTES_MAX, Answer, REQUEST_BYTES_MAX, Request};
use crate::replay::Transport;
use crate::replay::direct::{PINNED_BYTES, PINNED_OFFSET};
use crate::replay::error::ReplayError;
use crate::replay::local::LocalDevice;
use ringbar::handshake::Connection;
use ringbar_backend::Executed;
use ringbar_vocabulary::{ArenaRef, Fence};
use std::os::fd::AsFd;

/// Serves the client at the other end of the standard input until it hangs up.
pub fn run(transport: Transport, device_memory_bytes: u64) -> Result<(), ReplayError> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    let connection = Connection::from_fd(stdin.map_err(ReplayError::io("taking over stdin"))?)?;
    let arena_bytes = (PINNED_OFFSET + PINNED_BYTES) as usize;
    let executor = Executor { device: LocalDevice::new(device_memory_bytes, arena_bytes)? };
    match transport {
        Transport::Doorbell => serve_doorbell(&connection, executor),
        Transport::Socket => serve_socket(&connection, executor),
        other => Err(ReplayError::Usage(format!("`{}` has no worker of this kind", other.name()))),
    }
}

fn serve_doorbell(connection: &Connection, mut executor: Executor) -> Result<(), ReplayError> {
    let shared = Shared::receive(connection)?;
    end_with_the_client(connection.clone())?;
    let (mut request, mut answer) = (Vec::new(), Vec::with_capacity(ANSWER_BYTES_MAX));
    loop {
        shared.next_request(&mut request)?;
        answer.clear();
        executor.execute(&request, &mut answer)?;
        shared.answer(&answer)?;
    }
}

/// A blocking read of an eventfd sees nothing of the client's end, so a thread of its own ends this process with it.
fn end_with_the_client(connection: Connection) -> Result<(), ReplayError> {
    let watch = move || {
        wait_for_hang_up(&connection);
        std::process::exit(0);
    };
    let thread = std::thread::Builder::new().name("replay-watch".into()).spawn(watch);
    thread.map(drop).map_err(ReplayError::io("starting a thread"))
}

fn serve_socket(connection: &Connection, mut executor: Executor) -> Result<(), ReplayError> {
    let socket = Socket::new(connection)?;
    let (mut request, mut answer) =
        (vec![0; REQUEST_BYTES_MAX], Vec::with_capacity(ANSWER_BYTES_MAX));
    loop {
        let bytes = match socket.receive(&mut request) {
            Err(ReplayError::WorkerGone(_)) => return Ok(()),
            other => other?,
        };
        answer.clear();
        if executor.execute(&request[..bytes], &mut answer)? {
            socket.send(&answer)?;
        }
    }
}

struct Executor {
    device: LocalDevice,
}

impl Executor {
    /// Executes a request and appends its answer; says whether the client waits for it.
    fn execute(&mut self, request: &[u8], answer: &mut Vec<u8>) -> Result<bool, ReplayError> {
        let malformed = ReplayError::Answer { function: "request" };
        let (head, command) = Request::split(request).ok_or(malformed)?;
        let executed = self.device.execute(command)?;
        if let Some((stream, _)) = head.copies_out() {
            self.device.post(&Fence { stream, index: 0, value: 0 })?;
        }
        if head.waits_for_device() {
            self.device.drain();
        }
        let first_failure = self.device.first_failure().map_or(0, |status| status.0);
        let data_bytes = head.copies_out().map_or(0, |(_, bytes)| bytes as usize);
        match executed {
            Executed::Posted => Answer::encode(first_failure, &[], data_bytes, answer),
            Executed::Replied(reply) => {
                let (bytes, len) = reply.to_bytes();
                Answer::encode(first_failure, &bytes[..len], data_bytes, answer);
            }
        }
        self.append_data(data_bytes, answer)?;
        Ok(head.wants_answer())
    }

    fn append_data(&self, bytes: usize, answer: &mut Vec<u8>) -> Result<(), ReplayError> {
        let start = answer.len();
        if start + bytes > ANSWER_BYTES_MAX {
            return Err(ReplayError::Answer { function: "request" });
        }
        answer.resize(start + bytes, 0);
        let at = ArenaRef { addr: 0, len: bytes as u64 };
        match self.device.read_arena(at, &mut answer[start..]) {
            true => Ok(()),
            false => Err(ReplayError::Answer { function: "request" }),
        }
    }
}

//! The two old ways of carrying a call: one doorbell a call, and one socket message a call.
//!
//! Both send the same requests to the same worker; they differ in how bytes and wake-ups travel ([`Carrier`]). They are
//! built to be as fast as their kind allows: blocking system calls, no allocation a call, one system call a direction.

mod doorbell;
mod socket;
mod wire;
mod worker;

pub use worker::run as run_worker;

use super::Transport;
use super::direct::{PinnedPlaces, lock};
use super::error::ReplayError;
use super::link::{Link, Road, Traffic, pieces};
use super::local::decode_answer;
use ringbar::handshake::Connection;
use ringbar_vocabulary::{
    ArenaRef, Command, DevicePtr, Fence, HostAlloc, HostFree, MemcpyDtoH, PostCommand, Status,
    StreamId, SyncCommand,
};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use wire::{Answer, Request};

/// How requests reach the worker and answers come back, for one client at a time.
trait Carrier: Send {
    /// Sends a request. A carrier whose calls all wait takes the answer here, too.
    fn send(&mut self, request: &[u8]) -> Result<(), ReplayError>;

    /// The answer to the request sent last, which asked for one.
    fn receive(&mut self) -> Result<Answer<'_>, ReplayError>;

    /// What crossed so far.
    fn traffic(&self) -> Traffic;
}

/// The worker process; killed and reaped when dropped.
struct WorkerProcess(Arc<Mutex<Child>>);

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let mut child = lock(&self.0);
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A worker process and the way to it.
pub struct OldRoad {
    client: Arc<Mutex<Client>>,
    _process: WorkerProcess,
}

struct Client {
    carrier: Box<dyn Carrier>,
    request: Vec<u8>,
    places: PinnedPlaces,
}

impl OldRoad {
    /// Starts `program` (this program if `None`) as a worker that is reached by `transport`.
    pub fn start(
        transport: Transport,
        program: Option<&Path>,
        device_memory_bytes: u64,
    ) -> Result<Self, ReplayError> {
        let (ours, theirs) = Connection::pair()?;
        let process = start_process(transport, program, device_memory_bytes, &theirs)?;
        drop(theirs);
        let carrier: Box<dyn Carrier> = match transport {
            Transport::Doorbell => Box::new(doorbell::DoorbellClient::new(&ours, &process.0)?),
            _ => Box::new(socket::SocketClient::new(&ours)?),
        };
        let client = Client { carrier, request: Vec::new(), places: PinnedPlaces::default() };
        Ok(Self { client: Arc::new(Mutex::new(client)), _process: process })
    }
}

fn start_process(
    transport: Transport,
    program: Option<&Path>,
    device_memory_bytes: u64,
    theirs: &Connection,
) -> Result<WorkerProcess, ReplayError> {
    let program = match program {
        Some(program) => program.to_owned(),
        None => std::env::current_exe().map_err(ReplayError::io("finding this program"))?,
    };
    let stdin = theirs.as_fd().try_clone_to_owned().map_err(ReplayError::io("sharing a socket"))?;
    let child = std::process::Command::new(&program)
        .arg(super::WORKER_SUBCOMMAND)
        .args(["--transport", transport.name()])
        .args(["--device-memory-bytes", &device_memory_bytes.to_string()])
        .stdin(Stdio::from(stdin))
        .spawn()
        .map_err(|error| ReplayError::Start(format!("{}: {error}", program.display())))?;
    Ok(WorkerProcess(Arc::new(Mutex::new(child))))
}

impl Road for OldRoad {
    type Link = OldLink;

    fn link(&self) -> Result<OldLink, ReplayError> {
        Ok(OldLink { client: self.client.clone() })
    }

    fn traffic(&self) -> Traffic {
        lock(&self.client).carrier.traffic()
    }

    fn has_worker(&self) -> bool {
        true
    }
}

/// One thread's end; all ends of a road share one way.
pub struct OldLink {
    client: Arc<Mutex<Client>>,
}

impl Client {
    fn send<C: Command>(&mut self, head: Request, command: &C) -> Result<(), ReplayError> {
        self.request.clear();
        head.encode(&mut self.request);
        command.encode(&mut self.request);
        self.carrier.send(&self.request)
    }

    fn ask<C: Command>(&mut self, head: Request, command: &C) -> Result<Answer<'_>, ReplayError> {
        self.send(head, command)?;
        let answer = self.carrier.receive()?;
        match answer.first_failure {
            0 => Ok(answer),
            status => Err(ReplayError::PostFailed { status: Status(status) }),
        }
    }
}

impl Link for OldLink {
    fn post<C: PostCommand>(&mut self, command: &C) -> Result<(), ReplayError> {
        lock(&self.client).send(Request::POST, command)
    }

    fn post_and_wait<C: PostCommand>(&mut self, command: &C) -> Result<(), ReplayError> {
        lock(&self.client).ask(Request::CALL, command).map(drop)
    }

    fn call<C: SyncCommand>(&mut self, command: &C) -> Result<C::Reply, ReplayError> {
        let mut client = lock(&self.client);
        let answer = client.ask(Request::CALL, command)?;
        decode_answer::<C>(answer.reply)
    }

    fn dtoh(
        &mut self,
        into: &mut [u8],
        src: DevicePtr,
        stream: StreamId,
    ) -> Result<(), ReplayError> {
        let mut client = lock(&self.client);
        for (at, piece) in pieces(into.len()) {
            let dst = ArenaRef { addr: 0, len: piece as u64 };
            let copy = MemcpyDtoH { dst, src: src.offset(at as u64), stream };
            let answer = client.ask(Request::copy_out(piece as u32, stream), &copy)?;
            let place = &mut into[at..at + piece];
            if answer.data.len() != place.len() {
                return Err(ReplayError::Answer { function: MemcpyDtoH::ROW.name });
            }
            place.copy_from_slice(answer.data);
        }
        Ok(())
    }

    fn synchronise(&mut self, stream: StreamId) -> Result<(), ReplayError> {
        let fence = Fence { stream, index: 0, value: 0 };
        lock(&self.client).ask(Request::WAIT, &fence).map(drop)
    }

    fn pin(&mut self, block: u32, bytes: u64) -> Result<(), ReplayError> {
        let block = lock(&self.client).places.take(block, bytes);
        self.post(&HostAlloc { block, flags: 0 })
    }

    fn unpin(&mut self, block: u32) -> Result<(), ReplayError> {
        let block = lock(&self.client).places.give_back(block);
        block.map_or(Ok(()), |block| self.post(&HostFree { block }))
    }
}

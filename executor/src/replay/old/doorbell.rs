//! One doorbell a call: the request lies in shared memory, an eventfd wakes the worker, another one wakes the client, and
//! every call waits.

use super::wire::{ANSWER_BYTES_MAX, Answer, REQUEST_BYTES_MAX};
use super::{Carrier, Traffic, lock};
use crate::replay::error::ReplayError;
use ringbar::arena::Arena;
use ringbar::handshake::{Connection, Deadline, Message, SessionToken, Version, Welcome};
use ringbar::os::mapping::Mapping;
use ringbar::sync::{AtomicBool, Ordering::Relaxed};
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long handing over the descriptors may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the shared memory, whole pages: a length and a request, a length and an answer.
const REGION_BYTES: usize = 512 << 10;
const REQUEST_AT: u64 = 0;
const ANSWER_AT: u64 = (REGION_BYTES / 2) as u64;

const _: () = assert!(REQUEST_BYTES_MAX + 8 <= REGION_BYTES / 2);
const _: () = assert!(ANSWER_BYTES_MAX + 8 <= REGION_BYTES / 2);

/// The shared memory and both eventfds, as either side holds them.
pub struct Shared {
    arena: Arena,
    worker_bell: OwnedFd,
    client_bell: OwnedFd,
}

impl Shared {
    /// Makes them, and hands them over.
    fn create(connection: &Connection) -> Result<Self, ReplayError> {
        let (mapping, memfd) = Mapping::memfd_create("ringbar-doorbell", REGION_BYTES)
            .map_err(|error| mapping_failed(&error))?;
        // Blocking: one read waits.
        let bell = || {
            rustix::event::eventfd(0, EventfdFlags::CLOEXEC)
                .map_err(ReplayError::io("creating an eventfd"))
        };
        let shared = Self { arena: whole(mapping)?, worker_bell: bell()?, client_bell: bell()? };
        let fds = [memfd.as_fd(), shared.worker_bell.as_fd(), shared.client_bell.as_fd()];
        connection.send(&Message::Welcome(welcome()), &fds, Deadline::after(PATIENCE))?;
        Ok(shared)
    }

    /// Takes up what the other side handed over.
    pub fn receive(connection: &Connection) -> Result<Self, ReplayError> {
        let received = connection.receive(Deadline::after(PATIENCE))?;
        let fds = <[OwnedFd; 3]>::try_from(received.descriptors);
        let [memfd, worker_bell, client_bell] =
            fds.map_err(|_| ReplayError::Start("expected three descriptors".into()))?;
        let mapping = Mapping::memfd_attach(&memfd).map_err(|error| mapping_failed(&error))?;
        Ok(Self { arena: whole(mapping)?, worker_bell, client_bell })
    }

    fn put(&self, at: u64, bytes: &[u8]) -> Result<(), ReplayError> {
        let outside = |_| ReplayError::Answer { function: "doorbell" };
        self.arena.write(at, &(bytes.len() as u64).to_le_bytes()).map_err(outside)?;
        self.arena.write(at + 8, bytes).map_err(outside)
    }

    /// Copies out what was put at `at`; the length is the other side's, so it is checked.
    fn take(&self, at: u64, bytes_max: usize, into: &mut Vec<u8>) -> Result<(), ReplayError> {
        let outside = |_| ReplayError::Answer { function: "doorbell" };
        let mut len = [0; 8];
        self.arena.read(at, &mut len).map_err(outside)?;
        let len = u64::from_le_bytes(len).min(bytes_max as u64) as usize;
        into.resize(len, 0);
        self.arena.read(at + 8, into).map_err(outside)
    }

    /// Worker: waits for the next request.
    pub fn next_request(&self, into: &mut Vec<u8>) -> Result<(), ReplayError> {
        wait(&self.worker_bell)?;
        self.take(REQUEST_AT, REQUEST_BYTES_MAX, into)
    }

    /// Worker: answers it.
    pub fn answer(&self, answer: &[u8]) -> Result<(), ReplayError> {
        self.put(ANSWER_AT, answer)?;
        ring(&self.client_bell)
    }
}

/// The message exists to carry the descriptors; its content says nothing.
fn welcome() -> Welcome {
    Welcome {
        protocol: Version::OURS,
        features: 0,
        token: SessionToken([0; 16]),
        generation: 1,
        channel: 0,
        region_bytes: REGION_BYTES as u64,
        worker_pid: 0,
    }
}

fn mapping_failed(error: &dyn std::fmt::Display) -> ReplayError {
    ReplayError::Start(format!("no shared memory: {error}"))
}

fn whole(mapping: Mapping) -> Result<Arena, ReplayError> {
    let part = Arc::new(mapping).subrange(0, REGION_BYTES);
    Ok(Arena::new(part.map_err(|error| mapping_failed(&error))?))
}

fn ring(bell: &OwnedFd) -> Result<(), ReplayError> {
    rustix::io::retry_on_intr(|| rustix::io::write(bell, &1_u64.to_ne_bytes()))
        .map(drop)
        .map_err(ReplayError::io("ringing a doorbell"))
}

fn wait(bell: &OwnedFd) -> Result<(), ReplayError> {
    rustix::io::retry_on_intr(|| rustix::io::read(bell, &mut [0; 8]))
        .map(drop)
        .map_err(ReplayError::io("waiting for a doorbell"))
}

/// The client's end.
pub struct DoorbellClient {
    shared: Arc<Shared>,
    /// The worker has ended; its client is woken by whoever saw it.
    gone: Arc<AtomicBool>,
    answer: Vec<u8>,
    traffic: Traffic,
    _connection: Connection,
}

impl DoorbellClient {
    pub fn new(connection: &Connection, worker: &Arc<Mutex<Child>>) -> Result<Self, ReplayError> {
        let shared = Arc::new(Shared::create(connection)?);
        let gone = Arc::new(AtomicBool::new(false));
        watch(Arc::clone(&shared), Arc::clone(&gone), connection, worker)?;
        let _connection = connection.clone();
        Ok(Self { shared, gone, answer: Vec::new(), traffic: Traffic::default(), _connection })
    }
}

/// A thread that wakes the client when the worker ends: a blocking read of an eventfd sees nothing of that.
fn watch(
    shared: Arc<Shared>,
    gone: Arc<AtomicBool>,
    connection: &Connection,
    worker: &Arc<Mutex<Child>>,
) -> Result<(), ReplayError> {
    let (connection, worker) = (connection.clone(), Arc::downgrade(worker));
    let watch = move || {
        wait_for_hang_up(&connection);
        gone.store(true, Relaxed);
        // Nobody waits if this fails: the worker is only gone before its time if somebody does.
        let _ = ring(&shared.client_bell);
        if let Some(worker) = worker.upgrade() {
            tracing::debug!(status = ?lock(&worker).try_wait(), "the worker ended");
        }
    };
    let thread = std::thread::Builder::new().name("replay-watch".into()).spawn(watch);
    thread.map(drop).map_err(ReplayError::io("starting a thread"))
}

/// Blocks until the other end of the socket is closed.
pub fn wait_for_hang_up(connection: &Connection) {
    loop {
        let mut fds = [PollFd::new(connection, PollFlags::RDHUP)];
        match rustix::event::poll(&mut fds, None) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

impl Carrier for DoorbellClient {
    fn send(&mut self, request: &[u8]) -> Result<(), ReplayError> {
        self.shared.put(REQUEST_AT, request)?;
        ring(&self.shared.worker_bell)?;
        wait(&self.shared.client_bell)?;
        if self.gone.load(Relaxed) {
            return Err(ReplayError::WorkerGone("it hung up".into()));
        }
        self.traffic.messages += 1;
        self.traffic.worker_bells += 1;
        self.traffic.client_bells += 1;
        self.shared.take(ANSWER_AT, ANSWER_BYTES_MAX, &mut self.answer)
    }

    fn receive(&mut self) -> Result<Answer<'_>, ReplayError> {
        Answer::split(&self.answer).ok_or(ReplayError::Answer { function: "doorbell" })
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }
}

//! How the two sides of a channel on one host block: on an eventfd of their own and the file descriptors that tell of
//! the peer's death.

use crate::client::ClientPark;
use crate::hub::Park;
use crate::os::doorbell::EventFd;
use crate::os::liveness::PeerWatch;
use crate::os::waiter::{AnyWaiter, Interest, PollWaiter, ReadySet, Waiter, WaiterKind};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};
use crate::worker::{Block, Blocked};
use core::time::Duration;
use std::io;
use std::os::fd::OwnedFd;

const BELL: u64 = 0;
/// Tokens from here up are descriptors that tell of the peer's death.
const PEER: u64 = 1;
/// Tokens from here up are the owner's.
const OWNER: u64 = 16;

fn add_all(waiter: &mut impl Waiter, bell: &EventFd, watch: &PeerWatch) -> io::Result<()> {
    waiter.add(Arc::clone(bell.fd()), BELL, Interest::Readable)?;
    for (index, (fd, interest)) in watch.fds().enumerate() {
        waiter.add(Arc::clone(fd), PEER + index as u64, interest)?;
    }
    Ok(())
}

/// True if one of the descriptors that tell of death is ready: a socket hung up, a process exited.
fn tells_of_death(ready: &ReadySet) -> bool {
    ready.iter().any(|r| (PEER..OWNER).contains(&r.token))
}

/// Blocks the leader of a client's threads with `poll(2)`.
pub struct FdPark {
    bell: EventFd,
    watch: PeerWatch,
    state: Mutex<(PollWaiter, ReadySet)>,
    /// The eventfd was seen signalled and is to be drained before the next sleep is announced.
    rung: AtomicBool,
    gone: AtomicBool,
}

impl FdPark {
    /// Blocks on `bell`; learns of the peer's death from `watch`.
    pub fn new(bell: EventFd, watch: PeerWatch) -> io::Result<Self> {
        let mut waiter = PollWaiter::new();
        add_all(&mut waiter, &bell, &watch)?;
        Ok(Self {
            bell,
            watch,
            state: Mutex::new((waiter, ReadySet::with_capacity(4))),
            rung: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        })
    }
}

impl Park for FdPark {
    fn prepare(&self) {
        if self.rung.swap(false, Ordering::Relaxed) {
            // Failing to drain costs one empty wake-up.
            let _ = self.bell.drain();
        }
    }

    fn park(&self, timeout: Duration) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (waiter, ready) = &mut *state;
        if waiter.wait(Some(timeout), ready).is_err() {
            // Never spin on a descriptor that cannot be waited for.
            std::thread::sleep(timeout.min(Duration::from_millis(1)));
            return;
        }
        if ready.get(BELL).is_some() {
            self.rung.store(true, Ordering::Relaxed);
        }
        if tells_of_death(ready) {
            self.gone.store(true, Ordering::Relaxed);
        }
    }
}

impl ClientPark for FdPark {
    fn peer_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed) || self.watch.is_dead().unwrap_or(true)
    }
}

/// Blocks a worker's thread, with io_uring where the kernel allows it.
pub struct FdBlock {
    bell: EventFd,
    waiter: AnyWaiter,
    ready: ReadySet,
    rung: bool,
}

impl FdBlock {
    /// Blocks on `bell` and on what tells of the client's death.
    pub fn new(bell: EventFd, watch: &PeerWatch) -> io::Result<Self> {
        let mut waiter = AnyWaiter::best();
        add_all(&mut waiter, &bell, watch)?;
        Ok(Self { bell, waiter, ready: ReadySet::with_capacity(8), rung: false })
    }

    /// Adds a descriptor of the owner's: when it is readable, the worker's next look returns `Idle`.
    pub fn add(&mut self, fd: Arc<OwnedFd>) -> io::Result<()> {
        self.waiter.add(fd, OWNER, Interest::Readable)
    }

    /// True if the owner's descriptor was ready at the last block.
    pub fn owner_ready(&self) -> bool {
        self.ready.get(OWNER).is_some()
    }

    /// Which system interface waits, and why not io_uring if it is not.
    pub fn kind(&self) -> WaiterKind {
        self.waiter.kind()
    }
}

impl Block for FdBlock {
    fn prepare(&mut self) {
        if core::mem::take(&mut self.rung) {
            // Failing to drain costs one empty wake-up.
            let _ = self.bell.drain();
        }
    }

    fn block(&mut self, timeout: Duration) -> io::Result<Blocked> {
        self.waiter.wait(Some(timeout), &mut self.ready)?;
        if tells_of_death(&self.ready) {
            return Ok(Blocked::PeerGone);
        }
        self.rung = self.ready.get(BELL).is_some();
        Ok(if self.rung { Blocked::Rang } else { Blocked::Other })
    }
}

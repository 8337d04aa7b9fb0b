//! How the two sides of a channel block: on an eventfd of their own and the file descriptors that tell of the peer's
//! death ([`FdPark`], [`FdBlock`]), or, where there is neither, by naps and heartbeats ([`PolledPark`], [`PolledBlock`]).

use crate::client::ClientPark;
use crate::hub::Park;
use crate::layout::line;
use crate::lines::{Lines, SharedLines};
use crate::os::doorbell::EventFd;
use crate::os::liveness::PeerWatch;
use crate::os::waiter::{AnyWaiter, Interest, PollWaiter, ReadySet, Waiter, WaiterKind};
use crate::region::Channel;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};
use crate::worker::{Block, Blocked};
use core::time::Duration;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

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

    /// Which system interface waits.
    pub fn kind(&self) -> WaiterKind {
        self.waiter.kind()
    }

    /// Why it is not io_uring, if it was tried.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.waiter.fallback_reason()
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

/// How a side without any doorbell waits: it sleeps, shortly at first, longer while nothing comes.
const NAPS: [Duration; 2] = [Duration::from_micros(50), Duration::from_millis(1)];

/// Naps of growing length since the last time that something was found.
#[derive(Debug, Default)]
struct Naps(u32);

impl Naps {
    fn nap(&mut self, timeout: Duration) {
        let length = NAPS[0].saturating_mul(1 << self.0.min(8)).min(NAPS[1]).min(timeout);
        self.0 = self.0.saturating_add(1);
        std::thread::sleep(length);
    }
}

/// Blocks a client that has no doorbell (a BAR without interrupts, a plain file): it looks again every 50 us at first,
/// every millisecond later. The worker's death shows itself by its heartbeat: set
/// [`Limits::error_after`](crate::client::Limits) to [`HEARTBEAT_LIMIT`].
#[derive(Debug, Default)]
pub struct PolledPark {
    naps: Mutex<Naps>,
}

impl Park for PolledPark {
    fn park(&self, timeout: Duration) {
        let mut naps = self.naps.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        naps.nap(timeout);
    }
}

impl ClientPark for PolledPark {
    fn peer_gone(&self) -> bool {
        false
    }
}

/// Silence after which a peer counts as dead where nothing but its heartbeat tells.
pub const HEARTBEAT_LIMIT: Duration = Duration::from_secs(2);

/// Blocks a worker whose client has no doorbell and no socket: naps, and watches the client's heartbeat.
#[derive(Debug)]
pub struct PolledBlock {
    header: SharedLines,
    naps: Naps,
    beat: u64,
    since: Instant,
    limit: Duration,
}

impl PolledBlock {
    /// The client counts as gone once its heartbeat has rested for `limit`, usually [`HEARTBEAT_LIMIT`]; before it has
    /// attached there is none to watch.
    pub fn new(channel: &Channel, limit: Duration) -> Self {
        let header = channel.header.clone();
        Self { header, naps: Naps::default(), beat: 0, since: Instant::now(), limit }
    }

    fn client_is_silent(&mut self) -> bool {
        let beat = self.header.load(line::CLIENT_STATUS, 1, Ordering::Relaxed);
        if beat != self.beat {
            self.beat = beat;
            self.since = Instant::now();
        }
        beat != 0 && self.since.elapsed() > self.limit
    }
}

impl Block for PolledBlock {
    fn block(&mut self, timeout: Duration) -> io::Result<Blocked> {
        self.naps.nap(timeout);
        Ok(if self.client_is_silent() { Blocked::PeerGone } else { Blocked::Other })
    }
}

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
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
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

    fn watch(&self, limit: Duration) {
        if self.watch.wait_dead(limit).is_err() {
            // Never spin on a descriptor that cannot be waited for.
            std::thread::sleep(limit.min(Duration::from_millis(250)));
        }
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

/// Time between two naps of one wait, at most: more means that something was found in between, and a new wait begun. A
/// client's waiting thread only looks between two naps; a worker may poll for a while first.
const SAME_WAIT_OF_CLIENT: Duration = Duration::from_micros(20);
const SAME_WAIT_OF_WORKER: Duration = Duration::from_micros(300);

/// Naps of growing length since the last time that something was found.
#[derive(Debug, Default)]
struct Naps {
    taken: u32,
    ended: Option<Instant>,
}

impl Naps {
    fn nap(&mut self, timeout: Duration, same_wait: Duration) {
        if self.ended.is_none_or(|ended| ended.elapsed() > same_wait) {
            self.taken = 0;
        }
        let length = NAPS[0].saturating_mul(1 << self.taken.min(8)).min(NAPS[1]).min(timeout);
        self.taken += 1;
        std::thread::sleep(length);
        self.ended = Some(Instant::now());
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
        naps.nap(timeout, SAME_WAIT_OF_CLIENT);
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

/// Silence of a client, as far as somebody looked: its heart is all that tells of its death.
#[derive(Debug)]
pub struct ClientHeart {
    header: SharedLines,
    beat: u64,
    looked: Instant,
    silent: Duration,
}

/// Two looks further apart than this say nothing about the time between them: the looker may have been stopped.
const LOOK_GAP_MAX: Duration = Duration::from_millis(200);

impl ClientHeart {
    /// Silent from now on, until the heart moves.
    pub fn new(channel: &Channel) -> Self {
        let header = channel.header.clone();
        let beat = header.load(line::CLIENT_STATUS, 1, Ordering::Relaxed);
        Self { header, beat, looked: Instant::now(), silent: Duration::ZERO }
    }

    /// Looks, at least every 200 ms, and says for how long the heart has not moved.
    pub fn silent(&mut self) -> Duration {
        let beat = self.header.load(line::CLIENT_STATUS, 1, Ordering::Relaxed);
        let now = Instant::now();
        let gap = now.duration_since(self.looked).min(LOOK_GAP_MAX);
        self.looked = now;
        self.silent = if beat == self.beat { self.silent + gap } else { Duration::ZERO };
        self.beat = beat;
        self.silent
    }
}

/// Blocks a worker whose client is a program in a VM: on the eventfd of its vector, with the client's heartbeat instead of
/// a socket. A client that does not attach counts as silent too.
///
/// The eventfd is never drained: each ring is one edge for every worker that waits on it, so several channels may share a
/// vector, and the next worker of a channel finds it as it was.
#[derive(Debug)]
pub struct GuestBlock {
    edges: OwnedFd,
    _bell: EventFd,
    heart: ClientHeart,
    limit: Duration,
}

impl GuestBlock {
    /// Blocks on `bell`; the client counts as gone once its heart has rested for `limit`.
    pub fn new(bell: EventFd, channel: &Channel, limit: Duration) -> io::Result<Self> {
        let edges = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&edges, bell.fd(), epoll::EventData::new_u64(BELL), flags)?;
        Ok(Self { edges, _bell: bell, heart: ClientHeart::new(channel), limit })
    }
}

impl Block for GuestBlock {
    fn block(&mut self, timeout: Duration) -> io::Result<Blocked> {
        let mut found = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; 1];
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        let rung = match epoll::wait(&self.edges, &mut found[..], Some(&timeout)) {
            Ok(count) => count > 0,
            Err(Errno::INTR) => false,
            Err(error) => return Err(error.into()),
        };
        if self.heart.silent() > self.limit {
            return Ok(Blocked::PeerGone);
        }
        Ok(if rung { Blocked::Rang } else { Blocked::Other })
    }
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
        self.naps.nap(timeout, SAME_WAIT_OF_WORKER);
        Ok(if self.client_is_silent() { Blocked::PeerGone } else { Blocked::Other })
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use crate::layout::Sizes;
    use crate::link::{MemfdChannel, Options};
    use crate::region::Terms;
    use crate::worker::Next;

    fn channel() -> MemfdChannel {
        let sizes = Sizes { command_lines: 64, arena_bytes: 0, ..Sizes::default() };
        let channel = MemfdChannel::create("ringbar-test", sizes, Terms::default()).unwrap();
        channel.channel().offer(1);
        channel
    }

    #[test]
    fn two_workers_on_one_bell_are_both_woken_by_each_ring() {
        let (bell, channel) = (EventFd::new().unwrap(), channel());
        let block = || GuestBlock::new(bell.clone(), channel.channel(), Duration::from_secs(60));
        let mut blocks = [block().unwrap(), block().unwrap()];
        for _ in 0..2 {
            bell.signal().unwrap();
            for block in &mut blocks {
                assert_eq!(block.block(Duration::from_secs(20)).unwrap(), Blocked::Rang);
            }
        }
        let quiet = blocks[0].block(Duration::from_millis(1)).unwrap();
        assert_eq!(quiet, Blocked::Other, "an edge is seen once");
    }

    #[test]
    fn a_guest_that_never_attaches_or_whose_heart_rests_is_gone() {
        let channel = channel();
        let limit = Duration::from_millis(100);
        let mut worker = channel.guest_worker(1, limit, Options::default()).unwrap();
        let beat = |n: u64| {
            let header = &channel.channel().header;
            header.store(line::CLIENT_STATUS, 1, n, Ordering::Relaxed);
        };
        for n in 1..=20 {
            beat(n);
            assert!(matches!(worker.next().unwrap(), Next::Idle), "beat {n}");
        }
        let looks = (0..1000).take_while(|_| matches!(worker.next().unwrap(), Next::Idle)).count();
        assert!(looks < 1000, "silence ends it");
        assert!(matches!(worker.next().unwrap(), Next::ClientGone));
    }
}

//! The host's end of a channel: consumes commands, gives replies, fences and events.
//!
//! [`Worker`] belongs to the one thread that consumes; [`Completions`] can be cloned to others (device threads) that
//! finish work later.

use crate::arena::Arena;
use crate::counters::{WorkerWord, set_worker};
use crate::error::ChannelError;
use crate::heart::Heart;
use crate::hub::{LINGER, RELOOK_LINGER};
use crate::layout::line;
use crate::lines::{Lines, SharedLines};
use crate::os::doorbell::Doorbell;
use crate::progress;
use crate::region::{Channel, State};
use crate::reply::{self, Ticket};
use crate::spin::SpinBudget;
use crate::spsc::{Consumer, Direction, Producer, QUIET_LOOKS, Record, ReserveError, Violation};
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering};
use crate::wake::{Armed, Sleeper, WakeMode, Waker};
use core::time::Duration;
use std::collections::BTreeMap;

/// Doorbells in a row without a command that are answered at once.
const EMPTY_RUN_MAX: u32 = 16;

/// How the worker's thread blocks: on its doorbell, the client's socket, and whatever else its owner adds.
pub trait Block {
    /// To be called before a sleep is announced: takes back rings that were meant for earlier sleeps.
    fn prepare(&mut self) {}
    /// Blocks until the doorbell rings or `timeout` has passed. Says whether the client is gone.
    fn block(&mut self, timeout: Duration) -> std::io::Result<Blocked>;
}

/// Why [`Block::block`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The doorbell rang.
    Rang,
    /// Time passed, or something else of the owner's happened.
    Other,
    /// The client's process is gone.
    PeerGone,
}

/// What a worker is given to serve a channel.
pub struct WorkerConfig {
    /// The channel, offered in `generation`.
    pub channel: Channel,
    /// The generation to serve.
    pub generation: u32,
    /// The channel's arena and its further segments.
    pub arena: Arc<Arena>,
    /// How the client is woken.
    pub doorbell: Arc<dyn Doorbell>,
    /// The wake-up protocol that both sides agreed on.
    pub wake: WakeMode,
    /// How long to poll before blocking.
    pub spin: SpinBudget,
    /// How long to block before looking again (a lost doorbell costs at most this).
    pub relook: Duration,
}

/// What came next.
#[derive(Debug)]
pub enum Next<'w> {
    /// A command.
    Command(Record<'w>),
    /// Nothing within one look, a poll and one block: the owner may do other things, then call again.
    Idle,
    /// The client closed the channel, or is gone. Everything published before was consumed.
    ClientGone,
}

/// The consuming end of a channel.
pub struct Worker<B: Block> {
    consumer: Consumer<SharedLines>,
    sleeper: Sleeper<SharedLines>,
    spin: SpinBudget,
    relook: Duration,
    block: B,
    completions: Completions,
    /// Executed position last published.
    published: u64,
    /// The position behind which the device was polled for.
    polled_at: u64,
    /// Lines after which progress is published at the latest.
    publish_after: u64,
    /// Publish progress with the next look: the last command used the arena. Stays true after a violation.
    publish_now: bool,
    /// The violation that ended the channel: the ring is not read again.
    ended: Option<Violation>,
    /// Doorbells in a row that announced nothing.
    empty_run: u32,
    counts: Counts,
    heart: Option<Heart>,
}

#[derive(Default)]
struct Counts {
    commands: u64,
    bytes: u64,
    parks: u64,
    empty_wakes: u64,
}

impl<B: Block> Worker<B> {
    /// Takes up the channel: its state becomes `Running`, the heartbeat begins.
    ///
    /// Refused unless the channel is `Offered` in this generation.
    pub fn start(config: WorkerConfig, block: B) -> Result<Self, ChannelError> {
        let WorkerConfig { channel, generation, arena, doorbell, wake, spin, relook } = config;
        let (state, found) = channel.host_state();
        if (state, found) != (State::Offered, generation) {
            let expected = format!("Offered in generation {generation}");
            let error =
                crate::region::RegionError::State { found: state, generation: found, expected };
            return Err(error.into());
        }
        let slots = channel.replies.count();
        let consumer = Consumer::new(
            channel.commands.clone(),
            channel.header.clone(),
            Direction::Commands,
            generation,
            slots,
        );
        let sleeper = Sleeper::new(channel.header.clone(), line::WORKER_SLEEP, wake);
        channel.set_state(line::HOST_STATUS, State::Running, generation);
        let heart = Heart::start(channel.header.clone(), line::HOST_STATUS)
            .map_err(|e| ChannelError::io("starting the heartbeat thread", e))?;
        Ok(Self {
            publish_after: (channel.commands.count() as u64 / 8).max(1),
            consumer,
            sleeper,
            spin,
            relook,
            block,
            completions: Completions::new(channel, generation, arena, doorbell, wake),
            published: 0,
            polled_at: 0,
            publish_now: false,
            ended: None,
            empty_run: 0,
            counts: Counts::default(),
            heart: Some(heart),
        })
    }

    /// The half that other threads may use.
    pub fn completions(&self) -> &Completions {
        &self.completions
    }

    /// What blocks this worker.
    pub fn block_mut(&mut self) -> &mut B {
        &mut self.block
    }

    /// The next command; polls, then blocks once if there is none.
    ///
    /// Calling it says that the command before is executed: progress is published from that. An `Err` is a violation
    /// by the client, for which the channel is already poisoned.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its items")]
    pub fn next(&mut self) -> Result<Next<'_>, ChannelError> {
        self.next_while(&mut || false)
    }

    /// The same; polls longer before it blocks, up to 20 ms, as long as `device_works` answers true: a client that waits for
    /// a device and not for this worker soon goes on, and waking a worker that blocked would cost it 50 to 200 us.
    #[inline]
    pub fn next_while(
        &mut self,
        device_works: &mut dyn FnMut() -> bool,
    ) -> Result<Next<'_>, ChannelError> {
        let executed = self.consumer.position();
        if self.publish_now || executed - self.published >= self.publish_after {
            self.catch_up()?;
        }
        if !self.consumer.is_ready() && !self.wait(device_works)? {
            let gone = self.client_left();
            return Ok(if gone { Next::ClientGone } else { Next::Idle });
        }
        match self.consumer.pop_looking_ahead() {
            Ok(Some(record)) => {
                self.counts.commands += 1;
                self.counts.bytes += record.bytes.len() as u64;
                Ok(Next::Command(record))
            }
            Ok(None) => Ok(Next::Idle),
            Err(violation) => {
                self.ended = Some(violation.clone());
                self.publish_now = true;
                Err(self.completions.poison(violation))
            }
        }
    }

    /// Publishes progress, or repeats the violation that ended the channel.
    fn catch_up(&mut self) -> Result<(), ChannelError> {
        if let Some(violation) = &self.ended {
            return Err(violation.clone().into());
        }
        self.publish_progress();
        Ok(())
    }

    /// Asks for progress to be published right after this command: it used the arena, and others wait for the room.
    pub fn publish_soon(&mut self) {
        self.publish_now = true;
    }

    /// Publishes executed position, retired position and counters, and wakes a client that sleeps.
    pub fn publish_progress(&mut self) {
        self.publish_now = false;
        self.published = self.consumer.position();
        self.completions.set_executed(self.published);
        let header = &self.completions.inner.channel.header;
        set_worker(header, WorkerWord::Commands, self.counts.commands);
        set_worker(header, WorkerWord::Bytes, self.counts.bytes);
        set_worker(header, WorkerWord::Parks, self.counts.parks);
        set_worker(header, WorkerWord::EmptyWakes, self.counts.empty_wakes);
        self.completions.wake_client();
    }

    fn client_left(&self) -> bool {
        let (state, _) = self.completions.inner.channel.client_state();
        matches!(state, State::Closed | State::Poisoned)
            || self.completions.inner.gone.load(Ordering::Relaxed) != 0
    }

    /// Polls, then blocks once. True if a command is there.
    #[cold]
    fn wait(&mut self, device_works: &mut dyn FnMut() -> bool) -> Result<bool, ChannelError> {
        for _ in 0..QUIET_LOOKS {
            self.consumer.idle();
            if self.consumer.is_ready() {
                self.spin.met();
                return Ok(true);
            }
        }
        self.consumer.release();
        self.publish_progress();
        let consumer = &self.consumer;
        let mut look = || consumer.is_ready().then_some(());
        if self.spin.poll(&mut look).is_some() {
            return Ok(true);
        }
        // Not at every look at a ring that stays empty: at the first behind a command.
        if self.published != self.polled_at {
            self.polled_at = self.published;
            // At its end the client needs a moment to see it and to post.
            if device_works()
                && (self.spin.poll_device(&mut look, device_works).is_some()
                    || self.spin.poll(&mut look).is_some())
            {
                return Ok(true);
            }
        }
        self.block.prepare();
        let armed = self.sleeper.arm();
        let ready = match armed {
            Armed::Ready => consumer.is_ready(),
            Armed::Linger => {
                SpinBudget::poll_for(LINGER, &mut || consumer.is_ready().then_some(())).is_some()
            }
        };
        if !ready {
            self.block_once(armed)?;
        }
        self.sleeper.disarm();
        let ready = ready || self.consumer.is_ready();
        if ready {
            self.empty_run = 0;
        }
        Ok(ready)
    }

    fn block_once(&mut self, armed: Armed) -> Result<(), ChannelError> {
        self.counts.parks += 1;
        let timeout = if armed == Armed::Ready { self.relook } else { RELOOK_LINGER };
        let blocked =
            self.block.block(timeout).map_err(|e| ChannelError::io("waiting for a doorbell", e))?;
        match blocked {
            Blocked::PeerGone => self.completions.inner.gone.store(1, Ordering::Relaxed),
            Blocked::Rang if !self.consumer.is_ready() => self.empty_wake(),
            Blocked::Rang | Blocked::Other => self.empty_run = 0,
        }
        Ok(())
    }

    /// A doorbell without a command. One can be late by honest chance; many in a row are a storm, which costs its sender
    /// its own latency and this side next to nothing.
    fn empty_wake(&mut self) {
        self.counts.empty_wakes += 1;
        self.empty_run += 1;
        if self.empty_run > EMPTY_RUN_MAX {
            std::thread::sleep(RELOOK_LINGER);
        }
    }

    /// Stops the heartbeat and leaves everything else as it is: to test what the client makes of a silent worker.
    #[doc(hidden)]
    pub fn stop_heart(mut self) {
        self.heart = None;
    }

    /// Leaves in order: the client's waiters get `Closed`.
    pub fn close(mut self) {
        self.publish_progress();
        let inner = &self.completions.inner;
        inner.channel.set_state(line::HOST_STATUS, State::Closed, inner.generation);
        self.completions.ring_now();
    }
}

/// The half of a worker that finishes commands: replies, fences, errors, events. Clones share one channel.
#[derive(Clone)]
pub struct Completions {
    inner: Arc<Inner>,
}

struct Inner {
    channel: Channel,
    generation: u32,
    arena: Arc<Arena>,
    doorbell: Arc<dyn Doorbell>,
    waker: Waker<SharedLines>,
    events: Mutex<Producer<SharedLines>>,
    holds: Mutex<Holds>,
    replies: AtomicU64,
    errors: AtomicU64,
    events_lost: AtomicU64,
    gone: AtomicU64,
    poisoned: AtomicU64,
}

/// Commands whose arena bytes are still in use, by position.
#[derive(Default)]
struct Holds {
    by_position: BTreeMap<u64, u32>,
    executed: u64,
}

impl Holds {
    fn retired(&self) -> u64 {
        self.by_position.keys().next().map_or(self.executed, |&first| first.min(self.executed))
    }
}

impl Completions {
    fn new(
        channel: Channel,
        generation: u32,
        arena: Arc<Arena>,
        doorbell: Arc<dyn Doorbell>,
        wake: WakeMode,
    ) -> Self {
        let header = channel.header.clone();
        let events =
            Producer::new(channel.events.clone(), header.clone(), Direction::Events, generation);
        let inner = Inner {
            waker: Waker::new(header, line::CLIENT_SLEEP, wake),
            events: Mutex::new(events),
            holds: Mutex::default(),
            replies: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            events_lost: AtomicU64::new(0),
            gone: AtomicU64::new(0),
            poisoned: AtomicU64::new(0),
            channel,
            generation,
            arena,
            doorbell,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The channel's arena.
    pub fn arena(&self) -> &Arc<Arena> {
        &self.inner.arena
    }

    /// Answers a command: at most 56 bytes, more are cut off. Each ticket is to be answered once.
    #[inline]
    pub fn reply(&self, ticket: Ticket, bytes: &[u8]) {
        let inner = &*self.inner;
        reply::write(&inner.channel.replies, inner.generation, ticket, bytes);
        let replies = inner.replies.fetch_add(1, Ordering::Relaxed) + 1;
        set_worker(&inner.channel.header, WorkerWord::Replies, replies);
        self.wake_client();
    }

    /// Raises fence word `index` to `value` and wakes the client if it sleeps.
    pub fn fence(&self, index: u32, value: u64) -> Result<(), Violation> {
        let fences = &self.inner.channel.fences;
        let limit = self.inner.channel.place.identity.fence_words;
        if index >= limit {
            let start = u64::from(index);
            return Err(Violation::Range { what: "fence", start, len: 1, limit: limit.into() });
        }
        progress::raise_fence(fences, index, value);
        self.wake_client();
        Ok(())
    }

    /// The address of fence word 0 as this process maps it, for a device that writes fences by itself. Fence words fill
    /// pages of their own.
    pub fn fence_address(&self) -> u64 {
        let channel = &self.inner.channel;
        channel.fences.first_address()
    }

    /// The value of fence word `index`, 0 if there is none: for words that a device writes.
    pub fn fence_value(&self, index: u32) -> u64 {
        let channel = &self.inner.channel;
        if index < channel.place.identity.fence_words {
            progress::fence(&channel.fences, index)
        } else {
            0
        }
    }

    /// Whether the client sleeps at this moment, or is about to.
    pub fn client_sleeps(&self) -> bool {
        self.inner.channel.header.load(line::CLIENT_SLEEP, 0, Ordering::Relaxed) & 1 == 1
    }

    /// Wakes the client if it sleeps: after a device has raised a fence word by itself, which wakes nobody.
    pub fn fence_landed(&self) {
        self.wake_client();
    }

    /// Latches the failure of the posted command at `position`; only the first one is kept, all are counted.
    pub fn post_failed(&self, position: u64, status: u32) {
        let header = &self.inner.channel.header;
        let errors = self.inner.errors.fetch_add(1, Ordering::Relaxed) + 1;
        set_worker(header, WorkerWord::Errors, errors);
        if errors == 1 {
            progress::latch_error(header, position, status);
        }
        self.wake_client();
    }

    /// Sends an event to the client. `false` if its ring is full: the event is lost and counted.
    pub fn event(&self, bytes: &[u8]) -> Result<bool, ChannelError> {
        let mut events = lock(&self.inner.events);
        match events.push(bytes) {
            Ok(_) => {
                set_worker(&self.inner.channel.header, WorkerWord::EventsTail, events.tail());
                drop(events);
                self.wake_client();
                Ok(true)
            }
            Err(ReserveError::Full(_)) => {
                let lost = self.inner.events_lost.fetch_add(1, Ordering::Relaxed) + 1;
                progress::publish_events_lost(&self.inner.channel.header, lost);
                Ok(false)
            }
            Err(ReserveError::TooLong { bytes, limit }) => {
                Err(ChannelError::TooLong { bytes, limit })
            }
            Err(ReserveError::Violation(violation)) => {
                drop(events);
                Err(self.poison(violation))
            }
        }
    }

    /// Keeps the arena bytes of the command at `position` in use until as many [`end_hold`](Self::end_hold)s.
    pub fn begin_hold(&self, position: u64) {
        *lock(&self.inner.holds).by_position.entry(position).or_insert(0) += 1;
    }

    fn set_executed(&self, executed: u64) {
        let mut holds = lock(&self.inner.holds);
        holds.executed = executed;
        progress::publish(&self.inner.channel.header, executed, holds.retired());
    }

    /// Ends one hold; with the last one of a command, its arena bytes may be reused once it is executed.
    pub fn end_hold(&self, position: u64) {
        let mut holds = lock(&self.inner.holds);
        let Some(count) = holds.by_position.get_mut(&position) else { return };
        *count -= 1;
        if *count == 0 {
            holds.by_position.remove(&position);
        }
        progress::publish_retired(&self.inner.channel.header, holds.retired());
        drop(holds);
        self.wake_client();
    }

    /// Ends the channel for a violation of the client's: recorded once, said once; the client's waiters are woken.
    pub fn poison(&self, violation: Violation) -> ChannelError {
        let inner = &*self.inner;
        if inner.poisoned.swap(1, Ordering::Relaxed) == 0 {
            tracing::warn!(code = violation.code(), %violation, "the client broke the protocol: channel poisoned");
            inner.channel.set_error(line::HOST_STATUS, violation.code(), 0);
            inner.channel.set_state(line::HOST_STATUS, State::Poisoned, inner.generation);
            self.ring_now();
        }
        violation.into()
    }

    #[inline(always)]
    fn wake_client(&self) {
        if self.inner.waker.must_ring() {
            self.ring_counted();
        }
    }

    #[cold]
    fn ring_counted(&self) {
        set_worker(&self.inner.channel.header, WorkerWord::Bells, self.inner.waker.rung());
        self.ring_now();
    }

    /// A doorbell that cannot be rung costs the client one re-look, so it is reported and not an error.
    fn ring_now(&self) {
        if let Err(error) = self.inner.doorbell.ring() {
            tracing::warn!(%error, "the client's doorbell cannot be rung");
        }
    }
}

/// No code panics while it holds one of these locks, so what a poisoned one guards is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

//! The client's end of a channel, for any number of threads.
//!
//! Posting takes the producer's lock for as long as it takes to write the record, never while it waits. Whoever waits
//! (for room, a reply, a fence, the arena) waits in the [`Hub`] with no lock held, and learns within its next look that
//! the worker answered, died, closed, was poisoned, or is stalled. Two posts of which one happens before the other (in
//! one thread, or in two that synchronise) are consumed in that order.

mod caller;
mod health;
mod staging;
mod wait;

pub use caller::Caller;
pub use health::{Health, Limits};
pub use staging::{ArenaPlan, PinnedBlock, Staged};

use crate::arena::Arena;
use crate::counters::{ClientWord, Counters, set_client};
use crate::error::ChannelError;
use crate::heart::Heart;
use crate::hub::{Hub, Park};
use crate::layout::line;
use crate::lines::{Lines, SharedLines};
use crate::os::doorbell::Doorbell;
use crate::progress;
use crate::region::{Channel, RegionError, State};
use crate::spin::SpinBudget;
use crate::spsc::{Consumer, Direction, Producer, Reservation, ReserveError, Violation};
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, order};
use crate::untrusted::Untrusted;
use crate::wake::{Sleeper, WakeMode, Waker};
use caller::Slots;
use core::time::Duration;
use health::Watchdog;
use staging::ArenaOwner;
use std::sync::OnceLock;
use wait::Patience;

/// Between two looks of a thread that watches a peer of which no descriptor tells.
const WATCH_NAP: Duration = Duration::from_millis(250);

/// How a client's leader thread blocks, and how the death of the peer is known.
pub trait ClientPark: Park + Send + Sync {
    /// True once the peer's process is known to be gone. Cheap: called on every slow look.
    fn peer_gone(&self) -> bool;

    /// What else ended the channel, if this knows of it: a device that is gone.
    fn ended(&self) -> Option<ChannelError> {
        None
    }

    /// Blocks for at most `limit` on what tells of the peer's end, and on nothing else: for a thread that only watches,
    /// and for which no doorbell is to be rung.
    fn watch(&self, limit: Duration) {
        std::thread::sleep(limit.min(WATCH_NAP));
    }

    /// This side writes nothing any more: whatever it holds of the channel may be given back.
    fn left(&self) {}

    /// Whether the peer's doorbell ends [`Park::park`]. Where it does not, this side never says that it sleeps.
    fn wants_doorbell(&self) -> bool {
        true
    }
}

/// What a client is given to use a channel.
pub struct ClientConfig {
    /// The channel, from [`crate::region::inspect`].
    pub channel: Channel,
    /// The generation that the host assigned.
    pub generation: u32,
    /// The channel's arena and its further segments.
    pub arena: Arc<Arena>,
    /// How the arena is shared out.
    pub plan: ArenaPlan,
    /// How the worker is woken.
    pub doorbell: Arc<dyn Doorbell>,
    /// How this side blocks.
    pub park: Box<dyn ClientPark>,
    /// The wake-up protocol that both sides agreed on.
    pub wake: WakeMode,
    /// How long to poll before blocking.
    pub spin: SpinBudget,
    /// When silence is reported, and when it becomes an error.
    pub limits: Limits,
    /// Whether to beat a heart of one's own: needed where the host learns of death by heartbeats only.
    /// Then its thread begins with this.
    pub heartbeat: Option<fn()>,
}

/// The producing end of a channel. Clones share it; any thread may use any clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

struct BoxedPark(Box<dyn ClientPark>);

impl Park for BoxedPark {
    fn prepare(&self) {
        self.0.prepare();
    }

    fn park(&self, timeout: Duration) {
        self.0.park(timeout);
    }
}

struct Inner {
    /// Dropped first: nothing is written once the channel is given back.
    heart: Mutex<Option<Heart>>,
    channel: Channel,
    generation: u32,
    tx: Mutex<Tx>,
    doorbell: Arc<dyn Doorbell>,
    waker: Waker<SharedLines>,
    hub: Hub<SharedLines, BoxedPark>,
    events: Mutex<Consumer<SharedLines>>,
    slots: Mutex<Slots>,
    slot_returned: Condvar,
    arena: ArenaOwner,
    watchdog: Watchdog,
    /// The error that ended the channel, found by any thread.
    failed: OnceLock<ChannelError>,
    full_waits: AtomicU64,
    arena_waits: AtomicU64,
}

/// The producer and its counters: one lock, held only to write.
struct Tx {
    producer: Producer<SharedLines>,
    commands: u64,
    batches: u64,
    bytes: u64,
}

impl Client {
    /// Takes up a channel that the host offers, or whose worker runs already, in the given generation.
    pub fn attach(config: ClientConfig) -> Result<Self, ChannelError> {
        let ClientConfig { channel, generation, arena, plan, doorbell, park, wake, spin, .. } =
            config;
        let (state, found) = channel.host_state();
        if !matches!(state, State::Offered | State::Running) || found != generation {
            let expected = format!("Offered or Running in generation {generation}");
            return Err(RegionError::State { found: state, generation: found, expected }.into());
        }
        let header = channel.header.clone();
        let tx = Producer::new(
            channel.commands.clone(),
            header.clone(),
            Direction::Commands,
            generation,
        );
        let events =
            Consumer::new(channel.events.clone(), header.clone(), Direction::Events, generation, 0);
        let sleeps = if park.wants_doorbell() { wake } else { WakeMode::Polled };
        let sleeper = Sleeper::new(header.clone(), line::CLIENT_SLEEP, sleeps);
        let slots = Slots::all(channel.replies.count() as u16, generation);
        let beat = |begin| Heart::of_client(header.clone(), generation, begin);
        let heart = config.heartbeat.map(beat);
        let heart = heart.transpose().map_err(|e| ChannelError::io("starting the heartbeat", e))?;
        channel.set_state(line::CLIENT_STATUS, State::Running, generation);
        let inner = Inner {
            waker: Waker::new(header, line::WORKER_SLEEP, wake),
            tx: Mutex::new(Tx { producer: tx, commands: 0, batches: 0, bytes: 0 }),
            hub: Hub::new(sleeper, BoxedPark(park), spin),
            events: Mutex::new(events),
            slots: Mutex::new(slots),
            slot_returned: Condvar::new(),
            arena: ArenaOwner::new(arena, plan),
            watchdog: Watchdog::new(config.limits),
            failed: OnceLock::new(),
            full_waits: AtomicU64::new(0),
            arena_waits: AtomicU64::new(0),
            heart: Mutex::new(heart),
            doorbell,
            generation,
            channel,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The generation this client is attached to.
    pub fn generation(&self) -> u32 {
        self.inner.generation
    }

    /// Whether the arena lies where the host wants both sides to have it; also true if the host wants nothing.
    ///
    /// If not, a block's address means nothing to the worker.
    pub fn arena_is_where_agreed(&self) -> bool {
        let identity = &self.inner.channel.place.identity;
        let wanted = identity.arena_address != 0 && identity.arena_bytes != 0;
        !wanted || self.arena().is_at_agreed_address()
    }

    /// What both sides have counted.
    pub fn counters(&self) -> Counters {
        Counters::read(&self.inner.channel.header)
    }

    /// Most payload bytes a record may have.
    pub fn record_bytes_max(&self) -> usize {
        lock(&self.inner.tx).producer.record_bytes_max()
    }

    /// Posts one record. Returns its position. Waits only while the ring is full.
    #[inline]
    pub fn post(&self, record: &[u8]) -> Result<u64, ChannelError> {
        self.post_with(record.len(), |room| room.put(record))
    }

    /// Posts one record of `bytes` bytes that `write` puts straight into the ring. Returns its position.
    #[inline]
    pub fn post_with(
        &self,
        bytes: usize,
        write: impl FnOnce(&mut Reservation<'_, SharedLines>),
    ) -> Result<u64, ChannelError> {
        self.inner.submit(bytes, None, write, &mut Patience::of(None))
    }

    /// Posts records as batches: all that fit the ring at once become visible together, with at most one doorbell.
    pub fn post_batch(&self, records: &[&[u8]]) -> Result<(), ChannelError> {
        let mut left = records;
        while !left.is_empty() {
            left = self.inner.submit_batch(left)?;
        }
        Ok(())
    }

    /// Leases a reply slot for as long as the [`Caller`] lives. Waits while all slots are leased.
    pub fn caller(&self) -> Result<Caller, ChannelError> {
        Caller::lease(self, None)
    }

    /// As [`caller`](Self::caller), and gives up with [`ChannelError::Deadline`] after `limit`.
    pub fn caller_within(&self, limit: Duration) -> Result<Caller, ChannelError> {
        Caller::lease(self, Some(limit))
    }

    /// The value of fence word `index`, or `None` if there is no such word.
    #[inline]
    pub fn fence(&self, index: u32) -> Option<u64> {
        self.inner.fence(index)
    }

    /// Waits until fence word `index` is at least `value`.
    ///
    /// With a deadline the wait ends with [`ChannelError::Deadline`]; without one it ends when the fence is reached, or
    /// the worker is gone, or silent for longer than the limit.
    pub fn wait_fence(
        &self,
        index: u32,
        value: u64,
        deadline: Option<Duration>,
    ) -> Result<(), ChannelError> {
        self.inner.unviolated()?;
        let reached = self.inner.reached(index, value)?;
        self.inner.wait(reached, &mut Patience::of(deadline))
    }

    /// The same for a fence that a device writes at the end of its work, which may take longer than a peer's answer: polls up
    /// to 20 ms (a hundred times the longest poll of other waits) before it blocks, where there are processors for it. The
    /// deadline is looked at only then.
    pub fn wait_device_fence(
        &self,
        index: u32,
        value: u64,
        deadline: Option<Duration>,
    ) -> Result<(), ChannelError> {
        self.inner.unviolated()?;
        let reached = self.inner.reached(index, value)?;
        match self.inner.hub.poll_device(&reached) {
            Some(found) => found,
            None => self.inner.wait(reached, &mut Patience::of(deadline)),
        }
    }

    /// Position after the last command that the worker executed.
    pub fn executed(&self) -> Result<u64, ChannelError> {
        self.inner.checked(progress::executed(&self.inner.channel.header))
    }

    /// Waits until every command posted before `position` is executed.
    pub fn wait_executed(
        &self,
        position: u64,
        deadline: Option<Duration>,
    ) -> Result<(), ChannelError> {
        let inner = &*self.inner;
        inner.unviolated()?;
        let reached = || match inner.checked(progress::executed(&inner.channel.header)) {
            Ok(executed) => (executed >= position).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        };
        inner.wait(reached, &mut Patience::of(deadline))
    }

    /// Position after the last command posted.
    pub fn tail(&self) -> u64 {
        lock(&self.inner.tx).producer.tail()
    }

    /// Times a thread of this client found the ring full: one load of private memory.
    #[inline]
    pub fn full_waits(&self) -> u64 {
        self.inner.full_waits.load(Ordering::Relaxed)
    }

    /// Doorbells that this client rang although the worker was awake: only a worker that wakes by itself in the moment between
    /// the look at its sleep word and the doorbell should get one.
    pub fn bells_while_awake(&self) -> u64 {
        self.inner.waker.rung_awake()
    }

    /// The first posted command that failed: its position and the status that the worker latched.
    ///
    /// `None` also for the position of a command that was never posted, which poisons the channel.
    pub fn first_post_error(&self) -> Option<(u64, u32)> {
        let (position, status) = progress::first_error(&self.inner.channel.header)?;
        let end = Untrusted::new(position.wrapping_add(1));
        self.inner.checked(end).ok().map(|_| (position, status))
    }

    /// Takes the next event that the executor sent, if there is one: `take` sees its bytes.
    pub fn poll_event<T>(&self, take: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, ChannelError> {
        self.inner.unviolated()?;
        let mut events = lock(&self.inner.events);
        match events.pop() {
            Ok(Some(record)) => {
                let taken = take(record.bytes);
                events.release();
                Ok(Some(taken))
            }
            Ok(None) => Ok(None),
            Err(violation) => {
                drop(events);
                Err(self.inner.poison(violation))
            }
        }
    }

    /// An error unless the channel is up: what was read of its memory before was read from a device that was there.
    #[inline]
    pub fn check_up(&self) -> Result<(), ChannelError> {
        self.inner.check_fast()
    }

    /// Waits until an event is there to be polled.
    pub fn wait_event(&self, deadline: Option<Duration>) -> Result<(), ChannelError> {
        let inner = &*self.inner;
        inner.unviolated()?;
        let ready = || lock(&inner.events).is_ready().then_some(Ok(()));
        inner.wait(ready, &mut Patience::of(deadline))
    }

    /// Whether the peer lives, is silent, or what ended the channel.
    pub fn health(&self) -> Health {
        match self.inner.check() {
            Err(error) => Health::Ended(error),
            Ok(()) => self.inner.watchdog.health(&self.inner.channel),
        }
    }

    /// Waits until the channel is over, for at most `limit`, and answers why it is. For a thread that watches and does
    /// nothing else: the worker does not take it for one that sleeps and wants to be rung.
    pub fn wait_ended(&self, limit: Duration) -> Option<ChannelError> {
        self.inner.hub.park().0.watch(limit);
        let inner = &*self.inner;
        let ended = inner.check().and_then(|()| inner.watchdog.check(&inner.channel));
        ended.err()
    }

    /// Leaves in order: the worker stops after what was posted before.
    pub fn close(&self) {
        let inner = &*self.inner;
        if inner.failed.set(ChannelError::Closed).is_ok() {
            inner.leave(State::Closed);
        }
        lock(&inner.heart).take();
        // Whoever is writing a record now comes to an end first.
        drop(lock(&inner.tx));
        inner.hub.park().0.left();
    }

    /// Stops the heartbeat and leaves everything else as it is: to test what the worker makes of a silent client.
    #[doc(hidden)]
    pub fn stop_heart(&self) {
        lock(&self.inner.heart).take();
    }

    /// The channel's arena.
    pub fn arena(&self) -> &Arc<Arena> {
        self.inner.arena.arena()
    }
}

impl Inner {
    #[inline]
    fn submit(
        &self,
        bytes: usize,
        reply_slot: Option<u16>,
        mut write: impl FnOnce(&mut Reservation<'_, SharedLines>),
        patience: &mut Patience,
    ) -> Result<u64, ChannelError> {
        loop {
            self.check_fast()?;
            let mut tx = lock(&self.tx);
            let error = match attempt(&mut tx.producer, bytes, reply_slot, write) {
                Ok(position) => {
                    let sleeps = self.published(&mut tx, 1, bytes);
                    drop(tx);
                    if sleeps {
                        self.wake();
                    }
                    return Ok(position);
                }
                Err((error, again)) => {
                    write = again;
                    error
                }
            };
            drop(tx);
            self.wait_for_room(error, patience)?;
        }
    }

    fn submit_batch<'r, 'b>(
        &self,
        records: &'r [&'b [u8]],
    ) -> Result<&'r [&'b [u8]], ChannelError> {
        self.check_fast()?;
        let mut tx = lock(&self.tx);
        let (mut bytes, mut stopped) = (0, None);
        let mut batch = tx.producer.batch();
        for record in records {
            match batch.push(record) {
                Ok(_) => bytes += record.len(),
                Err(error) => {
                    stopped = Some(error);
                    break;
                }
            }
        }
        let sent = batch.commit();
        let sleeps = sent > 0 && self.published(&mut tx, sent as u64, bytes);
        drop(tx);
        if sleeps {
            self.wake();
        }
        let mut patience = Patience::of(None);
        stopped.map_or(Ok(()), |error| self.wait_for_room(error, &mut patience))?;
        Ok(&records[sent..])
    }

    /// Counts one publication, under the lock, so that counters never go back. Whether the worker sleeps and is to be rung,
    /// which the caller does without the lock: a system call on what a hostile worker shares must not stop all threads.
    #[inline(always)]
    #[must_use]
    fn published(&self, tx: &mut Tx, commands: u64, bytes: usize) -> bool {
        tx.commands += commands;
        tx.batches += 1;
        tx.bytes += bytes as u64;
        let header = &self.channel.header;
        set_client(header, ClientWord::Tail, tx.producer.tail());
        set_client(header, ClientWord::Commands, tx.commands);
        set_client(header, ClientWord::Batches, tx.batches);
        set_client(header, ClientWord::Bytes, tx.bytes);
        let sleeps = self.waker.must_ring();
        if sleeps {
            self.count_ring();
        }
        sleeps
    }

    #[cold]
    fn count_ring(&self) {
        set_client(&self.channel.header, ClientWord::Bells, self.waker.rung());
    }

    /// Rings for a worker that slept at the last look.
    #[cold]
    fn wake(&self) {
        self.waker.count_if_awake();
        self.ring();
    }

    /// A doorbell that cannot be rung costs the worker one re-look, so it is reported and not an error.
    #[cold]
    fn ring(&self) {
        if let Err(error) = self.doorbell.ring() {
            tracing::warn!(%error, "the worker's doorbell cannot be rung");
        }
    }

    #[cold]
    fn wait_for_room(
        &self,
        error: ReserveError,
        patience: &mut Patience,
    ) -> Result<(), ChannelError> {
        let until = match error {
            ReserveError::Full(full) => full.until,
            ReserveError::TooLong { bytes, limit } => {
                return Err(ChannelError::TooLong { bytes, limit });
            }
            ReserveError::Violation(violation) => return Err(self.poison(violation)),
        };
        let waits = self.full_waits.fetch_add(1, Ordering::Relaxed) + 1;
        let header = &self.channel.header;
        set_client(header, ClientWord::FullWaits, waits);
        // The producer checks the position again under its lock before it trusts it.
        let head = || Untrusted::new(header.load(line::COMMAND_HEAD, 0, order!(H2, Acquire)));
        self.wait_napping(|| head().seems_to_reach(until).then_some(Ok(())), patience)
    }

    #[inline(always)]
    fn fence(&self, index: u32) -> Option<u64> {
        if index >= self.channel.place.identity.fence_words {
            return None;
        }
        Some(progress::fence(&self.channel.fences, index))
    }

    /// Looks whether a fence is at least `value`.
    fn reached(
        &self,
        index: u32,
        value: u64,
    ) -> Result<impl Fn() -> Option<Result<(), ChannelError>>, ChannelError> {
        let limit = self.channel.place.identity.fence_words;
        if index >= limit {
            let start = u64::from(index);
            return Err(
                Violation::Range { what: "fence", start, len: 1, limit: limit.into() }.into()
            );
        }
        Ok(move || (self.fence(index)? >= value).then_some(Ok(())))
    }

    /// A progress position of the worker's, accepted only up to what was submitted.
    fn checked(&self, found: Untrusted<u64>) -> Result<u64, ChannelError> {
        let tail = lock(&self.tx).producer.tail();
        found.position(0, tail).map_err(|violation| self.poison(violation))
    }
}

/// Writes and publishes one record; gives `write` back if there is no room.
#[inline(always)]
fn attempt<W: FnOnce(&mut Reservation<'_, SharedLines>)>(
    producer: &mut Producer<SharedLines>,
    bytes: usize,
    reply_slot: Option<u16>,
    write: W,
) -> Result<u64, (ReserveError, W)> {
    match producer.reserve(bytes, reply_slot) {
        Ok(mut room) => {
            write(&mut room);
            Ok(room.commit())
        }
        Err(error) => Err((error, write)),
    }
}

/// No code panics while it holds one of these locks except a caller's closure, and that only between whole states: a record
/// that it was writing is taken back.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

//! Device threads: operations of a stream one after another, of different streams at once.

use crate::config::MockError;
use crate::device::{self, Device};
use crate::kernel::{Geometry, Kernel};
use crate::op::{self, Op, Source, Twist};
use crate::pool::Pool;
use crate::space::Space;
use ringbar_backend::Ticket;
use ringbar_vocabulary::{ArenaRef, Status};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Operations that may be outstanding; one more waits, as on a full hardware queue.
const OUTSTANDING_MAX: usize = 16_384;
/// Below this a wait spins, because a sleep would be late by more.
const SPIN_BELOW: Duration = Duration::from_micros(60);
/// How long an operation that has to wait for the client rests between two looks.
const LOOK_AGAIN: Duration = Duration::from_micros(50);
/// The default stream's serial number, in the first device's primary context.
pub(crate) const DEFAULT_SERIAL: u64 = 0;

/// A point in a stream: the operation of that number, counted from 1. Streams are told apart by
/// serial numbers, which unlike the client's are never used again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    serial: u64,
    number: u64,
}

/// How a stream goes together with others of its context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The context's legacy default stream.
    Default,
    /// It and the default stream wait for each other.
    Blocking,
    /// It waits for none.
    Free,
}

/// What the schedule knows about a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lane {
    /// Which stream: never used again, unlike the client's numbers.
    pub(crate) serial: u64,
    pub(crate) kind: Kind,
    pub(crate) context: u32,
}

/// The words in the arena through which the client runs its functions, and which one runs.
pub(crate) struct Mailbox {
    pub(crate) index: u32,
    pub(crate) words: ArenaRef,
    pub(crate) announced: u64,
    /// The stream that waits for the client.
    pub(crate) running: Option<u64>,
}

/// Shared by the worker's thread, which sets it up, and the device threads.
pub(crate) type SharedMailbox = Arc<Mutex<Option<Mailbox>>>;

struct Entry {
    op: Op,
    ticket: Ticket,
    after: Vec<Mark>,
    cost: Duration,
    submitted: Instant,
}

struct Queue {
    kind: Kind,
    context: u32,
    submitted: u64,
    completed: u64,
    busy: bool,
    destroyed: bool,
    /// When its last operation was due.
    free_at: Instant,
    /// When an operation that had to wait is looked at again.
    again_at: Option<Instant>,
    entries: VecDeque<Entry>,
}

impl Queue {
    fn new(lane: Lane) -> Self {
        Self {
            kind: lane.kind,
            context: lane.context,
            submitted: 0,
            completed: 0,
            busy: false,
            destroyed: false,
            free_at: Instant::now(),
            again_at: None,
            entries: VecDeque::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.completed == self.submitted
    }
}

#[derive(Default)]
struct Schedule {
    queues: BTreeMap<u64, Queue>,
    outstanding: usize,
    /// Streams whose operation waits for the client or for another stream.
    stalled: usize,
    /// Operations of streams that will give memory back.
    giving_back: usize,
    /// Freed allocations and the work that may still use them.
    retiring: Vec<(u64, Vec<Mark>)>,
    lost: Option<Status>,
    closing: bool,
}

impl Schedule {
    fn reached(&self, mark: &Mark) -> bool {
        self.queues.get(&mark.serial).is_none_or(|queue| queue.completed >= mark.number)
    }

    fn last_of(&self, serial: u64) -> Option<Mark> {
        let queue = self.queues.get(&serial).filter(|queue| !queue.is_done())?;
        Some(Mark { serial, number: queue.submitted })
    }

    /// The default stream comes after all blocking streams of its context, and they after it.
    fn implied(&self, serial: u64) -> Vec<Mark> {
        let Some(own) = self.queues.get(&serial) else { return Vec::new() };
        let opposite = match own.kind {
            Kind::Default => Kind::Blocking,
            Kind::Blocking => Kind::Default,
            Kind::Free => return Vec::new(),
        };
        let others = self.queues.iter();
        let others = others.filter(|(_, q)| q.context == own.context && q.kind == opposite);
        others.filter_map(|(&other, _)| self.last_of(other)).collect()
    }

    fn all_last(&self) -> Vec<Mark> {
        self.queues.keys().filter_map(|&serial| self.last_of(serial)).collect()
    }

    /// The next operation whose turn it is, and when it is due.
    fn take_ready(&mut self) -> Option<(u64, Entry, Instant)> {
        let mut now = None;
        let ready = self.queues.iter().find(|(_, queue)| {
            let front = queue.entries.front().filter(|_| !queue.busy);
            let again = queue.again_at;
            front.is_some_and(|entry| entry.after.iter().all(|mark| self.reached(mark)))
                && again.is_none_or(|at| at <= *now.get_or_insert_with(Instant::now))
        });
        let serial = *ready?.0;
        let queue = self.queues.get_mut(&serial)?;
        let entry = queue.entries.pop_front()?;
        queue.busy = true;
        if queue.again_at.take().is_some() {
            self.stalled -= 1;
            return Some((serial, entry, Instant::now()));
        }
        // An operation that waited for another stream starts now, others when they could have.
        let possible = queue.free_at.max(entry.submitted);
        let start = if entry.after.is_empty() { possible } else { Instant::now() };
        let due = start + entry.cost;
        queue.free_at = due;
        Some((serial, entry, due))
    }

    /// Puts an operation back that has to wait for something.
    fn put_back(&mut self, serial: u64, entry: Entry) {
        let Some(queue) = self.queues.get_mut(&serial) else { return };
        queue.busy = false;
        queue.entries.push_front(entry);
        queue.again_at = Some(Instant::now() + LOOK_AGAIN);
        self.stalled += 1;
    }

    /// How long until a stalled operation is looked at again; none if there is none.
    fn until_again(&self) -> Option<Duration> {
        let next = self.queues.values().filter_map(|queue| queue.again_at).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn finish(&mut self, serial: u64, failure: Option<Status>) {
        self.lost = self.lost.or(failure);
        self.outstanding -= 1;
        let Some(queue) = self.queues.get_mut(&serial) else { return };
        queue.busy = false;
        queue.completed += 1;
        if queue.destroyed && queue.is_done() {
            self.queues.remove(&serial);
        }
    }
}

/// What became of an operation.
enum Outcome {
    Done(Option<Status>),
    /// It waits for the client or for memory to change.
    Again,
}

/// What the worker's thread and the device threads share. Locks are taken in the order schedule,
/// pool, space.
struct Shared {
    schedule: Mutex<Schedule>,
    changed: Condvar,
    pool: Mutex<Pool>,
    space: Mutex<Space>,
    mailbox: SharedMailbox,
    scrub: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn wait<'s>(&'s self, schedule: MutexGuard<'s, Schedule>) -> MutexGuard<'s, Schedule> {
        self.changed.wait(schedule).unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until(&self, done: impl Fn(&Schedule) -> bool) -> MutexGuard<'_, Schedule> {
        let mut schedule = lock(&self.schedule);
        while !done(&schedule) {
            schedule = self.wait(schedule);
        }
        schedule
    }

    /// A device thread's life.
    fn work(&self) {
        let mut schedule = lock(&self.schedule);
        while !schedule.closing {
            let Some((serial, entry, due)) = schedule.take_ready() else {
                schedule = match schedule.until_again() {
                    Some(time) => self.wait_at_most(schedule, time),
                    None => self.wait(schedule),
                };
                continue;
            };
            let lost = schedule.lost.is_some();
            drop(schedule);
            let failure =
                match if lost { Outcome::Done(None) } else { self.perform(serial, &entry, due) } {
                    Outcome::Done(failure) => failure,
                    Outcome::Again => {
                        schedule = lock(&self.schedule);
                        schedule.put_back(serial, entry);
                        self.changed.notify_all();
                        continue;
                    }
                };
            let gave_back = matches!(entry.op, Op::Retire { .. });
            // The holds on arena bytes go before anybody can see the operation as complete.
            drop(entry);
            schedule = lock(&self.schedule);
            schedule.giving_back -= usize::from(gave_back);
            schedule.finish(serial, failure);
            self.retire_reached(&mut schedule);
            self.changed.notify_all();
        }
    }

    fn wait_at_most<'s>(
        &'s self,
        schedule: MutexGuard<'s, Schedule>,
        time: Duration,
    ) -> MutexGuard<'s, Schedule> {
        let woken = self.changed.wait_timeout(schedule, time);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Performs an operation; a failure of a launch makes the device unusable.
    fn perform(&self, serial: u64, entry: &Entry, due: Instant) -> Outcome {
        if !entry.cost.is_zero() {
            self.pause(due);
        }
        lock(&self.pool).exchange();
        let ticket = &entry.ticket;
        match &entry.op {
            Op::Launch { kernel, params, geometry, twist } => {
                let result = self.launch(ticket, kernel, params, *geometry, *twist);
                Outcome::Done(result.inspect_err(|&status| ticket.latch(status)).err())
            }
            Op::Wait(condition) => match condition.is_met(&lock(&self.pool), ticket.arena()) {
                Ok(false) => Outcome::Again,
                Ok(true) => Outcome::Done(None),
                Err(_) => Self::changed_under_us(ticket),
            },
            Op::HostFunction { token } => self.host_function(serial, *token, ticket),
            op => match self.change_memory(op, ticket) {
                Ok(()) => Outcome::Done(None),
                Err(_) => Self::changed_under_us(ticket),
            },
        }
    }

    /// Arena and fence were checked when the command was taken, so an error means that they
    /// changed since.
    fn changed_under_us(ticket: &Ticket) -> Outcome {
        ticket.latch(Status::UNKNOWN);
        Outcome::Done(None)
    }

    /// One function runs at a time: its token goes out, and its stream waits until the client
    /// has acknowledged it.
    fn host_function(&self, serial: u64, token: u64, ticket: &Ticket) -> Outcome {
        let mut mailbox = lock(&self.mailbox);
        let Some(mailbox) = &mut *mailbox else { return Self::changed_under_us(ticket) };
        let word = |index: u64| mailbox.words.part(index * 8, 8).unwrap_or_default();
        match mailbox.running {
            None => {
                let announced = mailbox.announced + 1;
                let written = ticket.write_arena(word(0), &token.to_le_bytes()).is_ok()
                    && ticket.write_fence(mailbox.index, announced).is_ok();
                if !written {
                    return Self::changed_under_us(ticket);
                }
                mailbox.announced = announced;
                mailbox.running = Some(serial);
                Outcome::Again
            }
            Some(running) if running == serial => {
                let mut acknowledged = [0; 8];
                if ticket.read_arena(word(1), &mut acknowledged).is_err() {
                    return Self::changed_under_us(ticket);
                }
                if u64::from_le_bytes(acknowledged) < mailbox.announced {
                    return Outcome::Again;
                }
                mailbox.running = None;
                Outcome::Done(None)
            }
            Some(_) => Outcome::Again,
        }
    }

    /// What everything else does.
    fn change_memory(&self, op: &Op, ticket: &Ticket) -> Result<(), Status> {
        let changed = |_| Status::UNKNOWN;
        let arena = ticket.arena();
        match op {
            Op::CopyIn { dst, source: Source::Inline(bytes) } => {
                lock(&self.pool).get_mut(dst.clone()).copy_from_slice(bytes);
            }
            Op::CopyIn { dst, source: Source::Arena { at, .. } } => {
                let mut pool = lock(&self.pool);
                ticket.read_arena(*at, pool.get_mut(dst.clone())).map_err(changed)?;
            }
            Op::CopyOut { dst, src, .. } => {
                let pool = lock(&self.pool);
                ticket.write_arena(*dst, pool.get(src.clone())).map_err(changed)?;
            }
            Op::Copy { dst, src } => lock(&self.pool).copy_within(src.clone(), *dst),
            Op::Fill { range, pattern } => lock(&self.pool).fill(range.clone(), pattern.bytes()),
            Op::Rect { rect, .. } => rect.run(&mut lock(&self.pool), arena).map_err(changed)?,
            Op::FillRect(fill) => fill.run(&mut lock(&self.pool), arena).map_err(changed)?,
            Op::Write { place, bytes } => {
                op::write(&mut lock(&self.pool), arena, place, bytes).map_err(changed)?;
            }
            Op::Library { library, function, stream, bytes } => {
                lock(&self.pool).library_call(*library, *function, *stream, bytes);
            }
            Op::Fence { index, value } => {
                ticket.write_fence(*index, *value).map_err(|_| Status::UNKNOWN)?;
            }
            Op::Retire { offset } => self.retire(*offset),
            Op::Launch { .. } | Op::Wait(_) | Op::HostFunction { .. } | Op::Nothing => {}
        }
        Ok(())
    }

    fn launch(
        &self,
        ticket: &Ticket,
        kernel: &Kernel,
        params: &[u8],
        geometry: Geometry,
        twist: Twist,
    ) -> Result<(), Status> {
        match twist {
            Twist::Fail => return Err(Status::LAUNCH_FAILED),
            Twist::Hang => self.hang(),
            Twist::None | Twist::Slow(_) => {}
        }
        let (mut pool, mut space) = (lock(&self.pool), lock(&self.space));
        device::launch(&mut pool, &mut space, ticket.arena(), kernel, params, geometry)
    }

    /// Never returns while the device exists.
    fn hang(&self) {
        drop(self.wait_until(|schedule| schedule.closing));
    }

    fn pause(&self, due: Instant) {
        while let Some(left) = due.checked_duration_since(Instant::now()) {
            if left < SPIN_BELOW {
                std::hint::spin_loop();
                continue;
            }
            let schedule = lock(&self.schedule);
            if schedule.closing {
                return;
            }
            drop(self.changed.wait_timeout(schedule, left - SPIN_BELOW / 2));
        }
    }

    fn retire_reached(&self, schedule: &mut Schedule) {
        let retiring = std::mem::take(&mut schedule.retiring);
        for (offset, after) in retiring {
            if after.iter().all(|mark| schedule.reached(mark)) {
                self.retire(offset);
            } else {
                schedule.retiring.push((offset, after));
            }
        }
    }

    fn into_device(self) -> Box<Device> {
        let pool = self.pool.into_inner().unwrap_or_else(PoisonError::into_inner);
        let space = self.space.into_inner().unwrap_or_else(PoisonError::into_inner);
        Box::new(Device { pool, space })
    }

    fn retire(&self, offset: u64) {
        let mut pool = self.scrub.then(|| lock(&self.pool));
        device::retire(pool.as_deref_mut(), &mut lock(&self.space), offset);
    }
}

/// The worker's side of the device threads.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts device threads. If none can be started, the device comes back.
    pub(crate) fn new(
        device: Device,
        lanes: &[Lane],
        settings: (bool, usize),
        mailbox: SharedMailbox,
    ) -> Result<Self, (MockError, Option<Box<Device>>)> {
        let (scrub, threads) = settings;
        let queues = lanes.iter().map(|&lane| (lane.serial, Queue::new(lane))).collect();
        let schedule = Schedule { queues, ..Schedule::default() };
        let shared = Arc::new(Shared {
            schedule: Mutex::new(schedule),
            changed: Condvar::new(),
            pool: Mutex::new(device.pool),
            space: Mutex::new(device.space),
            mailbox,
            scrub,
        });
        let mut handles = Vec::new();
        for _ in 0..threads.max(1) {
            let worker = shared.clone();
            let thread = std::thread::Builder::new().name("mock-device".into());
            match thread.spawn(move || worker.work()) {
                Ok(handle) => handles.push(handle),
                // Fewer threads work on fewer streams at once, which is no failure.
                Err(_) if !handles.is_empty() => break,
                Err(source) => {
                    let device = Arc::into_inner(shared).map(Shared::into_device);
                    return Err((MockError::Thread { source }, device));
                }
            }
        }
        Ok(Self { shared, handles })
    }

    pub(crate) fn add_stream(&self, lane: Lane) {
        lock(&self.shared.schedule).queues.insert(lane.serial, Queue::new(lane));
    }

    /// Lets a stream end after its work.
    pub(crate) fn remove_stream(&self, serial: u64) {
        let mut schedule = lock(&self.shared.schedule);
        if let Some(queue) = schedule.queues.get_mut(&serial) {
            queue.destroyed = true;
            if queue.is_done() {
                schedule.queues.remove(&serial);
            }
        }
    }

    /// Appends an operation to a stream; waits while too many are outstanding.
    pub(crate) fn submit(
        &self,
        serial: u64,
        ticket: Ticket,
        cost: Duration,
        wait_for: Option<Mark>,
        op: Op,
    ) -> Option<Mark> {
        // While a stream is stalled, only the client can move things on: it must be heard.
        let room =
            |schedule: &Schedule| schedule.outstanding < OUTSTANDING_MAX || schedule.stalled > 0;
        let mut schedule = self.shared.wait_until(room);
        let mut after = schedule.implied(serial);
        after.extend(wait_for.filter(|mark| !schedule.reached(mark)));
        let gives_back = matches!(op, Op::Retire { .. });
        let queue = schedule.queues.get_mut(&serial)?;
        queue.submitted += 1;
        queue.entries.push_back(Entry { op, ticket, after, cost, submitted: Instant::now() });
        let mark = Mark { serial, number: queue.submitted };
        schedule.outstanding += 1;
        schedule.giving_back += usize::from(gives_back);
        self.shared.changed.notify_all();
        Some(mark)
    }

    /// What lies where, for checks and for what does not depend on pending frees.
    pub(crate) fn space(&self) -> MutexGuard<'_, Space> {
        lock(&self.shared.space)
    }

    /// The same after all pending frees, unless a stream is stalled.
    pub(crate) fn settled_space(&self) -> MutexGuard<'_, Space> {
        let settled = |s: &Schedule| (s.retiring.is_empty() && s.giving_back == 0) || s.stalled > 0;
        drop(self.shared.wait_until(settled));
        self.space()
    }

    /// Waits until no work is outstanding or a stream is stalled.
    pub(crate) fn wait_until_quiet(&self) {
        drop(self.shared.wait_until(|s| s.outstanding == 0 || s.stalled > 0));
    }

    /// Memory and what lies where, now.
    pub(crate) fn now<T>(&self, change: impl FnOnce(&mut Pool, &mut Space) -> T) -> T {
        change(&mut lock(&self.shared.pool), &mut lock(&self.shared.space))
    }

    /// Whether everything that a stream was given is done.
    pub(crate) fn is_done(&self, serial: u64) -> bool {
        let schedule = lock(&self.shared.schedule);
        schedule.queues.get(&serial).is_none_or(Queue::is_done)
    }

    pub(crate) fn reached(&self, mark: &Mark) -> bool {
        lock(&self.shared.schedule).reached(mark)
    }

    /// Gives an allocation back when all work submitted so far is done.
    pub(crate) fn free(&self, offset: u64) {
        let mut schedule = lock(&self.shared.schedule);
        let after = schedule.all_last();
        schedule.retiring.push((offset, after));
        self.shared.retire_reached(&mut schedule);
    }

    pub(crate) fn lost(&self) -> Option<Status> {
        lock(&self.shared.schedule).lost
    }

    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.shared.schedule).outstanding == 0
    }

    pub(crate) fn drain(&self) {
        drop(self.shared.wait_until(|schedule| schedule.outstanding == 0));
    }

    /// Memory and what lies where when no work is outstanding.
    pub(crate) fn drained<T>(&self, look: impl FnOnce(&Pool, &Space) -> T) -> T {
        self.drain();
        look(&lock(&self.shared.pool), &lock(&self.shared.space))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        lock(&self.shared.schedule).closing = true;
        self.shared.changed.notify_all();
        for handle in self.handles.drain(..) {
            // A device thread catches the panics of kernels; what else it might say was said.
            let _ = handle.join();
        }
    }
}

//! Device threads: operations of a stream one after another, of different streams at once.

use crate::config::MockError;
use crate::device::{self, Device};
use crate::heap::Heap;
use crate::kernel::{Geometry, Kernel};
use crate::pool::Pool;
use ringbar_backend::{Hold, Ticket};
use ringbar_vocabulary::{ArenaRef, Status};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Operations that may be outstanding; one more waits, as on a full hardware queue.
const OUTSTANDING_MAX: usize = 16_384;
/// Below this a wait spins, because a sleep would be late by more.
const SPIN_BELOW: Duration = Duration::from_micros(60);
/// The default stream's serial number.
pub(crate) const DEFAULT_SERIAL: u64 = 0;

/// A point in a stream: the operation of that number, counted from 1. Streams are told apart by
/// serial numbers, which unlike the client's are never used again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    serial: u64,
    number: u64,
}

/// Where a copy to the device takes its bytes from.
pub(crate) enum Source {
    Inline(Box<[u8]>),
    Arena { at: ArenaRef, _hold: Hold },
}

/// What a fault does to a launch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Twist {
    None,
    Fail,
    Hang,
    Slow(Duration),
}

/// An operation in a stream, everything checked and owned.
pub(crate) enum Op {
    CopyIn { dst: Range<usize>, source: Source },
    CopyOut { dst: ArenaRef, src: Range<usize>, _hold: Hold },
    Copy { dst: usize, src: Range<usize> },
    Fill { range: Range<usize>, pattern: Box<[u8]> },
    Launch { kernel: Arc<Kernel>, params: Box<[u8]>, geometry: Geometry, twist: Twist },
    Library { library: u32, function: u32, stream: u32, bytes: Box<[u8]> },
    Fence { index: u32, value: u64 },
    Nothing,
}

struct Entry {
    op: Op,
    ticket: Ticket,
    after: Vec<Mark>,
    cost: Duration,
    submitted: Instant,
}

struct Queue {
    /// Whether it and the default stream wait for each other.
    blocking: bool,
    submitted: u64,
    completed: u64,
    busy: bool,
    destroyed: bool,
    /// When its last operation was due.
    free_at: Instant,
    entries: VecDeque<Entry>,
}

impl Queue {
    fn new(blocking: bool) -> Self {
        let (free_at, entries) = (Instant::now(), VecDeque::new());
        Self {
            blocking,
            submitted: 0,
            completed: 0,
            busy: false,
            destroyed: false,
            free_at,
            entries,
        }
    }

    fn is_done(&self) -> bool {
        self.completed == self.submitted
    }
}

#[derive(Default)]
struct Schedule {
    queues: BTreeMap<u64, Queue>,
    next_serial: u64,
    outstanding: usize,
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

    /// The default stream comes after all blocking streams, and they after it.
    fn implied(&self, serial: u64) -> Vec<Mark> {
        if serial != DEFAULT_SERIAL {
            let blocking = self.queues.get(&serial).is_some_and(|queue| queue.blocking);
            return blocking.then(|| self.last_of(DEFAULT_SERIAL)).flatten().into_iter().collect();
        }
        let others =
            self.queues.iter().filter(|(other, queue)| **other != serial && queue.blocking);
        others.filter_map(|(&other, _)| self.last_of(other)).collect()
    }

    fn all_last(&self) -> Vec<Mark> {
        self.queues.keys().filter_map(|&serial| self.last_of(serial)).collect()
    }

    /// The next operation whose turn it is, and when it is due.
    fn take_ready(&mut self) -> Option<(u64, Entry, Instant)> {
        let ready = self.queues.iter().find(|(_, queue)| {
            let front = queue.entries.front().filter(|_| !queue.busy);
            front.is_some_and(|entry| entry.after.iter().all(|mark| self.reached(mark)))
        });
        let serial = *ready?.0;
        let queue = self.queues.get_mut(&serial)?;
        let entry = queue.entries.pop_front()?;
        queue.busy = true;
        // An operation that waited for another stream starts now, others when they could have.
        let possible = queue.free_at.max(entry.submitted);
        let start = if entry.after.is_empty() { possible } else { Instant::now() };
        let due = start + entry.cost;
        queue.free_at = due;
        Some((serial, entry, due))
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

/// What the worker's thread and the device threads share. Locks are taken in the order schedule,
/// pool, heap.
struct Shared {
    schedule: Mutex<Schedule>,
    changed: Condvar,
    pool: Mutex<Pool>,
    heap: Mutex<Heap>,
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
                schedule = self.wait(schedule);
                continue;
            };
            let lost = schedule.lost.is_some();
            drop(schedule);
            let failure = if lost { None } else { self.perform(&entry, due) };
            // The holds on arena bytes go before anybody can see the operation as complete.
            drop(entry);
            schedule = lock(&self.schedule);
            schedule.finish(serial, failure);
            self.retire_reached(&mut schedule);
            self.changed.notify_all();
        }
    }

    /// Performs an operation; answers the failure that makes the device unusable.
    fn perform(&self, entry: &Entry, due: Instant) -> Option<Status> {
        if !entry.cost.is_zero() {
            self.pause(due);
        }
        match &entry.op {
            Op::Launch { kernel, params, geometry, twist } => {
                let result = self.launch(kernel, params, *geometry, *twist);
                result.inspect_err(|&status| entry.ticket.latch(status)).err()
            }
            op => {
                if self.change_memory(op, &entry.ticket).is_err() {
                    entry.ticket.latch(Status::UNKNOWN);
                }
                None
            }
        }
    }

    /// What everything but a launch does. Arena and fence were checked when the command was
    /// taken, so an error means that they changed since.
    fn change_memory(&self, op: &Op, ticket: &Ticket) -> Result<(), Status> {
        let changed = |_| Status::UNKNOWN;
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
            Op::Fill { range, pattern } => lock(&self.pool).fill(range.clone(), pattern),
            Op::Library { library, function, stream, bytes } => {
                lock(&self.pool).library_call(*library, *function, *stream, bytes);
            }
            Op::Fence { index, value } => {
                ticket.write_fence(*index, *value).map_err(|_| Status::UNKNOWN)?;
            }
            Op::Launch { .. } | Op::Nothing => {}
        }
        Ok(())
    }

    fn launch(
        &self,
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
        let (mut pool, mut heap) = (lock(&self.pool), lock(&self.heap));
        device::launch(&mut pool, &mut heap, kernel, params, geometry)
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

    fn retire(&self, offset: u64) {
        let mut pool = self.scrub.then(|| lock(&self.pool));
        device::retire(pool.as_deref_mut(), &mut lock(&self.heap), offset);
    }
}

/// The worker's side of the device threads.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(crate) fn new(device: Device, scrub: bool, threads: usize) -> Result<Self, MockError> {
        let mut schedule = Schedule::default();
        schedule.queues.insert(DEFAULT_SERIAL, Queue::new(true));
        schedule.next_serial = DEFAULT_SERIAL + 1;
        let shared = Arc::new(Shared {
            schedule: Mutex::new(schedule),
            changed: Condvar::new(),
            pool: Mutex::new(device.pool),
            heap: Mutex::new(device.heap),
            scrub,
        });
        let mut all = Self { shared, handles: Vec::new() };
        for _ in 0..threads.max(1) {
            let shared = all.shared.clone();
            let thread = std::thread::Builder::new().name("mock-device".into());
            let handle = thread.spawn(move || shared.work());
            all.handles.push(handle.map_err(|source| MockError::Thread { source })?);
        }
        Ok(all)
    }

    pub(crate) fn add_stream(&self, blocking: bool) -> u64 {
        let mut schedule = lock(&self.shared.schedule);
        let serial = schedule.next_serial;
        schedule.next_serial += 1;
        schedule.queues.insert(serial, Queue::new(blocking));
        serial
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
        let room = |schedule: &Schedule| schedule.outstanding < OUTSTANDING_MAX;
        let mut schedule = self.shared.wait_until(room);
        let mut after = schedule.implied(serial);
        after.extend(wait_for.filter(|mark| !schedule.reached(mark)));
        let queue = schedule.queues.get_mut(&serial)?;
        queue.submitted += 1;
        queue.entries.push_back(Entry { op, ticket, after, cost, submitted: Instant::now() });
        let mark = Mark { serial, number: queue.submitted };
        schedule.outstanding += 1;
        self.shared.changed.notify_all();
        Some(mark)
    }

    /// The heap, for checks and for what does not depend on pending frees.
    pub(crate) fn heap(&self) -> MutexGuard<'_, Heap> {
        lock(&self.shared.heap)
    }

    /// The heap after all pending frees.
    pub(crate) fn settled_heap(&self) -> MutexGuard<'_, Heap> {
        drop(self.shared.wait_until(|schedule| schedule.retiring.is_empty()));
        self.heap()
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

    /// Memory and heap when no work is outstanding.
    pub(crate) fn drained<T>(&self, look: impl FnOnce(&Pool, &Heap) -> T) -> T {
        self.drain();
        look(&lock(&self.shared.pool), &lock(&self.shared.heap))
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

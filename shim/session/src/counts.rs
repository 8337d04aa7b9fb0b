//! How often each function was called.

use ringbar::sync::{AtomicU64, Ordering::Relaxed};
use ringbar_vocabulary::{Class, ROWS, Row};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// One number a row of the vocabulary, written by whoever holds the lock that goes with it (or by one thread alone).
pub(crate) struct RowCounters([AtomicU64; ROWS.len()]);

impl RowCounters {
    pub(crate) fn new() -> Self {
        Self([const { AtomicU64::new(0) }; ROWS.len()])
    }

    /// Counts one call. A plain load and store: no two threads may do it at once.
    #[inline(always)]
    pub(crate) fn count(&self, row: &Row) {
        if let Some(counter) = self.0.get(usize::from(row.opcode).wrapping_sub(1)) {
            counter.store(counter.load(Relaxed) + 1, Relaxed);
        }
    }

    fn add_to(&self, sums: &mut [u64; ROWS.len()]) {
        sums.iter_mut().zip(&self.0).for_each(|(sum, counter)| *sum += counter.load(Relaxed));
    }
}

/// All counters of a session: one set under the producer's lock, and one a caller for calls that never become a command.
pub(crate) struct Counters {
    /// Written only inside the ring's write, so under its producer's lock.
    pub(crate) sent: RowCounters,
    /// Commands that a fence may have to wait for: all but fences and records. Written like `sent`.
    work: AtomicU64,
    pub(crate) htod_bytes: AtomicU64,
    pub(crate) dtoh_bytes: AtomicU64,
    pub(crate) image_bytes: AtomicU64,
    pub(crate) image_bytes_known: AtomicU64,
    callers: Mutex<Callers>,
}

#[derive(Default)]
struct Callers {
    alive: Vec<Weak<RowCounters>>,
    gone: Option<Box<[u64; ROWS.len()]>>,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            sent: RowCounters::new(),
            work: AtomicU64::new(0),
            htod_bytes: AtomicU64::new(0),
            dtoh_bytes: AtomicU64::new(0),
            image_bytes: AtomicU64::new(0),
            image_bytes_known: AtomicU64::new(0),
            callers: Mutex::default(),
        }
    }

    /// Counts a command as it is written into the ring.
    #[inline(always)]
    pub(crate) fn count_work(&self, row: &Row) {
        self.sent.count(row);
        self.work.store(self.work.load(Relaxed) + 1, Relaxed);
    }

    /// How many commands a fence posted now may have to wait for, since the session began.
    #[inline(always)]
    pub(crate) fn work(&self) -> u64 {
        self.work.load(Relaxed)
    }

    /// A set for one caller's local calls.
    pub(crate) fn of_caller(&self) -> Arc<RowCounters> {
        let counters = Arc::new(RowCounters::new());
        self.callers().alive.push(Arc::downgrade(&counters));
        counters
    }

    /// A caller ends: its counts are kept.
    pub(crate) fn caller_ends(&self, counters: &Arc<RowCounters>) {
        let mut callers = self.callers();
        counters.add_to(callers.gone.get_or_insert_with(|| Box::new([0; ROWS.len()])));
        callers.alive.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(counters)));
    }

    fn callers(&self) -> std::sync::MutexGuard<'_, Callers> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read(&self) -> Counts {
        let mut sums = [0; ROWS.len()];
        self.sent.add_to(&mut sums);
        let callers = self.callers();
        callers.alive.iter().filter_map(Weak::upgrade).for_each(|c| c.add_to(&mut sums));
        if let Some(gone) = &callers.gone {
            sums.iter_mut().zip(gone.iter()).for_each(|(sum, count)| *sum += count);
        }
        drop(callers);
        let functions = ROWS.iter().zip(sums).filter(|(_, calls)| *calls > 0);
        Counts {
            functions: functions.map(|(row, calls)| FunctionCount { row, calls }).collect(),
            htod_bytes: self.htod_bytes.load(Relaxed),
            dtoh_bytes: self.dtoh_bytes.load(Relaxed),
            image_bytes: self.image_bytes.load(Relaxed),
            image_bytes_known: self.image_bytes_known.load(Relaxed),
        }
    }
}

/// How often one function was called.
#[derive(Clone, Copy, Debug)]
pub struct FunctionCount {
    /// The function's row: name, class, CUDA names.
    pub row: &'static Row,
    /// Calls so far.
    pub calls: u64,
}

/// What a session has done so far.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Every function that was called at least once, in table order. A copy in pieces counts each piece.
    pub functions: Vec<FunctionCount>,
    /// Bytes copied to the device.
    pub htod_bytes: u64,
    /// Bytes copied from the device.
    pub dtoh_bytes: u64,
    /// Bytes of images that were sent.
    pub image_bytes: u64,
    /// Bytes of images that the executor had already.
    pub image_bytes_known: u64,
}

impl Counts {
    /// Calls of that class.
    pub fn of_class(&self, class: Class) -> u64 {
        self.functions.iter().filter(|f| f.row.class == class).map(|f| f.calls).sum()
    }

    /// Calls of the row of that name, such as `LaunchKernel`.
    pub fn of(&self, name: &str) -> u64 {
        self.functions.iter().find(|f| f.row.name == name).map_or(0, |f| f.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_a_caller_that_ended_are_kept() {
        let counters = Counters::new();
        let row = Row::by_cuda_name("cuDeviceGetCount").expect("in the table");
        let (one, other) = (counters.of_caller(), counters.of_caller());
        one.count(row);
        other.count(row);
        counters.caller_ends(&one);
        drop(one);
        assert_eq!(counters.read().of("DeviceGetCount"), 2);
        assert_eq!(counters.read().of_class(Class::Local), 2);
    }
}

//! The watcher: a thread that notices what the device has finished by itself.
//!
//! The device writes fence words and marks without anybody's help, but it wakes nobody: a client that polls sees its fence
//! at once, one that sleeps has to be rung, and arena bytes that a copy used have to be given back. The watcher looks at
//! the newest words while something is outstanding: often where somebody depends on it (a client that sleeps, arena bytes
//! that are held), more rarely the longer it takes (naps of a 128th of the time that passed, 5 us to 200 us); every 50 us
//! where the client polls by itself; and it sleeps for good while nothing is outstanding.

use crate::api::{Api, Raw};
use ringbar::sync::{AtomicU64, Ordering};
use ringbar_backend::{Hold, Services};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const NAP_MIN: Duration = Duration::from_micros(5);
const NAP_MAX: Duration = Duration::from_micros(200);
/// Between two looks while the client polls fences by itself: it does so for at least as long before it sleeps.
const NAP_UNNEEDED: Duration = Duration::from_micros(50);
/// How long it goes on napping with nothing to watch, before it has to be woken.
const REST_AFTER: Duration = Duration::from_millis(5);

/// What says that something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// A fence word of the client's has reached a value.
    Fence { index: u32, value: u64 },
    /// A private word has reached a value; the slot may be given to another stream then, if `last`.
    Mark { slot: u32, value: u64, last: bool },
    /// An event is complete; the fence is then written here. Where the device cannot write fences itself.
    Event { event: Raw, index: u32, value: u64 },
}

impl Landing {
    /// Landings of one key come in order.
    fn key(self) -> (u8, u32) {
        match self {
            Self::Fence { index, .. } => (0, index),
            Self::Mark { slot, .. } => (1, slot),
            Self::Event { index, .. } => (2, index),
        }
    }
}

/// Private words that the device writes, one a stream.
pub struct Marks {
    /// The address for the device.
    pub device: u64,
    /// The same words for this process.
    words: usize,
    count: u32,
}

impl Marks {
    /// # Safety
    /// `host` is the address of `count` aligned words that live as long as the process.
    pub unsafe fn new(device: u64, host: usize, count: u32) -> Self {
        Self { device, words: host, count }
    }

    fn value(&self, slot: u32) -> u64 {
        let offset = (slot % self.count) as usize * size_of::<u64>();
        let word = std::ptr::with_exposed_provenance_mut::<u64>(self.words + offset);
        // SAFETY: inside the words that `new` was promised, aligned; only the device and this thread touch them, by
        // whole words.
        unsafe { AtomicU64::from_ptr(word) }.load(Ordering::Acquire)
    }
}

/// How a [`Landing`] is looked up; a test has its own.
pub trait Look: Send {
    /// Whether it has come.
    fn landed(&mut self, landing: Landing) -> bool;
}

/// Looks at words and asks the driver about events.
pub struct DeviceLook {
    pub services: Arc<Services>,
    pub marks: Arc<Marks>,
    pub api: Arc<Api>,
}

impl Look for DeviceLook {
    fn landed(&mut self, landing: Landing) -> bool {
        match landing {
            Landing::Fence { index, value } => self.services.fences.value(index) >= value,
            Landing::Mark { slot, value, .. } => self.marks.value(slot) >= value,
            Landing::Event { event, index, value } => {
                let done = self.api.cuEventQuery(event).is_ok();
                if done {
                    // The index was checked when the fence was taken.
                    let _ = self.services.fences.write(index, value);
                    let _ = self.api.cuEventDestroy_v2(event);
                }
                done
            }
        }
    }
}

struct Pending {
    landing: Landing,
    /// Dropped when it has landed.
    holds: Vec<Hold>,
    since: Instant,
}

#[derive(Default)]
struct State {
    queues: Vec<((u8, u32), VecDeque<Pending>)>,
    free_slots: Vec<u32>,
    resting: bool,
    ended: bool,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

impl Shared {
    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The worker thread's end.
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts the thread.
    pub fn start(services: Arc<Services>, look: impl Look + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Condvar::new() });
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("ringbar-watcher".into())
            .spawn(move || watch(&theirs, &services, look))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Watches for a landing; `holds` are dropped when it has come.
    pub fn push(&self, landing: Landing, holds: Vec<Hold>) {
        let pending = Pending { landing, holds, since: Instant::now() };
        let key = landing.key();
        let mut state = self.shared.lock();
        match state.queues.iter_mut().find(|(found, _)| *found == key) {
            Some((_, queue)) => queue.push_back(pending),
            None => state.queues.push((key, VecDeque::from([pending]))),
        }
        if state.resting {
            state.resting = false;
            self.shared.wake.notify_one();
        }
    }

    /// A slot of a stream that is gone.
    pub fn take_free_slot(&self) -> Option<u32> {
        self.shared.lock().free_slots.pop()
    }

    /// Whether a fence of the client's has not landed, as far as the thread has looked.
    pub fn is_waited_for(&self) -> bool {
        let of_client = |landing: Landing| !matches!(landing, Landing::Mark { .. });
        let state = self.shared.lock();
        state.queues.iter().any(|(_, queue)| queue.iter().any(|one| of_client(one.landing)))
    }

    /// Whether everything has landed.
    pub fn is_idle(&self) -> bool {
        self.shared.lock().queues.iter().all(|(_, queue)| queue.is_empty())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A watcher that panicked has nothing to say any more.
            let _ = thread.join();
        }
    }
}

/// What one look at everything found.
#[derive(Default)]
struct Found {
    done: Vec<Pending>,
    /// Since when the oldest that is outstanding is.
    oldest: Option<Instant>,
    /// Whether arena bytes are held by what is outstanding.
    holds: bool,
}

fn scan(state: &mut State, look: &mut impl Look) -> Found {
    let mut found = Found::default();
    for (_, queue) in &mut state.queues {
        while let Some(front) = queue.front() {
            if !look.landed(front.landing) {
                found.oldest = Some(found.oldest.map_or(front.since, |at| at.min(front.since)));
                found.holds |= !front.holds.is_empty();
                break;
            }
            if let Landing::Mark { slot, last: true, .. } = front.landing {
                state.free_slots.push(slot);
            }
            found.done.extend(queue.pop_front());
        }
    }
    if state.queues.len() > 64 {
        state.queues.retain(|(_, queue)| !queue.is_empty());
    }
    found
}

fn nap(waited: Duration) -> Duration {
    (waited / 128).clamp(NAP_MIN, NAP_MAX)
}

fn watch(shared: &Shared, services: &Services, mut look: impl Look) {
    precise_naps();
    let mut quiet_since = Instant::now();
    loop {
        let mut state = shared.lock();
        if state.ended {
            return;
        }
        let found = scan(&mut state, &mut look);
        let now = Instant::now();
        if found.oldest.is_none() && found.done.is_empty() && now - quiet_since > REST_AFTER {
            state.resting = true;
            while state.resting && !state.ended {
                state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            quiet_since = Instant::now();
            continue;
        }
        drop(state);
        if found.oldest.is_some() || !found.done.is_empty() {
            quiet_since = now;
        }
        let fences = found.done.iter().any(|one| matches!(one.landing, Landing::Fence { .. }));
        // Releases holds, which publishes that the arena has room.
        drop(found.done);
        if fences {
            services.fences.landed();
        }
        std::thread::sleep(match found.oldest {
            Some(since) if found.holds || services.fences.is_slept_on() => nap(now - since),
            _ => NAP_UNNEEDED,
        });
    }
}

/// Lets naps end in time: the kernel would otherwise add 50 us to each.
fn precise_naps() {
    // SAFETY: changes nothing but this thread's timer slack.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringbar_backend::testing::FakeWorker;
    use std::sync::mpsc;

    /// Says what has landed as it is told; each mark of slot 0 up to `limit`.
    struct Told(mpsc::Receiver<u64>, u64);

    impl Look for Told {
        fn landed(&mut self, landing: Landing) -> bool {
            self.1 = self.0.try_iter().last().unwrap_or(self.1);
            match landing {
                Landing::Mark { value, .. } | Landing::Fence { value, .. } => value <= self.1,
                Landing::Event { .. } => false,
            }
        }
    }

    fn until(what: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !what() {
            assert!(Instant::now() < deadline, "nothing happened in time");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn landings_of_one_slot_are_done_in_order_and_its_last_frees_it() {
        let worker = FakeWorker::new(64, 8);
        let (tell, told) = mpsc::channel();
        let watch = Watch::start(worker.services().clone(), Told(told, 0)).unwrap();
        for value in 1..=3 {
            watch.push(Landing::Mark { slot: 5, value, last: value == 3 }, Vec::new());
        }
        tell.send(2).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(!watch.is_idle());
        assert!(!watch.is_waited_for(), "marks are nobody's but ours");
        assert_eq!(watch.take_free_slot(), None);
        tell.send(3).unwrap();
        until(|| watch.is_idle());
        assert_eq!(watch.take_free_slot(), Some(5));
    }

    #[test]
    fn a_watcher_at_rest_is_woken_by_the_next_push() {
        let worker = FakeWorker::new(64, 8);
        let (tell, told) = mpsc::channel();
        let watch = Watch::start(worker.services().clone(), Told(told, 0)).unwrap();
        until(|| watch.shared.lock().resting);
        watch.push(Landing::Fence { index: 1, value: 1 }, Vec::new());
        assert!(watch.is_waited_for());
        tell.send(1).unwrap();
        until(|| watch.is_idle());
    }

    #[test]
    fn naps_grow_with_the_time_that_passed() {
        assert_eq!(nap(Duration::ZERO), NAP_MIN);
        assert_eq!(nap(Duration::from_micros(12_800)), Duration::from_micros(100));
        assert_eq!(nap(Duration::from_secs(9)), NAP_MAX);
    }
}

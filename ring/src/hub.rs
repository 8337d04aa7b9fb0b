//! Many threads that wait behind one sleep word (PROTOCOL.md, section 7).
//!
//! Every wait of a client process goes through one [`Hub`]: a reply, room in the ring, a fence, the arena. A thread
//! polls for a while; then the first one that must block becomes the leader: it arms the sleep word, looks again and
//! blocks on the doorbell, while later ones wait for the leader inside the process. Every wake-up of the leader is
//! passed on to all, each looks at its own condition, and one of those still waiting leads next.
//!
//! The leader arms the word *before* it lets go of the lock, so a follower that sees a leader looks at its condition
//! after the barrier, and cannot miss a publication that was made before it.

use crate::lines::Lines;
use crate::spin::SpinBudget;
use crate::sync::{AtomicU32, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, swapped};
use crate::wake::{Armed, Sleeper};
use core::time::Duration;

/// How long a blocked thread sleeps before it looks again by itself.
pub const RELOOK: Duration = Duration::from_millis(50);
/// The same while the barrier could not be passed.
pub const RELOOK_LINGER: Duration = Duration::from_millis(1);
/// How long an armed side goes on looking when the barrier could not be passed.
pub const LINGER: Duration = Duration::from_micros(60);

/// Wake-ups in a row that were of use to nobody after which a leader pauses before it goes on. An honest peer rings for what
/// it publishes, of which little is of use to nobody.
const USELESS_RUN_MAX: u32 = 64;
/// That pause: a flood of rings costs a few percent of a processor, and what is published meanwhile is seen so much later.
const USELESS_PAUSE: Duration = Duration::from_micros(200);

/// Blocks the calling thread until its doorbell is rung.
pub trait Park {
    /// To be called before a sleep is announced: takes back rings that were meant for earlier sleeps. Whatever they told
    /// of is seen by the look after the announcement.
    fn prepare(&self) {}
    /// Blocks until the doorbell rings, the peer is gone, or `timeout` has passed.
    fn park(&self, timeout: Duration);
}

/// The waiting room of one process for one sleep word.
pub struct Hub<L: Lines, P: Park> {
    state: Mutex<State<L>>,
    woken: Condvar,
    park: P,
    spin: SpinBudget,
    parks: AtomicU64,
    /// Wake-ups of leaders since any thread last found what it waited for.
    useless: AtomicU32,
}

struct State<L: Lines> {
    sleeper: Sleeper<L>,
    /// A thread has armed the sleep word and blocks, or is about to look for the last time.
    led: bool,
    /// Counts the leader's wake-ups.
    wakes: u64,
}

impl<L: Lines, P: Park> Hub<L, P> {
    /// A hub over the side's own sleep word.
    pub fn new(sleeper: Sleeper<L>, park: P, spin: SpinBudget) -> Self {
        let state = State { sleeper, led: false, wakes: 0 };
        Self {
            state: Mutex::new(state),
            woken: Condvar::new(),
            park,
            spin,
            parks: AtomicU64::new(0),
            useless: AtomicU32::new(0),
        }
    }

    /// What blocks the leader.
    pub fn park(&self) -> &P {
        &self.park
    }

    /// Times a thread blocked on the doorbell.
    pub fn parks(&self) -> u64 {
        self.parks.load(Ordering::Relaxed)
    }

    /// Waits until `ready` answers. `broken` may end the wait as well; it is asked before blocking and after waking.
    ///
    /// Both are called with no lock of the caller's held, `broken` at least every 50 ms, so the wait ends as soon as
    /// `broken` knows of a dead peer or a deadline.
    #[inline]
    pub fn wait<T>(
        &self,
        mut ready: impl FnMut() -> Option<T>,
        mut broken: impl FnMut() -> Option<T>,
    ) -> T {
        if let Some(found) = self.spin.poll(&mut ready) {
            return found;
        }
        self.block(&mut || match ready() {
            None if swapped!(C4) => None,
            None => broken(),
            found => found,
        })
    }

    /// Polls `ready` for as long as recent waits make it worth while, and does not block.
    #[inline]
    pub fn poll<T>(&self, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
        self.spin.poll(&mut ready)
    }

    /// Polls for something that a device does, longer than [`Hub::wait`] would, see [`SpinBudget::poll_device`].
    #[inline]
    pub fn poll_device<T>(&self, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
        self.spin.poll(&mut ready).or_else(|| self.spin.poll_device(&mut ready, &mut || true))
    }

    #[cold]
    fn block<T>(&self, look: &mut dyn FnMut() -> Option<T>) -> T {
        loop {
            let state = self.lock();
            let found = if state.led { self.follow(state, look) } else { self.lead(state, look) };
            if let Some(found) = found.or_else(&mut *look) {
                if !cfg!(ringbar_loom) {
                    self.useless.store(0, Ordering::Relaxed);
                }
                return found;
            }
        }
    }

    fn lead<T>(
        &self,
        mut state: MutexGuard<'_, State<L>>,
        look: &mut dyn FnMut() -> Option<T>,
    ) -> Option<T> {
        state.led = true;
        self.park.prepare();
        let armed = state.sleeper.arm();
        drop(state);
        let found = self.look_armed(armed, look);
        if found.is_none() {
            self.parks.fetch_add(1, Ordering::Relaxed);
            self.park.park(if armed == Armed::Ready { RELOOK } else { RELOOK_LINGER });
            self.slow_down();
        }
        let mut state = self.lock();
        state.sleeper.disarm();
        state.led = false;
        state.wakes += 1;
        self.woken.notify_all();
        found
    }

    /// Bounds what a peer can make this side burn by rings alone. A model has no time to lose.
    fn slow_down(&self) {
        if !cfg!(ringbar_loom) && self.useless.fetch_add(1, Ordering::Relaxed) > USELESS_RUN_MAX {
            std::thread::sleep(USELESS_PAUSE);
        }
    }

    fn look_armed<T>(&self, armed: Armed, look: &mut dyn FnMut() -> Option<T>) -> Option<T> {
        match armed {
            Armed::Ready => look(),
            Armed::Linger => SpinBudget::poll_for(LINGER, look),
        }
    }

    /// Waits for one wake-up of the leader. Looks first, under the lock: the leader armed before it let go of it.
    fn follow<T>(
        &self,
        state: MutexGuard<'_, State<L>>,
        look: &mut dyn FnMut() -> Option<T>,
    ) -> Option<T> {
        if let Some(found) = look() {
            return Some(found);
        }
        let wakes = state.wakes;
        self.wait_for_leader(state, wakes);
        None
    }

    #[cfg(not(ringbar_loom))]
    fn wait_for_leader(&self, state: MutexGuard<'_, State<L>>, wakes: u64) {
        let waited = self.woken.wait_timeout_while(state, RELOOK, |s| s.wakes == wakes);
        drop(waited.unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    #[cfg(ringbar_loom)]
    fn wait_for_leader(&self, mut state: MutexGuard<'_, State<L>>, wakes: u64) {
        while state.wakes == wakes {
            state = self.woken.wait(state).expect("no model panics under the lock");
        }
    }

    /// A panic of a caller's closure leaves the state whole: it is only changed by code that cannot panic.
    fn lock(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

//! The thread that notices the loss of the executor, so that calls which never ask it answer as all others do.

use crate::session::{Live, lost};
use crate::{fork, host_function};
use ringbar_vocabulary::Status;
use std::mem::MaybeUninit;
use std::time::Duration;

/// The longest sleep. Death ends it at once where descriptors tell of it; in a virtual machine looks are more frequent.
const SLEEP: Duration = Duration::from_secs(60);
/// Enough for callbacks of the program, which this thread runs when the executor is lost.
const STACK_BYTES: usize = 1 << 20;

/// Begins to watch.
pub(crate) fn start(live: &'static Live) {
    let thread = std::thread::Builder::new().name("ringbar-watch".into()).stack_size(STACK_BYTES);
    if let Err(error) = without_signals(|| thread.spawn(move || watch(live))) {
        tracing::warn!(%error, "no thread to watch the executor: its loss will be noticed by calls that need it only");
    }
}

fn watch(live: &'static Live) {
    loop {
        if let Some(cause) = live.session.client().wait_ended(SLEEP) {
            let status = lost(&cause);
            // A program that ends by itself is told nothing more.
            if status != Status::DEINITIALIZED && !fork::is_dead_copy() {
                host_function::end_callbacks(status);
            }
            return;
        }
    }
}

/// Makes a thread that no handler of the program's ever runs on: it has its mask from the calling thread, which blocks all
/// signals meanwhile.
fn without_signals<T>(make: impl FnOnce() -> T) -> T {
    let before = Mask::all().exchange();
    let made = make();
    before.exchange();
    made
}

/// Signals that a thread blocks.
struct Mask(libc::sigset_t);

impl Mask {
    fn all() -> Self {
        let mut all = MaybeUninit::uninit();
        // SAFETY: fills the set that it is given.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: it was just filled.
        Self(unsafe { all.assume_init() })
    }

    /// Makes it the calling thread's; answers with the one before.
    fn exchange(self) -> Self {
        let mut before = self.0;
        // SAFETY: two whole sets of this frame; it concerns this thread alone.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, &mut before) };
        Self(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the calling thread blocks a signal.
    fn blocks(signal: i32) -> bool {
        let status =
            std::fs::read_to_string("/proc/thread-self/status").expect("a thread's status");
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("its mask");
        let mask = u64::from_str_radix(mask.trim(), 16).expect("a number");
        mask >> (signal - 1) & 1 == 1
    }

    #[test]
    fn the_watcher_blocks_signals_from_its_first_instruction_and_its_maker_as_before() {
        assert!(!blocks(libc::SIGUSR1));
        let watcher = without_signals(|| std::thread::spawn(|| blocks(libc::SIGUSR1)));
        assert!(watcher.join().expect("no panic"));
        assert!(!blocks(libc::SIGUSR1));
    }
}

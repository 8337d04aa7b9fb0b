//! Threads of this library leave signals to the program's own: its handlers run where it expects them.

use nix::sys::signal::{SigSet, SigmaskHow};

/// Runs what starts a thread, which begins with all signals blocked.
pub fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let started = start();
    if let Ok(before) = before {
        // It was this thread's mask a moment ago.
        let _ = before.thread_set_mask();
    }
    started
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal;

    fn blocks_alarms() -> bool {
        SigSet::thread_get_mask().unwrap().contains(Signal::SIGALRM)
    }

    #[test]
    fn a_thread_that_is_started_so_blocks_signals_and_the_starting_one_goes_on_as_before() {
        let thread = without_signals(|| std::thread::spawn(blocks_alarms));
        assert!(thread.join().unwrap());
        assert!(!blocks_alarms());
    }
}

//! Threads of this library leave signals to the program's own: its handlers run where it expects them.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// Faults of a thread's own, which no other thread can take for it. Where one is blocked the kernel ends the process and
/// asks no handler, so a device that is unplugged would take the program with it.
const FAULTS: [Signal; 6] = [
    Signal::SIGBUS,
    Signal::SIGSEGV,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGSYS,
];

/// All signals but those of a thread's own faults.
fn not_ours() -> SigSet {
    let mut others = SigSet::all();
    FAULTS.into_iter().for_each(|fault| others.remove(fault));
    others
}

/// Blocks them in this thread, which is one of this library's.
pub(crate) fn block_signals() {
    // It fails for no mask.
    let _ = not_ours().thread_block();
}

/// Runs what starts a thread, which begins with all signals blocked but those of its own faults.
pub fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    let before = not_ours().thread_swap_mask(SigmaskHow::SIG_BLOCK);
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

    fn blocks_alarms() -> bool {
        SigSet::thread_get_mask().unwrap().contains(Signal::SIGALRM)
    }

    #[test]
    fn a_thread_that_is_started_so_blocks_signals_and_the_starting_one_goes_on_as_before() {
        let thread = without_signals(|| std::thread::spawn(blocks_alarms));
        assert!(thread.join().unwrap());
        assert!(!blocks_alarms());
    }

    #[test]
    fn a_thread_that_blocks_signals_by_itself_gets_its_own_faults_only() {
        let mask = || {
            block_signals();
            SigSet::thread_get_mask().unwrap()
        };
        let mask = std::thread::spawn(mask).join().unwrap();
        assert!(mask.contains(Signal::SIGALRM) && !mask.contains(Signal::SIGBUS));
    }

    #[test]
    fn a_thread_that_is_started_so_gets_its_own_faults() {
        let mask = || SigSet::thread_get_mask().unwrap();
        let mask = without_signals(|| std::thread::spawn(mask)).join().unwrap();
        for fault in FAULTS {
            assert!(!mask.contains(fault), "{fault} is blocked");
        }
    }
}

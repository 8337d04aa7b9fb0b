//! Memory that can be taken away while it is mapped: the BAR of a PCI function that is unplugged. The kernel then ends
//! whoever touches it by SIGBUS; a [`Guard`] puts zeros in its place instead, which no reader of a ring takes for anything.
//!
//! The handler is installed with the first guard, looks at guarded ranges only, and hands every other SIGBUS on to whoever
//! had it before. It does nothing but load atomics and call `mmap`.

use crate::sync::{AtomicBool, AtomicUsize, Ordering};
use std::ptr::NonNull;
use std::sync::OnceLock;

/// Most ranges that are guarded at once in a process; more are left unguarded.
const RANGES_MAX: usize = 256;

struct Range {
    taken: AtomicBool,
    start: AtomicUsize,
    /// 0 while the range is not to be looked at.
    len: AtomicUsize,
}

static RANGES: [Range; RANGES_MAX] = [const {
    Range { taken: AtomicBool::new(false), start: AtomicUsize::new(0), len: AtomicUsize::new(0) }
}; RANGES_MAX];

/// What was to be done about SIGBUS before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Guards a mapped range for as long as it lives. To be dropped before the range is unmapped.
#[derive(Debug)]
pub(super) struct Guard {
    index: usize,
}

impl Guard {
    /// `None` if too many are guarded, or the handler cannot be installed.
    pub(super) fn new(start: NonNull<u8>, len: usize) -> Option<Self> {
        if !install() {
            return None;
        }
        let free = |range: &Range| !range.taken.swap(true, Ordering::Acquire);
        let index = RANGES.iter().position(free)?;
        RANGES[index].start.store(start.as_ptr().addr(), Ordering::Relaxed);
        RANGES[index].len.store(len, Ordering::Release);
        Some(Self { index })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        RANGES[self.index].len.store(0, Ordering::Release);
        RANGES[self.index].taken.store(false, Ordering::Release);
    }
}

/// Installs the handler once. `false` if the kernel refused.
fn install() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        // SAFETY: all zeros are a valid value of this plain structure.
        let mut before: libc::sigaction = unsafe { core::mem::zeroed() };
        // SAFETY: as above.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        // SAFETY: asks for the present action only.
        if unsafe { libc::sigaction(libc::SIGBUS, core::ptr::null(), &raw mut before) } != 0 {
            return false;
        }
        // Known before the handler can run.
        BEFORE.get_or_init(|| before);
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        // SAFETY: the handler does only what a signal handler may do.
        unsafe { libc::sigaction(libc::SIGBUS, &raw const action, core::ptr::null_mut()) == 0 }
    })
}

extern "C" fn on_fault(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a valid structure.
    let what = unsafe { &*info };
    // SAFETY: for this signal the structure holds an address.
    let address = unsafe { what.si_addr() }.addr();
    for range in &RANGES {
        let (len, start) = (range.len.load(Ordering::Acquire), range.start.load(Ordering::Relaxed));
        if address.wrapping_sub(start) < len && put_zeros(start, len) {
            return;
        }
    }
    hand_on(signal, info, context);
}

/// Replaces a guarded range by zeros of this process.
fn put_zeros(start: usize, len: usize) -> bool {
    let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let at = core::ptr::without_provenance_mut(start);
    // SAFETY: a guard's range is one whole mapping of a file that is gone, with no references to it, and stays mapped while
    // the guard lives; its owner unmaps what takes its place.
    unsafe { libc::mmap(at, len, protection, flags, -1, 0) != libc::MAP_FAILED }
}

/// A SIGBUS that is none of ours.
fn hand_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let handler = BEFORE.get().map_or(libc::SIG_DFL, |before| before.sa_sigaction);
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        // SAFETY: resets one signal's action; the faulting access is made again and ends the process.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
    // SAFETY: whoever installed this value gave a handler's address; one without SA_SIGINFO ignores the other arguments.
    let handler = unsafe { core::mem::transmute::<usize, Handler>(handler) };
    handler(signal, info, context);
}

#[cfg(all(test, not(miri)))]
mod tests {
    use crate::lines::{Lines, SharedLines};
    use crate::os::mapping::{Mapping, PeerTrust};
    use crate::sync::{Arc, Ordering};

    #[test]
    fn memory_that_is_taken_away_reads_as_zeros_and_takes_stores() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8192).unwrap();
        let mapping = Mapping::range(file.as_file(), 0, 8192, PeerTrust::Own).unwrap();
        let mapping = Arc::new(mapping.guarded());
        let lines = SharedLines::new(&mapping, 0, 128).unwrap();
        lines.store(70, 0, 7, Ordering::Relaxed);
        file.as_file().set_len(0).unwrap();
        assert_eq!(lines.load(70, 0, Ordering::Relaxed), 0);
        lines.store(3, 1, 9, Ordering::Relaxed);
        assert_eq!(lines.load(3, 1, Ordering::Relaxed), 9);
    }

    #[test]
    fn a_range_is_guarded_again_after_its_first_user_is_gone() {
        for _ in 0..2 * super::RANGES_MAX {
            let mapping = Mapping::heap(4096).unwrap().guarded();
            drop(mapping);
        }
        let taken = super::RANGES.iter().filter(|range| range.taken.load(Ordering::Relaxed));
        assert!(taken.count() < 64, "guards are given back");
    }
}

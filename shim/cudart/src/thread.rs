//! What each thread has of its own: its device, its last error, the configurations of launches that have begun.

use crate::error::{Error, Outcome};
use crate::types::Dim3;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A launch's configuration between `<<<...>>>` and the kernel's host function.
#[derive(Clone, Copy)]
pub(crate) struct Configuration {
    pub(crate) grid: Dim3,
    pub(crate) block: Dim3,
    pub(crate) shared_bytes: usize,
    pub(crate) stream: usize,
}

/// Launches inside the arguments of launches: no program nests them deeper.
const NESTED_MAX: usize = 32;

struct Thread {
    device: Cell<i32>,
    last_error: Cell<i32>,
    bound: Cell<bool>,
    depth: Cell<usize>,
    configurations: [Cell<Option<Configuration>>; NESTED_MAX],
}

thread_local! {
    // Nothing in it needs dropping: it is there until the thread's very end.
    static THREAD: Thread = const {
        Thread {
            device: Cell::new(0),
            last_error: Cell::new(0),
            bound: Cell::new(false),
            depth: Cell::new(0),
            configurations: [const { Cell::new(None) }; NESTED_MAX],
        }
    };
}

/// Runs an entry: notes its error as the thread's last one, but for "not ready", which is an answer. A panic becomes
/// `cudaErrorUnknown`.
#[inline]
pub(crate) fn enter(body: impl FnOnce() -> Outcome) -> i32 {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) if error == Error::NOT_READY => error.0,
        Ok(Err(error)) => note(error),
        Err(_) => note(Error::UNKNOWN),
    }
}

#[cold]
fn note(error: Error) -> i32 {
    THREAD.with(|thread| thread.last_error.set(error.0));
    error.0
}

/// The last error without taking it; 0 for none.
pub(crate) fn last_error() -> i32 {
    THREAD.with(|thread| thread.last_error.get())
}

/// The last error, which is none afterwards.
pub(crate) fn take_last_error() -> i32 {
    THREAD.with(|thread| thread.last_error.replace(0))
}

/// The ordinal of the device that the thread chose.
pub(crate) fn device() -> i32 {
    THREAD.with(|thread| thread.device.get())
}

pub(crate) fn set_device(device: i32) {
    THREAD.with(|thread| thread.device.set(device));
}

/// Whether the thread was seen with a context before.
#[inline]
pub(crate) fn bound() -> bool {
    THREAD.with(|thread| thread.bound.get())
}

pub(crate) fn set_bound(bound: bool) {
    THREAD.with(|thread| thread.bound.set(bound));
}

/// Keeps a configuration for the launch that follows.
pub(crate) fn push(configuration: Configuration) -> Outcome {
    THREAD.with(|thread| {
        let depth = thread.depth.get();
        let place = thread.configurations.get(depth).ok_or(Error::INVALID_VALUE)?;
        place.set(Some(configuration));
        thread.depth.set(depth + 1);
        Ok(())
    })
}

/// Gives back the configuration that was kept last.
pub(crate) fn pop() -> Outcome<Configuration> {
    THREAD.with(|thread| {
        let depth = thread.depth.get().checked_sub(1).ok_or(Error::MISSING_CONFIGURATION)?;
        thread.depth.set(depth);
        thread.configurations[depth].take().ok_or(Error::MISSING_CONFIGURATION)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_each_threads_own_and_taken_once() {
        assert_eq!(enter(|| Err(Error::INVALID_DEVICE)), 101);
        std::thread::spawn(|| assert_eq!(last_error(), 0)).join().unwrap();
        assert_eq!(enter(|| Ok(())), 0);
        assert_eq!((last_error(), take_last_error(), take_last_error()), (101, 101, 0));
    }

    #[test]
    fn work_that_is_not_ready_is_no_error() {
        assert_eq!(enter(|| Err(Error::NOT_READY)), 600);
        assert_eq!(last_error(), 0);
    }

    #[test]
    fn a_panic_is_an_unknown_error() {
        assert_eq!(enter(|| panic!("on purpose")), Error::UNKNOWN.0);
        take_last_error();
    }

    #[test]
    fn configurations_come_back_in_reverse_order_and_then_are_missing() {
        for stream in 0..3 {
            let one = Dim3 { x: 1, y: 1, z: 1 };
            push(Configuration { grid: one, block: one, shared_bytes: 0, stream }).unwrap();
        }
        for stream in (0..3).rev() {
            assert_eq!(pop().unwrap().stream, stream);
        }
        assert_eq!(pop().err(), Some(Error::MISSING_CONFIGURATION));
    }
}

//! What belongs to a thread: its stack of contexts.
//!
//! The current context has no destructor, so that calls from other destructors at a thread's end still work.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use ringbar_vocabulary::Status;
use std::cell::{Cell, RefCell};

thread_local! {
    static CURRENT: Cell<Option<&'static Context>> = const { Cell::new(None) };
    /// The contexts below the current one; a level may hold none.
    static BELOW: RefCell<Vec<Option<&'static Context>>> = const { RefCell::new(Vec::new()) };
}

/// The thread's current context, which may have been destroyed.
#[inline]
pub fn top() -> Option<&'static Context> {
    CURRENT.get()
}

/// The thread's current context. INVALID_CONTEXT if there is none, CONTEXT_IS_DESTROYED if it is no more.
#[inline]
pub fn current() -> Outcome<&'static Context> {
    let context = CURRENT.get().ok_or(Failure(Status::INVALID_CONTEXT))?;
    context.usable()?;
    Ok(context)
}

/// Replaces the current context.
pub fn set_top(context: Option<&'static Context>) {
    CURRENT.set(context);
}

/// Puts a context on top.
pub fn push(context: &'static Context) {
    // At a thread's end the levels below are gone, and nobody can miss them.
    let _ = BELOW.try_with(|below| below.borrow_mut().push(CURRENT.get()));
    CURRENT.set(Some(context));
}

/// Takes the current context off; INVALID_CONTEXT if there is none.
pub fn pop() -> Outcome<&'static Context> {
    let context = CURRENT.get().ok_or(Failure(Status::INVALID_CONTEXT))?;
    let next = BELOW.try_with(|below| below.borrow_mut().pop()).ok().flatten().flatten();
    CURRENT.set(next);
    Ok(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_without_a_context_says_so() {
        std::thread::spawn(|| {
            assert_eq!(current().err(), Some(Status::INVALID_CONTEXT.into()));
            assert_eq!(pop().err(), Some(Status::INVALID_CONTEXT.into()));
        })
        .join()
        .expect("no panic");
    }
}

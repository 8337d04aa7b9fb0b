//! `fork`: the child's copy of this library is dead, the parent's goes on.

use crate::failure::Outcome;
use crate::session;
use ringbar::sync::{AtomicBool, Ordering::*};
use ringbar_vocabulary::Status;
use std::sync::Once;

/// Set in a child whose parent had a session.
static DEAD_COPY: AtomicBool = AtomicBool::new(false);
static WATCH: Once = Once::new();

/// Whether this process is such a child. Destructors that would take a lock of the session must not.
pub(crate) fn is_dead_copy() -> bool {
    DEAD_COPY.load(Relaxed)
}

/// NOT_INITIALIZED in such a child: it cannot start a session of its own, as CUDA cannot.
pub(crate) fn refuse_in_child() -> Outcome {
    if is_dead_copy() { Err(Status::NOT_INITIALIZED.into()) } else { Ok(()) }
}

/// Asks to be told of forks, once.
pub fn watch() {
    WATCH.call_once(|| {
        // SAFETY: the handler only stores to two atomics, which is allowed in a forked child of any process.
        let refused = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        if refused != 0 {
            tracing::warn!(
                code = refused,
                "forks cannot be watched: a forked child must not use CUDA"
            );
        }
    });
}

/// Takes no lock: another thread of the parent may have held any of them.
extern "C" fn in_child() {
    DEAD_COPY.store(true, Relaxed);
    session::shut(Status::NOT_INITIALIZED);
}

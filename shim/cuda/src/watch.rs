//! The thread that notices the loss of the executor, so that calls which never ask it answer as all others do.

use crate::session::{Live, lost};
use crate::{fork, host_function};
use ringbar_vocabulary::Status;
use std::time::Duration;

/// The longest sleep. Death ends it at once where descriptors tell of it; in a virtual machine looks are more frequent.
const SLEEP: Duration = Duration::from_secs(60);
/// Enough for callbacks of the program, which this thread runs when the executor is lost.
const STACK_BYTES: usize = 1 << 20;

/// Begins to watch.
pub(crate) fn start(live: &'static Live) {
    let thread = std::thread::Builder::new().name("ringbar-watch".into()).stack_size(STACK_BYTES);
    if let Err(error) = thread.spawn(move || watch(live)) {
        tracing::warn!(%error, "no thread to watch the executor: its loss will be noticed by calls that need it only");
    }
}

fn watch(live: &'static Live) {
    leave_signals_to_the_program();
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

/// Handlers of the program's run on its own threads.
fn leave_signals_to_the_program() {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: fills the set that it is given.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: a whole set, and no place for the one before; it concerns this thread alone.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut()) };
}

//! The thread that notices the loss of the executor, so that calls which never ask it answer as all others do.

use crate::session::{Live, lost};
use crate::{fork, host_function};
use ringbar_session::without_signals;
use ringbar_vocabulary::Status;
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

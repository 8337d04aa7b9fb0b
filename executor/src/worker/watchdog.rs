//! Ends a worker whose command hangs: a thread of its own, since the one that hangs cannot.

use crate::job::Exit;
use ringbar::sync::{Arc, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Shortest limit: a look at an empty ring takes up to a re-look, and is not a command.
pub const LIMIT_MIN: Duration = Duration::from_millis(500);

/// Watches one thread.
pub struct Watchdog {
    /// Position + 1 of the command that is being executed; 0 between looks at an empty ring.
    busy_with: Arc<AtomicU64>,
    limit: Duration,
    /// Since when device work is outstanding and nothing else happens.
    device_busy_since: Option<Instant>,
}

impl Watchdog {
    /// Begins to watch; a limit below [`LIMIT_MIN`] is raised to it.
    pub fn start(limit: Duration) -> std::io::Result<Self> {
        let limit = limit.max(LIMIT_MIN);
        let busy_with = Arc::new(AtomicU64::new(0));
        let watched = busy_with.clone();
        std::thread::Builder::new()
            .name("ringbar-watchdog".into())
            .spawn(move || watch(&watched, limit))?;
        Ok(Self { busy_with, limit, device_busy_since: None })
    }

    /// A command is about to be executed.
    #[inline(always)]
    pub fn begins(&mut self, position: u64) {
        self.busy_with.store(position + 1, Ordering::Relaxed);
    }

    /// The ring is empty; the device may still have work.
    pub fn idle(&mut self, device_is_idle: bool) {
        let was_busy = self.busy_with.swap(0, Ordering::Relaxed) != 0;
        if device_is_idle || was_busy {
            self.device_busy_since = None;
        }
        if !device_is_idle {
            let since = *self.device_busy_since.get_or_insert_with(Instant::now);
            if since.elapsed() > self.limit {
                end("device work", self.limit);
            }
        }
    }
}

fn watch(busy_with: &AtomicU64, limit: Duration) {
    let mut seen = (0, Instant::now());
    loop {
        std::thread::sleep(limit / 8);
        let found = busy_with.load(Ordering::Relaxed);
        if found == 0 || found != seen.0 {
            seen = (found, Instant::now());
        } else if seen.1.elapsed() > limit {
            end("a command", limit);
        }
    }
}

/// The process ends as it is: whoever hangs cannot be asked to clean up.
fn end(what: &str, limit: Duration) -> ! {
    tracing::error!(
        "{what} takes longer than {limit:?} (--command-timeout): this worker ends, its client can attach again"
    );
    std::process::exit(Exit::Hung as i32)
}

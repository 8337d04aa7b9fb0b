//! Tells of a worker whose command lasts, and ends one whose command hangs: a thread of its own, since the one that hangs
//! cannot.

use super::report;
use crate::job::{Exit, Report};
use ringbar::sync::{Arc, AtomicU64, Ordering};
use ringbar_vocabulary::Row;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Shortest limit: a look at an empty ring takes up to a re-look, and is not a command.
pub const LIMIT_MIN: Duration = Duration::from_millis(500);
/// A command that lasts longer, or half its bound, is told of.
pub const STALLED_AFTER: Duration = Duration::from_secs(10);
/// Between two looks, at most.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// When a worker is ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// A command inside the backend for longer is taken for hung.
    pub command: Option<Duration>,
    /// So is device work that nobody adds to.
    pub device: Option<Duration>,
}

impl Bounds {
    fn raised(self) -> Self {
        let raised = |limit: Option<Duration>| limit.map(|limit| limit.max(LIMIT_MIN));
        Self { command: raised(self.command), device: raised(self.device) }
    }
}

/// Watches one thread.
pub struct Watchdog {
    /// The command that is being executed: its position + 1, then 16 bits of its opcode; 0 between looks at an empty ring.
    busy_with: Arc<AtomicU64>,
    device: Option<Duration>,
    /// Since when device work is outstanding and nothing else happens.
    device_busy_since: Option<Instant>,
}

impl Watchdog {
    /// Begins to watch; limits below [`LIMIT_MIN`] are raised to it.
    pub fn start(bounds: Bounds, control: Arc<OwnedFd>) -> std::io::Result<Self> {
        let bounds = bounds.raised();
        let busy_with = Arc::new(AtomicU64::new(0));
        let watched = busy_with.clone();
        std::thread::Builder::new()
            .name("ringbar-watchdog".into())
            .spawn(move || watch(&watched, bounds.command, &control))?;
        Ok(Self { busy_with, device: bounds.device, device_busy_since: None })
    }

    /// A command is about to be executed.
    #[inline(always)]
    pub fn begins(&mut self, position: u64, opcode: u16) {
        self.busy_with.store((position + 1) << 16 | u64::from(opcode), Ordering::Relaxed);
    }

    /// The ring is empty; the device may still have work.
    pub fn idle(&mut self, device_is_idle: bool) {
        let was_busy = self.busy_with.swap(0, Ordering::Relaxed) != 0;
        let Some(limit) = self.device else { return };
        if device_is_idle || was_busy {
            self.device_busy_since = None;
        }
        if !device_is_idle {
            let since = *self.device_busy_since.get_or_insert_with(Instant::now);
            if since.elapsed() > limit {
                end("device work", limit, "--device-timeout");
            }
        }
    }
}

/// What is being executed, and since when, as far as somebody looked.
struct Seen {
    busy_with: u64,
    since: Instant,
    told: bool,
}

fn watch(busy_with: &AtomicU64, limit: Option<Duration>, control: &OwnedFd) {
    let pause = limit.map_or(LOOK_EVERY, |limit| LOOK_EVERY.min(limit / 8));
    let told_after = limit.map_or(STALLED_AFTER, |limit| STALLED_AFTER.min(limit / 2));
    let mut seen = Seen { busy_with: 0, since: Instant::now(), told: false };
    loop {
        std::thread::sleep(pause);
        let found = busy_with.load(Ordering::Relaxed);
        if found == 0 || found != seen.busy_with {
            if seen.told {
                tell(control, seen.busy_with, seen.since.elapsed(), true);
            }
            seen = Seen { busy_with: found, since: Instant::now(), told: false };
            continue;
        }
        let lasts = seen.since.elapsed();
        if lasts > told_after && !seen.told {
            seen.told = true;
            tell(control, found, lasts, false);
        }
        if let Some(limit) = limit.filter(|limit| lasts > *limit) {
            end(name_of(found), limit, "--command-timeout");
        }
    }
}

fn name_of(busy_with: u64) -> &'static str {
    Row::by_opcode(busy_with as u16).map_or("a command", |row| row.name)
}

/// Tells the log and the daemon of a command that lasts, or did.
fn tell(control: &OwnedFd, busy_with: u64, lasted: Duration, over: bool) {
    let (command, seconds) = (name_of(busy_with), lasted.as_secs());
    if over {
        tracing::info!(command, seconds, "the command that lasted is over");
    } else {
        tracing::warn!(
            command,
            seconds,
            "a command is inside the driver for long; likely cause: it waits for the program's own work (a free behind a long \
             kernel), or compiles; what was posted after it waits too"
        );
    }
    report(control, &Report::Stalled { command: command.to_owned(), seconds, over });
}

/// How long the driver's exit handlers may take: whoever hangs inside the driver may hold a lock that they need.
const EXIT_TAKES: Duration = Duration::from_secs(2);

/// The process ends as it is: whoever hangs cannot be asked to clean up.
fn end(what: &str, limit: Duration, option: &str) -> ! {
    tracing::error!(
        "{what} takes longer than {limit:?} ({option}): this worker ends, its client can attach again"
    );
    let aborting = std::thread::Builder::new().spawn(|| {
        std::thread::sleep(EXIT_TAKES);
        std::process::abort()
    });
    if aborting.is_err() {
        std::process::abort();
    }
    std::process::exit(Exit::Hung as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_known_by_its_name_whatever_its_position() {
        let (ours, _theirs) = crate::job::control_pair().unwrap();
        let mut watchdog = Watchdog::start(Bounds::default(), Arc::new(ours)).unwrap();
        for row in ringbar_vocabulary::ROWS {
            watchdog.begins(1 << 40, row.opcode);
            assert_eq!(name_of(watchdog.busy_with.load(Ordering::Relaxed)), row.name);
        }
        watchdog.idle(false);
        assert_eq!(watchdog.busy_with.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn limits_are_raised_to_what_a_look_takes() {
        let short = Some(Duration::from_millis(1));
        let bounds = Bounds { command: short, device: None }.raised();
        assert_eq!((bounds.command, bounds.device), (Some(LIMIT_MIN), None));
    }
}

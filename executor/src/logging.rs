//! Logging of the binary: to standard error, filtered by `RUST_LOG` (`warn` if it is not set), and with a limit on how many
//! lines of one class (one place in the code) are written in a second, so that no client can flood the log.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// Lines of one class in a second, unless another limit is given.
pub const LINES_PER_S: u32 = 20;

/// Begins logging. A second call changes nothing.
pub fn start(lines_per_s: Option<u32>) {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::WARN.into())
        .from_env_lossy();
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false);
    let limit = FloodLimit::new(lines_per_s.unwrap_or(LINES_PER_S));
    let _ = tracing_subscriber::registry().with(filter).with(limit).with(lines).try_init();
}

/// Lets through a number of events a class and second, and says how many it kept back.
pub struct FloodLimit {
    lines_per_s: u32,
    classes: Mutex<HashMap<Identifier, Window>>,
}

/// One second of one class.
struct Window {
    since: Instant,
    seen: u32,
}

const SECOND: Duration = Duration::from_secs(1);

impl FloodLimit {
    /// At most `lines_per_s` events a class and second.
    pub fn new(lines_per_s: u32) -> Self {
        Self { lines_per_s, classes: Mutex::default() }
    }

    /// Whether one more event of this class may pass, and how many of the last second were kept back.
    fn admit(&self, class: Identifier, now: Instant) -> (bool, u32) {
        let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        let window = classes.entry(class).or_insert(Window { since: now, seen: 0 });
        let mut kept_back = 0;
        if now.duration_since(window.since) >= SECOND {
            kept_back = window.seen.saturating_sub(self.lines_per_s);
            *window = Window { since: now, seen: 0 };
        }
        window.seen = window.seen.saturating_add(1);
        (window.seen <= self.lines_per_s, kept_back)
    }
}

impl<S: Subscriber> Layer<S> for FloodLimit {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let (admitted, kept_back) = self.admit(event.metadata().callsite(), Instant::now());
        if kept_back > 0 {
            use std::io::Write;
            let place = event.metadata().target();
            // Not a tracing event: this is inside one. A closed standard error is no reason to end.
            let _ = writeln!(
                std::io::stderr(),
                "{place}: {kept_back} more lines like the next one were kept back"
            );
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn of_a_flood_of_one_class_only_the_first_lines_of_a_second_are_written() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(FloodLimit::new(3)).with(layer);
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..1000 {
                tracing::warn!(number, "a flood");
            }
            tracing::warn!("another class");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        // The loop may cross into a second second on a slow machine; it cannot into a tenth.
        let floods = text.matches("a flood").count();
        assert!((3..30).contains(&floods), "{floods}");
        assert_eq!(text.matches("another class").count(), 1);
    }

    #[test]
    fn a_new_second_admits_again_and_says_how_many_were_kept_back() {
        static CALLSITE: tracing::callsite::DefaultCallsite =
            tracing::callsite::DefaultCallsite::new(&METADATA);
        static METADATA: tracing::Metadata<'static> = tracing::Metadata::new(
            "test",
            "test",
            tracing::Level::WARN,
            None,
            None,
            None,
            tracing::field::FieldSet::new(&[], tracing::callsite::Identifier(&CALLSITE)),
            tracing::metadata::Kind::EVENT,
        );
        let class = || Identifier(&CALLSITE);
        let limit = FloodLimit::new(2);
        let now = Instant::now();
        let admitted = (0..5).filter(|_| limit.admit(class(), now).0).count();
        assert_eq!(admitted, 2);
        assert_eq!(limit.admit(class(), now + SECOND), (true, 3));
        assert_eq!(limit.admit(class(), now + SECOND), (true, 0));
    }
}

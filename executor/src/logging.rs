//! Logging of the binary: to standard error, filtered by `RUST_LOG` (`warn` if it is not set), and with a limit on how many
//! lines of one class (one place in the code) are written in a second, so that no client can flood the log.

use ringbar::lines::{LINE_WORDS, Lines, SharedLines};
use ringbar::os::{MapError, Mapping};
use ringbar::sync::Ordering;
use rustix::time::{ClockId, clock_gettime};
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{self, Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines of one class in a second, unless another limit is given.
pub const LINES_PER_S: u32 = 20;

/// Begins logging. A second call changes nothing.
pub fn start(lines_per_s: Option<u32>) {
    start_for(lines_per_s, String::new(), None);
}

/// As [`start`], for a process that serves one client: each line ends with these `fields`, and with `shared` the limit is
/// that of all processes which share it.
pub fn start_for(lines_per_s: Option<u32>, fields: String, shared: Option<SharedCounts>) {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::WARN.into())
        .from_env_lossy();
    let ansi = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .with_ansi(ansi)
        .event_format(Named { fields, format: format::format().with_ansi(ansi) });
    let limit = FloodLimit { shared, ..FloodLimit::new(lines_per_s.unwrap_or(LINES_PER_S)) };
    let _ = tracing_subscriber::registry().with(filter).with(limit).with(lines).try_init();
}

/// Lines that end with fields of the whole process.
struct Named {
    fields: String,
    format: Format,
}

impl<S, N> FormatEvent<S, N> for Named
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        line.truncate(line.trim_end().len());
        if !self.fields.is_empty() {
            write!(line, " {}", self.fields)?;
        }
        writeln!(writer, "{line}")
    }
}

/// Classes that are told apart; more than a worker can be made to write.
const SHARED_CLASSES: usize = 512;

/// Lines of this second that the workers of one VM wrote, by channel and class: a guest with many channels, or many
/// generations of one, floods the log no more than one with a single one.
///
/// Each channel's words have one writer, its worker. Of two that write at the same moment neither may see the other's line,
/// so there can be a line more for each further channel.
pub struct SharedCounts {
    lines: SharedLines,
    channel: usize,
    channels: usize,
}

impl SharedCounts {
    const LINES_A_CHANNEL: usize = SHARED_CLASSES / LINE_WORDS;

    fn lines(channels: usize) -> usize {
        (channels * Self::LINES_A_CHANNEL).next_power_of_two()
    }

    /// Memory for the counts of a VM with so many channels.
    ///
    /// # Errors
    /// [`MapError`] if there is none.
    pub fn create(channels: usize) -> Result<OwnedFd, MapError> {
        let bytes = Self::lines(channels) * LINE_WORDS * 8;
        Ok(Mapping::memfd_create("ringbar-log-lines", bytes)?.1)
    }

    /// The counts in `memory`, for the worker of `channel`.
    ///
    /// # Errors
    /// If that is no memory for so many channels.
    pub fn open(memory: impl AsFd, channel: usize, channels: usize) -> Result<Self, String> {
        let mapping = Arc::new(Mapping::memfd_attach(memory).map_err(|e| e.to_string())?);
        let lines = SharedLines::new(&mapping, 0, Self::lines(channels));
        let lines = lines.filter(|_| channel < channels);
        let lines = lines.ok_or("the counts of the VM's log lines are too short")?;
        Ok(Self { lines, channel, channels })
    }

    /// Counts one more line of that class, unless there are `limit` in this second already.
    fn admit(&self, class: u64, second: u32, limit: u32) -> bool {
        let class = class as usize % SHARED_CLASSES;
        let (line, word) = (class / LINE_WORDS, class % LINE_WORDS);
        let count = |channel: usize| {
            let line = channel * Self::LINES_A_CHANNEL + line;
            let found = self.lines.load(line, word, Ordering::Relaxed);
            if (found >> 32) as u32 == second { found & u64::from(u32::MAX) } else { 0 }
        };
        let all: u64 = (0..self.channels).map(count).sum();
        if all >= u64::from(limit) {
            return false;
        }
        let own = u64::from(second) << 32 | (count(self.channel) + 1);
        let line = self.channel * Self::LINES_A_CHANNEL + line;
        self.lines.store(line, word, own, Ordering::Relaxed);
        true
    }
}

/// The same number in all processes of this build.
fn class_number(metadata: &Metadata<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (metadata.file(), metadata.line()).hash(&mut hasher);
    hasher.finish()
}

/// The second of a clock that all processes share.
fn second() -> u32 {
    clock_gettime(ClockId::Monotonic).tv_sec as u32
}

/// Lets through a number of events a class and second, and says how many it kept back. What is said of one VM keeps back
/// nothing that is said of another.
pub struct FloodLimit {
    lines_per_s: u32,
    classes: Mutex<HashMap<(Identifier, Option<u64>), Window>>,
    shared: Option<SharedCounts>,
}

/// One second of one class.
struct Window {
    since: Instant,
    seen: u32,
    kept_back: u32,
}

const SECOND: Duration = Duration::from_secs(1);

impl FloodLimit {
    /// At most `lines_per_s` events a class and second.
    pub fn new(lines_per_s: u32) -> Self {
        Self { lines_per_s, classes: Mutex::default(), shared: None }
    }

    /// Whether one more event of this class and VM may pass, and how many were kept back since the last that did.
    fn admit(
        &self,
        metadata: &Metadata<'_>,
        vm: Option<u64>,
        now: Instant,
        second: u32,
    ) -> (bool, u32) {
        let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        let window = classes.entry((metadata.callsite(), vm));
        let window = window.or_insert(Window { since: now, seen: 0, kept_back: 0 });
        if now.duration_since(window.since) >= SECOND {
            (window.since, window.seen) = (now, 0);
        }
        window.seen = window.seen.saturating_add(1);
        let shared =
            |shared: &SharedCounts| shared.admit(class_number(metadata), second, self.lines_per_s);
        if window.seen <= self.lines_per_s && self.shared.as_ref().is_none_or(shared) {
            return (true, std::mem::take(&mut window.kept_back));
        }
        window.kept_back = window.kept_back.saturating_add(1);
        (false, 0)
    }
}

/// Which VM an event is about.
#[derive(Default)]
struct OfVm(Option<u64>);

impl Visit for OfVm {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "vm" {
            let mut hasher = DefaultHasher::new();
            value.hash(&mut hasher);
            self.0 = Some(hasher.finish());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl<S: Subscriber> Layer<S> for FloodLimit {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let mut vm = OfVm::default();
        event.record(&mut vm);
        let (admitted, kept_back) = self.admit(event.metadata(), vm.0, Instant::now(), second());
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

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_fields_of_a_process_end_each_of_its_lines() {
        let lines = Written::default();
        let writer = lines.clone();
        let format =
            Named { fields: "vm=a channel=2".into(), format: format::format().with_ansi(false) };
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).event_format(format);
        let layer = layer.with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || tracing::warn!(code = 7, "a word"));
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with("a word code=7 vm=a channel=2\n"), "{text}");
    }

    #[test]
    fn of_a_flood_of_one_class_only_the_first_lines_of_a_second_are_written() {
        let lines = Written::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
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
        let limit = FloodLimit::new(2);
        let now = Instant::now();
        let admit = |vm, now| limit.admit(&METADATA, vm, now, 0);
        assert_eq!((0..5).filter(|_| admit(None, now).0).count(), 2);
        assert_eq!((0..5).filter(|_| admit(Some(1), now).0).count(), 2, "another VM's");
        assert_eq!(admit(None, now + SECOND), (true, 3));
        assert_eq!(admit(None, now + SECOND), (true, 0));
    }

    #[test]
    fn channels_and_generations_of_one_vm_have_one_limit_of_a_class_together() {
        let memory = SharedCounts::create(31).unwrap();
        let open = |channel| SharedCounts::open(&memory, channel, 31).unwrap();
        let (first, second) = (open(0), open(30));
        let admitted =
            |counts: &SharedCounts, at| (0..100).filter(|_| counts.admit(7, at, 20)).count();
        assert!((0..5).all(|_| first.admit(7, 1, 20)));
        assert_eq!(admitted(&second, 1), 15);
        assert_eq!(admitted(&open(0), 1), 0, "the next generation");
        assert!(first.admit(8, 1, 20), "another class");
        assert_eq!(admitted(&first, 2), 20, "another second");
        assert!(SharedCounts::open(&memory, 31, 31).is_err());
    }
}

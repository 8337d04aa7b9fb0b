//! The recording that `RINGBAR_RECORD` asks for: every call of the program, one CSV row each, as `ringbar replay` reads it.
//!
//! The columns are those of the executor's recording format: time since the previous call, thread, function, class, bytes
//! of its command, bytes copied, direction of the copy. A call that the library makes for itself is no row of its own.
//! Where nobody records, a call costs one load more.

use crate::exports::{Class, EXPORTS};
use crate::fork;
use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// Names the file.
const VARIABLE: &str = "RINGBAR_RECORD";
const HEADER: &str = "gap_ns,thread,call,class,inline_bytes,bulk_bytes,dir";
/// The format's limits.
const BULK_BYTES_MAX: u64 = 256 << 30;
const INLINE_BYTES_MAX: u32 = 16 << 20;
const GAP_NS_MAX: u64 = 7 * 24 * 3600 * 1_000_000_000;

/// Between which memories a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the host to a device.
    ToDevice,
    /// From a device to the host.
    ToHost,
    /// Between two places of devices: nothing crosses.
    OnDevice,
}

impl Direction {
    fn word(self) -> &'static str {
        match self {
            Self::ToDevice => "h2d",
            Self::ToHost => "d2h",
            Self::OnDevice => "d2d",
        }
    }
}

/// What the calls of a thread add to their rows.
#[derive(Default)]
struct Thread {
    /// Calls under way: more than 1 where the library calls itself.
    depth: Cell<u32>,
    inline_bytes: Cell<u32>,
    bulk_bytes: Cell<u64>,
    direction: Cell<Option<Direction>>,
    number: Cell<Option<u8>>,
}

thread_local! {
    static THREAD: Thread = Thread::default();
}

static RECORDER: OnceLock<Option<Recorder>> = OnceLock::new();

struct Recorder {
    state: Mutex<State>,
}

struct State {
    file: BufWriter<File>,
    /// When the latest call began.
    latest: Option<Instant>,
    threads: u8,
}

/// A call under way; writes its row when it is over.
pub(crate) struct Row {
    recorder: &'static Recorder,
    index: usize,
    began: Instant,
}

/// Begins the row of a call of function `index`, if somebody records.
#[inline(always)]
pub(crate) fn begin(index: usize) -> Option<Row> {
    match RECORDER.get() {
        Some(None) => None,
        _ => begin_row(index),
    }
}

#[cold]
fn begin_row(index: usize) -> Option<Row> {
    let recorder = RECORDER.get_or_init(Recorder::from_environment).as_ref()?;
    // A thread that ends has no place for its numbers any more, and its calls no rows.
    THREAD.try_with(|thread| thread.depth.set(thread.depth.get() + 1)).ok()?;
    Some(Row { recorder, index, began: Instant::now() })
}

/// Adds a copy to the row of the call under way. A call in pieces may say each of them.
#[inline]
pub(crate) fn bulk(direction: Direction, bytes: u64) {
    if let Some(Some(_)) = RECORDER.get() {
        let _ = THREAD.try_with(|thread| {
            thread.direction.set(Some(direction));
            thread.bulk_bytes.set(thread.bulk_bytes.get().saturating_add(bytes));
        });
    }
}

/// Adds bytes of the command to the row of the call under way: 48 and the parameters for a launch.
#[inline]
pub(crate) fn inline(bytes: usize) {
    if let Some(Some(_)) = RECORDER.get() {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let _ = THREAD.try_with(|thread| {
            thread.inline_bytes.set(thread.inline_bytes.get().saturating_add(bytes));
        });
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        let _ = THREAD.try_with(|thread| {
            thread.depth.set(thread.depth.get().saturating_sub(1));
            if thread.depth.get() == 0 && !fork::is_dead_copy() {
                self.recorder.write(self.index, self.began, thread);
            }
        });
    }
}

impl State {
    /// The thread's number: by first call; all beyond the format's last share that.
    fn next_thread(&mut self, thread: &Thread) -> u8 {
        let number = self.threads;
        self.threads = self.threads.saturating_add(1);
        thread.number.set(Some(number));
        number
    }

    /// Time since the call before began. A thread's call may have begun before another's that is over already.
    fn gap_ns(&mut self, began: Instant) -> u64 {
        let latest = *self.latest.get_or_insert(began);
        self.latest = Some(latest.max(began));
        let gap_ns = began.saturating_duration_since(latest).as_nanos();
        u64::try_from(gap_ns).unwrap_or(u64::MAX).min(GAP_NS_MAX)
    }
}

impl Recorder {
    /// As the environment says; `None` if nobody asked, or the file cannot be made.
    fn from_environment() -> Option<Self> {
        let path = PathBuf::from(std::env::var_os(VARIABLE).filter(|value| !value.is_empty())?);
        match Self::create(&path) {
            Ok(recorder) => {
                // SAFETY: the handler takes nothing, and the library stays loaded until the process ends.
                let refused = unsafe { libc::atexit(flush_at_exit) };
                if refused != 0 {
                    tracing::warn!("the end of the recording may be missing");
                }
                Some(recorder)
            }
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "calls are not recorded");
                None
            }
        }
    }

    /// Begins a recording at `path`; where a file is, at `path` with this process's number.
    fn create(path: &Path) -> io::Result<Self> {
        let file = match File::create_new(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mut own = path.as_os_str().to_owned();
                own.push(format!(".{}", std::process::id()));
                OpenOptions::new().create(true).truncate(true).write(true).open(own)?
            }
            other => other?,
        };
        let mut file = BufWriter::new(file);
        writeln!(file, "{HEADER}")?;
        Ok(Self { state: Mutex::new(State { file, latest: None, threads: 0 }) })
    }

    /// Writes the row of a call that is over.
    fn write(&self, index: usize, began: Instant, thread: &Thread) {
        let mut state = self.state();
        let number = thread.number.get().unwrap_or_else(|| state.next_thread(thread));
        let export = &EXPORTS[index];
        let (bulk_bytes, direction) = (thread.bulk_bytes.take(), thread.direction.take());
        let (bulk_bytes, direction) = match (export.class, direction) {
            (Class::Free | Class::Local, _) | (_, None) => (0, "-"),
            (_, Some(Direction::OnDevice)) => (0, "d2d"),
            (_, Some(direction)) => (bulk_bytes.min(BULK_BYTES_MAX), direction.word()),
        };
        let gap_ns = state.gap_ns(began);
        let inline_bytes = thread.inline_bytes.take().min(INLINE_BYTES_MAX);
        let written = writeln!(
            state.file,
            "{gap_ns},{number},{},{},{inline_bytes},{bulk_bytes},{direction}",
            export.name,
            export.class.name()
        );
        if let Err(error) = written {
            tracing::debug!(%error, "a call was not recorded");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

extern "C" fn flush_at_exit() {
    // A forked child's copy of the buffer is its parent's to write.
    if fork::is_dead_copy() {
        return;
    }
    if let Some(Some(recorder)) = RECORDER.get()
        && let Err(error) = recorder.state().file.flush()
    {
        tracing::warn!(%error, "the end of the recording could not be written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that a recorder of its own writes.
    fn lines(fill: impl FnOnce(&Recorder)) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.csv");
        let recorder = Recorder::create(&path).unwrap();
        fill(&recorder);
        recorder.state().file.flush().unwrap();
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    fn row(recorder: &Recorder, name: &str, thread: &Thread) {
        let index = EXPORTS.iter().position(|export| export.name == name).unwrap();
        recorder.write(index, Instant::now(), thread);
    }

    #[test]
    fn a_row_has_the_columns_of_the_format_and_the_first_gap_is_zero() {
        let thread = Thread::default();
        let lines = lines(|recorder| row(recorder, "cuInit", &thread));
        assert_eq!(lines, [HEADER, "0,0,cuInit,local,0,0,-"]);
    }

    #[test]
    fn what_a_call_added_is_in_its_own_row_only() {
        let lines = lines(|recorder| {
            let thread = Thread::default();
            thread.inline_bytes.set(68);
            row(recorder, "cuInit", &thread);
            row(recorder, "cuInit", &thread);
        });
        assert!(lines[1].ends_with(",local,68,0,-") && lines[2].ends_with(",local,0,0,-"));
    }

    #[test]
    fn a_thread_keeps_its_number_and_another_gets_the_next() {
        let lines = lines(|recorder| {
            let (one, other) = (Thread::default(), Thread::default());
            for thread in [&one, &other, &one] {
                row(recorder, "cuInit", thread);
            }
        });
        let numbers: Vec<_> = lines[1..].iter().map(|line| line.split(',').nth(1)).collect();
        assert_eq!(numbers, [Some("0"), Some("1"), Some("0")]);
    }

    #[test]
    fn a_second_process_does_not_write_into_the_first_ones_recording() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.csv");
        Recorder::create(&path).unwrap().state().file.flush().unwrap();
        std::fs::write(&path, "the first").unwrap();
        Recorder::create(&path).unwrap().state().file.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "the first");
        let own = folder.path().join(format!("calls.csv.{}", std::process::id()));
        assert_eq!(std::fs::read_to_string(own).unwrap(), format!("{HEADER}\n"));
    }
}

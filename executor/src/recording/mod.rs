//! Recorded call sequences: read, written, turned into executable steps.
//!
//! A recording is CSV, plain or zstd-compressed, one call a row in program order, under the header
//! `gap_ns,thread,call,class,inline_bytes,bulk_bytes,dir` (the columns may come in any order, each exactly once):
//!
//! | column | accepted |
//! |---|---|
//! | `gap_ns` | time since the previous row, 0 to seven days |
//! | `thread` | 0 to 255 |
//! | `call` | a name of 1 to 256 visible ASCII characters other than `,` and `"` |
//! | `class` | `local`, `post` or `sync` |
//! | `inline_bytes` | 0 to 16 MiB |
//! | `bulk_bytes` | 0 to 256 GiB; 0 where `dir` is `-` and on `local` rows |
//! | `dir` | `h2d`, `d2h`, `d2d` or `-` |
//!
//! A row may have a direction and no bulk bytes: nothing of a device-to-device copy crosses, and a host copy of zero bytes is
//! legal. Lines end with `\n`; the last one may lack it. Everything else is an error with line and column.
//!
//! ```
//! use ringbar_executor::recording::{Plan, PlanLimits, Recording};
//!
//! let recording = Recording::shipped("mlp-train")?;
//! let plan = Plan::new(&recording, &PlanLimits::default());
//! assert_eq!(plan.thread_count(), 2);
//! assert_eq!(plan.steps().len() as u64 + plan.local_calls(), recording.rows().len() as u64);
//! # Ok::<(), ringbar_executor::recording::RecordingError>(())
//! ```

mod digest;
mod error;
mod payload;
mod plan;
mod planner;
mod reader;
mod table;
mod writer;

#[cfg(test)]
mod tests;

pub use digest::Digest;
pub use error::{Fault, Location, RecordingError};
pub use payload::Payloads;
pub use plan::{
    Buffer, BufferId, EventId, HostBlockId, Origin, Place, Plan, PlanLimits, PlannedStep, Step,
    StreamId, Teardown,
};
pub use reader::RecordingLimits;
pub use table::{StepKind, call_hash, known_calls, step_kind};
pub use writer::RecordingWriter;

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The format's columns, in the order in which they are written.
pub const COLUMN_NAMES: [&str; 7] =
    ["gap_ns", "thread", "call", "class", "inline_bytes", "bulk_bytes", "dir"];

/// The recordings that are part of this build: name and compressed text.
const SHIPPED: [(&str, &[u8]); 4] = [
    ("llama-1b-eager-decode", include_bytes!("../../recordings/llama-1b-eager-decode.csv.zst")),
    ("mlp-train", include_bytes!("../../recordings/mlp-train.csv.zst")),
    ("mlp-cuda-graph", include_bytes!("../../recordings/mlp-cuda-graph.csv.zst")),
    ("llama-1b-weight-load", include_bytes!("../../recordings/llama-1b-weight-load.csv.zst")),
];

/// Whether a call must reach the executor, and whether its caller waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// Answered from client-side state; never becomes a command.
    Local,
    /// Must reach the executor; needs no reply.
    Post,
    /// The caller needs the reply.
    Sync,
}

impl Class {
    /// The word used in a recording.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Local => "local",
            Class::Post => "post",
            Class::Sync => "sync",
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        [Class::Local, Class::Post, Class::Sync].into_iter().find(|c| c.as_str().as_bytes() == text)
    }
}

/// Between which memories a call's bulk bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// No payload.
    None,
    /// Host to device.
    HostToDevice,
    /// Device to host.
    DeviceToHost,
    /// Device to device: no payload crosses.
    DeviceToDevice,
}

impl Direction {
    /// The word used in a recording.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::None => "-",
            Direction::HostToDevice => "h2d",
            Direction::DeviceToHost => "d2h",
            Direction::DeviceToDevice => "d2d",
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        const ALL: [Direction; 4] = [
            Direction::None,
            Direction::HostToDevice,
            Direction::DeviceToHost,
            Direction::DeviceToDevice,
        ];
        ALL.into_iter().find(|d| d.as_str().as_bytes() == text)
    }
}

/// One recorded call, 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Time since the previous row's entry, in ns.
    pub gap_ns: u64,
    /// Bytes copied between host and device.
    pub bulk_bytes: u64,
    /// Estimated command bytes.
    pub inline_bytes: u32,
    /// Index of the called function's name, for [`Recording::call_name`].
    pub call: u16,
    /// The application thread, as recorded.
    pub thread: u8,
    /// The recorded class.
    pub class: Class,
    /// The direction of the bulk bytes.
    pub direction: Direction,
}

/// Sums over a recording.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls of class `local`.
    pub local: u64,
    /// Calls of class `post`.
    pub post: u64,
    /// Calls of class `sync`.
    pub sync: u64,
    /// Command bytes of all calls.
    pub inline_bytes: u64,
    /// Bytes from host to device.
    pub h2d_bytes: u64,
    /// Bytes from device to host.
    pub d2h_bytes: u64,
    /// Bytes from device to device, where recorded.
    pub d2d_bytes: u64,
    /// Sum of all gaps in ns, at most `u64::MAX`.
    pub duration_ns: u64,
}

impl Totals {
    fn add(mut self, row: &Row) -> Self {
        match row.class {
            Class::Local => self.local += 1,
            Class::Post => self.post += 1,
            Class::Sync => self.sync += 1,
        }
        match row.direction {
            Direction::None => {}
            Direction::HostToDevice => self.h2d_bytes += row.bulk_bytes,
            Direction::DeviceToHost => self.d2h_bytes += row.bulk_bytes,
            Direction::DeviceToDevice => self.d2d_bytes += row.bulk_bytes,
        }
        self.inline_bytes += u64::from(row.inline_bytes);
        self.duration_ns = self.duration_ns.saturating_add(row.gap_ns);
        self
    }
}

/// A call sequence in memory: every row valid, at least one, names interned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    rows: Vec<Row>,
    /// Every `Row::call` is an index into this.
    calls: Vec<Box<str>>,
    /// Ascending, each once: every `Row::thread` that occurs.
    threads: Vec<u8>,
}

impl Recording {
    /// Reads the file at `path`, plain CSV or zstd (told apart by its first bytes), within the default limits.
    ///
    /// # Errors
    /// [`RecordingError::Open`], or [`RecordingError::InFile`] with what is malformed, where, and what was expected.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RecordingError> {
        Self::open_within(path, &RecordingLimits::default())
    }

    /// As [`Recording::open`], with limits of the caller's own.
    ///
    /// # Errors
    /// As [`Recording::open`].
    pub fn open_within(
        path: impl AsRef<Path>,
        limits: &RecordingLimits,
    ) -> Result<Self, RecordingError> {
        let path = path.as_ref();
        let file = File::open(path)
            .map_err(|error| RecordingError::Open { path: path.to_owned(), error })?;
        Self::from_reader(file, limits).map_err(|error| error.in_file(path))
    }

    /// Reads a recording from any byte stream; nothing is allocated beyond what `limits` allow.
    ///
    /// # Errors
    /// What is malformed, where, and what was expected; or the reader's error.
    pub fn from_reader(
        reader: impl Read,
        limits: &RecordingLimits,
    ) -> Result<Self, RecordingError> {
        reader::read(reader, limits)
    }

    /// A recording that is part of this build; the names are [`Recording::shipped_names`].
    ///
    /// # Errors
    /// [`RecordingError::NotShipped`] for any other name.
    pub fn shipped(name: &str) -> Result<Self, RecordingError> {
        let not_shipped = || RecordingError::NotShipped { name: error::excerpt(name.as_bytes()) };
        let (_, text) = SHIPPED.iter().find(|(n, _)| *n == name).ok_or_else(not_shipped)?;
        Self::from_reader(*text, &RecordingLimits::default())
    }

    /// Names of the recordings that are part of this build, the main job's first.
    pub fn shipped_names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// All calls, in program order; never empty.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Names of the functions called, each once, in order of first appearance; [`Row::call`] indexes it.
    pub fn calls(&self) -> impl ExactSizeIterator<Item = &str> {
        self.calls.iter().map(|name| &**name)
    }

    /// The name of the function that `row` called; empty for a row of another recording.
    pub fn call_name(&self, row: &Row) -> &str {
        self.calls.get(usize::from(row.call)).map_or("", |name| name)
    }

    /// The application threads that made calls, as numbered in the recording, ascending.
    pub fn threads(&self) -> &[u8] {
        &self.threads
    }

    /// Sums over all rows.
    pub fn totals(&self) -> Totals {
        self.rows.iter().fold(Totals::default(), Totals::add)
    }
}

fn shipped_names() -> String {
    Recording::shipped_names().collect::<Vec<_>>().join(", ")
}

//! What can be wrong with a recording, said with line and column.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The longest excerpt of a malformed value that an error shows, in bytes.
const EXCERPT_BYTES_MAX: usize = 64;

/// Where in the text of a recording something was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Line, from 1; the header is line 1.
    pub line: u64,
    /// Which column of the line, from 1.
    pub column: usize,
    /// The column's name in the header, as one of the format's seven, or `header` in line 1.
    pub name: &'static str,
    /// Byte of the line at which the column begins, from 1.
    pub byte: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {} ({}), byte {}", self.line, self.column, self.name, self.byte)
    }
}

/// What is wrong with one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Not a plain decimal number.
    NotANumber,
    /// A number above the column's limit.
    AboveLimit {
        /// The largest value the column accepts.
        limit: u64,
    },
    /// The name of a call is empty, too long, or holds bytes no name has.
    NotACallName {
        /// The longest accepted name in bytes.
        limit_bytes: usize,
    },
    /// Neither `local`, `post` nor `sync`.
    UnknownClass,
    /// Neither `h2d`, `d2h`, `d2d` nor `-`.
    UnknownDirection,
    /// Bulk bytes on a row whose direction is `-`.
    BulkWithoutDirection,
    /// Bulk bytes on a `local` row, which by definition never reaches the executor.
    BulkOnLocalCall,
    /// The header names a column that the format does not have.
    UnknownColumn,
    /// The header names a column twice.
    RepeatedColumn,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotANumber => f.write_str("a decimal number without sign, space or separator"),
            Fault::AboveLimit { limit } => write!(f, "a number of at most {limit}"),
            Fault::NotACallName { limit_bytes } => {
                write!(f, "a function name of 1 to {limit_bytes} visible ASCII characters, unquoted")
            }
            Fault::UnknownClass => f.write_str("one of local, post, sync"),
            Fault::UnknownDirection => f.write_str("one of h2d, d2h, d2d, -"),
            Fault::BulkWithoutDirection => {
                f.write_str("0, because the direction is `-` (likely cause: the direction was lost; try h2d, d2h or d2d)")
            }
            Fault::BulkOnLocalCall => {
                f.write_str("0, because a local call never reaches the executor (try class post or sync)")
            }
            Fault::UnknownColumn => write!(f, "one of {}", super::COLUMN_NAMES.join(", ")),
            Fault::RepeatedColumn => f.write_str("each column once"),
        }
    }
}

/// Why a recording was refused.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file could not be opened.
    #[error("cannot open the recording {}: {error}; try an absolute path, or one of the shipped names: {}", path.display(), super::shipped_names())]
    Open {
        /// The path as given.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// Any other error of this type, with the file it is about.
    #[error("{}: {error}", path.display())]
    InFile {
        /// The file being read.
        path: PathBuf,
        /// What is wrong in it.
        error: Box<RecordingError>,
    },
    /// Reading or decompressing failed part of the way through.
    #[error(
        "reading failed after line {line}: {error}; likely cause: a truncated or damaged file; try `zstd -t` on it"
    )]
    Read {
        /// The last line that was read whole.
        line: u64,
        /// The reader's or the decompressor's error.
        error: io::Error,
    },
    /// Compressed or packed in a way other than zstd.
    #[error(
        "this is a {found} file, expected CSV, plain or compressed with zstd; try to unpack it first"
    )]
    OtherFormat {
        /// What the first bytes say.
        found: &'static str,
    },
    /// Nothing at all, not even a header.
    #[error("line 1, column 1: the recording is empty, expected the header line `{}` and one row a call", super::COLUMN_NAMES.join(","))]
    Empty,
    /// A header, and no row after it.
    #[error(
        "the recording has a header and no rows, expected at least one call; likely cause: the recorded program made none, or the recorder was stopped early"
    )]
    NoRows,
    /// The header lacks columns.
    #[error("line 1, column {}: the header lacks {}, found `{found}`, expected `{}`; likely cause: the header line is missing, or another format", super::COLUMN_NAMES.len() - missing.len() + 1, missing.join(", "), super::COLUMN_NAMES.join(","))]
    MissingColumns {
        /// Names of the absent columns.
        missing: Vec<&'static str>,
        /// The header line, shortened.
        found: String,
    },
    /// A line with too few or too many fields.
    #[error("line {line}, column {}: found {found} fields in `{text}`, expected {expected}; likely cause: {}", (*found).min(*expected) + 1, if found < expected { "the line was cut short, or is blank" } else { "a comma within a value" })]
    FieldCount {
        /// Line, from 1.
        line: u64,
        /// Fields in the line.
        found: usize,
        /// Fields in the header.
        expected: usize,
        /// The line, shortened.
        text: String,
    },
    /// One value that is not what its column holds.
    #[error("{at}: found `{found}`, expected {fault}")]
    Value {
        /// Where it was found.
        at: Location,
        /// The value, shortened, with unprintable bytes escaped.
        found: String,
        /// What was expected instead.
        fault: Fault,
    },
    /// A line longer than the reader accepts.
    #[error("line {line}, byte {}: the line is longer than {limit} bytes; likely cause: not a recording, or line ends other than \\n", limit + 1)]
    LineTooLong {
        /// Line, from 1.
        line: u64,
        /// Accepted bytes a line.
        limit: usize,
    },
    /// More rows than the reader accepts.
    #[error(
        "line {line}: more than {limit} rows; try a shorter recording, or raise RecordingLimits::rows_max"
    )]
    TooManyRows {
        /// Line, from 1, of the first row beyond the limit.
        line: u64,
        /// Accepted rows.
        limit: usize,
    },
    /// More text than the reader accepts, counted after decompression.
    #[error(
        "line {line}: more than {limit} bytes of text after decompression; try a shorter recording, or raise RecordingLimits::text_bytes_max"
    )]
    TooMuchText {
        /// The line, from 1, being read.
        line: u64,
        /// Accepted bytes.
        limit: u64,
    },
    /// More different function names than the reader accepts.
    #[error(
        "line {line}: more than {limit} different calls; likely cause: the call column holds addresses or arguments rather than names"
    )]
    TooManyCalls {
        /// Line, from 1.
        line: u64,
        /// Accepted names.
        limit: usize,
    },
    /// The writer was given a row that the reader would refuse.
    #[error("the row cannot be recorded, column {name}: found `{found}`, expected {fault}")]
    Unwritable {
        /// The format's name of the column.
        name: &'static str,
        /// The value, shortened.
        found: String,
        /// What was expected instead.
        fault: Fault,
    },
    /// The recording could not be written.
    #[error(
        "writing the recording failed after {rows} rows: {error}; likely cause: no space left, or no permission"
    )]
    Write {
        /// Rows that had been accepted.
        rows: u64,
        /// The system's answer.
        error: io::Error,
    },
    /// No recording of that name is part of this build.
    #[error("no shipped recording is called `{name}`, there are {}", super::shipped_names())]
    NotShipped {
        /// The name asked for.
        name: String,
    },
}

impl RecordingError {
    /// The same error, with the file it was found in.
    pub(super) fn in_file(self, path: &std::path::Path) -> Self {
        RecordingError::InFile { path: path.to_owned(), error: Box::new(self) }
    }

    /// The error itself, without the file's name around it.
    pub fn without_file(&self) -> &RecordingError {
        match self {
            RecordingError::InFile { error, .. } => error.without_file(),
            other => other,
        }
    }
}

/// `bytes` as printable text, cut to a length that fits an error message.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(EXCERPT_BYTES_MAX)];
    let dots = if shown.len() < bytes.len() { "..." } else { "" };
    format!("{}{dots}", shown.escape_ascii())
}

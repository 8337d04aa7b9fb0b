//! The writer: the same format, zstd-compressed, one row at a time.

use super::error::excerpt;
use super::reader::{BULK_BYTES_MAX, GAP_NS_MAX, INLINE_BYTES_MAX, bulk_fault, parse_call_name};
use super::{COLUMN_NAMES, Fault, RecordingError, Row};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes a recording as zstd-compressed CSV.
///
/// Call [`RecordingWriter::finish`]: a writer that is only dropped leaves a file that cannot be read.
pub struct RecordingWriter<W: Write> {
    encoder: zstd::Encoder<'static, W>,
    rows: u64,
}

impl RecordingWriter<BufWriter<File>> {
    /// Creates (or empties) the file at `path` and writes the header.
    ///
    /// # Errors
    /// [`RecordingError::Open`] or [`RecordingError::Write`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self, RecordingError> {
        let path = path.as_ref();
        let file = File::create(path)
            .map_err(|error| RecordingError::Open { path: path.to_owned(), error })?;
        Self::new(BufWriter::new(file)).map_err(|error| error.in_file(path))
    }
}

impl<W: Write> RecordingWriter<W> {
    /// Writes the header to `to` and is ready for rows.
    ///
    /// # Errors
    /// [`RecordingError::Write`].
    pub fn new(to: W) -> Result<Self, RecordingError> {
        let failed = |error| RecordingError::Write { rows: 0, error };
        let level = zstd::DEFAULT_COMPRESSION_LEVEL;
        let mut encoder = zstd::Encoder::new(to, level).map_err(failed)?;
        writeln!(encoder, "{}", COLUMN_NAMES.join(",")).map_err(failed)?;
        Ok(Self { encoder, rows: 0 })
    }

    /// Appends one call of the function `call`; `row.call` is not looked at.
    ///
    /// # Errors
    /// [`RecordingError::Unwritable`] for a row that the reader would refuse (nothing is written),
    /// [`RecordingError::Write`] if the stream fails.
    pub fn push(&mut self, call: &str, row: &Row) -> Result<(), RecordingError> {
        check(call, row)?;
        self.write(call, row).map_err(|error| RecordingError::Write { rows: self.rows, error })?;
        self.rows += 1;
        Ok(())
    }

    fn write(&mut self, call: &str, row: &Row) -> io::Result<()> {
        let Row { gap_ns, bulk_bytes, inline_bytes, thread, class, direction, .. } = row;
        let (class, direction) = (class.as_str(), direction.as_str());
        writeln!(
            self.encoder,
            "{gap_ns},{thread},{call},{class},{inline_bytes},{bulk_bytes},{direction}"
        )
    }

    /// Rows accepted so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the compressed stream, flushes, and hands the underlying stream back.
    ///
    /// # Errors
    /// [`RecordingError::Write`].
    pub fn finish(self) -> Result<W, RecordingError> {
        let rows = self.rows;
        let failed = |error| RecordingError::Write { rows, error };
        let mut inner = self.encoder.finish().map_err(failed)?;
        inner.flush().map_err(failed)?;
        Ok(inner)
    }
}

fn check(call: &str, row: &Row) -> Result<(), RecordingError> {
    parse_call_name(call.as_bytes())
        .map_err(|fault| unwritable("call", excerpt(call.as_bytes()), fault))?;
    check_number("gap_ns", row.gap_ns, GAP_NS_MAX)?;
    check_number("inline_bytes", u64::from(row.inline_bytes), INLINE_BYTES_MAX)?;
    check_number("bulk_bytes", row.bulk_bytes, BULK_BYTES_MAX)?;
    match bulk_fault(row.class, row.direction, row.bulk_bytes) {
        Some(fault) => Err(unwritable("bulk_bytes", row.bulk_bytes.to_string(), fault)),
        None => Ok(()),
    }
}

fn check_number(name: &'static str, value: u64, limit: u64) -> Result<(), RecordingError> {
    match value <= limit {
        true => Ok(()),
        false => Err(unwritable(name, value.to_string(), Fault::AboveLimit { limit })),
    }
}

fn unwritable(name: &'static str, found: String, fault: Fault) -> RecordingError {
    RecordingError::Unwritable { name, found, fault }
}

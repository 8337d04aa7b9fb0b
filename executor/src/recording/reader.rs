//! The streaming reader: bytes to lines to fields to rows, each step with its limits.

use super::error::excerpt;
use super::{COLUMN_NAMES, Class, Direction, Fault, Location, Recording, RecordingError, Row};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Cursor, Read};

/// Number of columns of the format.
const COLUMNS: usize = COLUMN_NAMES.len();
/// Longest accepted function name, in bytes.
pub(super) const CALL_BYTES_MAX: usize = 256;
/// Longest accepted gap: seven days, in ns.
pub(super) const GAP_NS_MAX: u64 = 7 * 24 * 3600 * 1_000_000_000;
/// Highest accepted thread number.
pub(super) const THREAD_MAX: u64 = 255;
/// Largest accepted command: 16 MiB.
pub(super) const INLINE_BYTES_MAX: u64 = 16 << 20;
/// Largest accepted payload of one call: 256 GiB.
pub(super) const BULK_BYTES_MAX: u64 = 256 << 30;
/// Indices of names are 16 bits wide.
const CALLS_MAX: usize = 1 << 16;
const READ_BUFFER_BYTES: usize = 256 << 10;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How much a recording may hold before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordingLimits {
    /// Rows; each costs 32 bytes of memory. At most 2^32 - 1 are ever accepted.
    pub rows_max: usize,
    /// Bytes of one line, its end excluded.
    pub line_bytes_max: usize,
    /// Bytes of text in all, counted after decompression.
    pub text_bytes_max: u64,
}

impl Default for RecordingLimits {
    /// 16,777,216 rows, 4,096 bytes a line, 2 GiB of text.
    fn default() -> Self {
        Self { rows_max: 1 << 24, line_bytes_max: 4096, text_bytes_max: 2 << 30 }
    }
}

/// Reads a whole recording.
pub(super) fn read(
    mut reader: impl Read,
    limits: &RecordingLimits,
) -> Result<Recording, RecordingError> {
    let start = read_start(&mut reader).map_err(|error| RecordingError::Read { line: 0, error })?;
    if let Some(found) = other_format(&start) {
        return Err(RecordingError::OtherFormat { found });
    }
    let is_zstd = is_zstd(&start);
    let whole = Cursor::new(start).chain(reader);
    if is_zstd {
        let decoder =
            zstd::Decoder::new(whole).map_err(|error| RecordingError::Read { line: 0, error })?;
        read_text(BufReader::with_capacity(READ_BUFFER_BYTES, decoder), limits)
    } else {
        read_text(BufReader::with_capacity(READ_BUFFER_BYTES, whole), limits)
    }
}

/// The first four bytes, or fewer where there are no more.
fn read_start(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(ZSTD_MAGIC.len());
    reader.take(ZSTD_MAGIC.len() as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// A zstd frame, or the skippable frame that parallel compressors put first.
fn is_zstd(start: &[u8]) -> bool {
    start == ZSTD_MAGIC || matches!(start, [0x50..=0x5f, 0x2a, 0x4d, 0x18])
}

/// Names the common formats that a user may hand over by mistake.
fn other_format(start: &[u8]) -> Option<&'static str> {
    match start {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [b'P', b'K', 3, 4] => Some("zip"),
        [0xfd, b'7', b'z', b'X'] => Some("xz"),
        [b'B', b'Z', b'h', _] => Some("bzip2"),
        [0xef, 0xbb, 0xbf, ..] => Some("UTF-8 text with a byte order mark"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16 text"),
        _ => None,
    }
}

fn read_text(reader: impl BufRead, limits: &RecordingLimits) -> Result<Recording, RecordingError> {
    let mut lines = Lines { reader, limits: *limits, line: Vec::new(), number: 0, bytes: 0 };
    let order = match lines.advance()? {
        Some(header) => ColumnOrder::parse(header)?,
        None => return Err(RecordingError::Empty),
    };
    let mut builder = Builder::new(limits);
    while let Some(line) = lines.advance()? {
        builder.push(line, &order)?;
    }
    builder.finish()
}

/// One line of text and its number, from 1.
#[derive(Clone, Copy)]
struct Line<'a> {
    text: &'a [u8],
    number: u64,
}

/// Splits a stream into lines, never holding more than one.
struct Lines<R> {
    reader: R,
    limits: RecordingLimits,
    line: Vec<u8>,
    /// Lines read so far.
    number: u64,
    /// Bytes read so far.
    bytes: u64,
}

impl<R: BufRead> Lines<R> {
    /// The next line without its end, or `None` after the last.
    fn advance(&mut self) -> Result<Option<Line<'_>>, RecordingError> {
        self.line.clear();
        let number = self.number + 1;
        let accepted = (self.limits.line_bytes_max as u64).saturating_add(1);
        // One byte more than is accepted tells a line that fits exactly from one that is too long.
        let read = (&mut self.reader)
            .take(accepted)
            .read_until(b'\n', &mut self.line)
            .map_err(|error| RecordingError::Read { line: self.number, error })?;
        if read == 0 {
            return Ok(None);
        }
        self.bytes = self.bytes.saturating_add(read as u64);
        if self.bytes > self.limits.text_bytes_max {
            let limit = self.limits.text_bytes_max;
            return Err(RecordingError::TooMuchText { line: number, limit });
        }
        let ended = self.line.last() == Some(&b'\n');
        if !ended && self.line.len() > self.limits.line_bytes_max {
            let limit = self.limits.line_bytes_max;
            return Err(RecordingError::LineTooLong { line: number, limit });
        }
        self.number = number;
        let text = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        Ok(Some(Line { text, number }))
    }
}

/// Which of the format's columns stands at which place of a line.
struct ColumnOrder {
    /// `place[c]` is the field of a line that holds the format's column `c`; a permutation.
    place: [usize; COLUMNS],
}

impl ColumnOrder {
    fn parse(header: Line<'_>) -> Result<Self, RecordingError> {
        let mut place = [None; COLUMNS];
        let mut byte = 1;
        for (field, text) in header.text.split(|b| *b == b',').enumerate() {
            let fault = match COLUMN_NAMES.iter().position(|name| name.as_bytes() == text) {
                Some(column) if place[column].is_none() => {
                    place[column] = Some(field);
                    byte += text.len() + 1;
                    continue;
                }
                Some(_) => Fault::RepeatedColumn,
                // A header of which nothing is known is no header: name what is missing instead.
                None if place.iter().all(Option::is_none) => return Err(missing(&place, header)),
                None => Fault::UnknownColumn,
            };
            let at = Location { line: header.number, column: field + 1, name: "header", byte };
            return Err(RecordingError::Value { at, found: excerpt(text), fault });
        }
        match place.iter().all(Option::is_some) {
            true => Ok(Self { place: place.map(Option::unwrap_or_default) }),
            false => Err(missing(&place, header)),
        }
    }
}

fn missing(place: &[Option<usize>; COLUMNS], header: Line<'_>) -> RecordingError {
    let absent = COLUMN_NAMES.iter().zip(place).filter(|(_, place)| place.is_none());
    RecordingError::MissingColumns {
        missing: absent.map(|(name, _)| *name).collect(),
        found: excerpt(header.text),
    }
}

/// A line's fields, by the format's column.
struct Fields<'a> {
    line: Line<'a>,
    order: &'a ColumnOrder,
    fields: [&'a [u8]; COLUMNS],
}

/// Indices into [`COLUMN_NAMES`].
mod column {
    pub const GAP: usize = 0;
    pub const THREAD: usize = 1;
    pub const CALL: usize = 2;
    pub const CLASS: usize = 3;
    pub const INLINE: usize = 4;
    pub const BULK: usize = 5;
    pub const DIRECTION: usize = 6;
}

impl<'a> Fields<'a> {
    fn split(line: Line<'a>, order: &'a ColumnOrder) -> Result<Self, RecordingError> {
        let mut fields = [&line.text[..0]; COLUMNS];
        let mut found = 0;
        for text in line.text.split(|b| *b == b',') {
            if let Some(field) = fields.get_mut(found) {
                *field = text;
            }
            found += 1;
        }
        if found != COLUMNS {
            let text = excerpt(line.text);
            let number = line.number;
            return Err(RecordingError::FieldCount {
                line: number,
                found,
                expected: COLUMNS,
                text,
            });
        }
        Ok(Self { line, order, fields })
    }

    fn text(&self, column: usize) -> &'a [u8] {
        self.fields[self.order.place[column]]
    }

    fn fault(&self, column: usize, fault: Fault) -> RecordingError {
        let place = self.order.place[column];
        let before: usize = self.fields[..place].iter().map(|field| field.len() + 1).sum();
        let name = COLUMN_NAMES[column];
        let at = Location { line: self.line.number, column: place + 1, name, byte: before + 1 };
        RecordingError::Value { at, found: excerpt(self.text(column)), fault }
    }

    fn number(&self, column: usize, limit: u64) -> Result<u64, RecordingError> {
        parse_number(self.text(column), limit).map_err(|fault| self.fault(column, fault))
    }

    fn name(&self) -> Result<&'a str, RecordingError> {
        parse_call_name(self.text(column::CALL)).map_err(|fault| self.fault(column::CALL, fault))
    }

    fn class(&self) -> Result<Class, RecordingError> {
        Class::parse(self.text(column::CLASS))
            .ok_or_else(|| self.fault(column::CLASS, Fault::UnknownClass))
    }

    fn direction(&self) -> Result<Direction, RecordingError> {
        Direction::parse(self.text(column::DIRECTION))
            .ok_or_else(|| self.fault(column::DIRECTION, Fault::UnknownDirection))
    }
}

fn parse_number(text: &[u8], limit: u64) -> Result<u64, Fault> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Fault::NotANumber);
    }
    text.iter()
        .try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .filter(|value| *value <= limit)
        .ok_or(Fault::AboveLimit { limit })
}

/// The name, if it is one that a recording can hold.
pub(super) fn parse_call_name(text: &[u8]) -> Result<&str, Fault> {
    let visible = |b: &u8| b.is_ascii_graphic() && *b != b'"' && *b != b',';
    let fault = Fault::NotACallName { limit_bytes: CALL_BYTES_MAX };
    if text.is_empty() || text.len() > CALL_BYTES_MAX || !text.iter().all(visible) {
        return Err(fault);
    }
    std::str::from_utf8(text).map_err(|_| fault)
}

/// What a row's bulk bytes contradict, if anything.
pub(super) fn bulk_fault(class: Class, direction: Direction, bulk_bytes: u64) -> Option<Fault> {
    match (class, direction) {
        _ if bulk_bytes == 0 => None,
        (_, Direction::None) => Some(Fault::BulkWithoutDirection),
        (Class::Local, _) => Some(Fault::BulkOnLocalCall),
        _ => None,
    }
}

/// Collects rows, interning names.
struct Builder {
    rows: Vec<Row>,
    rows_max: usize,
    calls: Vec<Box<str>>,
    index: HashMap<Box<str>, u16>,
    seen: [bool; THREAD_MAX as usize + 1],
}

impl Builder {
    fn new(limits: &RecordingLimits) -> Self {
        Self {
            rows: Vec::new(),
            // A row's number is 32 bits wide in the plan.
            rows_max: limits.rows_max.min(u32::MAX as usize),
            calls: Vec::new(),
            index: HashMap::new(),
            seen: [false; THREAD_MAX as usize + 1],
        }
    }

    fn push(&mut self, line: Line<'_>, order: &ColumnOrder) -> Result<(), RecordingError> {
        if self.rows.len() >= self.rows_max {
            let limit = self.rows_max;
            return Err(RecordingError::TooManyRows { line: line.number, limit });
        }
        let fields = Fields::split(line, order)?;
        let row = Row {
            gap_ns: fields.number(column::GAP, GAP_NS_MAX)?,
            thread: fields.number(column::THREAD, THREAD_MAX)? as u8,
            call: self.intern(fields.name()?, line.number)?,
            class: fields.class()?,
            inline_bytes: fields.number(column::INLINE, INLINE_BYTES_MAX)? as u32,
            bulk_bytes: fields.number(column::BULK, BULK_BYTES_MAX)?,
            direction: fields.direction()?,
        };
        if let Some(fault) = bulk_fault(row.class, row.direction, row.bulk_bytes) {
            return Err(fields.fault(column::BULK, fault));
        }
        self.seen[usize::from(row.thread)] = true;
        self.rows.push(row);
        Ok(())
    }

    fn intern(&mut self, name: &str, line: u64) -> Result<u16, RecordingError> {
        if let Some(call) = self.index.get(name) {
            return Ok(*call);
        }
        let limit = CALLS_MAX;
        let call = u16::try_from(self.calls.len())
            .map_err(|_| RecordingError::TooManyCalls { line, limit })?;
        self.calls.push(name.into());
        self.index.insert(name.into(), call);
        Ok(call)
    }

    fn finish(mut self) -> Result<Recording, RecordingError> {
        if self.rows.is_empty() {
            return Err(RecordingError::NoRows);
        }
        self.rows.shrink_to_fit();
        let threads = (0..=u8::MAX).filter(|thread| self.seen[usize::from(*thread)]).collect();
        Ok(Recording { rows: self.rows, calls: self.calls, threads })
    }
}

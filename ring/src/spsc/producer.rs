//! The producing end.

use super::{Direction, Violation};
use crate::lines::{LINE_WORDS, Lines};
use crate::sync::{Ordering, order, swapped};
use crate::tag::{LINE_PAYLOAD_BYTES, RECORD_LINES_MAX, TagSpace, lines_for};
use crate::untrusted::Untrusted;
use thiserror::Error;

/// Lines ahead of the tail that are asked for exclusively, never beyond lines known to be free.
const PREFETCH_LINES: u64 = 24;

/// The ring has no room for the record now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the ring has room for {free} of {wanted} lines; wait until the consumer has released {until}"
)]
pub struct Full {
    /// Lines wanted.
    pub wanted: u64,
    /// Lines free when last looked at.
    pub free: u64,
    /// Released position at which the record fits.
    pub until: u64,
}

/// Why a record could not be reserved.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReserveError {
    /// No room now.
    #[error(transparent)]
    Full(#[from] Full),
    /// It will never fit.
    #[error(
        "a record of {bytes} bytes exceeds this ring's {limit}; put the payload into the arena"
    )]
    TooLong {
        /// Bytes asked for.
        bytes: usize,
        /// Most bytes a record of this ring may have.
        limit: usize,
    },
    /// The consumer broke the protocol.
    #[error(transparent)]
    Violation(#[from] Violation),
}

/// The producing end of a ring.
///
/// Never blocks: a full ring is [`ReserveError::Full`]. The ring may not stay full for long, but while it has room
/// nobody else can take that room.
///
/// Aligned so that its private state shares no line (nor pair of lines) with that of a consumer next to it.
#[repr(align(128))]
pub struct Producer<L: Lines> {
    ring: L,
    header: L,
    head_line: usize,
    tags: TagSpace,
    capacity: u64,
    /// Position of the next line to write; free-running.
    tail: u64,
    /// Last released position that was seen and accepted; `tail - capacity <= head <= tail`, can be stale.
    head: u64,
}

impl<L: Lines> Producer<L> {
    /// Starts at position 0 of a ring that the host has zeroed for `generation`.
    pub fn new(ring: L, header: L, direction: Direction, generation: u32) -> Self {
        let capacity = ring.count() as u64;
        Self {
            tags: TagSpace::new(generation, capacity.trailing_zeros()),
            head_line: direction.head_line(),
            ring,
            header,
            capacity,
            tail: 0,
            head: 0,
        }
    }

    /// Lines in the ring.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Position after the last record written.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Most payload bytes a record of this ring may have.
    pub fn record_bytes_max(&self) -> usize {
        RECORD_LINES_MAX.min(self.capacity as usize) * LINE_PAYLOAD_BYTES
    }

    /// Takes room for a record of `bytes` payload bytes; `reply_slot` asks for a reply there.
    ///
    /// Nothing is visible to the consumer before [`Reservation::commit`]; dropping the reservation gives the room back
    /// (forgetting it, as `core::mem::forget` does, breaks the protocol).
    #[inline(always)]
    pub fn reserve(
        &mut self,
        bytes: usize,
        reply_slot: Option<u16>,
    ) -> Result<Reservation<'_, L>, ReserveError> {
        let lines = self.make_room(bytes)?;
        Ok(Reservation::new(self, lines, bytes, reply_slot))
    }

    /// Writes and publishes one record. Returns its position.
    #[inline(always)]
    pub fn push(&mut self, record: &[u8]) -> Result<u64, ReserveError> {
        let mut reservation = self.reserve(record.len(), None)?;
        reservation.put(record);
        Ok(reservation.commit())
    }

    /// Whether `lines` lines can be written now; looks at the consumer's released position if they seem not to.
    #[inline(always)]
    pub fn has_room(&mut self, lines: u64) -> Result<bool, Violation> {
        if self.tail + lines - self.head > self.capacity {
            self.refresh_head()?;
        }
        Ok(self.tail + lines - self.head <= self.capacity)
    }

    /// Writes and publishes one record that fills one line exactly, in the fewest instructions. Returns its position.
    #[inline(always)]
    pub fn push_line(
        &mut self,
        words: &[u64; LINE_WORDS - 1],
        reply_slot: Option<u16>,
    ) -> Result<u64, ReserveError> {
        self.make_room(LINE_PAYLOAD_BYTES)?;
        let position = self.tail;
        let tag = self.write_line(words, reply_slot);
        self.ring.store(position as usize, 0, tag, order!(T1, Release));
        if reply_slot.is_some() {
            self.own_next();
        }
        Ok(position)
    }

    /// Takes ownership of the next line by a store, while the caller waits for its reply anyway: the next command then
    /// finds the line at hand. A prefetch would not do: the line is here already, but shared.
    #[inline(always)]
    fn own_next(&self) {
        if self.tail < self.head + self.capacity {
            self.ring.set_payload(self.tail as usize, LINE_WORDS - 1, 0);
        }
    }

    /// Writes one line but for its tag, which it returns.
    #[inline(always)]
    fn write_line(&mut self, words: &[u64; LINE_WORDS - 1], reply_slot: Option<u16>) -> u64 {
        let position = self.tail;
        let at = position as usize;
        for first in [0, 2, 4] {
            let pair = [words[first].to_le(), words[first + 1].to_le()];
            self.ring.set_payload_pair(at, first + 1, pair);
        }
        self.ring.set_payload(at, 7, words[6].to_le());
        self.tail = position + 1;
        self.tags.head(position, LINE_PAYLOAD_BYTES, reply_slot)
    }

    /// Takes back the tags of the body lines before line `line` of a record at the tail that is not published after all:
    /// they become what an honest producer leaves there until it publishes.
    #[cold]
    #[inline(never)]
    fn withdraw(&self, line: u64) {
        for number in 1..line {
            let position = self.tail + number;
            let tag = self.tags.unpublished(position);
            self.ring.store(position as usize, 0, tag, Ordering::Relaxed);
        }
    }

    /// Starts a batch: its records become visible together, in one publication.
    pub fn batch(&mut self) -> Batch<'_, L> {
        Batch { producer: self, first: None, records: 0 }
    }

    /// Loads the consumer's released position, accepting it only between the last one and the tail.
    pub fn refresh_head(&mut self) -> Result<u64, Violation> {
        let found = Untrusted::new(self.header.load(self.head_line, 0, order!(H2, Acquire)));
        self.head = found.position(self.head, self.tail)?;
        Ok(self.head)
    }

    #[inline(always)]
    fn make_room(&mut self, bytes: usize) -> Result<u64, ReserveError> {
        let lines = lines_for(bytes) as u64;
        // Free lines are not enough: a tag cannot say the length of a record beyond the limit.
        if lines > RECORD_LINES_MAX as u64 || self.tail + lines - self.head > self.capacity {
            self.look_for_room(bytes, lines)?;
        }
        self.own_ahead_of(self.tail);
        Ok(lines)
    }

    /// Asks for the line so far ahead of one that is written now, if it is known to be free: one for each line of a record, so
    /// that none is missing when its turn comes. Whoever locks next waits until all stores before are done.
    #[inline(always)]
    fn own_ahead_of(&self, position: u64) {
        let ahead = position + PREFETCH_LINES;
        if ahead < self.head + self.capacity {
            self.ring.prefetch_write(ahead as usize);
        }
    }

    #[cold]
    #[inline(never)]
    fn look_for_room(&mut self, bytes: usize, lines: u64) -> Result<(), ReserveError> {
        if bytes > self.record_bytes_max() {
            return Err(ReserveError::TooLong { bytes, limit: self.record_bytes_max() });
        }
        let head = self.refresh_head()?;
        let free = self.capacity - (self.tail - head);
        if lines > free {
            let until = self.tail + lines - self.capacity;
            return Err(Full { wanted: lines, free, until }.into());
        }
        Ok(())
    }
}

/// Room in the ring that is being written.
///
/// [`put`](Self::put) and [`word`](Self::word) append; bytes beyond the reserved length are dropped, bytes never put
/// are zero.
pub struct Reservation<'p, L: Lines> {
    producer: &'p mut Producer<L>,
    head_tag: u64,
    wants_reply: bool,
    /// Lines of the record.
    lines: u64,
    /// Number of the line in the record that is written now.
    line: u64,
    /// Payload words of that line that were put, in 0..=7.
    filled: usize,
    /// The last of them, if their number is odd: words are stored in pairs.
    odd: u64,
    /// Words of the record that are still to come.
    left: usize,
    /// Bytes that do not fill a word yet, in the low bits.
    partial: u64,
    /// Number of those, in 0..8.
    partial_bytes: usize,
}

impl<'p, L: Lines> Reservation<'p, L> {
    #[inline(always)]
    fn new(producer: &'p mut Producer<L>, lines: u64, bytes: usize, slot: Option<u16>) -> Self {
        let head_tag = producer.tags.head(producer.tail, bytes, slot);
        let left = bytes.div_ceil(8);
        let (lines, line, filled, odd) = (lines, 0, 0, 0);
        Self {
            producer,
            head_tag,
            wants_reply: slot.is_some(),
            lines,
            line,
            filled,
            odd,
            left,
            partial: 0,
            partial_bytes: 0,
        }
    }

    /// Position of the record.
    pub fn position(&self) -> u64 {
        self.producer.tail
    }

    /// Appends eight bytes, given as they lie in memory on a little-endian machine.
    #[inline(always)]
    pub fn word(&mut self, word: u64) {
        if self.partial_bytes == 0 {
            self.store(word.to_le());
        } else {
            self.put(&word.to_le_bytes());
        }
    }

    /// Appends bytes.
    #[inline(always)]
    pub fn put(&mut self, mut bytes: &[u8]) {
        while self.partial_bytes != 0 && !bytes.is_empty() {
            self.put_byte(bytes[0]);
            bytes = &bytes[1..];
        }
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.store(u64::from_ne_bytes(word.try_into().unwrap_or_default()));
        }
        for &byte in words.remainder() {
            self.put_byte(byte);
        }
    }

    #[inline(always)]
    fn put_byte(&mut self, byte: u8) {
        self.partial |= u64::from(byte) << (8 * self.partial_bytes);
        self.partial_bytes += 1;
        if self.partial_bytes == 8 {
            let word = core::mem::take(&mut self.partial);
            self.partial_bytes = 0;
            self.store(word.to_le());
        }
    }

    #[inline(always)]
    fn store(&mut self, word: u64) {
        if self.left == 0 {
            return;
        }
        if self.filled == LINE_WORDS - 1 {
            self.end_line();
            self.line += 1;
            self.filled = 0;
            self.producer.own_ahead_of(self.producer.tail + self.line);
        }
        self.filled += 1;
        self.left -= 1;
        if self.filled % 2 == 1 {
            self.odd = word;
        } else {
            let pair = [self.odd, word];
            self.producer.ring.set_payload_pair(self.at(), self.filled - 1, pair);
        }
    }

    /// Line number in the ring of the line that is written now.
    #[inline(always)]
    fn at(&self) -> usize {
        (self.producer.tail + self.line) as usize
    }

    /// Stores what is left of the line that was begun last: an odd word, and its tag unless it is the head.
    #[inline(always)]
    fn end_line(&mut self) {
        let at = self.at();
        if self.filled % 2 == 1 {
            self.producer.ring.set_payload(at, self.filled, self.odd);
        }
        if self.line > 0 {
            let tag = self.producer.tags.body(self.producer.tail + self.line, self.line as usize);
            self.producer.ring.store(at, 0, tag, Ordering::Relaxed);
        }
    }

    /// Publishes the record; returns its position.
    #[inline(always)]
    pub fn commit(mut self) -> u64 {
        self.finish();
        let position = self.producer.tail;
        self.producer.ring.store(position as usize, 0, self.head_tag, order!(T1, Release));
        self.producer.tail += self.lines;
        if self.wants_reply {
            self.producer.own_next();
        }
        position
    }

    /// Zeroes what was reserved but never put, so that every line has its tag and words. Nothing is withdrawn any more.
    #[inline(always)]
    fn finish(&mut self) {
        if self.partial_bytes != 0 {
            self.put(&[0; 7][..8 - self.partial_bytes]);
        }
        while self.left > 0 {
            self.store(0);
        }
        self.end_line();
        self.line = 0;
    }
}

impl<L: Lines> Drop for Reservation<'_, L> {
    /// Costs a finished record nothing: its line number is a constant here.
    #[inline(always)]
    fn drop(&mut self) {
        if self.line > 1 {
            self.producer.withdraw(self.line);
        }
    }
}

/// Records that become visible together.
///
/// Dropping a batch publishes it, as [`commit`](Self::commit) does.
pub struct Batch<'p, L: Lines> {
    producer: &'p mut Producer<L>,
    /// Position and tag of the first record: stored last.
    first: Option<(u64, u64)>,
    records: usize,
}

impl<L: Lines> Batch<'_, L> {
    /// Takes room for one more record. On [`ReserveError::Full`], commit, wait and go on.
    #[inline(always)]
    pub fn reserve(
        &mut self,
        bytes: usize,
        reply_slot: Option<u16>,
    ) -> Result<BatchReservation<'_, L>, ReserveError> {
        let lines = self.producer.make_room(bytes)?;
        let inner = Reservation::new(self.producer, lines, bytes, reply_slot);
        Ok(BatchReservation { inner, first: &mut self.first, records: &mut self.records })
    }

    /// Adds one record. Returns its position.
    #[inline(always)]
    pub fn push(&mut self, record: &[u8]) -> Result<u64, ReserveError> {
        let mut reservation = self.reserve(record.len(), None)?;
        reservation.inner.put(record);
        Ok(reservation.add())
    }

    /// Adds one record that fills one line exactly, in the fewest instructions. Returns its position.
    #[inline(always)]
    pub fn push_line(&mut self, words: &[u64; LINE_WORDS - 1]) -> Result<u64, ReserveError> {
        self.producer.make_room(LINE_PAYLOAD_BYTES)?;
        let position = self.producer.tail;
        let tag = self.producer.write_line(words, None);
        if self.first.is_none() {
            self.first = Some((position, tag));
        } else {
            self.producer.ring.store(position as usize, 0, tag, Ordering::Relaxed);
        }
        self.records += 1;
        Ok(position)
    }

    /// Records added so far.
    pub fn len(&self) -> usize {
        self.records
    }

    /// True if nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Publishes all records; returns how many.
    pub fn commit(self) -> usize {
        self.records
    }
}

impl<L: Lines> Drop for Batch<'_, L> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some((position, tag)) = self.first.take() {
            self.producer.ring.store(position as usize, 0, tag, order!(T1, Release));
        }
    }
}

/// Room for one record of a [`Batch`].
pub struct BatchReservation<'b, L: Lines> {
    inner: Reservation<'b, L>,
    first: &'b mut Option<(u64, u64)>,
    records: &'b mut usize,
}

impl<'b, L: Lines> BatchReservation<'b, L> {
    /// The writer of the record.
    pub fn record(&mut self) -> &mut Reservation<'b, L> {
        &mut self.inner
    }

    /// Adds the record to the batch; returns its position.
    #[inline(always)]
    pub fn add(self) -> u64 {
        let Self { mut inner, first, records } = self;
        inner.finish();
        let position = inner.producer.tail;
        if first.is_none() && !swapped!(C1) {
            *first = Some((position, inner.head_tag));
        } else {
            inner.producer.ring.store(position as usize, 0, inner.head_tag, Ordering::Relaxed);
        }
        inner.producer.tail += inner.lines;
        *records += 1;
        position
    }
}

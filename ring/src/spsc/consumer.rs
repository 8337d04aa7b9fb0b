//! The consuming end.

use super::{Direction, Violation};
use crate::lines::{LINE_WORDS, Lines};
use crate::sync::{Ordering, order, spin_loop};
use crate::tag::{
    Head, LINE_PAYLOAD_BYTES, RECORD_BYTES_MAX, RECORD_LINES_MAX, Seen, TagSpace, lines_for,
};

/// Empty looks, each met by records at the very next look, after which the producer counts as streaming: from there on
/// each doubles the pause, so that the producer gets ahead instead of losing every line to us while it writes it.
const MET_LOOKS: u32 = 4;
/// Most pauses after an empty look, as a power of two.
const PAUSES_LOG2_MAX: u32 = 6;
/// Lines that are fetched ahead of the one being read, once they are known to be written: their misses overlap, where the
/// processor by itself sees only a few records ahead. Unwritten lines are left to the producer.
const FETCH_LINES: u64 = 64;
/// Lines after which is looked again how many are written.
const LOOK_LINES: u64 = 32;
/// Empty looks in a row after which lines are released. A synchronous caller's next command comes within a few; a store to
/// the head after each would make it wait until that line is fetched back from the producer's processor.
pub(crate) const QUIET_LOOKS: u32 = 16;

/// A record, copied out of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'c> {
    /// Position of its head line.
    pub position: u64,
    /// Position after its last line.
    pub end: u64,
    /// Where the producer waits for a reply, if it does; below the channel's number of slots.
    pub reply_slot: Option<u16>,
    /// Whether the next record was seen behind it. Only looked for by a worker, behind a record that wants no reply.
    pub followed: bool,
    /// Its payload: a private copy, but of bytes that an untrusted peer chose.
    pub bytes: &'c [u8],
}

/// The private copy of a record, on lines of its own.
#[repr(align(128))]
struct Copied([u64; RECORD_BYTES_MAX / 8]);

/// The consuming end of a ring.
///
/// Aligned so that its private state shares no line (nor pair of lines) with that of a producer next to it.
#[repr(align(128))]
pub struct Consumer<L: Lines> {
    ring: L,
    header: L,
    head_line: usize,
    tags: TagSpace,
    capacity: u64,
    reply_slots: usize,
    /// Position of the next record's head.
    position: u64,
    /// Released position last published; `position - capacity <= released <= position`.
    released: u64,
    /// Position at which lines are released at the latest.
    release_at: u64,
    /// Position up to which lines seemed written when that was looked at last.
    written: u64,
    /// Position at which that is looked at again.
    look_at: u64,
    /// Position at the last empty look.
    run_start: u64,
    /// Empty looks in a row at that position, less one.
    empty_looks: u32,
    /// Empty looks lately that were met by records at the next look, in `0..=MET_LOOKS + PAUSES_LOG2_MAX`.
    met_looks: u32,
    /// Position after the last record that wants a reply.
    called: u64,
    copy: Box<Copied>,
}

impl<L: Lines> Consumer<L> {
    /// Starts at position 0 of a ring that the host has zeroed for `generation`.
    ///
    /// `reply_slots` is the number of slots that a record may name; 0 for a ring whose records want no replies.
    pub fn new(
        ring: L,
        header: L,
        direction: Direction,
        generation: u32,
        reply_slots: usize,
    ) -> Self {
        let capacity = ring.count() as u64;
        Self {
            tags: TagSpace::new(generation, capacity.trailing_zeros()),
            head_line: direction.head_line(),
            ring,
            header,
            capacity,
            reply_slots,
            position: 0,
            released: 0,
            release_at: (capacity / 8).max(1),
            written: 0,
            look_at: 0,
            run_start: 0,
            empty_looks: 0,
            met_looks: 0,
            called: 0,
            copy: Box::new(Copied([0; RECORD_BYTES_MAX / 8])),
        }
    }

    /// Position of the next record.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// True if a record, or a violation, is there to be popped. If it is not there now, it may be at once; if it is,
    /// nobody else can take it.
    #[inline(always)]
    pub fn is_ready(&self) -> bool {
        let tag = self.ring.load(self.position as usize, 0, order!(T2, Acquire));
        self.tags.judge(self.position, tag) != Seen::Nothing
    }

    /// Takes the next record, if one is published.
    ///
    /// Every payload word is loaded exactly once. After an `Err` the ring must not be read again.
    #[inline(always)]
    pub fn pop(&mut self) -> Result<Option<Record<'_>>, Violation> {
        match self.take()? {
            Some(taken) => Ok(Some(self.record(taken, false))),
            None => Ok(None),
        }
    }

    /// The same, for a caller who is about to do something that takes longer than a cache miss: the next record, if there is
    /// one, comes nearer meanwhile.
    #[inline(always)]
    pub fn pop_looking_ahead(&mut self) -> Result<Option<Record<'_>>, Violation> {
        let Some(taken) = self.take()? else { return Ok(None) };
        // The processor does not wait for the answer. A caller who waits owns the next line already, and writes it next.
        let followed = taken.1.reply_slot.is_none() && self.is_ready();
        if followed {
            self.ring.prefetch_read(self.position as usize + 1);
        }
        Ok(Some(self.record(taken, followed)))
    }

    #[inline(always)]
    fn record(&self, (position, head): (u64, Head), followed: bool) -> Record<'_> {
        let bytes = &bytemuck::cast_slice::<u64, u8>(&self.copy.0[..])[..head.bytes];
        let (end, reply_slot) = (self.position, head.reply_slot);
        Record { position, end, reply_slot, followed, bytes }
    }

    /// Copies the next record out of the ring, if one is published.
    #[inline(always)]
    fn take(&mut self) -> Result<Option<(u64, Head)>, Violation> {
        let position = self.position;
        let tag = self.ring.load(position as usize, 0, order!(T2, Acquire));
        let head = match self.tags.judge(position, tag) {
            Seen::Head(head) => head,
            Seen::Nothing => return Ok(None),
            Seen::Foreign => return Err(self.foreign(tag)),
        };
        self.check_slot(head)?;
        fetch_ahead_of(&self.ring, position, self.written);
        // One line is most of the traffic, and must be a path of its own: there the next position depends on a predicted
        // branch, so that the processor looks at the next lines while this one is still on its way. Computed from the
        // length, it would depend on the loaded tag, and each record would cost a whole cache miss.
        if head.bytes == LINE_PAYLOAD_BYTES {
            copy_words(&self.ring, position as usize, &mut self.copy.0[..LINE_WORDS - 1]);
            self.position = position + 1;
        } else if head.bytes < LINE_PAYLOAD_BYTES {
            self.copy_line(position, head.bytes);
            self.position = position + 1;
        } else {
            self.position = position + self.copy_record(position, head.bytes)?;
        }
        if head.reply_slot.is_some() {
            self.called = self.position;
        }
        if self.position >= self.look_at {
            self.look_ahead();
        }
        if self.position >= self.release_at {
            self.release();
        }
        Ok(Some((position, head)))
    }

    /// Looks whether what is fetched ahead until the next look is written. What is seen there is only a hint: each record is
    /// judged by its own tag.
    #[cold]
    #[inline(never)]
    fn look_ahead(&mut self) {
        self.look_at = self.position + LOOK_LINES;
        let last = self.look_at + FETCH_LINES - 1;
        if 4 * FETCH_LINES <= self.capacity {
            let tag = self.ring.load(last as usize, 0, Ordering::Relaxed);
            if self.tags.is_written(last, tag) {
                self.written = last + 1;
            }
        }
    }

    /// Publishes that every line popped so far may be written again.
    #[inline(always)]
    pub fn release(&mut self) {
        if self.released != self.position {
            self.header.store(self.head_line, 0, self.position, order!(H1, Release));
            self.released = self.position;
            self.release_at = self.position + (self.capacity / 8).max(1);
        }
    }

    /// To be called after each empty [`pop`](Self::pop): releases lines after a few of them in a row, then pauses: once, or
    /// for longer the more often the last pauses were met by records that want no reply.
    #[inline(always)]
    pub fn idle(&mut self) {
        if self.position != self.run_start {
            self.empty_looks = 0;
            self.run_start = self.position;
            let met = if self.called == self.position { 0 } else { self.met_looks + 1 };
            self.met_looks = met.min(MET_LOOKS + PAUSES_LOG2_MAX);
        } else {
            self.met_looks /= 2;
            if self.empty_looks < QUIET_LOOKS {
                self.empty_looks += 1;
            } else {
                self.release();
            }
        }
        let pauses = 1 << self.met_looks.saturating_sub(MET_LOOKS);
        for _ in 0..pauses.min((self.capacity / 16).max(1)) {
            spin_loop();
        }
    }

    #[inline(always)]
    fn check_slot(&self, head: Head) -> Result<(), Violation> {
        match head.reply_slot {
            Some(slot) if usize::from(slot) >= self.reply_slots => Err(self.no_slot(slot)),
            _ => Ok(()),
        }
    }

    #[cold]
    fn no_slot(&self, slot: u16) -> Violation {
        Violation::ReplySlot { position: self.position, slot, slots: self.reply_slots }
    }

    #[inline(always)]
    fn copy_line(&mut self, position: u64, bytes: usize) {
        let words = bytes.div_ceil(8).min(LINE_WORDS - 1);
        copy_words(&self.ring, position as usize, &mut self.copy.0[..words]);
    }

    /// Copies a record of several lines; returns how many.
    #[inline(never)]
    fn copy_record(&mut self, position: u64, bytes: usize) -> Result<u64, Violation> {
        let lines = lines_for(bytes);
        let lines_max = RECORD_LINES_MAX.min(self.capacity as usize);
        if lines > lines_max {
            let limit = lines_max * LINE_PAYLOAD_BYTES;
            return Err(Violation::TooLong { position, bytes, limit });
        }
        let words = &mut self.copy.0[..bytes.div_ceil(8)];
        for (number, words) in words.chunks_mut(LINE_WORDS - 1).enumerate() {
            let at = position + number as u64;
            if number > 0 {
                fetch_ahead_of(&self.ring, at, self.written);
                let expected = self.tags.body(at, number);
                let found = self.ring.load(at as usize, 0, Ordering::Relaxed);
                if found != expected {
                    return Err(Violation::BodyTag { position, number, found, expected });
                }
            }
            copy_words(&self.ring, at as usize, words);
        }
        Ok(lines as u64)
    }

    #[cold]
    fn foreign(&self, found: u64) -> Violation {
        let lap = self.position / self.capacity;
        Violation::ForeignTag { position: self.position, lap, found }
    }
}

/// Asks for the line that lies so far ahead of one that is read now, if it is written.
#[inline(always)]
fn fetch_ahead_of<L: Lines>(ring: &L, position: u64, written: u64) {
    if position + FETCH_LINES < written {
        ring.prefetch_read((position + FETCH_LINES) as usize);
    }
}

/// Copies the first payload words of one line, each once.
#[inline(always)]
fn copy_words<L: Lines>(ring: &L, line: usize, into: &mut [u64]) {
    let mut word = 1;
    let mut pairs = into.chunks_exact_mut(2);
    for pair in &mut pairs {
        pair.copy_from_slice(&ring.payload_pair(line, word));
        word += 2;
    }
    if let [last] = pairs.into_remainder() {
        *last = ring.payload(line, word);
    }
}

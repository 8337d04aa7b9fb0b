//! The consuming end.

use super::{Direction, Violation};
use crate::lines::{LINE_WORDS, Lines};
use crate::sync::{Ordering, order, spin_loop};
use crate::tag::{
    Head, LINE_PAYLOAD_BYTES, RECORD_BYTES_MAX, RECORD_LINES_MAX, Seen, TagSpace, lines_for,
};

/// A run of this many records without an empty look counts as streaming.
const STREAMING_RUN: u32 = 64;

/// A record, copied out of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'c> {
    /// Position of its head line.
    pub position: u64,
    /// Position after its last line.
    pub end: u64,
    /// Where the producer waits for a reply, if it does; below the channel's number of slots.
    pub reply_slot: Option<u16>,
    /// Its payload: a private copy, but of bytes that an untrusted peer chose.
    pub bytes: &'c [u8],
}

/// The consuming end of a ring.
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
    /// Records popped since the ring was last seen empty.
    run: u32,
    copy: Box<[u64; RECORD_BYTES_MAX / 8]>,
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
            run: 0,
            copy: Box::new([0; RECORD_BYTES_MAX / 8]),
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
        let position = self.position;
        let tag = self.ring.load(position as usize, 0, order!(T2, Acquire));
        let head = match self.tags.judge(position, tag) {
            Seen::Head(head) => head,
            Seen::Nothing => return Ok(None),
            Seen::Foreign => return Err(self.foreign(tag)),
        };
        let lines = self.check(head)?;
        if head.bytes == LINE_PAYLOAD_BYTES {
            self.copy_line(position, 0, LINE_WORDS - 1);
        } else {
            self.copy_record(position, lines, head.bytes)?;
        }
        self.position += lines;
        self.run = self.run.saturating_add(1);
        if self.position - self.released >= self.release_after() {
            self.release();
        }
        let bytes = &bytemuck::cast_slice::<u64, u8>(&self.copy[..])[..head.bytes];
        Ok(Some(Record { position, end: self.position, reply_slot: head.reply_slot, bytes }))
    }

    /// Publishes that every line popped so far may be written again.
    #[inline(always)]
    pub fn release(&mut self) {
        if self.released != self.position {
            self.header.store(self.head_line, 0, self.position, order!(H1, Release));
            self.released = self.position;
        }
    }

    /// To be called after an empty [`pop`](Self::pop): releases lines and pauses, one step after a short run, more
    /// after a long one, so that a streaming producer gets some lines ahead instead of sharing each with us.
    #[inline(always)]
    pub fn idle(&mut self) {
        self.release();
        let pauses = if self.run >= STREAMING_RUN { (self.capacity / 32).clamp(1, 64) } else { 1 };
        self.run = 0;
        for _ in 0..pauses {
            spin_loop();
        }
    }

    fn release_after(&self) -> u64 {
        (self.capacity / 8).max(1)
    }

    #[inline(always)]
    fn check(&self, head: Head) -> Result<u64, Violation> {
        let lines = lines_for(head.bytes);
        let position = self.position;
        let lines_max = RECORD_LINES_MAX.min(self.capacity as usize);
        if lines > lines_max {
            let limit = lines_max * LINE_PAYLOAD_BYTES;
            return Err(Violation::TooLong { position, bytes: head.bytes, limit });
        }
        if let Some(slot) = head.reply_slot
            && usize::from(slot) >= self.reply_slots
        {
            return Err(Violation::ReplySlot { position, slot, slots: self.reply_slots });
        }
        Ok(lines as u64)
    }

    #[inline(always)]
    fn copy_line(&mut self, position: u64, to: usize, words: usize) {
        let into = &mut self.copy[to..to + words];
        for (word, into) in into.iter_mut().enumerate() {
            *into = self.ring.payload(position as usize, word + 1);
        }
    }

    fn copy_record(&mut self, position: u64, lines: u64, bytes: usize) -> Result<(), Violation> {
        let mut left = bytes.div_ceil(8);
        for number in 0..lines {
            if number > 0 {
                self.check_body(position, number)?;
            }
            let words = left.min(LINE_WORDS - 1);
            self.copy_line(position + number, number as usize * (LINE_WORDS - 1), words);
            left -= words;
        }
        Ok(())
    }

    #[inline(always)]
    fn check_body(&self, position: u64, number: u64) -> Result<(), Violation> {
        let at = position + number;
        let expected = self.tags.body(at, number as usize);
        let found = self.ring.load(at as usize, 0, Ordering::Relaxed);
        if found != expected {
            let number = number as usize;
            return Err(Violation::BodyTag { position, number, found, expected });
        }
        Ok(())
    }

    #[cold]
    fn foreign(&self, found: u64) -> Violation {
        let lap = self.position / self.capacity;
        Violation::ForeignTag { position: self.position, lap, found }
    }
}

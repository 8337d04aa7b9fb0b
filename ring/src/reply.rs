//! Reply slots: one line each, written by the worker, polled by the caller that leased it (PROTOCOL.md, section 5).

use crate::lines::{LINE_WORDS, Lines};
use crate::spsc::Violation;
use crate::sync::{order, swapped};
use crate::tag::{self, REPLY_BYTES_MAX};

/// Bytes of a reply, at most 56.
pub type ReplyBytes = [u8; REPLY_BYTES_MAX];

/// What a command that wants a reply is answered by: its slot and position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Slot that the caller polls; checked by the consumer.
    pub slot: u16,
    /// Position of the command.
    pub position: u64,
}

/// Writes the reply to `ticket` and publishes it. Bytes beyond the 56th are not written; the rest of the line is zeroed.
#[inline(always)]
pub fn write<L: Lines>(replies: &L, generation: u32, ticket: Ticket, bytes: &[u8]) {
    let len = bytes.len().min(REPLY_BYTES_MAX);
    let slot = usize::from(ticket.slot);
    let tag = tag::reply(generation, ticket.position, len);
    if swapped!(C2) {
        replies.store(slot, 0, tag, order!(R1, Release));
    }
    let mut padded = [0_u8; REPLY_BYTES_MAX];
    padded[..len].copy_from_slice(&bytes[..len]);
    for (index, word) in padded.chunks_exact(8).enumerate() {
        let word = u64::from_ne_bytes(word.try_into().unwrap_or_default());
        replies.set_payload(slot, index + 1, word);
    }
    replies.store(slot, 0, tag, order!(R1, Release));
}

/// A caller's own view of one slot.
#[derive(Debug)]
pub struct Slot {
    number: u16,
    generation: u32,
    /// The tag that stood there when the last reply was taken.
    seen: u64,
}

impl Slot {
    /// Slot `number` of a channel in `generation`, zeroed by the host.
    pub fn new(number: u16, generation: u32) -> Self {
        Self { number, generation, seen: 0 }
    }

    /// Number of the slot.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Takes the reply to the command at `position` if it is there: its length, and the bytes in `into`.
    ///
    /// A reply that answers anything else is a violation.
    #[inline(always)]
    pub fn take<L: Lines>(
        &mut self,
        replies: &L,
        position: u64,
        into: &mut ReplyBytes,
    ) -> Result<Option<usize>, Violation> {
        let slot = usize::from(self.number);
        let found = replies.load(slot, 0, order!(R2, Acquire));
        if found == self.seen {
            return Ok(None);
        }
        let Some(len) = tag::judge_reply(self.generation, position, found) else {
            return Err(Violation::Reply { slot: self.number, position, found });
        };
        self.seen = found;
        for (index, into) in into.chunks_exact_mut(8).enumerate().take(len.div_ceil(8)) {
            into.copy_from_slice(&replies.payload(slot, index + 1).to_ne_bytes());
        }
        debug_assert!(len <= (LINE_WORDS - 1) * 8);
        Ok(Some(len))
    }
}

#[cfg(all(test, not(ringbar_loom)))]
mod tests {
    use super::*;
    use crate::sync::Ordering;
    use crate::testing::heap_lines;

    const TICKET: Ticket = Ticket { slot: 2, position: 40 };

    #[test]
    fn a_reply_is_taken_once_with_its_bytes() {
        let lines = heap_lines(4);
        let mut slot = Slot::new(2, 9);
        let mut bytes = [0xff; REPLY_BYTES_MAX];
        assert_eq!(slot.take(&lines, 40, &mut bytes), Ok(None));
        write(&lines, 9, TICKET, &[1, 2, 3]);
        assert_eq!(slot.take(&lines, 40, &mut bytes), Ok(Some(3)));
        assert_eq!(bytes[..8], [1, 2, 3, 0, 0, 0, 0, 0]);
        assert_eq!(slot.take(&lines, 41, &mut bytes), Ok(None));
    }

    #[test]
    fn padding_of_a_shorter_reply_is_zero() {
        let lines = heap_lines(4);
        write(&lines, 9, TICKET, &[0xee; REPLY_BYTES_MAX]);
        write(&lines, 9, TICKET, &[1]);
        for word in 2..LINE_WORDS {
            assert_eq!(lines.payload(2, word), 0);
        }
    }

    #[test]
    fn a_reply_for_anything_else_is_a_violation() {
        let mut bytes = [0; REPLY_BYTES_MAX];
        for (generation, position) in [(9, 41), (9, 39), (8, 40)] {
            let lines = heap_lines(4);
            write(&lines, generation, Ticket { slot: 2, position }, &[]);
            let mut slot = Slot::new(2, 9);
            let error = slot.take(&lines, 40, &mut bytes).expect_err("a foreign reply");
            assert!(matches!(error, Violation::Reply { slot: 2, position: 40, .. }));
        }
    }

    #[test]
    fn a_second_reply_to_the_same_command_is_a_violation_for_the_next_caller() {
        let lines = heap_lines(4);
        let mut slot = Slot::new(2, 9);
        let mut bytes = [0; REPLY_BYTES_MAX];
        write(&lines, 9, TICKET, &[1]);
        slot.take(&lines, 40, &mut bytes).expect("honest").expect("there");
        write(&lines, 9, TICKET, &[1, 2]);
        slot.take(&lines, 44, &mut bytes).expect_err("given twice");
        assert_ne!(lines.load(2, 0, Ordering::Relaxed), 0);
    }
}

//! Tag words: what tells the lines of one lap, generation and record from all others.

/// Payload bytes in a line: all but the tag.
pub const LINE_PAYLOAD_BYTES: usize = 56;
/// Most lines in a record.
pub const RECORD_LINES_MAX: usize = 128;
/// Most payload bytes in a record.
pub const RECORD_BYTES_MAX: usize = RECORD_LINES_MAX * LINE_PAYLOAD_BYTES;
/// Most payload bytes in a reply.
pub const REPLY_BYTES_MAX: usize = 56;

const LEN_MASK: u64 = 0x1fff;
const KIND_SHIFT: u32 = 13;
const KIND_HEAD: u64 = 1;
const KIND_BODY: u64 = 2;
const CALL_BIT: u64 = 1 << 15;
const GENERATION_SHIFT: u32 = 16;
const AUX_SHIFT: u32 = 32;
const AUX_MASK: u64 = 0xffff << AUX_SHIFT;
const LAP_SHIFT: u32 = 48;

/// Lines that a record of `bytes` payload bytes takes; an empty record takes one.
#[inline(always)]
pub const fn lines_for(bytes: usize) -> usize {
    if bytes == 0 { 1 } else { bytes.div_ceil(LINE_PAYLOAD_BYTES) }
}

/// Builds and judges the tags of one ring in one generation.
#[derive(Clone, Copy, Debug)]
pub struct TagSpace {
    generation: u64,
    capacity_shift: u32,
}

/// What a head tag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Payload bytes of the record, 0 to 8,191: not yet checked against the limits.
    pub bytes: usize,
    /// The reply slot that the producer waits on, if any: not yet checked against the number of slots.
    pub reply_slot: Option<u16>,
}

/// How a consumer sees a tag at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The head of the record that belongs here.
    Head(Head),
    /// What an honest producer leaves here until it publishes.
    Nothing,
    /// What no honest producer writes here.
    Foreign,
}

impl TagSpace {
    /// Tags for a ring of `2^capacity_shift` lines in `generation`.
    pub const fn new(generation: u32, capacity_shift: u32) -> Self {
        Self { generation: (generation as u64 & 0xffff) << GENERATION_SHIFT, capacity_shift }
    }

    #[inline(always)]
    const fn lap(&self, position: u64) -> u64 {
        (position >> self.capacity_shift) << LAP_SHIFT
    }

    /// Tag of the head line of a record at `position`.
    #[inline(always)]
    pub const fn head(&self, position: u64, bytes: usize, reply_slot: Option<u16>) -> u64 {
        let call = match reply_slot {
            Some(slot) => CALL_BIT | (slot as u64) << AUX_SHIFT,
            None => 0,
        };
        self.lap(position) | call | self.generation | KIND_HEAD << KIND_SHIFT | bytes as u64
    }

    /// Tag of line `number` (1..) of a record, at that line's own `position`.
    #[inline(always)]
    pub const fn body(&self, position: u64, number: usize) -> u64 {
        self.lap(position)
            | (number as u64) << AUX_SHIFT
            | self.generation
            | KIND_BODY << KIND_SHIFT
    }

    /// A tag that an honest producer may leave at `position` until it writes there in this lap.
    pub const fn unpublished(&self, position: u64) -> u64 {
        match position >> self.capacity_shift {
            0 => 0,
            _ => self.body(position - (1 << self.capacity_shift), 1),
        }
    }

    /// Judges `tag`, found where the next record's head belongs.
    #[inline(always)]
    pub const fn judge(&self, position: u64, tag: u64) -> Seen {
        let variable = LEN_MASK | CALL_BIT | AUX_MASK;
        if (tag ^ self.head(position, 0, None)) & !variable != 0 {
            return self.judge_unpublished(position, tag);
        }
        let aux = (tag & AUX_MASK) >> AUX_SHIFT;
        let reply_slot = match (tag & CALL_BIT != 0, aux) {
            (true, slot) => Some(slot as u16),
            (false, 0) => None,
            (false, _) => return Seen::Foreign,
        };
        Seen::Head(Head { bytes: (tag & LEN_MASK) as usize, reply_slot })
    }

    /// Whether an honest producer has written the line at `position` in this lap: a head or a body.
    #[inline(always)]
    pub const fn is_written(&self, position: u64, tag: u64) -> bool {
        let fixed = (0xffff << LAP_SHIFT) | (0xffff << GENERATION_SHIFT);
        let kind = tag >> KIND_SHIFT & 3;
        (tag ^ self.body(position, 0)) & fixed == 0 && (kind == KIND_HEAD || kind == KIND_BODY)
    }

    /// Zero in the first lap, afterwards a head or body of the lap before, in this generation.
    #[inline(always)]
    const fn judge_unpublished(&self, position: u64, tag: u64) -> Seen {
        if position >> self.capacity_shift == 0 {
            return if tag == 0 { Seen::Nothing } else { Seen::Foreign };
        }
        let before = position - (1 << self.capacity_shift);
        if self.is_written(before, tag) { Seen::Nothing } else { Seen::Foreign }
    }
}

const REPLY_KIND: u64 = 3 << 6;
const REPLY_LEN_MASK: u64 = 0x3f;
const REPLY_GENERATION_SHIFT: u32 = 8;
const REPLY_POSITION_SHIFT: u32 = 24;

/// Tag of the reply of `bytes` bytes to the command at `position`.
#[inline(always)]
pub const fn reply(generation: u32, position: u64, bytes: usize) -> u64 {
    (position.wrapping_add(1)) << REPLY_POSITION_SHIFT
        | (generation as u64 & 0xffff) << REPLY_GENERATION_SHIFT
        | REPLY_KIND
        | bytes as u64
}

/// Payload bytes of the reply that `tag` announces, if it answers the command at `position`.
#[inline(always)]
pub const fn judge_reply(generation: u32, position: u64, tag: u64) -> Option<usize> {
    let bytes = (tag & REPLY_LEN_MASK) as usize;
    if bytes <= REPLY_BYTES_MAX && tag == reply(generation, position, bytes) {
        Some(bytes)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: TagSpace = TagSpace::new(7, 3);

    #[test]
    fn a_head_says_its_length_and_reply_slot() {
        let head = Head { bytes: 4096, reply_slot: Some(3) };
        assert_eq!(TAGS.judge(17, TAGS.head(17, 4096, Some(3))), Seen::Head(head));
        let head = Head { bytes: 0, reply_slot: None };
        assert_eq!(TAGS.judge(0, TAGS.head(0, 0, None)), Seen::Head(head));
    }

    #[test]
    fn only_zero_is_unpublished_in_the_first_lap() {
        assert_eq!(TAGS.judge(3, 0), Seen::Nothing);
        assert_eq!(TAGS.judge(3, TAGS.head(11, 8, None)), Seen::Foreign);
        assert_eq!(TAGS.judge(3, 1), Seen::Foreign);
    }

    #[test]
    fn a_line_is_written_if_its_tag_is_of_this_lap_and_generation() {
        let other = TagSpace::new(8, 3);
        for written in [TAGS.head(17, 56, Some(1)), TAGS.body(17, 4)] {
            assert!(TAGS.is_written(17, written));
        }
        for not_yet in [0, TAGS.head(9, 56, None), TAGS.body(25, 4), other.head(17, 56, None)] {
            assert!(!TAGS.is_written(17, not_yet), "{not_yet:x}");
        }
        assert!(!TagSpace::new(1 << 16, 3).is_written(0, 0), "never written, generation bits zero");
    }

    #[test]
    fn only_the_lap_before_is_unpublished_later() {
        for stale in [TAGS.head(9, 56, None), TAGS.head(9, 5, Some(60)), TAGS.body(9, 4)] {
            assert_eq!(TAGS.judge(17, stale), Seen::Nothing);
        }
        for foreign in [0, TAGS.head(1, 56, None), TAGS.head(25, 56, None), TAGS.body(17, 1)] {
            assert_eq!(TAGS.judge(17, foreign), Seen::Foreign);
        }
    }

    #[test]
    fn what_is_withdrawn_is_unpublished_in_every_lap() {
        for position in (0..40).chain((0xffff << 3)..(0x1_0002 << 3)) {
            assert_eq!(TAGS.judge(position, TAGS.unpublished(position)), Seen::Nothing);
            assert!(!TAGS.is_written(position, TAGS.unpublished(position)));
        }
    }

    #[test]
    fn another_generation_is_foreign() {
        let older = TagSpace::new(6, 3);
        assert_eq!(TAGS.judge(17, older.head(17, 8, None)), Seen::Foreign);
        assert_eq!(TAGS.judge(17, older.head(9, 8, None)), Seen::Foreign);
    }

    #[test]
    fn a_slot_without_the_call_bit_is_reserved() {
        let tag = TAGS.head(17, 8, None) | 5 << AUX_SHIFT;
        assert_eq!(TAGS.judge(17, tag), Seen::Foreign);
    }

    #[test]
    fn the_lap_field_wraps_without_confusion() {
        let last = (0xffff_u64 << 3) + 1;
        let next = last + 8;
        assert_eq!(TAGS.judge(next, TAGS.head(last, 8, None)), Seen::Nothing);
        assert!(matches!(TAGS.judge(next, TAGS.head(next, 8, None)), Seen::Head(_)));
    }

    #[test]
    fn a_reply_answers_one_command_only() {
        let tag = reply(7, 99, 16);
        assert_eq!(judge_reply(7, 99, tag), Some(16));
        for wrong in [judge_reply(7, 98, tag), judge_reply(8, 99, tag), judge_reply(7, 99, 0)] {
            assert_eq!(wrong, None);
        }
        assert_eq!(judge_reply(7, 99, reply(7, 99, 0) | 57), None);
    }
}

//! The single-producer, single-consumer ring of tagged lines (PROTOCOL.md, section 4).
//!
//! One code serves both directions: commands from client to worker, events from worker to client.
//!
//! A [`Producer`] trusts its consumer with nothing but the positions it may free, and a [`Consumer`] trusts its
//! producer with nothing at all: lengths are bounded, every payload word is loaded once into private memory, and what
//! an honest peer cannot have written is a [`Violation`]. Neither blocks; waiting is the business of `hub` and `worker`.

mod consumer;
mod producer;
#[cfg(all(test, not(ringbar_loom)))]
mod tests;

#[cfg(not(ringbar_loom))]
pub(crate) use consumer::QUIET_LOOKS;
pub use consumer::{Consumer, Record};
pub use producer::{Batch, Full, Producer, Reservation, ReserveError};

use thiserror::Error;

/// Which of a channel's two rings: it decides the header line in which the consumer releases lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Client to worker.
    Commands,
    /// Worker to client.
    Events,
}

impl Direction {
    /// Header line whose word 0 is the released position.
    pub(crate) const fn head_line(self) -> usize {
        match self {
            Self::Commands => crate::layout::line::COMMAND_HEAD,
            Self::Events => crate::layout::line::EVENT_HEAD,
        }
    }
}

/// What a peer wrote that no honest peer writes. Ends the channel.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// A tag that is neither the expected head nor what stood there a lap ago.
    #[error(
        "line {position} carries tag {found:#018x}, expected the head of lap {lap} or the lap before; \
         likely cause: the producer jumped, went back, or is not a ringbar producer"
    )]
    ForeignTag {
        /// Position of the line.
        position: u64,
        /// Lap that belongs there.
        lap: u64,
        /// The tag found.
        found: u64,
    },
    /// A body line without its tag.
    #[error(
        "line {number} of the record at {position} carries tag {found:#018x}, expected {expected:#018x}; \
         likely cause: the record was published before it was written"
    )]
    BodyTag {
        /// Position of the record's head.
        position: u64,
        /// Number of the line in the record.
        number: usize,
        /// The tag found.
        found: u64,
        /// The tag that belongs there.
        expected: u64,
    },
    /// A record longer than the ring or the limit allows.
    #[error("the record at {position} announces {bytes} bytes, at most {limit} fit this ring")]
    TooLong {
        /// Position of the record's head.
        position: u64,
        /// Bytes announced.
        bytes: usize,
        /// Most bytes a record of this ring may have.
        limit: usize,
    },
    /// A reply slot that does not exist.
    #[error("the command at {position} wants its reply in slot {slot}, the channel has {slots}")]
    ReplySlot {
        /// Position of the command.
        position: u64,
        /// Slot asked for.
        slot: u16,
        /// Slots there are.
        slots: usize,
    },
    /// A consumer released what was not its to release.
    #[error(
        "the peer released lines up to {found}, expected {least} to {most}; \
         likely cause: its position jumped beyond what was submitted, or went back"
    )]
    Position {
        /// Position found.
        found: u64,
        /// Smallest honest position.
        least: u64,
        /// Largest honest position.
        most: u64,
    },
    /// A reply that does not answer what was asked in its slot.
    #[error(
        "reply slot {slot} carries tag {found:#018x}, which does not answer the command at {position}; \
         likely cause: a reply given twice, out of order, or for another generation"
    )]
    Reply {
        /// The slot.
        slot: u16,
        /// Position of the command that waits there.
        position: u64,
        /// The tag found.
        found: u64,
    },
    /// A fence, arena or other range that lies outside what the channel has.
    #[error("{what} {start:#x} of {len:#x} bytes lies outside the channel's {limit:#x}")]
    Range {
        /// What was addressed.
        what: &'static str,
        /// Where it starts.
        start: u64,
        /// Its length.
        len: u64,
        /// What there is.
        limit: u64,
    },
    /// The vocabulary above the ring could not make sense of a record.
    #[error("the command at {position} cannot be decoded: {what}")]
    Command {
        /// Position of the command.
        position: u64,
        /// What the decoder said.
        what: String,
    },
}

impl Violation {
    /// The code of this violation in a status line's error word (low half; never 0).
    pub fn code(&self) -> u32 {
        match self {
            Self::ForeignTag { .. } => 1,
            Self::BodyTag { .. } => 2,
            Self::TooLong { .. } => 3,
            Self::ReplySlot { .. } => 4,
            Self::Position { .. } => 5,
            Self::Reply { .. } => 6,
            Self::Range { .. } => 7,
            Self::Command { .. } => 8,
        }
    }

    /// Name of the violation with this code.
    pub fn name_of(code: u32) -> &'static str {
        match code {
            1 => "foreign tag",
            2 => "body tag",
            3 => "record too long",
            4 => "reply slot",
            5 => "position",
            6 => "reply",
            7 => "range",
            8 => "command",
            _ => "unknown violation",
        }
    }
}

//! What all commands have in common.

use crate::wire::{DecodeError, Sink};
use crate::{Reply, ReplyBody, Row, Status};

/// A command that can be put on the wire.
pub trait Command: Copy {
    /// The command's row.
    const ROW: &'static Row;
    /// Bytes of the fixed part, header not included.
    const FIXED_BYTES: usize;

    /// Bytes that [`Command::encode`] will write: a multiple of 8. Above
    /// [`crate::INLINE_MAX_BYTES`] the tail must go to the arena.
    fn encoded_len(&self) -> usize;

    /// Writes the command as whole words; allocates nothing and cannot fail.
    fn encode<S: Sink>(&self, sink: &mut S);
}

/// A command without a reply.
pub trait PostCommand: Command {}

/// A command whose caller waits for a reply.
pub trait SyncCommand: Command {
    /// The reply's fields.
    type Reply: ReplyBody;
}

/// A command that can be read from the wire.
pub trait Decode<'a>: Sized {
    /// Reads exactly one command; allocates nothing and never panics.
    ///
    /// # Errors
    /// If the bytes are not exactly one well-formed command of this row.
    fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError>;
}

/// What a dispatched command came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// A posted command was taken; an error is to be latched with its number.
    Posted(Result<(), Status>),
    /// A synchronous command was answered.
    Replied(Reply),
}

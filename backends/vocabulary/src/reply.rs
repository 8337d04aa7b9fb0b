//! Replies: a status word, then at most 48 bytes of fields.

use crate::wire::{DecodeError, REPLY_BODY_MAX_BYTES, REPLY_MAX_BYTES, Sink};
use crate::{Row, Status};

/// The fields of a synchronous command's reply.
pub trait ReplyBody: Copy {
    /// Bytes of the fields on the wire, a multiple of 8, at most 48.
    const BYTES: usize;
    /// The command it answers.
    const ROW: &'static Row;
    /// Appends the fields as whole words.
    fn encode<S: Sink>(&self, sink: &mut S);
    /// Reads the fields of a whole reply.
    ///
    /// # Errors
    /// The outer error: the bytes are no reply to this command. The inner: the call's own status.
    fn decode(reply: &[u8]) -> Result<Result<Self, Status>, DecodeError>;
}

/// An encoded reply, ready for a reply slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    words: [u64; REPLY_MAX_BYTES / 8],
    used: usize,
}

impl Reply {
    /// The reply for a handler's result. A failure carries zeros in place of the fields.
    #[inline]
    pub fn new<R: ReplyBody>(result: Result<R, Status>) -> Self {
        const { assert!(R::BYTES <= REPLY_BODY_MAX_BYTES, "a reply is at most 56 bytes") };
        let mut reply = Self { words: [0; REPLY_MAX_BYTES / 8], used: 0 };
        reply.word(u64::from(Status::of(&result).0));
        if let Ok(body) = result {
            body.encode(&mut reply);
        }
        reply.used = 1 + R::BYTES / 8;
        reply
    }

    /// The reply's words: logical values whose little-endian bytes go on the wire.
    #[inline]
    pub fn words(&self) -> &[u64] {
        &self.words[..self.used]
    }

    /// The reply's bytes (the whole slot, zeros behind the reply) and how many of them count.
    #[inline]
    pub fn to_bytes(&self) -> ([u8; REPLY_MAX_BYTES], usize) {
        let mut bytes = [0; REPLY_MAX_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(self.words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        (bytes, self.used * 8)
    }

    /// The status that the reply carries.
    #[inline]
    pub fn status(&self) -> Status {
        Status(self.words[0] as u32)
    }
}

impl Sink for Reply {
    #[inline]
    fn word(&mut self, word: u64) {
        if let Some(place) = self.words.get_mut(self.used) {
            *place = word;
            self.used += 1;
        }
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks_exact(8) {
            self.word(chunk.iter().rev().fold(0, |word, &byte| (word << 8) | u64::from(byte)));
        }
    }
}

/// Splits a reply to `row` into status and fields, lengths and reserved bytes checked.
#[inline]
pub(crate) fn open<'a, const BODY: usize>(
    row: &'static Row,
    reply: &'a [u8],
) -> Result<Result<&'a [u8; BODY], Status>, DecodeError> {
    let expected = (8 + BODY) as u64;
    let length = DecodeError::Length { function: row.name, found: reply.len(), expected };
    let Some((&[s0, s1, s2, s3, reserved @ ..], rest)) = reply.split_first_chunk::<8>() else {
        return Err(length);
    };
    let Some((body, behind)) = rest.split_first_chunk::<BODY>() else {
        return Err(length);
    };
    let found = reserved.iter().chain(behind).fold(0, |all, byte| all | byte);
    if found != 0 {
        return Err(DecodeError::Padding { function: row.name, found, expected: 0 });
    }
    Ok(Status(u32::from_le_bytes([s0, s1, s2, s3])).ok().map(|()| body))
}

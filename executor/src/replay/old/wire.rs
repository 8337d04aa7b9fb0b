//! What requests and answers of the two old ways look like. Little-endian.
//!
//! A request is a head of 16 bytes (flags, bytes to return, stream of a copy, zero; each u32) and a command as the
//! vocabulary encodes it. An answer is a head of 16 bytes (status of the first failed post or 0, bytes of the reply, bytes
//! of data, zero), the reply and the data.

use crate::replay::link::PIECE_BYTES;
use ringbar_vocabulary::{REPLY_MAX_BYTES, StreamId};

/// Bytes of either head.
pub const HEAD_BYTES: usize = 16;
/// Longest command: a piece of a copy, its fields, and room.
pub const REQUEST_BYTES_MAX: usize = HEAD_BYTES + PIECE_BYTES + 256;
/// Longest answer.
pub const ANSWER_BYTES_MAX: usize = HEAD_BYTES + REPLY_MAX_BYTES + PIECE_BYTES;

/// The client waits for an answer.
const WANTS_ANSWER: u32 = 1;
/// All device work is to be done before the answer.
const WAITS_FOR_DEVICE: u32 = 2;
/// The command copies to the host: the answer carries the bytes.
const COPIES_OUT: u32 = 4;

/// The head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    flags: u32,
    return_bytes: u32,
    stream: u32,
}

impl Request {
    pub const POST: Self = Self { flags: 0, return_bytes: 0, stream: 0 };
    pub const CALL: Self = Self { flags: WANTS_ANSWER, ..Self::POST };
    pub const WAIT: Self = Self { flags: WANTS_ANSWER | WAITS_FOR_DEVICE, ..Self::POST };

    pub fn copy_out(return_bytes: u32, stream: StreamId) -> Self {
        let flags = WANTS_ANSWER | WAITS_FOR_DEVICE | COPIES_OUT;
        Self { flags, return_bytes, stream: stream.0 }
    }

    pub fn wants_answer(self) -> bool {
        self.flags & WANTS_ANSWER != 0
    }

    pub fn waits_for_device(self) -> bool {
        self.flags & WAITS_FOR_DEVICE != 0
    }

    /// Stream and length of a copy to the host, if this is one.
    pub fn copies_out(self) -> Option<(StreamId, u32)> {
        (self.flags & COPIES_OUT != 0).then_some((StreamId(self.stream), self.return_bytes))
    }

    pub fn encode(self, into: &mut Vec<u8>) {
        [self.flags, self.return_bytes, self.stream, 0]
            .iter()
            .for_each(|word| into.extend_from_slice(&word.to_le_bytes()));
    }

    /// The head, and the command behind it.
    pub fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let ([flags, return_bytes, stream, _], command) = words(bytes)?;
        Some((Self { flags, return_bytes, stream }, command))
    }
}

/// An answer, where it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Status of the first failed post, or 0.
    pub first_failure: u32,
    pub reply: &'a [u8],
    pub data: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Appends head and reply; `data_bytes` bytes of data are to follow.
    pub fn encode(first_failure: u32, reply: &[u8], data_bytes: usize, into: &mut Vec<u8>) {
        [first_failure, reply.len() as u32, data_bytes as u32, 0]
            .iter()
            .for_each(|word| into.extend_from_slice(&word.to_le_bytes()));
        into.extend_from_slice(reply);
    }

    pub fn split(bytes: &'a [u8]) -> Option<Self> {
        let ([first_failure, reply_bytes, data_bytes, _], rest) = words(bytes)?;
        let (reply, data) = rest.split_at_checked(reply_bytes as usize)?;
        (data.len() == data_bytes as usize).then_some(Self { first_failure, reply, data })
    }
}

fn words(bytes: &[u8]) -> Option<([u32; 4], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let (words, _) = head.as_chunks::<4>();
    Some((std::array::from_fn(|i| u32::from_le_bytes(words[i])), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_survive_the_wire() {
        let mut bytes = Vec::new();
        let request = Request::copy_out(7, StreamId(3));
        request.encode(&mut bytes);
        bytes.extend_from_slice(b"command");
        assert_eq!(Request::split(&bytes), Some((request, &b"command"[..])));
        assert_eq!(request.copies_out(), Some((StreamId(3), 7)));
        let mut bytes = Vec::new();
        Answer::encode(9, b"reply", 4, &mut bytes);
        bytes.extend_from_slice(b"data");
        let expected = Answer { first_failure: 9, reply: b"reply", data: b"data" };
        assert_eq!(Answer::split(&bytes), Some(expected));
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_refused() {
        let mut bytes = Vec::new();
        Answer::encode(0, b"reply", 2, &mut bytes);
        assert_eq!(Answer::split(&bytes), None);
        bytes.extend_from_slice(b"123");
        assert_eq!(Answer::split(&bytes), None);
        assert_eq!(Request::split(&[0; 15]), None);
    }
}

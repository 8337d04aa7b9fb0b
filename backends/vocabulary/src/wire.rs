//! How fields become little-endian words and back: sinks, packing, and what can be wrong.

use crate::{
    ArenaRef, ArrayId, ContextId, Corner, DevicePtr, EventId, FunctionId, GraphExecId, GraphId,
    MemoryId, ModuleId, NodeId, PoolId, Row, StreamId, Tail,
};
use thiserror::Error;

/// The most bytes a command may take in the ring; a longer tail travels in the arena.
pub const INLINE_MAX_BYTES: usize = 7_168;
/// The most bytes of a reply: 8 of status, 48 of fields.
pub const REPLY_MAX_BYTES: usize = 56;
/// The most bytes of fields in a reply.
pub const REPLY_BODY_MAX_BYTES: usize = REPLY_MAX_BYTES - 8;
/// Bytes of a command's header: `opcode: u16, flags: u16, tail_len: u32`.
pub const HEADER_BYTES: usize = 8;
/// Header flag, bit 0: the tail is an [`ArenaRef`] and not the bytes themselves.
pub const FLAG_TAIL_IN_ARENA: u16 = 1;

/// Where an encoder puts a command: shared memory, a socket's buffer, a vector.
///
/// A command arrives in order and in whole words: `bytes` is called at most once, for the whole
/// words of the tail, always with a multiple of 8 bytes at a position that is one too. The
/// encoder, not the sink, pads the last word of a tail with zeros.
pub trait Sink {
    /// Takes one word; its little-endian bytes go on the wire.
    fn word(&mut self, word: u64);
    /// Takes bytes as they are, a multiple of 8 of them.
    fn bytes(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    #[inline]
    fn word(&mut self, word: u64) {
        self.extend_from_slice(&word.to_le_bytes());
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Packs fields of 1, 2, 4 or 8 bytes, naturally aligned, into words for a [`Sink`].
///
/// With the constant sizes of a row everything but the stores folds away.
pub struct Packer<'s, S: Sink> {
    sink: &'s mut S,
    word: u64,
    /// Bytes of `word` in use, in 0..8 between calls.
    filled: u32,
}

impl<'s, S: Sink> Packer<'s, S> {
    /// A packer that starts at a word boundary of `sink`.
    #[inline(always)]
    pub fn new(sink: &'s mut S) -> Self {
        Self { sink, word: 0, filled: 0 }
    }

    /// Appends the low `bytes` (1, 2, 4 or 8) of `value`, whose other bits must be zero.
    #[inline(always)]
    pub fn put(&mut self, value: u64, bytes: u32) {
        self.filled = self.filled.next_multiple_of(bytes);
        self.flush_if_full();
        self.word |= value << (8 * self.filled);
        self.filled += bytes;
        self.flush_if_full();
    }

    #[inline(always)]
    fn flush_if_full(&mut self) {
        if self.filled == 8 {
            self.sink.word(self.word);
            self.word = 0;
            self.filled = 0;
        }
    }

    /// Pads the last word with zeros and hands it over.
    #[inline(always)]
    pub fn finish(mut self) {
        self.filled = self.filled.next_multiple_of(8);
        self.flush_if_full();
    }
}

/// Reads fields back from the fixed part of a command or reply.
pub struct Unpacker<'a> {
    fixed: &'a [u8],
    at: usize,
    /// Every padding byte seen so far, or-ed together.
    padding: u8,
}

impl<'a> Unpacker<'a> {
    /// Reads `fixed`, whose length is that of the row's fixed part.
    #[inline(always)]
    pub fn new<const N: usize>(fixed: &'a [u8; N]) -> Self {
        Self { fixed, at: 0, padding: 0 }
    }

    /// The next field of `N` bytes (1, 2, 4 or 8), which is also its alignment.
    #[inline(always)]
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        self.skip_padding(self.at.next_multiple_of(N));
        let field = self.fixed.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        self.at += N;
        // The row's length is the sum of its fields, so the field is there.
        field.copied().unwrap_or([0; N])
    }

    #[inline(always)]
    fn skip_padding(&mut self, to: usize) {
        while self.at < to {
            self.padding |= self.fixed.get(self.at).copied().unwrap_or(0);
            self.at += 1;
        }
    }

    /// The padding bytes of the whole fixed part, or-ed together: 0 if it is well formed.
    #[inline(always)]
    pub fn finish(mut self) -> u8 {
        self.skip_padding(self.fixed.len());
        self.padding
    }
}

/// A type that a row may carry. Implement it only together with a change of the table.
pub trait Field: Copy {
    /// Bytes on the wire.
    const BYTES: usize;
    /// Alignment on the wire: 1, 2, 4 or 8.
    const ALIGN: usize;
    /// Appends the value.
    fn pack<S: Sink>(self, packer: &mut Packer<'_, S>);
    /// Reads the value; every bit pattern is one.
    fn unpack(unpacker: &mut Unpacker<'_>) -> Self;
    /// An arbitrary value, for tests and fuzz corpora.
    fn sample(draw: &mut Draw) -> Self;
}

macro_rules! integer_fields {
    ($($int:ty as $unsigned:ty),+) => {$(
        impl Field for $int {
            const BYTES: usize = size_of::<$int>();
            const ALIGN: usize = size_of::<$int>();
            #[inline(always)]
            fn pack<S: Sink>(self, packer: &mut Packer<'_, S>) {
                packer.put(self as $unsigned as u64, Self::BYTES as u32);
            }
            #[inline(always)]
            fn unpack(unpacker: &mut Unpacker<'_>) -> Self {
                <$int>::from_le_bytes(unpacker.take())
            }
            fn sample(draw: &mut Draw) -> Self {
                draw.next() as $int
            }
        }
    )+};
}
integer_fields!(u8 as u8, u16 as u16, u32 as u32, i32 as u32, u64 as u64);

macro_rules! transparent_fields {
    ($($Name:ident($inner:ty)),+) => {$(
        impl Field for $Name {
            const BYTES: usize = <$inner>::BYTES;
            const ALIGN: usize = <$inner>::ALIGN;
            #[inline(always)]
            fn pack<S: Sink>(self, packer: &mut Packer<'_, S>) {
                self.0.pack(packer);
            }
            #[inline(always)]
            fn unpack(unpacker: &mut Unpacker<'_>) -> Self {
                Self(<$inner>::unpack(unpacker))
            }
            fn sample(draw: &mut Draw) -> Self {
                Self(<$inner>::sample(draw))
            }
        }
    )+};
}
transparent_fields!(
    StreamId(u32),
    EventId(u32),
    ModuleId(u32),
    FunctionId(u32),
    ContextId(u32),
    PoolId(u32),
    MemoryId(u32),
    GraphId(u32),
    GraphExecId(u32),
    ArrayId(u32),
    NodeId(u64),
    DevicePtr(u64)
);

impl Field for Corner {
    const BYTES: usize = 24;
    const ALIGN: usize = 8;
    #[inline(always)]
    fn pack<S: Sink>(self, packer: &mut Packer<'_, S>) {
        [self.at, self.pitch, self.slice].pack(packer);
    }
    #[inline(always)]
    fn unpack(unpacker: &mut Unpacker<'_>) -> Self {
        let [at, pitch, slice] = Field::unpack(unpacker);
        Self { at, pitch, slice }
    }
    fn sample(draw: &mut Draw) -> Self {
        Self { at: draw.next(), pitch: draw.next(), slice: draw.next() }
    }
}

impl Field for ArenaRef {
    const BYTES: usize = 16;
    const ALIGN: usize = 8;
    #[inline(always)]
    fn pack<S: Sink>(self, packer: &mut Packer<'_, S>) {
        self.addr.pack(packer);
        self.len.pack(packer);
    }
    #[inline(always)]
    fn unpack(unpacker: &mut Unpacker<'_>) -> Self {
        let addr = u64::unpack(unpacker);
        Self { addr, len: u64::unpack(unpacker) }
    }
    fn sample(draw: &mut Draw) -> Self {
        Self { addr: draw.next(), len: draw.next() }
    }
}

impl<T: Field, const N: usize> Field for [T; N] {
    const BYTES: usize = T::BYTES * N;
    const ALIGN: usize = T::ALIGN;
    #[inline(always)]
    fn pack<S: Sink>(self, packer: &mut Packer<'_, S>) {
        for item in self {
            item.pack(packer);
        }
    }
    #[inline(always)]
    fn unpack(unpacker: &mut Unpacker<'_>) -> Self {
        std::array::from_fn(|_| T::unpack(unpacker))
    }
    fn sample(draw: &mut Draw) -> Self {
        std::array::from_fn(|_| T::sample(draw))
    }
}

/// A seeded stream of arbitrary numbers (splitmix64), the same on every machine.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// The stream that belongs to `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "an endless stream needs no Option")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Why bytes are not a command (or a reply) of this vocabulary.
///
/// The sender is broken, hostile, or of another version. The channel that carried the bytes
/// cannot be trusted any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DecodeError {
    /// Not even a header.
    #[error(
        "{found} bytes are no command: expected a header of at least 8; likely cause: the record was cut short"
    )]
    Header {
        /// Bytes found.
        found: usize,
    },
    /// No row has that opcode.
    #[error(
        "opcode {found} is unknown: expected 1 to {expected_max}; likely cause: another version of the vocabulary, compare the hashes of both sides"
    )]
    UnknownOpcode {
        /// The opcode found.
        found: u16,
        /// The largest opcode of the table.
        expected_max: u16,
    },
    /// The row is answered by the client and never sent.
    #[error(
        "{function} (opcode {found}) is answered by the client and never crosses the ring: expected a post or sync command"
    )]
    LocalOpcode {
        /// The row's name.
        function: &'static str,
        /// Its opcode.
        found: u16,
    },
    /// A command of another row was decoded as this one.
    #[error("opcode {found} is not {function}: expected {expected}")]
    WrongOpcode {
        /// The row that was asked for.
        function: &'static str,
        /// The opcode found.
        found: u16,
        /// The row's opcode.
        expected: u16,
    },
    /// Flag bits are set that the row does not define.
    #[error("{function}: flags {found:#06x}: expected none outside {expected:#06x}")]
    Flags {
        /// The row's name.
        function: &'static str,
        /// The flags found.
        found: u16,
        /// The bits that may be set.
        expected: u16,
    },
    /// The header's tail length is impossible for the row.
    #[error("{function}: a tail of {found} bytes in the header: expected {expected}")]
    TailLength {
        /// The row's name.
        function: &'static str,
        /// `tail_len` found.
        found: u32,
        /// 0 without a tail, 16 for a tail in the arena.
        expected: u32,
    },
    /// The record is longer or shorter than its header says.
    #[error("{function}: a record of {found} bytes: expected exactly {expected}")]
    Length {
        /// The row's name.
        function: &'static str,
        /// Bytes found.
        found: usize,
        /// Header, fixed part and padded tail.
        expected: u64,
    },
    /// Padding is not zero.
    #[error("{function}: padding or reserved bytes hold {found:#04x}: expected {expected:#04x}")]
    Padding {
        /// The row's name.
        function: &'static str,
        /// The padding bytes or-ed together.
        found: u8,
        /// Always 0.
        expected: u8,
    },
}

/// A command's first word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) opcode: u16,
    pub(crate) flags: u16,
    pub(crate) tail_len: u32,
}

impl Header {
    #[inline(always)]
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let Some(&[o0, o1, f0, f1, t0, t1, t2, t3]) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(DecodeError::Header { found: bytes.len() });
        };
        Ok(Self {
            opcode: u16::from_le_bytes([o0, o1]),
            flags: u16::from_le_bytes([f0, f1]),
            tail_len: u32::from_le_bytes([t0, t1, t2, t3]),
        })
    }

    #[inline(always)]
    fn check(&self, row: &Row) -> Result<(), DecodeError> {
        let function = row.name;
        if self.opcode != row.opcode {
            let expected = row.opcode;
            return Err(DecodeError::WrongOpcode { function, found: self.opcode, expected });
        }
        let allowed = if row.tail.is_some() { FLAG_TAIL_IN_ARENA } else { 0 };
        if self.flags & !allowed != 0 {
            return Err(DecodeError::Flags { function, found: self.flags, expected: allowed });
        }
        if self.tail_len != 0 && row.tail.is_none() {
            return Err(DecodeError::TailLength { function, found: self.tail_len, expected: 0 });
        }
        if self.flags & FLAG_TAIL_IN_ARENA != 0 && self.tail_len != ArenaRef::BYTES as u32 {
            let expected = ArenaRef::BYTES as u32;
            return Err(DecodeError::TailLength { function, found: self.tail_len, expected });
        }
        Ok(())
    }
}

/// Splits a record of `row` into its fixed part and its tail, everything but the fields checked.
#[inline(always)]
pub(crate) fn open<'a, const FIXED: usize>(
    row: &'static Row,
    bytes: &'a [u8],
) -> Result<(&'a [u8; FIXED], Tail<'a>), DecodeError> {
    let header = Header::read(bytes)?;
    header.check(row)?;
    let body = &bytes[HEADER_BYTES..];
    let expected = (HEADER_BYTES + FIXED) as u64 + u64::from(header.tail_len).next_multiple_of(8);
    let (Some((fixed, rest)), true) =
        (body.split_first_chunk::<FIXED>(), bytes.len() as u64 == expected)
    else {
        return Err(DecodeError::Length { function: row.name, found: bytes.len(), expected });
    };
    let (tail, padding) = rest.split_at(rest.len().min(header.tail_len as usize));
    let found = padding.iter().fold(0, |all, byte| all | byte);
    if found != 0 {
        return Err(DecodeError::Padding { function: row.name, found, expected: 0 });
    }
    Ok((fixed, tail_of(header.flags, tail)))
}

#[inline(always)]
fn tail_of(flags: u16, tail: &[u8]) -> Tail<'_> {
    match tail.first_chunk::<16>() {
        Some(reference) if flags & FLAG_TAIL_IN_ARENA != 0 => {
            Tail::Arena(ArenaRef::unpack(&mut Unpacker::new(reference)))
        }
        _ => Tail::Inline(tail),
    }
}

#[inline(always)]
pub(crate) fn no_padding(row: &Row, unpacker: Unpacker<'_>) -> Result<(), DecodeError> {
    match unpacker.finish() {
        0 => Ok(()),
        found => Err(DecodeError::Padding { function: row.name, found, expected: 0 }),
    }
}

impl Tail<'_> {
    /// What the header says about the tail: flags and `tail_len`.
    ///
    /// A tail of 4 GiB or more cannot be inline (see [`INLINE_MAX_BYTES`]); its length saturates
    /// and every decoder refuses the record.
    #[inline(always)]
    pub(crate) fn header(&self) -> (u16, u32) {
        match self {
            Tail::Inline(bytes) => (0, u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
            Tail::Arena(_) => (FLAG_TAIL_IN_ARENA, ArenaRef::BYTES as u32),
        }
    }

    /// Bytes in the record, padding included.
    #[inline(always)]
    pub(crate) fn encoded_len(&self) -> usize {
        match self {
            Tail::Inline(bytes) => bytes.len().next_multiple_of(8),
            Tail::Arena(_) => ArenaRef::BYTES,
        }
    }

    #[inline(always)]
    pub(crate) fn encode<S: Sink>(&self, sink: &mut S) {
        match self {
            Tail::Inline(bytes) => encode_bytes(bytes, sink),
            Tail::Arena(at) => {
                sink.word(at.addr);
                sink.word(at.len);
            }
        }
    }
}

#[inline(always)]
fn encode_bytes<S: Sink>(bytes: &[u8], sink: &mut S) {
    let (whole, rest) = bytes.split_at(bytes.len() & !7);
    if !whole.is_empty() {
        sink.bytes(whole);
    }
    if !rest.is_empty() {
        sink.word(last_word(bytes, rest));
    }
}

/// The 1 to 7 bytes of `rest`, the end of `bytes`, as a zero-padded word.
#[inline(always)]
fn last_word(bytes: &[u8], rest: &[u8]) -> u64 {
    // One load that ends with the tail beats a copy of unknown length.
    if let Some(last) = bytes.last_chunk::<8>() {
        return u64::from_le_bytes(*last) >> (8 * (8 - rest.len()));
    }
    rest.iter().rev().fold(0, |word, &byte| (word << 8) | u64::from(byte))
}

/// `at` rounded up to `align`, in constants.
pub(crate) const fn align_up(at: usize, align: usize) -> usize {
    at.div_ceil(align) * align
}

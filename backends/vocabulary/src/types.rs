//! The values that commands carry: ids, device pointers, arena blocks, tails.

use bytemuck::{Pod, Zeroable};

macro_rules! id {
    ($($(#[$meta:meta])* $Name:ident;)+) => {$(
        $(#[$meta])*
        #[repr(transparent)]
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable,
        )]
        pub struct $Name(pub u32);
    )+};
}

id! {
    /// A stream, numbered by the client. 0 is the default stream and always exists.
    StreamId;
    /// An event, numbered by the client.
    EventId;
    /// A loaded module, numbered by the client.
    ModuleId;
    /// A kernel function of a module, numbered by the client.
    FunctionId;
    /// A context. Below [`ContextId::FIRST_CREATED`] the primary context of the device of that ordinal; from there on
    /// numbered by the client.
    ContextId;
    /// A memory pool, numbered by the client.
    PoolId;
    /// Physical device memory, numbered by the client.
    MemoryId;
    /// A graph, numbered by the client, not 0.
    GraphId;
    /// An executable graph, numbered by the client, not 0.
    GraphExecId;
    /// A CUDA array, numbered by the client, not 0.
    ArrayId;
}

impl ArrayId {
    /// No array.
    pub const NONE: ArrayId = ArrayId(0);
}

impl ContextId {
    /// The primary context of device 0.
    pub const FIRST: ContextId = ContextId(0);
    /// The lowest number of a created context.
    pub const FIRST_CREATED: ContextId = ContextId(1024);

    /// The stream that is this context's legacy default stream.
    pub const fn default_stream(self) -> StreamId {
        match self.0 {
            0 => StreamId::DEFAULT,
            context => StreamId(StreamId::DEFAULTS | context),
        }
    }
}

impl PoolId {
    /// The current pool of whatever device it is about.
    pub const CURRENT: PoolId = PoolId(0);
    /// From here on: the default pool of the device whose ordinal is the rest of the number.
    pub const DEFAULTS: u32 = 0x8000_0000;
}

/// A node of a graph, numbered by the executor; 0 is none.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
pub struct NodeId(pub u64);

/// One corner of a box of bytes in device memory or in the arena.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
pub struct Corner {
    /// The first byte: a device address, or an arena address as in [`ArenaRef`].
    pub at: u64,
    /// Bytes from row to row.
    pub pitch: u64,
    /// Bytes from slice to slice.
    pub slice: u64,
}

/// In place of a fence word's number: no fence is written.
pub const NO_FENCE: u32 = u32::MAX;
/// In place of a `CUdevice_P2PAttribute`: whether the one can reach the other's memory.
pub const CAN_ACCESS_PEER: u32 = u32::MAX;
/// The most attributes of a launch.
pub const LAUNCH_ATTRIBUTES_MAX: u32 = 32;
/// Bytes of a launch attribute on the wire, as `CUlaunchAttribute` lies in memory.
pub const LAUNCH_ATTRIBUTE_BYTES: usize = 72;

impl StreamId {
    /// CUDA's legacy default stream.
    pub const DEFAULT: StreamId = StreamId(0);
    /// From here on: the default stream of the context whose number is the rest.
    pub const DEFAULTS: u32 = 0x8000_0000;
}

/// An address in device memory.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
pub struct DevicePtr(pub u64);

impl DevicePtr {
    /// The address `bytes` further on; wraps, since every use is checked by the backend anyway.
    #[inline]
    #[must_use]
    pub fn offset(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

/// A block of the client's arena: where bulk bytes of a command lie.
///
/// 16 bytes on the wire: `addr` (segment in the high 16 bits, offset in the low 48), then `len`.
/// Nothing here is checked against a real arena; whoever owns one does that before each access.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
pub struct ArenaRef {
    /// Segment number (high 16 bits) and byte offset in that segment (low 48 bits).
    pub addr: u64,
    /// Length in bytes.
    pub len: u64,
}

impl ArenaRef {
    /// Bits of `addr` that hold the offset.
    pub const OFFSET_BITS: u32 = 48;
    const OFFSET_MASK: u64 = (1 << Self::OFFSET_BITS) - 1;

    /// The block of `len` bytes at `offset` of `segment`; `None` if the offset needs over 48 bits.
    #[inline]
    pub const fn new(segment: u16, offset: u64, len: u64) -> Option<Self> {
        if offset > Self::OFFSET_MASK {
            return None;
        }
        Some(Self { addr: ((segment as u64) << Self::OFFSET_BITS) | offset, len })
    }

    /// The segment's number.
    #[inline]
    pub const fn segment(self) -> u16 {
        (self.addr >> Self::OFFSET_BITS) as u16
    }

    /// The byte offset in the segment.
    #[inline]
    pub const fn offset(self) -> u64 {
        self.addr & Self::OFFSET_MASK
    }

    /// `len` bytes from `start` of this block; `None` if that is not wholly inside it.
    #[inline]
    pub fn part(self, start: u64, len: u64) -> Option<Self> {
        let end = start.checked_add(len)?;
        let offset = self.offset().checked_add(start)?;
        if end > self.len {
            return None;
        }
        Self::new(self.segment(), offset, len)
    }
}

/// The variable-length end of a command: inline, or a reference to the arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tail<'a> {
    /// The bytes travel in the command itself.
    Inline(&'a [u8]),
    /// The bytes lie in the client's arena.
    Arena(ArenaRef),
}

impl Tail<'_> {
    /// How many bytes the tail stands for, wherever they lie.
    #[inline]
    pub fn byte_len(&self) -> u64 {
        match self {
            Tail::Inline(bytes) => bytes.len() as u64,
            Tail::Arena(at) => at.len,
        }
    }
}

/// How a call reaches the executor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// Answered from client-side state; never becomes a command.
    Local,
    /// Sent without waiting; an error is latched with the command's number.
    Post,
    /// The caller waits for the reply.
    Sync,
}

impl Class {
    /// The class as the table, the recordings and the coverage page spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Local => "local",
            Class::Post => "post",
            Class::Sync => "sync",
        }
    }
}

/// Who reads the bytes a field refers to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// Read by the executor.
    In,
    /// Names a place that the executor writes.
    Out,
}

impl Direction {
    /// `in` or `out`.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
        }
    }
}

/// Options of the just-in-time compiler that travel: those that are numbers. `CUjit_option`; the logs have fields of their
/// own, and what names symbols refers to the program's memory.
pub const JIT_OPTIONS: [u32; 24] =
    [0, 1, 2, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20, 21, 22, 23, 24, 29, 30, 31, 32, 33, 34];
/// The most options of one compilation.
pub const JIT_OPTIONS_MAX: usize = 64;
/// The longest log of the just-in-time compiler, in bytes.
pub const JIT_LOG_MAX_BYTES: u32 = 1 << 20;
/// `CU_JIT_THREADS_PER_BLOCK`: goes in and out.
pub const JIT_THREADS_PER_BLOCK: u32 = 1;
/// `CU_JIT_WALL_TIME`: goes out.
pub const JIT_WALL_TIME: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arena_reference_splits_into_segment_and_offset() {
        let at = ArenaRef::new(7, 0x1234_5678_9abc, 64).unwrap();
        assert_eq!((at.segment(), at.offset(), at.len), (7, 0x1234_5678_9abc, 64));
        assert_eq!(ArenaRef::new(0, 1 << 48, 1), None);
    }

    #[test]
    fn a_part_of_a_block_stays_inside_it() {
        let at = ArenaRef::new(1, 100, 50).unwrap();
        assert_eq!(at.part(10, 40), ArenaRef::new(1, 110, 40));
        assert_eq!(at.part(10, 41), None);
        assert_eq!(at.part(u64::MAX, 2), None);
    }
}

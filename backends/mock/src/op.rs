//! Operations of a stream, everything checked and owned, and what they do to memory.

use crate::kernel::{Geometry, Kernel};
use crate::pool::Pool;
use crate::space::Place;
use ringbar_backend::{ArenaFault, Hold, HostMemory};
use ringbar_vocabulary::ArenaRef;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Where a copy to the device takes its bytes from.
pub(crate) enum Source {
    Inline(Box<[u8]>),
    Arena { at: ArenaRef, _hold: Hold },
}

/// What a fault does to a launch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Twist {
    None,
    Fail,
    Hang,
    Slow(Duration),
}

/// 1, 2 or 4 bytes to fill with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    bytes: [u8; 4],
    width: usize,
}

impl Pattern {
    /// The low `width` bytes of a value; `None` if that is not 1, 2 or 4.
    pub(crate) fn new(value: u32, width: u32) -> Option<Self> {
        let width = [1, 2, 4].into_iter().find(|&known| known == width)?;
        Some(Self { bytes: value.to_le_bytes(), width: width as usize })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.width]
    }
}

/// One side of a copy of a box, or the box that a fill fills.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    /// Everything from the box's first byte to its last.
    pub(crate) place: Place,
    pub(crate) pitch: u64,
    pub(crate) slice: u64,
}

/// A copy of a box: rows of bytes in slices.
#[derive(Clone, Debug)]
pub(crate) struct Rect {
    pub(crate) dst: Side,
    pub(crate) src: Side,
    pub(crate) width: u64,
    pub(crate) height: u64,
    pub(crate) depth: u64,
}

/// A fill of rows.
#[derive(Clone, Debug)]
pub(crate) struct FillRect {
    pub(crate) dst: Side,
    pub(crate) width: u64,
    pub(crate) height: u64,
    pub(crate) pattern: Pattern,
}

/// What a stream waits for in memory.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) place: Place,
    pub(crate) value: u64,
    /// The comparison of `CUstreamWaitValue_flags`.
    pub(crate) compare: u32,
    pub(crate) bits: u32,
}

/// An operation in a stream.
pub(crate) enum Op {
    CopyIn {
        dst: Range<usize>,
        source: Source,
    },
    CopyOut {
        dst: ArenaRef,
        src: Range<usize>,
        _hold: Hold,
    },
    Copy {
        dst: usize,
        src: Range<usize>,
    },
    Fill {
        range: Range<usize>,
        pattern: Pattern,
    },
    Rect {
        rect: Box<Rect>,
        _hold: Option<Hold>,
    },
    FillRect(Box<FillRect>),
    Write {
        place: Place,
        bytes: Box<[u8]>,
    },
    Wait(Box<Condition>),
    HostFunction {
        token: u64,
    },
    Launch {
        kernel: Arc<Kernel>,
        params: Box<[u8]>,
        geometry: Geometry,
        twist: Twist,
    },
    Library {
        library: u32,
        function: u32,
        stream: u32,
        bytes: Box<[u8]>,
    },
    /// Gives an allocation back in stream order.
    Retire {
        offset: u64,
    },
    Fence {
        index: u32,
        value: u64,
    },
    Nothing,
}

fn part(place: &Place, start: u64, len: u64) -> Place {
    match place {
        Place::Device(range) => {
            let start = range.start + start as usize;
            Place::Device(start..start + len as usize)
        }
        // A part of a checked block lies inside it; the arena checks again at each access.
        Place::Host(block) => Place::Host(block.part(start, len).unwrap_or_default()),
    }
}

fn copy(pool: &mut Pool, arena: &dyn HostMemory, dst: Place, src: Place) -> Result<(), ArenaFault> {
    match (dst, src) {
        (Place::Device(dst), Place::Device(src)) => pool.copy_within(src, dst.start),
        (Place::Device(dst), Place::Host(src)) => arena.read(src, pool.get_mut(dst))?,
        (Place::Host(dst), Place::Device(src)) => arena.write(dst, pool.get(src))?,
        (Place::Host(dst), Place::Host(src)) => {
            let mut bytes = vec![0; src.len as usize];
            arena.read(src, &mut bytes)?;
            arena.write(dst, &bytes)?;
        }
    }
    Ok(())
}

impl Rect {
    /// How many bytes it copies.
    pub(crate) fn bytes(&self) -> u64 {
        self.width * self.height * self.depth
    }

    pub(crate) fn run(&self, pool: &mut Pool, arena: &dyn HostMemory) -> Result<(), ArenaFault> {
        let rows =
            self.height == 1 || (self.dst.pitch == self.width && self.src.pitch == self.width);
        // Rows without gaps between them are one row.
        let (width, height) =
            if rows { (self.width * self.height, 1) } else { (self.width, self.height) };
        for z in 0..self.depth {
            for y in 0..height {
                let row = |side: &Side| part(&side.place, z * side.slice + y * side.pitch, width);
                copy(pool, arena, row(&self.dst), row(&self.src))?;
            }
        }
        Ok(())
    }
}

impl FillRect {
    pub(crate) fn run(&self, pool: &mut Pool, arena: &dyn HostMemory) -> Result<(), ArenaFault> {
        for y in 0..self.height {
            match part(&self.dst.place, y * self.dst.pitch, self.width) {
                Place::Device(range) => pool.fill(range, self.pattern.bytes()),
                Place::Host(block) => {
                    let pattern = self.pattern.bytes();
                    arena.write(block, &pattern.repeat(self.width as usize / pattern.len()))?;
                }
            }
        }
        Ok(())
    }
}

impl Condition {
    /// Whether the stream may go on.
    pub(crate) fn is_met(&self, pool: &Pool, arena: &dyn HostMemory) -> Result<bool, ArenaFault> {
        let mut bytes = [0; 8];
        let width = self.bits as usize / 8;
        match &self.place {
            Place::Device(range) => bytes[..width].copy_from_slice(pool.get(range.clone())),
            Place::Host(block) => arena.read(*block, &mut bytes[..width])?,
        }
        let found = u64::from_le_bytes(bytes);
        Ok(match (self.compare, self.bits) {
            // Greater or equal, counted around the end of the numbers.
            (0, 32) => (found as u32).wrapping_sub(self.value as u32) as i32 >= 0,
            (0, _) => found.wrapping_sub(self.value) as i64 >= 0,
            (1, _) => found == self.value,
            (2, _) => found & self.value != 0,
            (_, 32) => !(found as u32 | self.value as u32) != 0,
            _ => !(found | self.value) != 0,
        })
    }
}

pub(crate) fn write(
    pool: &mut Pool,
    arena: &dyn HostMemory,
    place: &Place,
    bytes: &[u8],
) -> Result<(), ArenaFault> {
    match place {
        Place::Device(range) => pool.get_mut(range.clone()).copy_from_slice(bytes),
        Place::Host(block) => arena.write(*block, bytes)?,
    }
    Ok(())
}

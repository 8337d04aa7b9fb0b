//! The two allocators of an arena: [`Staging`] for bytes on their way, [`Pinned`] for blocks that stay.
//!
//! Both deal in offsets and keep their state in private memory of the side that owns the arena, so a hostile peer can neither read
//! nor change it; the other side only ever checks offsets against the arena's size. Neither touches the arena itself. Memory use
//! is bounded by the number of blocks given at creation, and nothing here panics.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

/// Blocks begin at multiples of a cache line and are whole lines, so that no two owners share one.
pub const BLOCK_BYTES_MIN: u64 = 64;

/// Why an allocator refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocError {
    /// The range is empty, reversed, or not whole lines.
    #[error("arena range {start}..{end}: expected a non-empty range of multiples of 64 bytes")]
    BadRange {
        /// First offset.
        start: u64,
        /// Offset after the last.
        end: u64,
    },
    /// The alignment is not a power of two.
    #[error("alignment {found}: expected a power of two")]
    BadAlignment {
        /// What was asked for.
        found: u64,
    },
    /// Could never fit, however much were free.
    #[error(
        "a block of {wanted} bytes can never fit an arena of {capacity}; try smaller pieces or a larger arena"
    )]
    TooLarge {
        /// Bytes asked for.
        wanted: u64,
        /// Bytes of the whole range.
        capacity: u64,
    },
    /// Does not fit now.
    #[error("the arena is full: wanted {wanted} bytes in one piece, {free} of {capacity} are free in one piece; {}", waiting_for(*oldest_position))]
    Full {
        /// Bytes asked for.
        wanted: u64,
        /// Bytes of the largest free piece.
        free: u64,
        /// Bytes of the whole range.
        capacity: u64,
        /// Position of the command whose retirement frees the oldest staging block; `None` for pinned blocks, and while the
        /// oldest staging block is not bound to a command.
        oldest_position: Option<u64>,
    },
    /// As many blocks as the allocator may hold.
    #[error(
        "{limit} blocks are in use, as many as were agreed; likely cause: blocks that are never freed"
    )]
    TooManyBlocks {
        /// The bound given at creation.
        limit: usize,
    },
    /// A ticket of a block that is already released, bound or of another allocator.
    #[error(
        "ticket {found} is not one of an unbound block; likely cause: it was bound or cancelled before"
    )]
    StaleTicket {
        /// The ticket's number.
        found: u64,
    },
    /// Freed, or asked about, although it is free already.
    #[error("offset {offset} is free already; likely cause: the block was freed twice")]
    DoubleFree {
        /// The offset given.
        offset: u64,
    },
    /// Inside a living block, but not its beginning.
    #[error(
        "offset {offset} is not the beginning of a block; the block around it begins at {block}"
    )]
    NotABlock {
        /// The offset given.
        offset: u64,
        /// Where the block that holds it begins.
        block: u64,
    },
    /// Outside the range this allocator manages.
    #[error("offset {offset} is outside the arena, {start}..{end}")]
    OutOfArena {
        /// The offset given.
        offset: u64,
        /// First offset managed.
        start: u64,
        /// Offset after the last.
        end: u64,
    },
}

fn waiting_for(oldest_position: Option<u64>) -> String {
    match oldest_position {
        Some(position) => format!("the oldest block waits for command {position} to retire"),
        None => {
            "nothing that frees a block is under way; try to free some, or a larger arena".into()
        }
    }
}

fn check_range(range: &Range<u64>) -> Result<(), AllocError> {
    let whole_lines = |offset: u64| offset.is_multiple_of(BLOCK_BYTES_MIN);
    match range.start < range.end && whole_lines(range.start) && whole_lines(range.end) {
        true => Ok(()),
        false => Err(AllocError::BadRange { start: range.start, end: range.end }),
    }
}

/// `len` in whole lines, and the alignment that holds; refuses what could never fit.
fn check_request(len: u64, align: u64, capacity: u64) -> Result<(u64, u64), AllocError> {
    if !align.is_power_of_two() {
        return Err(AllocError::BadAlignment { found: align });
    }
    match len.max(1).checked_next_multiple_of(BLOCK_BYTES_MIN) {
        Some(size) if size <= capacity => Ok((size, align.max(BLOCK_BYTES_MIN))),
        _ => Err(AllocError::TooLarge { wanted: len, capacity }),
    }
}

/// Where `size` bytes begin in `gap`, if they fit.
fn fit(gap: &Range<u64>, size: u64, align: u64) -> Option<u64> {
    let start = gap.start.checked_next_multiple_of(align)?;
    (start.checked_add(size)? <= gap.end).then_some(start)
}

/// Names a staging block that is not yet bound to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// What a staging block waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// A command that will use it is still to be placed.
    Unbound,
    /// The retirement of the command at this position.
    Command(u64),
    /// Nothing: it goes with its elders.
    Cancelled,
}

#[derive(Debug, Clone, Copy)]
struct StagingBlock {
    start: u64,
    hold: Hold,
}

/// Staging blocks in a byte range, first in, first out.
///
/// A block is contiguous. It belongs to the command that carries it and is free again once that command, and those of all blocks
/// allocated before it, have retired. Where a block does not fit before the end of the range it begins at the start, and the end is
/// skipped for that lap. When nothing is in use the next block begins at the start again, so a lightly used staging area stays in
/// the cache.
///
/// Allocating and releasing cost a few comparisons and, up to 65,536 blocks, allocate nothing.
///
/// ```
/// # use ringbar::arena::alloc::Staging;
/// let mut staging = Staging::new(0..4096, 16)?;
/// let first = staging.alloc(4000, 64, 10)?;
/// assert!(staging.alloc(100, 64, 11).is_err());
/// staging.release_before(11); // the peer says that every command before 11 has retired
/// assert_eq!(staging.alloc(100, 64, 11)?, first);
/// # Ok::<(), ringbar::arena::alloc::AllocError>(())
/// ```
#[derive(Debug)]
pub struct Staging {
    range: Range<u64>,
    /// Oldest first; never longer than `blocks_max`.
    blocks: VecDeque<StagingBlock>,
    blocks_max: usize,
    /// Where the next block may begin; in `range.start..=range.end`.
    next: u64,
    /// Number of the oldest block; a ticket's number minus this is its index.
    oldest: u64,
}

impl Staging {
    /// Blocks that room is made for at creation; beyond it memory grows up to the bound.
    const BLOCKS_KEPT: usize = 1 << 16;

    /// An allocator over `range` (offsets in bytes, multiples of 64) of at most `blocks_max` blocks at once.
    ///
    /// # Errors
    /// [`AllocError::BadRange`].
    pub fn new(range: Range<u64>, blocks_max: usize) -> Result<Self, AllocError> {
        check_range(&range)?;
        let blocks = VecDeque::with_capacity(blocks_max.min(Self::BLOCKS_KEPT));
        Ok(Self { next: range.start, range, blocks, blocks_max, oldest: 0 })
    }

    /// A block of `len` bytes for the command at `position`: its offset, a multiple of `align` (at least 64).
    ///
    /// # Errors
    /// [`AllocError::Full`] and [`AllocError::TooManyBlocks`] pass when older commands retire;
    /// [`AllocError::TooLarge`] and [`AllocError::BadAlignment`] never do.
    pub fn alloc(&mut self, len: u64, align: u64, position: u64) -> Result<u64, AllocError> {
        self.push(len, align, Hold::Command(position))
    }

    /// A block of `len` bytes for a command whose position is not known yet; give it one with [`Staging::bind`], or give the
    /// block back with [`Staging::cancel`]. Until then no younger block is released either.
    ///
    /// # Errors
    /// As [`Staging::alloc`].
    pub fn reserve(&mut self, len: u64, align: u64) -> Result<(u64, Ticket), AllocError> {
        let offset = self.push(len, align, Hold::Unbound)?;
        let index = self.blocks.len().saturating_sub(1) as u64;
        Ok((offset, Ticket(self.oldest.wrapping_add(index))))
    }

    /// Ties a reserved block to the command at `position`.
    ///
    /// # Errors
    /// [`AllocError::StaleTicket`].
    pub fn bind(&mut self, ticket: Ticket, position: u64) -> Result<(), AllocError> {
        self.settle(ticket, Hold::Command(position))
    }

    /// Gives a reserved block back unused.
    ///
    /// # Errors
    /// [`AllocError::StaleTicket`].
    pub fn cancel(&mut self, ticket: Ticket) -> Result<(), AllocError> {
        self.settle(ticket, Hold::Cancelled)?;
        self.release_while(|hold| hold == Hold::Cancelled);
        Ok(())
    }

    /// Releases the blocks of every command before the position `retired`, oldest first, up to the first that is still held.
    /// Positions that go back release nothing. Returns how many blocks became free.
    pub fn release_before(&mut self, retired: u64) -> usize {
        self.release_while(|hold| match hold {
            Hold::Unbound => false,
            Hold::Command(position) => position < retired,
            Hold::Cancelled => true,
        })
    }

    /// Position of the command whose retirement frees the oldest block; `None` if nothing is in use or the oldest is unbound.
    pub fn oldest_position(&self) -> Option<u64> {
        match self.blocks.front()?.hold {
            Hold::Command(position) => Some(position),
            Hold::Unbound | Hold::Cancelled => None,
        }
    }

    /// Blocks in use.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Bytes of the whole range.
    pub fn capacity(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Bytes of the largest piece that is free now.
    pub fn free(&self) -> u64 {
        self.gaps().into_iter().map(|gap| gap.end - gap.start).max().unwrap_or(0)
    }

    /// The free pieces, the one to be tried first first; either may be empty.
    fn gaps(&self) -> [Range<u64>; 2] {
        let Range { start, end } = self.range;
        match self.blocks.front() {
            None => [start..end, end..end],
            Some(oldest) if self.next > oldest.start => [self.next..end, start..oldest.start],
            // The newest blocks have wrapped; `next == oldest.start` means that nothing is free.
            Some(oldest) => [self.next..oldest.start, end..end],
        }
    }

    fn push(&mut self, len: u64, align: u64, hold: Hold) -> Result<u64, AllocError> {
        let (size, align) = check_request(len, align, self.capacity())?;
        if self.blocks.len() >= self.blocks_max {
            return Err(AllocError::TooManyBlocks { limit: self.blocks_max });
        }
        let start = self.gaps().iter().find_map(|gap| fit(gap, size, align));
        let start = start.ok_or_else(|| self.refusal(len, size, align))?;
        self.blocks.push_back(StagingBlock { start, hold });
        self.next = start + size;
        Ok(start)
    }

    /// Why `len` bytes do not fit: not now, or never.
    fn refusal(&self, wanted: u64, size: u64, align: u64) -> AllocError {
        let capacity = self.capacity();
        match fit(&self.range, size, align) {
            None => AllocError::TooLarge { wanted, capacity },
            Some(_) => {
                let oldest_position = self.oldest_position();
                AllocError::Full { wanted, free: self.free(), capacity, oldest_position }
            }
        }
    }

    fn settle(&mut self, ticket: Ticket, hold: Hold) -> Result<(), AllocError> {
        let index = usize::try_from(ticket.0.wrapping_sub(self.oldest)).ok();
        match index.and_then(|index| self.blocks.get_mut(index)) {
            Some(block) if block.hold == Hold::Unbound => {
                block.hold = hold;
                Ok(())
            }
            _ => Err(AllocError::StaleTicket { found: ticket.0 }),
        }
    }

    fn release_while(&mut self, is_free: impl Fn(Hold) -> bool) -> usize {
        let mut released = 0;
        while self.blocks.front().is_some_and(|block| is_free(block.hold)) {
            self.blocks.pop_front();
            self.oldest = self.oldest.wrapping_add(1);
            released += 1;
        }
        released
    }
}

/// Long-lived blocks in a byte range: pinned host memory, module images.
///
/// Best fit with coalescing. A request costs the logarithm of the number of blocks.
///
/// ```
/// # use ringbar::arena::alloc::{AllocError, Pinned};
/// let mut pinned = Pinned::new(0..1 << 20, 1000)?;
/// let block = pinned.alloc(10_000, 4096)?;
/// assert_eq!(block % 4096, 0);
/// assert_eq!(pinned.free(block), Ok(10_048)); // whole lines
/// assert_eq!(pinned.free(block), Err(AllocError::DoubleFree { offset: block }));
/// # Ok::<(), AllocError>(())
/// ```
#[derive(Debug)]
pub struct Pinned {
    range: Range<u64>,
    blocks_max: usize,
    /// Offset to bytes of every block in use; never more than `blocks_max`.
    used: BTreeMap<u64, u64>,
    /// Offset to bytes of every free piece; no two touch, so never more than `blocks_max + 1`.
    gaps: BTreeMap<u64, u64>,
    /// The same as (bytes, offset).
    gaps_by_size: BTreeSet<(u64, u64)>,
    free_bytes: u64,
}

impl Pinned {
    /// How many pieces that may be too badly placed are tried before one that fits for sure.
    const TRIES: usize = 8;

    /// An allocator over `range` (offsets in bytes, multiples of 64) of at most `blocks_max` blocks at once.
    ///
    /// # Errors
    /// [`AllocError::BadRange`].
    pub fn new(range: Range<u64>, blocks_max: usize) -> Result<Self, AllocError> {
        check_range(&range)?;
        let mut pinned = Self {
            range: range.clone(),
            blocks_max,
            used: BTreeMap::new(),
            gaps: BTreeMap::new(),
            gaps_by_size: BTreeSet::new(),
            free_bytes: 0,
        };
        pinned.insert_gap(range);
        Ok(pinned)
    }

    /// A block of `len` bytes (at least 64 are taken): its offset, a multiple of `align` (at least 64).
    ///
    /// # Errors
    /// [`AllocError::Full`], [`AllocError::TooManyBlocks`], [`AllocError::TooLarge`], [`AllocError::BadAlignment`].
    pub fn alloc(&mut self, len: u64, align: u64) -> Result<u64, AllocError> {
        let (size, align) = check_request(len, align, self.capacity())?;
        if self.used.len() >= self.blocks_max {
            return Err(AllocError::TooManyBlocks { limit: self.blocks_max });
        }
        let (gap, start) = self.find(size, align).ok_or_else(|| self.refusal(len, size, align))?;
        self.remove_gap(&gap);
        self.insert_gap(gap.start..start);
        self.insert_gap(start + size..gap.end);
        self.used.insert(start, size);
        Ok(start)
    }

    /// Frees the block that begins at `offset`; returns its size in bytes, in whole lines.
    ///
    /// # Errors
    /// [`AllocError::OutOfArena`]; [`AllocError::DoubleFree`] if the offset is in free memory; [`AllocError::NotABlock`] if it is
    /// inside a block. Nothing changes then.
    pub fn free(&mut self, offset: u64) -> Result<u64, AllocError> {
        let size = self.block_bytes(offset)?;
        self.used.remove(&offset);
        let mut gap = offset..offset + size;
        if let Some((start, bytes)) = self.gaps.range(..offset).next_back().map(copied)
            && start + bytes == offset
        {
            self.remove_gap(&(start..offset));
            gap.start = start;
        }
        if let Some(bytes) = self.gaps.get(&gap.end).copied() {
            self.remove_gap(&(gap.end..gap.end + bytes));
            gap.end += bytes;
        }
        self.insert_gap(gap);
        Ok(size)
    }

    /// Size in bytes, in whole lines, of the block that begins at `offset`.
    ///
    /// # Errors
    /// As [`Pinned::free`].
    pub fn block_bytes(&self, offset: u64) -> Result<u64, AllocError> {
        let Range { start, end } = self.range;
        if !self.range.contains(&offset) {
            return Err(AllocError::OutOfArena { offset, start, end });
        }
        match self.used.range(..=offset).next_back().map(copied) {
            Some((block, bytes)) if block == offset => Ok(bytes),
            Some((block, bytes)) if offset < block + bytes => {
                Err(AllocError::NotABlock { offset, block })
            }
            _ => Err(AllocError::DoubleFree { offset }),
        }
    }

    /// Whether `len` bytes at `offset` lie within one living block.
    pub fn contains(&self, offset: u64, len: u64) -> bool {
        let block = self.used.range(..=offset).next_back().map(copied);
        block.is_some_and(|(start, bytes)| {
            offset.checked_add(len).is_some_and(|end| end <= start + bytes)
        })
    }

    /// Blocks in use.
    pub fn blocks(&self) -> usize {
        self.used.len()
    }

    /// Bytes of the whole range.
    pub fn capacity(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Free bytes in all, in however many pieces.
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    /// A free piece that holds `size` bytes at a multiple of `align`, and where in it they begin.
    fn find(&self, size: u64, align: u64) -> Option<(Range<u64>, u64)> {
        let place = |(bytes, start): &(u64, u64)| {
            let gap = *start..start + bytes;
            fit(&gap, size, align).map(|at| (gap, at))
        };
        let tight = self.gaps_by_size.range((size, 0)..).take(Self::TRIES).find_map(place);
        tight.or_else(|| {
            // A piece this large fits wherever it begins.
            let sure = size.saturating_add(align - BLOCK_BYTES_MIN);
            self.gaps_by_size.range((sure, 0)..).find_map(place)
        })
    }

    fn refusal(&self, wanted: u64, size: u64, align: u64) -> AllocError {
        let capacity = self.capacity();
        let free = self.gaps_by_size.last().map_or(0, |(bytes, _)| *bytes);
        match fit(&self.range, size, align) {
            None => AllocError::TooLarge { wanted, capacity },
            Some(_) => AllocError::Full { wanted, free, capacity, oldest_position: None },
        }
    }

    fn insert_gap(&mut self, gap: Range<u64>) {
        if gap.start < gap.end {
            let bytes = gap.end - gap.start;
            self.gaps.insert(gap.start, bytes);
            self.gaps_by_size.insert((bytes, gap.start));
            self.free_bytes += bytes;
        }
    }

    fn remove_gap(&mut self, gap: &Range<u64>) {
        let bytes = gap.end - gap.start;
        self.gaps.remove(&gap.start);
        self.gaps_by_size.remove(&(bytes, gap.start));
        self.free_bytes -= bytes;
    }
}

fn copied((offset, bytes): (&u64, &u64)) -> (u64, u64) {
    (*offset, *bytes)
}

#[cfg(test)]
#[path = "alloc_tests.rs"]
mod tests;

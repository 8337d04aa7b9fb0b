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
mod tests {
    use super::*;

    /// A small generator of random cases, the same in every run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % limit
        }
    }

    const ROUNDS: usize = if cfg!(miri) { 300 } else { 50_000 };

    /// The naive model: which lines are taken.
    struct Lines {
        taken: Vec<bool>,
        start: u64,
    }

    impl Lines {
        fn new(range: &Range<u64>) -> Self {
            let lines = (range.end - range.start) / BLOCK_BYTES_MIN;
            Self { taken: vec![false; lines as usize], start: range.start }
        }

        fn set(&mut self, offset: u64, len: u64, taken: bool) {
            let first = (offset - self.start) / BLOCK_BYTES_MIN;
            let count = len.max(1).div_ceil(BLOCK_BYTES_MIN);
            for line in first..first + count {
                let line = &mut self.taken[line as usize]; // panics if out of range
                assert_ne!(*line, taken, "a line at {offset} is taken or given back twice");
                *line = taken;
            }
        }

        /// Whether a block could be placed anywhere.
        fn has_room(&self, len: u64, align: u64) -> bool {
            let count = len.max(1).div_ceil(BLOCK_BYTES_MIN) as usize;
            let step = |i: usize| (self.start + i as u64 * BLOCK_BYTES_MIN).is_multiple_of(align);
            let end = (self.taken.len() + 1).saturating_sub(count);
            (0..end).any(|i| step(i) && self.taken[i..i + count].iter().all(|taken| !taken))
        }
    }

    mod staging {
        use super::*;

        #[test]
        fn random_use_never_overlaps_and_ends_with_everything_free() {
            let range = 640..640 + 64 * 100;
            for blocks_max in [3, 1000] {
                let mut random = Random(0x57a6);
                let mut staging = Staging::new(range.clone(), blocks_max).unwrap();
                let mut lines = Lines::new(&range);
                let mut living = VecDeque::new();
                let mut refused = 0;
                for position in 0..ROUNDS as u64 {
                    let (len, align) = (random.below(2000), 1 << random.below(10));
                    match staging.alloc(len, align, position) {
                        Ok(offset) => {
                            assert_eq!(offset % align.max(64), 0);
                            lines.set(offset, len, true);
                            living.push_back((position, offset, len));
                        }
                        Err(AllocError::Full { oldest_position, .. }) => {
                            assert_eq!(oldest_position, living.front().map(|(p, ..)| *p));
                            refused += 1;
                        }
                        Err(AllocError::TooManyBlocks { .. }) => refused += 1,
                        Err(other) => panic!("{other}"),
                    }
                    if random.below(3) == 0 {
                        let retired = position.saturating_sub(random.below(8));
                        staging.release_before(retired);
                        release(&mut living, &mut lines, retired);
                    }
                    assert_eq!(staging.blocks(), living.len());
                }
                assert!(refused > ROUNDS / 20, "the arena was never tight: {refused}");
                staging.release_before(u64::MAX);
                release(&mut living, &mut lines, u64::MAX);
                assert_eq!((staging.blocks(), staging.free()), (0, staging.capacity()));
                assert!(lines.taken.iter().all(|taken| !taken));
            }
        }

        fn release(living: &mut VecDeque<(u64, u64, u64)>, lines: &mut Lines, retired: u64) {
            while living.front().is_some_and(|(position, ..)| *position < retired) {
                let (_, offset, len) = living.pop_front().unwrap();
                lines.set(offset, len, false);
            }
        }

        #[test]
        fn the_end_is_skipped_where_a_block_does_not_fit() {
            let mut staging = Staging::new(0..1024, 8).unwrap();
            assert_eq!(staging.alloc(384, 64, 0), Ok(0));
            assert_eq!(staging.alloc(384, 64, 1), Ok(384));
            staging.release_before(1);
            assert_eq!(staging.alloc(320, 64, 2), Ok(0));
            assert_eq!(staging.free(), 64);
            staging.release_before(2);
            assert_eq!(staging.alloc(448, 64, 3), Ok(320));
        }

        #[test]
        fn a_full_arena_says_what_would_help() {
            let mut staging = Staging::new(0..1024, 8).unwrap();
            staging.alloc(1000, 64, 42).unwrap();
            let error = staging.alloc(65, 64, 43).unwrap_err();
            let expected =
                AllocError::Full { wanted: 65, free: 0, capacity: 1024, oldest_position: Some(42) };
            assert_eq!(error, expected);
            assert!(error.to_string().contains("waits for command 42"), "{error}");
        }

        #[test]
        fn what_can_never_fit_is_another_error() {
            let mut staging = Staging::new(64..1088, 8).unwrap();
            let never = |wanted| Err(AllocError::TooLarge { wanted, capacity: 1024 });
            assert_eq!(staging.alloc(1025, 64, 0), never(1025));
            assert_eq!(staging.alloc(u64::MAX, 64, 0), never(u64::MAX));
            assert_eq!(staging.alloc(64, 1 << 63, 0), never(64));
            assert_eq!(staging.alloc(64, 0, 0), Err(AllocError::BadAlignment { found: 0 }));
            assert_eq!(staging.alloc(64, 96, 0), Err(AllocError::BadAlignment { found: 96 }));
        }

        #[test]
        fn an_unbound_block_holds_the_younger_ones() {
            let mut staging = Staging::new(0..1024, 8).unwrap();
            let (_, first) = staging.reserve(64, 64).unwrap();
            let (_, second) = staging.reserve(64, 64).unwrap();
            staging.bind(second, 5).unwrap();
            assert_eq!((staging.release_before(9), staging.oldest_position()), (0, None));
            staging.bind(first, 7).unwrap();
            assert_eq!((staging.release_before(7), staging.oldest_position()), (0, Some(7)));
            assert_eq!(staging.release_before(8), 2);
        }

        #[test]
        fn a_cancelled_block_is_free_once_its_elders_are() {
            let mut staging = Staging::new(0..1024, 8).unwrap();
            staging.alloc(64, 64, 3).unwrap();
            let (_, ticket) = staging.reserve(64, 64).unwrap();
            staging.cancel(ticket).unwrap();
            assert_eq!(staging.blocks(), 2);
            assert_eq!(staging.release_before(4), 2);
            let (_, alone) = staging.reserve(64, 64).unwrap();
            staging.cancel(alone).unwrap();
            assert_eq!(staging.blocks(), 0);
        }

        #[test]
        fn a_ticket_works_once() {
            let mut staging = Staging::new(0..1024, 8).unwrap();
            let (_, ticket) = staging.reserve(64, 64).unwrap();
            staging.bind(ticket, 1).unwrap();
            assert!(matches!(staging.bind(ticket, 2), Err(AllocError::StaleTicket { .. })));
            staging.release_before(2);
            assert!(matches!(staging.cancel(ticket), Err(AllocError::StaleTicket { .. })));
        }

        #[test]
        fn positions_that_go_back_release_nothing() {
            let mut staging = Staging::new(0..1024, 8).unwrap();
            staging.alloc(64, 64, 5).unwrap();
            assert_eq!([5, 0, 3].map(|retired| staging.release_before(retired)), [0, 0, 0]);
        }

        #[test]
        fn blocks_are_bounded_in_number() {
            let mut staging = Staging::new(0..1 << 20, 2).unwrap();
            staging.alloc(1, 64, 0).unwrap();
            staging.alloc(1, 64, 0).unwrap();
            assert_eq!(staging.alloc(1, 64, 0), Err(AllocError::TooManyBlocks { limit: 2 }));
        }
    }

    mod pinned {
        use super::*;

        #[test]
        fn random_use_never_overlaps_and_ends_with_everything_free() {
            let range = 4096 + 64..4096 + 64 * 200;
            let mut random = Random(0x9133d);
            let mut pinned = Pinned::new(range.clone(), 40).unwrap();
            let mut lines = Lines::new(&range);
            let mut living: Vec<(u64, u64)> = Vec::new();
            for _ in 0..ROUNDS {
                let (len, align) = (random.below(1500), 1 << random.below(13));
                match pinned.alloc(len, align) {
                    Ok(offset) => {
                        assert_eq!(offset % align.max(64), 0);
                        lines.set(offset, len, true);
                        living.push((offset, len));
                    }
                    Err(AllocError::TooManyBlocks { .. }) => assert_eq!(living.len(), 40),
                    Err(AllocError::Full { free, .. }) => {
                        // Only an alignment that leaves many pieces useless may hide one that fits.
                        assert!(align > 64 || !lines.has_room(len, align), "{len} of {free}");
                    }
                    Err(other) => panic!("{other}"),
                }
                while !living.is_empty() && random.below(5) < 2 {
                    let (offset, len) =
                        living.swap_remove(random.below(living.len() as u64) as usize);
                    assert!(pinned.contains(offset, len));
                    assert_eq!(pinned.free(offset), Ok(len.max(1).next_multiple_of(64)));
                    lines.set(offset, len, false);
                }
                let free = lines.taken.iter().filter(|taken| !**taken).count() as u64 * 64;
                assert_eq!((pinned.blocks(), pinned.free_bytes()), (living.len(), free));
            }
            for (offset, _) in living.drain(..) {
                pinned.free(offset).unwrap();
            }
            assert_eq!((pinned.blocks(), pinned.free_bytes()), (0, pinned.capacity()));
            assert_eq!(pinned.alloc(pinned.capacity(), 64), Ok(range.start));
        }

        #[test]
        fn a_wrong_free_is_told_apart_and_changes_nothing() {
            let mut pinned = Pinned::new(1024..8192, 8).unwrap();
            let block = pinned.alloc(256, 64).unwrap();
            let out = |offset| Err(AllocError::OutOfArena { offset, start: 1024, end: 8192 });
            assert_eq!(pinned.free(0), out(0));
            assert_eq!(pinned.free(u64::MAX), out(u64::MAX));
            assert_eq!(pinned.free(8192), out(8192));
            let inside = block + 64;
            assert_eq!(pinned.free(inside), Err(AllocError::NotABlock { offset: inside, block }));
            assert_eq!(
                pinned.free(block + 1),
                Err(AllocError::NotABlock { offset: block + 1, block })
            );
            assert_eq!(pinned.free(4096), Err(AllocError::DoubleFree { offset: 4096 }));
            assert_eq!(pinned.free(block), Ok(256));
            assert_eq!(pinned.free(block), Err(AllocError::DoubleFree { offset: block }));
            assert_eq!(pinned.free_bytes(), pinned.capacity());
        }

        #[test]
        fn neighbours_grow_together_again_in_any_order() {
            for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                let mut pinned = Pinned::new(0..768, 8).unwrap();
                let blocks = [(); 3].map(|()| pinned.alloc(256, 64).unwrap());
                for index in order {
                    pinned.free(blocks[index]).unwrap();
                }
                assert_eq!(pinned.alloc(768, 64), Ok(0), "{order:?}");
            }
        }

        #[test]
        fn a_range_is_contained_only_in_one_living_block() {
            let mut pinned = Pinned::new(0..4096, 8).unwrap();
            let first = pinned.alloc(128, 64).unwrap();
            let second = pinned.alloc(128, 64).unwrap();
            assert_eq!(second, first + 128);
            assert!(pinned.contains(first + 1, 127) && pinned.contains(second, 0));
            assert!(!pinned.contains(first + 1, 128));
            assert!(!pinned.contains(first, u64::MAX));
            pinned.free(second).unwrap();
            assert!(!pinned.contains(second, 1));
        }

        #[test]
        fn a_full_arena_names_its_largest_piece() {
            let mut pinned = Pinned::new(0..1024, 8).unwrap();
            let blocks = [(); 4].map(|()| pinned.alloc(256, 64).unwrap());
            pinned.free(blocks[0]).unwrap();
            pinned.free(blocks[2]).unwrap();
            let full =
                AllocError::Full { wanted: 300, free: 256, capacity: 1024, oldest_position: None };
            assert_eq!(pinned.alloc(300, 64), Err(full));
            assert_eq!(pinned.free_bytes(), 512);
        }
    }

    #[test]
    fn a_range_that_is_not_whole_lines_is_refused() {
        let reversed = Range { start: 128, end: 64 };
        for range in [0..0, reversed, 1..64, 0..100] {
            let bad = AllocError::BadRange { start: range.start, end: range.end };
            assert_eq!(Staging::new(range.clone(), 1).unwrap_err(), bad);
            assert_eq!(Pinned::new(range, 1).unwrap_err(), bad);
        }
    }
}

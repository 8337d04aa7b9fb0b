//! `arena`: requests of a hostile client against an arena, and the allocators against naive models.

use crate::input::Input;
use ringbar::arena::alloc::{AllocError, BLOCK_BYTES_MIN, Pinned, Staging, Ticket};
use ringbar::arena::{Arena, SEGMENTS_MAX, split};
use ringbar::os::Mapping;
use ringbar::spsc::Violation;
use ringbar::sync::Arc;
use std::collections::BTreeMap;

/// Largest range that an allocator is given, in lines.
const LINES_MAX: u64 = 1024;

/// One of the three, as the first byte says.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        0 => requests(&mut input),
        1 => staging(&mut input),
        _ => pinned(&mut input),
    }
}

/// The bytes of each segment, as they should be.
type Shadow = BTreeMap<u16, Vec<u8>>;

fn requests(input: &mut Input<'_>) {
    let (arena, mut shadow) = make_arena(input);
    let filling: Vec<u8> = (0..20_000_u32).map(|i| (i % 253) as u8).collect();
    while !input.is_empty() {
        let how = input.byte();
        let (address, len) = request(input, &shadow, how);
        let inside = is_inside(&shadow, address, len);
        check_block(&arena, address, len, inside);
        let Ok(len) = usize::try_from(len) else { continue };
        if len > filling.len() {
            continue;
        }
        let (segment, offset) = split(address);
        let range = offset as usize..(offset as usize).saturating_add(len);
        match how / 4 % 3 {
            0 => {
                let bytes = &filling[filling.len() - len..];
                assert_eq!(arena.write(address, bytes).is_ok(), inside);
                if inside && let Some(shadow) = shadow.get_mut(&segment) {
                    shadow[range].copy_from_slice(bytes);
                }
            }
            other => {
                let mut into = vec![0xee; len];
                let read = match other {
                    1 => arena.read(address, &mut into),
                    _ => arena.read_streaming(address, &mut into),
                };
                assert_eq!(read.is_ok(), inside);
                match shadow.get(&segment) {
                    Some(shadow) if inside => assert_eq!(into, shadow[range]),
                    _ => assert!(into.iter().all(|&byte| byte == 0xee), "a refused read wrote"),
                }
            }
        }
    }
    for (&segment, shadow) in &shadow {
        let mut all = vec![0; shadow.len()];
        arena.read(ringbar::arena::address(segment, 0), &mut all).expect("a whole segment");
        assert_eq!(all, *shadow, "a byte outside of what was written changed in {segment}");
    }
}

fn make_arena(input: &mut Input<'_>) -> (Arena, Shadow) {
    let segment = |len: usize| {
        let mapping = Arc::new(Mapping::heap(len.max(1)).expect("memory"));
        mapping.subrange(0, len).expect("the whole")
    };
    let first = usize::from(input.u16() % 16_384);
    let arena = Arena::new(segment(first));
    let mut shadow = Shadow::from([(0, vec![0; first])]);
    for _ in 0..input.byte() % 3 {
        let (number, len) = (u16::from(input.byte() % 70), usize::from(input.u16() % 16_384));
        let possible = usize::from(number) < SEGMENTS_MAX && !shadow.contains_key(&number);
        assert_eq!(arena.add(number, segment(len)), possible);
        if possible {
            shadow.insert(number, vec![0; len]);
        }
    }
    (arena, shadow)
}

fn request(input: &mut Input<'_>, shadow: &Shadow, how: u8) -> (u64, u64) {
    let segment = match how % 4 {
        0 => return (input.u64(), input.near(u64::MAX)),
        1 => 0,
        2 => shadow.keys().copied().last().unwrap_or(0),
        _ => u16::from(input.byte()),
    };
    let limit = shadow.get(&segment).map_or(0, Vec::len) as u64;
    let offset = input.near(limit) & ((1 << 48) - 1);
    let len = input.near(limit.saturating_sub(offset));
    (ringbar::arena::address(segment, offset), len)
}

fn is_inside(shadow: &Shadow, address: u64, len: u64) -> bool {
    let (segment, offset) = split(address);
    let Some(shadow) = shadow.get(&segment) else { return false };
    u128::from(offset) + u128::from(len) <= shadow.len() as u128
}

fn check_block(arena: &Arena, address: u64, len: u64, inside: bool) {
    let base = |segment| arena.block(ringbar::arena::address(segment, 0), 0);
    match arena.block(address, len) {
        Ok(block) => {
            let (segment, offset) = split(address);
            assert!(inside && block.len() as u64 == len && block.is_empty() == (len == 0));
            let start = base(segment).expect("the segment exists").as_ptr().addr();
            assert_eq!(block.as_ptr().addr(), start + offset as usize);
        }
        Err(Violation::Range { start, len: found, .. }) => {
            assert!(!inside && (start, found) == (address, len));
        }
        Err(other) => panic!("{other}"),
    }
}

/// The range of an allocator: some lines, not from 0 on.
fn range(input: &mut Input<'_>) -> (u64, u64) {
    let start = u64::from(input.byte() % 8) * BLOCK_BYTES_MIN;
    (start, start + (1 + u64::from(input.u16()) % LINES_MAX) * BLOCK_BYTES_MIN)
}

/// Lengths and alignments: mostly sensible.
fn block_wanted(input: &mut Input<'_>, capacity: u64) -> (u64, u64) {
    let len = match input.byte() % 4 {
        0 => input.near(capacity),
        1 => u64::from(input.byte()),
        _ => u64::from(input.u16()) % (capacity / 4 + 1),
    };
    let align = match input.byte() % 8 {
        0 => input.u64(),
        1 => 1 << (input.byte() % 64),
        2 => 4096,
        _ => 64,
    };
    (len, align)
}

/// First place of `size` bytes at a multiple of `align` in `start..end`, found by trying each line.
fn naive_fit(start: u64, end: u64, size: u64, align: u64) -> Option<u64> {
    let places = (start..end).step_by(BLOCK_BYTES_MIN as usize);
    places.into_iter().find(|place| place % align == 0 && place + size <= end)
}

/// The refusals that do not depend on what is in use. `None`: size and alignment of a request that may fit.
fn check_impossible(
    error: Option<&AllocError>,
    (start, end): (u64, u64),
    (len, align): (u64, u64),
) -> Option<(u64, u64)> {
    let size = u128::from(len.max(1)).next_multiple_of(u128::from(BLOCK_BYTES_MIN));
    if !align.is_power_of_two() {
        assert!(matches!(error, Some(AllocError::BadAlignment { found }) if *found == align));
        return None;
    }
    let align = align.max(BLOCK_BYTES_MIN);
    let never =
        size > u128::from(end - start) || naive_fit(start, end, size as u64, align).is_none();
    // Too many blocks may be said first.
    if matches!(error, Some(AllocError::TooManyBlocks { .. })) {
        return None;
    }
    assert_eq!(matches!(error, Some(AllocError::TooLarge { .. })), never, "{error:?}");
    (!never).then_some((size as u64, align))
}

/// A staging block of the model.
struct Block {
    start: u64,
    size: u64,
    /// The command that it waits for.
    position: Option<u64>,
    ticket: Option<Ticket>,
    cancelled: bool,
}

struct StagingModel {
    range: (u64, u64),
    blocks_max: usize,
    blocks: Vec<Block>,
}

fn staging(input: &mut Input<'_>) {
    let range = range(input);
    let blocks_max = usize::from(input.byte() % 40);
    let mut staging = Staging::new(range.0..range.1, blocks_max).expect("a good range");
    let mut model = StagingModel { range, blocks_max, blocks: Vec::new() };
    let (mut position, mut old_tickets) = (0_u64, Vec::new());
    while !input.is_empty() {
        match input.byte() % 6 {
            0 => {
                position += u64::from(input.byte());
                let wanted = block_wanted(input, staging.capacity());
                let result = staging.alloc(wanted.0, wanted.1, position);
                model.check(&staging, result, wanted, Some(position), None);
            }
            1 | 2 => {
                let wanted = block_wanted(input, staging.capacity());
                let result = staging.reserve(wanted.0, wanted.1);
                let ticket = result.as_ref().ok().map(|&(_, ticket)| ticket);
                model.check(&staging, result.map(|(start, _)| start), wanted, None, ticket);
            }
            3 => {
                let retired = position.saturating_sub(u64::from(input.byte() % 16));
                let released = model.release(
                    |block| block.cancelled || block.position.is_some_and(|at| at < retired),
                    &mut old_tickets,
                );
                assert_eq!(staging.release_before(retired), released);
            }
            how => {
                let Some(ticket) = model.pick(input.byte()) else { continue };
                position += 1;
                let settled = match how {
                    4 => staging.bind(ticket, position),
                    _ => staging.cancel(ticket),
                };
                settled.expect("an unbound ticket");
                model.settle(ticket, (how == 4).then_some(position));
                if how == 5 {
                    model.release(|block| block.cancelled, &mut old_tickets);
                }
            }
        }
        for &ticket in old_tickets.iter().rev().take(3) {
            assert!(matches!(staging.bind(ticket, 1), Err(AllocError::StaleTicket { .. })));
        }
        model.check_state(&staging);
    }
}

impl StagingModel {
    /// The two pieces in which the next block may lie.
    fn gaps(&self) -> [(u64, u64); 2] {
        let (start, end) = self.range;
        let (Some(oldest), Some(newest)) = (self.blocks.first(), self.blocks.last()) else {
            return [(start, end), (end, end)];
        };
        let next = newest.start + newest.size;
        match next > oldest.start {
            true => [(next, end), (start, oldest.start)],
            false => [(next, oldest.start), (end, end)],
        }
    }

    fn check(
        &mut self,
        staging: &Staging,
        result: Result<u64, AllocError>,
        wanted: (u64, u64),
        position: Option<u64>,
        ticket: Option<Ticket>,
    ) {
        let Some((size, align)) = check_impossible(result.as_ref().err(), self.range, wanted)
        else {
            if let Err(AllocError::TooManyBlocks { limit }) = result {
                assert_eq!((self.blocks.len(), limit), (self.blocks_max, self.blocks_max));
            }
            return;
        };
        let fits = self.gaps().iter().find_map(|&(from, to)| naive_fit(from, to, size, align));
        match result {
            Ok(start) => {
                assert_eq!(Some(start), fits);
                self.blocks.push(Block { start, size, position, ticket, cancelled: false });
            }
            Err(AllocError::Full { wanted: found, free, capacity, oldest_position }) => {
                assert_eq!((fits, found), (None, wanted.0));
                assert_eq!((free, capacity), (staging.free(), staging.capacity()));
                assert_eq!(oldest_position, staging.oldest_position());
                assert!(!self.blocks.is_empty(), "full and empty at once");
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn release(
        &mut self,
        is_free: impl Fn(&Block) -> bool,
        old_tickets: &mut Vec<Ticket>,
    ) -> usize {
        let count = self.blocks.iter().take_while(|block| is_free(block)).count();
        old_tickets.extend(self.blocks.drain(..count).filter_map(|block| block.ticket));
        count
    }

    /// A ticket that is not settled yet.
    fn pick(&self, which: u8) -> Option<Ticket> {
        let open: Vec<_> = self.blocks.iter().filter(|block| self.is_open(block)).collect();
        open.get(usize::from(which) % open.len().max(1))?.ticket
    }

    fn is_open(&self, block: &Block) -> bool {
        block.position.is_none() && !block.cancelled
    }

    fn settle(&mut self, ticket: Ticket, position: Option<u64>) {
        for block in self.blocks.iter_mut().filter(|block| block.ticket == Some(ticket)) {
            block.position = position;
            block.cancelled = position.is_none();
        }
    }

    fn check_state(&self, staging: &Staging) {
        assert_eq!(staging.blocks(), self.blocks.len());
        let largest = self.gaps().map(|(from, to)| to - from).into_iter().max();
        assert_eq!(Some(staging.free()), largest);
        let mut sorted: Vec<_> = self.blocks.iter().map(|b| (b.start, b.start + b.size)).collect();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[0].1 <= pair[1].0), "blocks overlap: {sorted:?}");
        let inside = |&(start, end): &(u64, u64)| self.range.0 <= start && end <= self.range.1;
        assert!(sorted.iter().all(inside));
    }
}

fn pinned(input: &mut Input<'_>) {
    let range = range(input);
    let blocks_max = usize::from(input.byte() % 60);
    let mut pinned = Pinned::new(range.0..range.1, blocks_max).expect("a good range");
    let mut blocks = BTreeMap::new();
    while !input.is_empty() {
        match input.byte() % 4 {
            0 | 1 => {
                let wanted = block_wanted(input, pinned.capacity());
                let result = pinned.alloc(wanted.0, wanted.1);
                check_pinned(result, range, wanted, &mut blocks, blocks_max);
            }
            2 => {
                let offset = pinned_offset(input, range, &blocks);
                check_free(pinned.free(offset), range, offset, &blocks);
                blocks.remove(&offset);
            }
            _ => {
                let offset = pinned_offset(input, range, &blocks);
                check_free(pinned.block_bytes(offset), range, offset, &blocks);
                let len = input.near(4096);
                let around = blocks.iter().any(|(&start, &size): (&u64, &u64)| {
                    start <= offset
                        && u128::from(offset) + u128::from(len) <= u128::from(start + size)
                });
                assert_eq!(pinned.contains(offset, len), around);
            }
        }
        assert_eq!(pinned.blocks(), blocks.len());
        assert_eq!(pinned.free_bytes(), pinned.capacity() - blocks.values().sum::<u64>());
    }
}

fn pinned_offset(input: &mut Input<'_>, range: (u64, u64), blocks: &BTreeMap<u64, u64>) -> u64 {
    match input.byte() % 4 {
        0 => input.near(range.1),
        1 => range.0 + 64 * (u64::from(input.u16()) % LINES_MAX),
        _ => {
            let index = usize::from(input.byte()) % blocks.len().max(1);
            blocks.keys().nth(index).copied().unwrap_or(range.0)
        }
    }
}

/// Free pieces of the range, in order.
fn pinned_gaps(range: (u64, u64), blocks: &BTreeMap<u64, u64>) -> Vec<(u64, u64)> {
    let mut gaps = Vec::new();
    let mut from = range.0;
    for (&start, &size) in blocks {
        gaps.push((from, start));
        from = start + size;
    }
    gaps.push((from, range.1));
    gaps
}

fn check_pinned(
    result: Result<u64, AllocError>,
    range: (u64, u64),
    wanted: (u64, u64),
    blocks: &mut BTreeMap<u64, u64>,
    blocks_max: usize,
) {
    let Some((size, align)) = check_impossible(result.as_ref().err(), range, wanted) else {
        if let Err(AllocError::TooManyBlocks { limit }) = result {
            assert_eq!((blocks.len(), limit), (blocks_max, blocks_max));
        }
        return;
    };
    let gaps = pinned_gaps(range, blocks);
    match result {
        Ok(start) => {
            assert_eq!(start % align, 0);
            let inside = |&(from, to): &(u64, u64)| from <= start && start + size <= to;
            assert!(gaps.iter().any(inside), "{start} is not free");
            blocks.insert(start, size);
        }
        Err(AllocError::Full { free, .. }) => {
            assert_eq!(Some(free), gaps.iter().map(|(from, to)| to - from).max());
            // With a large alignment only so many badly placed pieces are tried.
            let fits = |&(from, to): &(u64, u64)| naive_fit(from, to, size, align).is_some();
            assert!(align > BLOCK_BYTES_MIN || !gaps.iter().any(fits), "there was room");
        }
        Err(other) => panic!("{other}"),
    }
}

fn check_free(
    result: Result<u64, AllocError>,
    (start, end): (u64, u64),
    offset: u64,
    blocks: &BTreeMap<u64, u64>,
) {
    let around = blocks.range(..=offset).next_back();
    let around = around.filter(|&(&at, &size)| offset < at + size).map(|(&at, &size)| (at, size));
    let expected = match around {
        _ if offset < start || offset >= end => Err(AllocError::OutOfArena { offset, start, end }),
        Some((block, size)) if block == offset => Ok(size),
        Some((block, _)) => Err(AllocError::NotABlock { offset, block }),
        None => Err(AllocError::DoubleFree { offset }),
    };
    assert_eq!(result, expected);
}

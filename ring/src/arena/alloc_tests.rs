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
                let (offset, len) = living.swap_remove(random.below(living.len() as u64) as usize);
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
        assert_eq!(pinned.free(block + 1), Err(AllocError::NotABlock { offset: block + 1, block }));
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

//! Lines of shared memory: the only place where control words of a region are touched.
//!
//! A [`Lines`] is a power-of-two number of 64-byte lines of eight words. Line numbers are masked, word numbers are
//! below eight, so no access can leave the memory, whatever a peer wrote. The protocol code is generic over the trait:
//! the same code runs over mappings, under loom, and in fuzz targets over memory that changes between loads.
//!
//! # Memory model
//!
//! All access is through relaxed-or-stronger atomic `u64` operations on raw pointers; no reference to plain shared
//! memory is formed. The Rust reference leaves atomics shared with another, untrusted process open
//! (unsafe-code-guidelines 606, 607). This module assumes what every kernel and compiler in use provides: such an
//! access reads some bytes that somebody wrote, and never makes the reading program's behaviour undefined.

use crate::sync::Ordering;

/// Words in a line.
pub const LINE_WORDS: usize = 8;
/// Bytes in a line.
pub const LINE_BYTES: usize = 64;

/// A power-of-two number of shared 64-byte lines.
///
/// `load` and `store` are for control words (tags, positions, states): little-endian in memory, any ordering.
/// `payload` and `set_payload` are for bytes that some control word guards: relaxed, in memory order.
/// A line number beyond the last wraps around; a word number must be below eight.
pub trait Lines {
    /// Number of lines minus one.
    fn mask(&self) -> usize;
    /// Loads a control word.
    fn load(&self, line: usize, word: usize, order: Ordering) -> u64;
    /// Stores a control word.
    fn store(&self, line: usize, word: usize, value: u64, order: Ordering);
    /// Loads a payload word, relaxed.
    fn payload(&self, line: usize, word: usize) -> u64;
    /// Stores a payload word, relaxed.
    fn set_payload(&self, line: usize, word: usize, value: u64);
    /// Loads two payload words, at `word` and behind it, each once; `word` must be below seven.
    #[inline(always)]
    fn payload_pair(&self, line: usize, word: usize) -> [u64; 2] {
        [self.payload(line, word), self.payload(line, word + 1)]
    }
    /// Stores two payload words, at `word` and behind it; `word` must be below seven.
    #[inline(always)]
    fn set_payload_pair(&self, line: usize, word: usize, values: [u64; 2]) {
        self.set_payload(line, word, values[0]);
        self.set_payload(line, word + 1, values[1]);
    }
    /// Asks for exclusive ownership of a line that is about to be written; changes nothing that can be seen.
    fn prefetch_write(&self, _line: usize) {}
    /// Asks for a copy of a line that is about to be read; changes nothing that can be seen.
    fn prefetch_read(&self, _line: usize) {}
    /// Number of lines.
    fn count(&self) -> usize {
        self.mask() + 1
    }
}

#[cfg(not(ringbar_loom))]
pub use mapped::SharedLines;

#[cfg(not(ringbar_loom))]
mod mapped {
    use super::{LINE_BYTES, LINE_WORDS, Lines};
    use crate::os::mapping::Mapping;
    use crate::sync::{Arc, AtomicU64, Ordering};
    use core::ptr::NonNull;

    /// Lines of a [`Mapping`], which they keep alive.
    #[derive(Clone, Debug)]
    pub struct SharedLines {
        first: NonNull<AtomicU64>,
        mask: usize,
        _mapping: Arc<Mapping>,
    }

    // SAFETY: `first` points into the mapping that `_mapping` keeps; all access through it is atomic.
    unsafe impl Send for SharedLines {}
    // SAFETY: as above: shared use is atomic.
    unsafe impl Sync for SharedLines {}

    impl SharedLines {
        /// The `count` lines at byte `offset` of `mapping`.
        ///
        /// `None` if `count` is not a power of two, the offset is not a multiple of 64, or they do not fit.
        pub fn new(mapping: &Arc<Mapping>, offset: usize, count: usize) -> Option<Self> {
            let bytes = count.checked_mul(LINE_BYTES)?;
            let end = offset.checked_add(bytes)?;
            if !count.is_power_of_two() || !offset.is_multiple_of(LINE_BYTES) || end > mapping.len()
            {
                return None;
            }
            let base = NonNull::new(mapping.as_ptr())?;
            if !(base.as_ptr() as usize).is_multiple_of(LINE_BYTES) {
                return None;
            }
            // SAFETY: `offset + bytes` lies inside the mapping, checked above.
            let first = unsafe { base.add(offset) }.cast::<AtomicU64>();
            Some(Self { first, mask: count - 1, _mapping: Arc::clone(mapping) })
        }

        /// The address of the first word.
        pub fn first_address(&self) -> u64 {
            self.first.addr().get() as u64
        }

        /// The words of a line.
        #[inline(always)]
        fn line(&self, line: usize) -> &[AtomicU64; LINE_WORDS] {
            // SAFETY: the masked line lies inside the mapping, as `new` checked.
            let line = unsafe { self.first.add((line & self.mask) * LINE_WORDS) };
            // SAFETY: eight aligned words inside the mapping, which is only accessed through atomics, for which a shared
            // reference is sound while others write.
            unsafe { line.cast::<[AtomicU64; LINE_WORDS]>().as_ref() }
        }

        /// Where a pair of words of a line begins.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        #[inline(always)]
        fn pair(&self, line: usize, word: usize) -> *mut u64 {
            debug_assert!(word < LINE_WORDS - 1);
            self.line(line)[word.min(LINE_WORDS - 2)].as_ptr()
        }

        #[inline(always)]
        fn word(&self, line: usize, word: usize) -> &AtomicU64 {
            debug_assert!(word < LINE_WORDS);
            &self.line(line)[word & (LINE_WORDS - 1)]
        }
    }

    impl Lines for SharedLines {
        #[inline(always)]
        fn mask(&self) -> usize {
            self.mask
        }
        #[inline(always)]
        fn load(&self, line: usize, word: usize, order: Ordering) -> u64 {
            u64::from_le(self.word(line, word).load(order))
        }
        #[inline(always)]
        fn store(&self, line: usize, word: usize, value: u64, order: Ordering) {
            self.word(line, word).store(value.to_le(), order);
        }
        #[inline(always)]
        fn payload(&self, line: usize, word: usize) -> u64 {
            self.word(line, word).load(Ordering::Relaxed)
        }
        #[inline(always)]
        fn set_payload(&self, line: usize, word: usize, value: u64) {
            self.word(line, word).store(value, Ordering::Relaxed);
        }
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        #[inline(always)]
        fn payload_pair(&self, line: usize, word: usize) -> [u64; 2] {
            let pair = self.pair(line, word);
            let values: core::arch::x86_64::__m128i;
            // SAFETY: as in `set_payload_pair`, for a load.
            unsafe {
                core::arch::asm!(
                    "movups {values}, [{pair}]",
                    pair = in(reg) pair,
                    values = out(xmm_reg) values,
                    options(nostack, preserves_flags, readonly),
                );
            }
            bytemuck::cast(values)
        }

        #[cfg(all(target_arch = "x86_64", not(miri)))]
        #[inline(always)]
        fn set_payload_pair(&self, line: usize, word: usize, values: [u64; 2]) {
            let pair = self.pair(line, word);
            // A processor drains its stores in order and has few places for them. Each line costs a cache miss, so the fewer
            // stores a line takes, the more of these misses overlap: here 5 instead of 8. The words come in general
            // registers: loading both at once from where they were just stored one by one would have to wait until those
            // stores are drained, behind the misses of all lines before.
            // SAFETY: `pair` and the word behind it are 16 bytes of one line inside the mapping, which is shared with
            // other writers on purpose; the store is opaque to the compiler, so it is no data race in Rust's terms.
            unsafe {
                core::arch::asm!(
                    "movq {low}, {first}",
                    "movq {high}, {second}",
                    "punpcklqdq {low}, {high}",
                    "movups [{pair}], {low}",
                    pair = in(reg) pair,
                    first = in(reg) values[0],
                    second = in(reg) values[1],
                    low = out(xmm_reg) _,
                    high = out(xmm_reg) _,
                    options(nostack, preserves_flags),
                );
            }
        }
        #[inline(always)]
        fn prefetch_write(&self, line: usize) {
            prefetch(self.word(line, 0));
        }
        #[inline(always)]
        fn prefetch_read(&self, line: usize) {
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            // SAFETY: a prefetch reads nothing as far as the program can tell, and cannot fault.
            unsafe {
                core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(
                    core::ptr::from_ref(self.word(line, 0)).cast(),
                );
            }
            #[cfg(not(all(target_arch = "x86_64", not(miri))))]
            let _ = line;
        }
    }

    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[inline(always)]
    fn prefetch(word: &AtomicU64) {
        // `_mm_prefetch` with a write hint falls back to a read prefetch without a target feature; this does not.
        // SAFETY: a prefetch reads and writes no memory as far as the program can tell, and cannot fault.
        unsafe {
            core::arch::asm!("prefetchw [{}]", in(reg) word, options(nostack, preserves_flags));
        }
    }

    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    #[inline(always)]
    fn prefetch(_: &AtomicU64) {}
}

#[cfg(ringbar_loom)]
pub use model::ModelLines;

#[cfg(ringbar_loom)]
mod model {
    use super::{LINE_WORDS, Lines};
    use crate::sync::{Arc, AtomicU64, Ordering};
    use loom::cell::UnsafeCell;

    /// Lines for loom: control words are loom atomics, payload words are cells whose races loom reports, so that a
    /// payload access which the protocol does not order is a failed model even where its value happens to be right.
    #[derive(Clone)]
    pub struct ModelLines(Arc<Inner>);

    struct Inner {
        mask: usize,
        control: Vec<Option<AtomicU64>>,
        payload: Vec<Option<UnsafeCell<u64>>>,
    }

    impl ModelLines {
        /// Ring or reply lines: word 0 is a control word, `payload_words` words behind it are payload.
        pub fn ring(count: usize, payload_words: usize) -> Self {
            let word = |i: usize| i % LINE_WORDS;
            let total = count * LINE_WORDS;
            Self::build(
                count,
                (0..total).map(|i| (word(i) == 0).then(|| AtomicU64::new(0))).collect(),
                (0..total)
                    .map(|i| (1..=payload_words).contains(&word(i)).then(|| UnsafeCell::new(0)))
                    .collect(),
            )
        }

        /// Header lines: only the named `(line, word)` control words exist.
        pub fn header(words: &[(usize, usize)]) -> Self {
            let total = 64 * LINE_WORDS;
            let named = |i: usize| words.contains(&(i / LINE_WORDS, i % LINE_WORDS));
            Self::build(
                64,
                (0..total).map(|i| named(i).then(|| AtomicU64::new(0))).collect(),
                (0..total).map(|_| None).collect(),
            )
        }

        fn build(
            count: usize,
            control: Vec<Option<AtomicU64>>,
            payload: Vec<Option<UnsafeCell<u64>>>,
        ) -> Self {
            Self(Arc::new(Inner { mask: count - 1, control, payload }))
        }

        /// Whether the model has this word; stores to others have no effect.
        pub fn has(&self, line: usize, word: usize) -> bool {
            let at = self.index(line, word);
            self.0.control[at].is_some() || self.0.payload[at].is_some()
        }

        fn index(&self, line: usize, word: usize) -> usize {
            (line & self.0.mask) * LINE_WORDS + word
        }
    }

    // SAFETY: the cells are what the model checks; loom reports every unordered access to them.
    unsafe impl Send for Inner {}
    // SAFETY: as above.
    unsafe impl Sync for Inner {}

    impl Lines for ModelLines {
        fn mask(&self) -> usize {
            self.0.mask
        }
        fn load(&self, line: usize, word: usize, order: Ordering) -> u64 {
            match &self.0.control[self.index(line, word)] {
                Some(atomic) => atomic.load(order),
                None => 0,
            }
        }
        fn store(&self, line: usize, word: usize, value: u64, order: Ordering) {
            if let Some(atomic) = &self.0.control[self.index(line, word)] {
                atomic.store(value, order);
            }
        }
        fn payload(&self, line: usize, word: usize) -> u64 {
            match &self.0.payload[self.index(line, word)] {
                // SAFETY: loom checks that the read is ordered after the last write.
                Some(cell) => cell.with(|p| unsafe { *p }),
                None => 0,
            }
        }
        fn set_payload(&self, line: usize, word: usize, value: u64) {
            if let Some(cell) = &self.0.payload[self.index(line, word)] {
                // SAFETY: loom checks that the write is ordered after every other access.
                cell.with_mut(|p| unsafe { *p = value });
            }
        }
    }
}

//! The bytes of device memory.

use crate::MockError;
use crate::mixing::{self, State};
use memmap2::{Advice, MmapMut, MmapOptions};
use std::ops::Range;

/// The address of the first byte of device memory.
pub const DEVICE_BASE: u64 = 0x7000_0000_0000;

/// Slots of the scratch area that library calls work on; a power of two.
const SCRATCH_SLOTS: usize = 1024;
const PAGE_BYTES: u64 = 4096;

/// 64 bytes that library calls change: a sum of all calls that chose the slot, in whatever order
/// their streams ran, and a chain of all calls of the streams that have the slot's number.
#[derive(Clone, Copy, Default)]
struct Slot {
    sum: State,
    chain: State,
}

/// One zero-filled mapping, committed page by page as it is touched.
pub(crate) struct Pool {
    bytes: MmapMut,
    scratch: Box<[Slot]>,
}

impl Pool {
    pub(crate) fn new(bytes: u64, prefault_bytes: u64) -> Result<Self, MockError> {
        let failed = |source| MockError::Memory { bytes, source };
        let len = usize::try_from(bytes).ok().filter(|&len| len > 0);
        let len = len.ok_or_else(|| failed(std::io::ErrorKind::InvalidInput.into()))?;
        let mut options = MmapOptions::new();
        let mut map = options.len(len).no_reserve_swap().map_anon().map_err(failed)?;
        // Huge pages where the kernel has them: one fault in 2 MiB and not in 4 KiB.
        let _ = map.advise(Advice::HugePage);
        for at in (0..prefault_bytes.min(bytes)).step_by(PAGE_BYTES as usize) {
            map[at as usize] = 0;
        }
        Ok(Self { bytes: map, scratch: vec![Slot::default(); SCRATCH_SLOTS].into() })
    }

    pub(crate) fn get(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    pub(crate) fn get_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.bytes[range]
    }

    pub(crate) fn copy_within(&mut self, src: Range<usize>, dst: usize) {
        self.bytes.copy_within(src, dst);
    }

    /// Fills a range with a pattern of 1, 2 or 4 bytes.
    pub(crate) fn fill(&mut self, range: Range<usize>, pattern: &[u8]) {
        let place = &mut self.bytes[range];
        match pattern {
            [byte] => place.fill(*byte),
            _ => place.chunks_exact_mut(pattern.len()).for_each(|c| c.copy_from_slice(pattern)),
        }
    }

    /// What a library call does: its bytes choose a slot and change it, and the stream's chain.
    pub(crate) fn library_call(&mut self, library: u32, function: u32, stream: u32, bytes: &[u8]) {
        let mut call = mixing::start(u64::from(library) | u64::from(function) << 32);
        mixing::fold(&mut call, bytes);
        let slot = call[0] as usize % SCRATCH_SLOTS;
        for (sum, part) in self.scratch[slot].sum.iter_mut().zip(call) {
            *sum = sum.wrapping_add(part);
        }
        mixing::fold_state(self.chain(stream), call);
    }

    /// Folds bytes into the stream's chain.
    pub(crate) fn fold_into_chain(&mut self, stream: u32, bytes: &[u8]) {
        mixing::fold(self.chain(stream), bytes);
    }

    fn chain(&mut self, stream: u32) -> &mut State {
        &mut self.scratch[stream as usize % SCRATCH_SLOTS].chain
    }

    /// The scratch area as little-endian words, for the digest.
    pub(crate) fn scratch_words(&self) -> impl Iterator<Item = u64> + '_ {
        self.scratch.iter().flat_map(|slot| slot.sum.into_iter().chain(slot.chain))
    }
}

//! The bytes of device memory.

use crate::MockError;
use crate::ipc::Shared;
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
    /// Where physical memory is mapped at reserved addresses, once any was reserved: behind all
    /// devices' memory.
    window: Option<(usize, MmapMut)>,
    /// Parts that other processes have too.
    shared: Vec<Shared>,
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
        let scratch = vec![Slot::default(); SCRATCH_SLOTS].into();
        Ok(Self { bytes: map, window: None, shared: Vec::new(), scratch })
    }

    /// Has a part in common with other processes from now on.
    pub(crate) fn share(&mut self, shared: Shared) {
        self.shared.push(shared);
        self.exchange();
    }

    /// The part that begins there, if other processes have it too.
    pub(crate) fn shared_at(&self, start: usize) -> Option<&Shared> {
        self.shared.iter().find(|shared| shared.range().start == start)
    }

    /// Has a part alone again; what it changed is there for the others.
    pub(crate) fn end_sharing(&mut self, start: usize) {
        self.exchange();
        self.shared.retain(|shared| shared.range().start != start);
    }

    /// Gives other processes what was changed here in what they share, and takes what they changed.
    #[inline]
    pub(crate) fn exchange(&mut self) {
        if !self.shared.is_empty() {
            self.exchange_all();
        }
    }

    #[cold]
    fn exchange_all(&mut self) {
        let bytes = &mut self.bytes;
        self.shared.retain_mut(|shared| {
            let range = shared.range();
            let exchanged = shared.exchange(&mut bytes[range]);
            exchanged.inspect_err(|error| tracing::error!(%error, "shared memory is lost")).is_ok()
        });
    }

    /// Makes the bytes of a window exist, if they do not yet.
    pub(crate) fn open_window(&mut self, window: Range<u64>) -> std::io::Result<()> {
        if self.window.is_none() {
            let len = (window.end - window.start) as usize;
            let map = MmapOptions::new().len(len).no_reserve_swap().map_anon()?;
            self.window = Some((window.start as usize, map));
        }
        Ok(())
    }

    /// The window that a range lies in, if it lies in none of the devices' own memory.
    #[inline]
    fn elsewhere(&self, range: &Range<usize>) -> Option<usize> {
        let (start, _) = self.window.as_ref()?;
        (range.start >= *start).then_some(*start)
    }

    #[inline]
    pub(crate) fn get(&self, range: Range<usize>) -> &[u8] {
        match &self.window {
            Some((start, map)) if range.start >= *start => {
                &map[range.start - start..range.end - start]
            }
            _ => &self.bytes[range],
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        match &mut self.window {
            Some((start, map)) if range.start >= *start => {
                &mut map[range.start - *start..range.end - *start]
            }
            _ => &mut self.bytes[range],
        }
    }

    pub(crate) fn copy_within(&mut self, src: Range<usize>, dst: usize) {
        let to = dst..dst + src.len();
        match (self.elsewhere(&src), self.elsewhere(&to), &mut self.window) {
            (Some(start), Some(_), Some((_, map))) => {
                map.copy_within(src.start - start..src.end - start, dst - start);
            }
            (Some(start), None, Some((_, map))) => {
                self.bytes[to].copy_from_slice(&map[src.start - start..src.end - start]);
            }
            (None, Some(start), Some((_, map))) => {
                map[to.start - start..to.end - start].copy_from_slice(&self.bytes[src]);
            }
            _ => self.bytes.copy_within(src, dst),
        }
    }

    /// Fills a range with a pattern of 1, 2 or 4 bytes.
    pub(crate) fn fill(&mut self, range: Range<usize>, pattern: &[u8]) {
        let place = self.get_mut(range);
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

//! A backend's services, provided by the ring.

use crate::failpoints::{self, Point};
use ringbar::arena::Arena;
use ringbar::layout::PAGE_BYTES;
use ringbar::sync::{AtomicBool, Ordering};
use ringbar::worker::Completions;
use ringbar_backend::{
    ArenaFault, ErrorLatch, FenceFault, Fences, Holds, HostMemory, Mapped, Services,
};
use ringbar_vocabulary::{ArenaRef, Status};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Blocks of at least this many bytes are pieces of a bulk transfer: they go past the cache on their way to the device.
const STREAMING_BLOCK_BYTES_MIN: usize = 256 << 10;

/// Failures that are remembered: a client that asks so late for one is told of the first only.
const FAILURES_MAX: usize = 256;

/// Whether the arena was used since it was last asked.
#[derive(Clone, Default)]
pub(super) struct ArenaUse(Arc<AtomicBool>);

impl ArenaUse {
    #[inline(always)]
    fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(super) fn take(&self) -> bool {
        let used = self.0.load(Ordering::Relaxed);
        if used {
            self.0.store(false, Ordering::Relaxed);
        }
        used
    }
}

/// The services of the channel of `completions`; `arena_use` learns when a command uses the arena.
pub(super) fn services(
    completions: &Completions,
    fence_words: u32,
    arena_use: ArenaUse,
) -> Arc<Services> {
    let completions = completions.clone();
    let failures = Mutex::default();
    let ring = Arc::new(Ring { completions, fence_words, arena_use, failures });
    Arc::new(Services {
        arena: ring.clone(),
        fences: ring.clone(),
        errors: ring.clone(),
        holds: ring,
    })
}

struct Ring {
    completions: Completions,
    fence_words: u32,
    arena_use: ArenaUse,
    failures: Mutex<Failures>,
}

/// The latest failures of posted commands.
#[derive(Default)]
struct Failures {
    /// How many there were before these.
    before: u64,
    latest: VecDeque<(u64, Status)>,
}

impl Failures {
    fn push(&mut self, position: u64, status: Status) {
        if self.latest.len() == FAILURES_MAX {
            self.latest.pop_front();
            self.before += 1;
        }
        self.latest.push_back((position, status));
    }

    fn get(&self, number: u64) -> Option<(u64, Status)> {
        let at = number.checked_sub(self.before)?;
        self.latest.get(at as usize).copied()
    }
}

impl Ring {
    fn arena(&self) -> &Arena {
        self.completions.arena()
    }

    /// Why `at` is not a block of the arena.
    #[cold]
    fn fault(&self, at: ArenaRef) -> ArenaFault {
        let segments = self.arena().next_segment().unwrap_or(ringbar::arena::SEGMENTS_MAX as u16);
        if at.segment() >= segments {
            return ArenaFault::Segment { found: at.segment(), expected: segments };
        }
        let expected = self.arena().segment_bytes(at.segment());
        ArenaFault::Outside { offset: at.offset(), len: at.len, expected }
    }

    fn check_buffer(&self, at: ArenaRef, found: usize) -> Result<(), ArenaFault> {
        if found as u64 == at.len {
            return Ok(());
        }
        self.check(at)?;
        Err(ArenaFault::BufferLength { found, expected: at.len })
    }

    fn read_part(&self, at: ArenaRef, into: &mut [u8]) -> Result<(), ArenaFault> {
        let read = if into.len() >= STREAMING_BLOCK_BYTES_MIN {
            self.arena().read_streaming(at.addr, into)
        } else {
            self.arena().read(at.addr, into)
        };
        read.map_err(|_| self.fault(at))
    }

    fn write_part(&self, at: ArenaRef, from: &[u8]) -> Result<(), ArenaFault> {
        self.arena().write(at.addr, from).map_err(|_| self.fault(at))
    }
}

/// The two halves of a block.
fn halves(at: ArenaRef) -> (ArenaRef, ArenaRef) {
    let half = at.len / 2;
    let rest = ArenaRef { addr: at.addr.wrapping_add(half), len: at.len - half };
    (ArenaRef { len: half, ..at }, rest)
}

impl HostMemory for Ring {
    fn check(&self, at: ArenaRef) -> Result<(), ArenaFault> {
        self.arena_use.note();
        self.arena().block(at.addr, at.len).map(drop).map_err(|_| self.fault(at))
    }

    fn read(&self, at: ArenaRef, into: &mut [u8]) -> Result<(), ArenaFault> {
        self.check_buffer(at, into.len())?;
        self.check(at)?;
        if !failpoints::is_armed(Point::InArenaRead) {
            return self.read_part(at, into);
        }
        let (first, rest) = halves(at);
        let (begin, end) = into.split_at_mut(first.len as usize);
        self.read_part(first, begin)?;
        failpoints::hit(Point::InArenaRead);
        self.read_part(rest, end)
    }

    fn mapped(&self, segment: u16) -> Option<Mapped> {
        let (address, bytes) = self.arena().place(segment)?;
        Some(Mapped { address, bytes })
    }

    fn write(&self, at: ArenaRef, from: &[u8]) -> Result<(), ArenaFault> {
        self.check_buffer(at, from.len())?;
        self.check(at)?;
        if !failpoints::is_armed(Point::InArenaWrite) {
            return self.write_part(at, from);
        }
        let (first, rest) = halves(at);
        let (begin, end) = from.split_at(first.len as usize);
        self.write_part(first, begin)?;
        failpoints::hit(Point::InArenaWrite);
        self.write_part(rest, end)
    }
}

impl Fences for Ring {
    fn mapped(&self) -> Option<Mapped> {
        // Whole pages: the layout rounds the fence words up to them.
        let bytes = (u64::from(self.fence_words) * 8).next_multiple_of(PAGE_BYTES as u64);
        Some(Mapped { address: self.completions.fence_address(), bytes })
    }

    fn value(&self, index: u32) -> u64 {
        self.completions.fence_value(index)
    }

    fn is_slept_on(&self) -> bool {
        self.completions.client_sleeps()
    }

    fn landed(&self) {
        self.completions.fence_landed();
    }

    fn count(&self) -> u32 {
        self.fence_words
    }

    #[inline]
    fn write(&self, index: u32, value: u64) -> Result<(), FenceFault> {
        failpoints::hit(Point::BeforeFence);
        let expected = self.fence_words;
        let raised = self.completions.fence(index, value);
        raised.map_err(|_| FenceFault { found: index, expected })?;
        failpoints::hit(Point::AfterFence);
        Ok(())
    }
}

impl ErrorLatch for Ring {
    fn latch(&self, position: u64, status: Status) {
        failpoints::hit(Point::BeforeLatch);
        // Remembered under the same lock that counts it, so that numbers agree with the client's count.
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push(position, status);
        self.completions.post_failed(position, status.0);
    }

    fn failure(&self, number: u64) -> Option<(u64, Status)> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).get(number)
    }
}

impl Holds for Ring {
    fn begin(&self, position: u64) {
        failpoints::hit(Point::BeforeHold);
        self.completions.begin_hold(position);
    }

    fn end(&self, position: u64) {
        failpoints::hit(Point::BeforeRelease);
        self.completions.end_hold(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_failures_are_told_by_their_numbers() {
        let mut failures = Failures::default();
        assert_eq!(failures.get(0), None);
        for number in 0..FAILURES_MAX as u64 + 3 {
            failures.push(2 * number, Status(number as u32));
        }
        assert_eq!(failures.get(2), None, "too long ago");
        assert_eq!(failures.get(3), Some((6, Status(3))));
        let last = FAILURES_MAX as u64 + 2;
        assert_eq!(failures.get(last), Some((2 * last, Status(last as u32))));
        assert_eq!(failures.get(last + 1), None);
    }
}

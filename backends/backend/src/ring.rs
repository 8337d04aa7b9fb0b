//! A worker's services, provided by the ring that its commands come from (feature `ring`).

use crate::{ArenaFault, ErrorLatch, FenceFault, Fences, Holds, HostMemory, Mapped, Services};
use ringbar::arena::Arena;
use ringbar::layout::PAGE_BYTES;
use ringbar::worker::Completions;
use ringbar_vocabulary::{ArenaRef, ClientOrigin, Status};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Blocks of at least this many bytes are pieces of a bulk transfer: they go past the cache on their way to the device.
const STREAMING_BLOCK_BYTES_MIN: usize = 256 << 10;

/// Failures that are remembered: a client that asks so late for one is told of the first only.
const FAILURES_MAX: usize = 256;

/// What a service is about to do or has done, for whoever counts it or injects faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A command uses the arena.
    ArenaUsed,
    /// Half of a block is copied out of the arena.
    InArenaRead,
    /// Half of a block is copied into the arena.
    InArenaWrite,
    /// Before a fence word is stored.
    BeforeFence,
    /// A fence word is stored and the client woken.
    AfterFence,
    /// Before a failure is published.
    BeforeLatch,
    /// Before a hold on arena bytes is noted.
    BeforeHold,
    /// Before a hold on arena bytes is given back.
    BeforeRelease,
}

/// Is told of the steps of services. `()` looks at none.
pub trait Watch: Send + Sync + 'static {
    /// A step is reached.
    #[inline(always)]
    fn reached(&self, _step: Step) {}

    /// Whether a copy has to be made in two halves, so that there is a step between them.
    #[inline(always)]
    fn is_between(&self, _step: Step) -> bool {
        false
    }
}

impl Watch for () {}

/// The services of the channel of `completions`, which has so many fence words, for a client from there.
pub fn services(
    completions: &Completions,
    fence_words: u32,
    origin: ClientOrigin,
    watch: impl Watch,
) -> Arc<Services> {
    let (completions, failures) = (completions.clone(), Mutex::default());
    let ring = Arc::new(Ring { completions, fence_words, watch, failures });
    Arc::new(Services {
        arena: ring.clone(),
        fences: ring.clone(),
        errors: ring.clone(),
        holds: ring,
        origin,
    })
}

struct Ring<W> {
    completions: Completions,
    fence_words: u32,
    watch: W,
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

impl<W> Ring<W> {
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

impl<W: Watch> Ring<W> {
    fn check_buffer(&self, at: ArenaRef, found: usize) -> Result<(), ArenaFault> {
        self.check(at)?;
        if found as u64 == at.len {
            return Ok(());
        }
        Err(ArenaFault::BufferLength { found, expected: at.len })
    }
}

/// The two halves of a block.
fn halves(at: ArenaRef) -> (ArenaRef, ArenaRef) {
    let half = at.len / 2;
    let rest = ArenaRef { addr: at.addr.wrapping_add(half), len: at.len - half };
    (ArenaRef { len: half, ..at }, rest)
}

impl<W: Watch> HostMemory for Ring<W> {
    fn check(&self, at: ArenaRef) -> Result<(), ArenaFault> {
        self.watch.reached(Step::ArenaUsed);
        self.arena().block(at.addr, at.len).map(drop).map_err(|_| self.fault(at))
    }

    fn read(&self, at: ArenaRef, into: &mut [u8]) -> Result<(), ArenaFault> {
        self.check_buffer(at, into.len())?;
        if !self.watch.is_between(Step::InArenaRead) {
            return self.read_part(at, into);
        }
        let (first, rest) = halves(at);
        let (begin, end) = into.split_at_mut(first.len as usize);
        self.read_part(first, begin)?;
        self.watch.reached(Step::InArenaRead);
        self.read_part(rest, end)
    }

    fn mapped(&self, segment: u16) -> Option<Mapped> {
        let (address, bytes) = self.arena().place(segment)?;
        Some(Mapped { address, bytes })
    }

    fn write(&self, at: ArenaRef, from: &[u8]) -> Result<(), ArenaFault> {
        self.check_buffer(at, from.len())?;
        if !self.watch.is_between(Step::InArenaWrite) {
            return self.write_part(at, from);
        }
        let (first, rest) = halves(at);
        let (begin, end) = from.split_at(first.len as usize);
        self.write_part(first, begin)?;
        self.watch.reached(Step::InArenaWrite);
        self.write_part(rest, end)
    }
}

impl<W: Watch> Fences for Ring<W> {
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
        self.watch.reached(Step::BeforeFence);
        let expected = self.fence_words;
        let raised = self.completions.fence(index, value);
        raised.map_err(|_| FenceFault { found: index, expected })?;
        self.watch.reached(Step::AfterFence);
        Ok(())
    }
}

impl<W: Watch> ErrorLatch for Ring<W> {
    fn latch(&self, position: u64, status: Status) {
        self.watch.reached(Step::BeforeLatch);
        // Remembered under the same lock that counts it, so that numbers agree with the client's count.
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push(position, status);
        self.completions.post_failed(position, status.0);
    }

    fn failure(&self, number: u64) -> Option<(u64, Status)> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).get(number)
    }
}

impl<W: Watch> Holds for Ring<W> {
    fn begin(&self, position: u64) {
        self.watch.reached(Step::BeforeHold);
        self.completions.begin_hold(position);
    }

    fn end(&self, position: u64) {
        self.watch.reached(Step::BeforeRelease);
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

//! Fakes of what a worker offers, for tests of backends without a ring.

use crate::{
    ArenaFault, Backend, ErrorLatch, Executed, FenceFault, Fences, HoldSet, HostMemory, Mapped,
    Services, Violation, execute,
};
use ringbar_vocabulary::{ArenaRef, Command, PostCommand, ReplyBody, Status, SyncCommand};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An arena of one segment on the heap.
pub struct FakeArena(Mutex<Vec<u8>>);

impl FakeArena {
    /// An arena of zeros.
    pub fn new(bytes: usize) -> Self {
        Self(Mutex::new(vec![0; bytes]))
    }

    fn range(at: ArenaRef, segment_bytes: usize) -> Result<Range<usize>, ArenaFault> {
        if at.segment() != 0 {
            return Err(ArenaFault::Segment { found: at.segment(), expected: 1 });
        }
        let expected = segment_bytes as u64;
        match at.offset().checked_add(at.len) {
            Some(end) if end <= expected => Ok(at.offset() as usize..end as usize),
            _ => Err(ArenaFault::Outside { offset: at.offset(), len: at.len, expected }),
        }
    }

    fn with<T>(
        &self,
        at: ArenaRef,
        buffer_bytes: usize,
        copy: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<T, ArenaFault> {
        let mut bytes = lock(&self.0);
        let range = Self::range(at, bytes.len())?;
        if buffer_bytes as u64 != at.len {
            return Err(ArenaFault::BufferLength { found: buffer_bytes, expected: at.len });
        }
        Ok(copy(&mut bytes[range]))
    }
}

impl HostMemory for FakeArena {
    fn check(&self, at: ArenaRef) -> Result<(), ArenaFault> {
        Self::range(at, lock(&self.0).len()).map(|_| ())
    }

    fn read(&self, at: ArenaRef, into: &mut [u8]) -> Result<(), ArenaFault> {
        self.with(at, into.len(), |block| into.copy_from_slice(block))
    }

    fn write(&self, at: ArenaRef, from: &[u8]) -> Result<(), ArenaFault> {
        self.with(at, from.len(), |block| block.copy_from_slice(from))
    }

    fn mapped(&self, segment: u16) -> Option<Mapped> {
        let bytes = lock(&self.0);
        let mapped = Mapped { address: bytes.as_ptr().addr() as u64, bytes: bytes.len() as u64 };
        (segment == 0).then_some(mapped)
    }
}

/// Fence words on the heap, with a log of all writes.
pub struct FakeFences {
    state: Mutex<FenceState>,
    written: Condvar,
}

struct FenceState {
    values: Vec<u64>,
    log: Vec<(u32, u64)>,
}

impl FakeFences {
    /// That many fences, all 0.
    pub fn new(count: usize) -> Self {
        let state = FenceState { values: vec![0; count], log: Vec::new() };
        Self { state: Mutex::new(state), written: Condvar::new() }
    }

    /// The value of a fence.
    pub fn value(&self, index: u32) -> u64 {
        lock(&self.state).values[index as usize]
    }

    /// All writes so far, in order.
    pub fn log(&self) -> Vec<(u32, u64)> {
        lock(&self.state).log.clone()
    }

    /// Waits until a fence has at least that value; `false` if it has not within the time.
    pub fn wait(&self, index: u32, value: u64, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        let mut state = lock(&self.state);
        while state.values[index as usize] < value {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            let woken = self.written.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Fences for FakeFences {
    fn count(&self) -> u32 {
        lock(&self.state).values.len() as u32
    }

    fn write(&self, index: u32, value: u64) -> Result<(), FenceFault> {
        let mut state = lock(&self.state);
        let expected = state.values.len() as u32;
        let place = state.values.get_mut(index as usize);
        *place.ok_or(FenceFault { found: index, expected })? = value;
        state.log.push((index, value));
        self.written.notify_all();
        Ok(())
    }
}

/// A latch that remembers the first failure and counts all.
#[derive(Default)]
pub struct FakeLatch(Mutex<(Option<(u64, Status)>, u64)>);

impl FakeLatch {
    /// The first failure: position and status.
    pub fn first(&self) -> Option<(u64, Status)> {
        lock(&self.0).0
    }

    /// How many failures there were.
    pub fn count(&self) -> u64 {
        lock(&self.0).1
    }
}

impl ErrorLatch for FakeLatch {
    fn latch(&self, position: u64, status: Status) {
        let mut state = lock(&self.0);
        state.0.get_or_insert((position, status));
        state.1 += 1;
    }
}

/// A worker without a ring: fakes of all services, and typed commands to a backend.
pub struct FakeWorker {
    /// The client's arena.
    pub arena: Arc<FakeArena>,
    /// The fences.
    pub fences: Arc<FakeFences>,
    /// The error latch.
    pub errors: Arc<FakeLatch>,
    /// The holds on arena bytes.
    pub holds: Arc<HoldSet>,
    services: Arc<Services>,
    position: u64,
}

impl FakeWorker {
    /// A worker with an arena of that many bytes and that many fences.
    pub fn new(arena_bytes: usize, fences: usize) -> Self {
        let arena = Arc::new(FakeArena::new(arena_bytes));
        let fences = Arc::new(FakeFences::new(fences));
        let errors = Arc::new(FakeLatch::default());
        let holds = Arc::new(HoldSet::new(|| ()));
        let services = Arc::new(Services {
            arena: arena.clone(),
            fences: fences.clone(),
            errors: errors.clone(),
            holds: holds.clone(),
        });
        Self { arena, fences, errors, holds, services, position: 0 }
    }

    /// The services, as a backend gets them.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// The position that the next command will have.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Executes a command's bytes.
    ///
    /// # Errors
    /// As [`execute`].
    pub fn execute(
        &mut self,
        backend: &mut dyn Backend,
        bytes: &[u8],
    ) -> Result<Executed, Violation> {
        self.position += 1;
        execute(backend, &self.services, self.position - 1, bytes)
    }

    /// Posts a command; a failure is latched.
    ///
    /// # Errors
    /// As [`execute`].
    pub fn post(
        &mut self,
        backend: &mut dyn Backend,
        command: impl PostCommand,
    ) -> Result<(), Violation> {
        self.execute(backend, &encoded(command)).map(|_| ())
    }

    /// Calls a command and decodes its reply, through bytes both ways.
    ///
    /// # Errors
    /// As [`execute`]; the inner error is the call's own status.
    pub fn call<C: SyncCommand>(
        &mut self,
        backend: &mut dyn Backend,
        command: C,
    ) -> Result<Result<C::Reply, Status>, Violation> {
        match self.execute(backend, &encoded(command))? {
            Executed::Replied(reply) => {
                let (bytes, len) = reply.to_bytes();
                Ok(C::Reply::decode(&bytes[..len])?)
            }
            Executed::Posted => unreachable!("a synchronous row is dispatched as one"),
        }
    }
}

fn encoded(command: impl Command) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(command.encoded_len());
    command.encode(&mut bytes);
    bytes
}

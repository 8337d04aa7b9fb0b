//! Fakes of what a worker offers, for tests of backends without a ring.

use crate::{
    ArenaFault, Backend, ErrorLatch, Executed, FenceFault, Fences, HoldSet, HostMemory, Mapped,
    Services, Violation, execute, ring,
};
use ringbar::arena::Arena;
use ringbar::layout::PAGE_BYTES;
use ringbar::lines::{LINE_BYTES, LINE_WORDS, SharedLines};
use ringbar::os::Mapping;
use ringbar::progress;
use ringbar::reply::Ticket;
use ringbar::worker::{Block, Next, Worker};
use ringbar_vocabulary::{
    ArenaRef, ClientOrigin, Command, PostCommand, ReplyBody, Status, SyncCommand,
};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A worker of a few lines for a client in the same process; returns how many commands it took from the ring. It serves
/// until the client leaves and all its work is done, or vanishes, as a process that is killed does, before the command,
/// counted from 1, for which `vanishes` says so.
///
/// # Panics
/// If the client breaks the protocol.
pub fn serve<B: Block>(
    mut worker: Worker<B>,
    fence_words: u32,
    backend: &mut dyn Backend,
    mut vanishes: impl FnMut(u64) -> bool,
) -> u64 {
    let completions = worker.completions().clone();
    let services = ring::services(&completions, fence_words, ClientOrigin::Host, ());
    let mut commands = 0;
    loop {
        match worker.next().expect("an honest client") {
            Next::Command(record) => {
                commands += 1;
                if vanishes(commands) {
                    return commands;
                }
                let (position, slot) = (record.position, record.reply_slot);
                let done = execute(backend, &services, position, record.bytes).expect("honest");
                if let (Executed::Replied(reply), Some(slot)) = (done, slot) {
                    let (bytes, len) = reply.to_bytes();
                    completions.reply(Ticket { slot, position }, &bytes[..len]);
                }
                worker.publish_soon();
            }
            Next::Idle => {}
            Next::ClientGone => {
                backend.drain();
                return commands;
            }
        }
    }
}

/// An arena of one segment on the heap, whole pages that a device may be given.
pub struct FakeArena(Arena);

impl FakeArena {
    /// An arena of zeros.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn new(bytes: usize) -> Self {
        let mapping = Arc::new(Mapping::heap(bytes.max(1)).expect("memory for a test"));
        Self(Arena::new(mapping.subrange(0, bytes).expect("all of it")))
    }

    fn checked(&self, at: ArenaRef, buffer_bytes: usize) -> Result<(), ArenaFault> {
        self.check(at)?;
        if buffer_bytes as u64 != at.len {
            return Err(ArenaFault::BufferLength { found: buffer_bytes, expected: at.len });
        }
        Ok(())
    }

    fn fault(&self, at: ArenaRef) -> ArenaFault {
        if at.segment() != 0 {
            return ArenaFault::Segment { found: at.segment(), expected: 1 };
        }
        let expected = self.0.segment_bytes(0);
        ArenaFault::Outside { offset: at.offset(), len: at.len, expected }
    }
}

impl HostMemory for FakeArena {
    fn check(&self, at: ArenaRef) -> Result<(), ArenaFault> {
        self.0.block(at.addr, at.len).map(drop).map_err(|_| self.fault(at))
    }

    fn read(&self, at: ArenaRef, into: &mut [u8]) -> Result<(), ArenaFault> {
        self.checked(at, into.len())?;
        self.0.read(at.addr, into).map_err(|_| self.fault(at))
    }

    fn write(&self, at: ArenaRef, from: &[u8]) -> Result<(), ArenaFault> {
        self.checked(at, from.len())?;
        self.0.write(at.addr, from).map_err(|_| self.fault(at))
    }

    fn mapped(&self, segment: u16) -> Option<Mapped> {
        let (address, bytes) = self.0.place(segment)?;
        Some(Mapped { address, bytes })
    }
}

/// Fence words on the heap, which a device may write too, with a log of all writes but a device's.
pub struct FakeFences {
    words: SharedLines,
    count: u32,
    log: Mutex<Vec<(u32, u64)>>,
    written: Condvar,
}

/// Longest wait for a fence between two looks: a device wakes nobody.
const FENCE_LOOK: Duration = Duration::from_millis(1);

impl FakeFences {
    /// That many fences, all 0.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn new(count: usize) -> Self {
        let lines = count.div_ceil(LINE_WORDS).next_power_of_two();
        let mapping = Mapping::heap((lines * LINE_BYTES).next_multiple_of(PAGE_BYTES));
        let mapping = Arc::new(mapping.expect("memory for a test"));
        let words = SharedLines::new(&mapping, 0, lines).expect("lines that fit");
        Self { words, count: count as u32, log: Mutex::default(), written: Condvar::new() }
    }

    /// The value of a fence.
    pub fn value(&self, index: u32) -> u64 {
        progress::fence(&self.words, index)
    }

    /// All writes so far, in order, but for those of a device.
    pub fn log(&self) -> Vec<(u32, u64)> {
        lock(&self.log).clone()
    }

    /// Waits until a fence has at least that value; `false` if it has not within the time.
    pub fn wait(&self, index: u32, value: u64, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        let mut log = lock(&self.log);
        while self.value(index) < value {
            if Instant::now() > deadline {
                return false;
            }
            let woken = self.written.wait_timeout(log, FENCE_LOOK);
            log = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Fences for FakeFences {
    fn count(&self) -> u32 {
        self.count
    }

    fn mapped(&self) -> Option<Mapped> {
        let bytes = (u64::from(self.count) * 8).next_multiple_of(PAGE_BYTES as u64);
        Some(Mapped { address: self.words.first_address(), bytes })
    }

    fn value(&self, index: u32) -> u64 {
        progress::fence(&self.words, index)
    }

    fn write(&self, index: u32, value: u64) -> Result<(), FenceFault> {
        let expected = self.count;
        if index >= expected {
            return Err(FenceFault { found: index, expected });
        }
        let mut log = lock(&self.log);
        progress::raise_fence(&self.words, index, value);
        log.push((index, value));
        self.written.notify_all();
        Ok(())
    }
}

/// A latch that remembers all failures.
#[derive(Default)]
pub struct FakeLatch(Mutex<Vec<(u64, Status)>>);

impl FakeLatch {
    /// The first failure: position and status.
    pub fn first(&self) -> Option<(u64, Status)> {
        self.failure(0)
    }

    /// How many failures there were.
    pub fn count(&self) -> u64 {
        lock(&self.0).len() as u64
    }
}

impl ErrorLatch for FakeLatch {
    fn latch(&self, position: u64, status: Status) {
        lock(&self.0).push((position, status));
    }

    fn failure(&self, number: u64) -> Option<(u64, Status)> {
        lock(&self.0).get(number as usize).copied()
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
            origin: ClientOrigin::Host,
        });
        Self { arena, fences, errors, holds, services, position: 0 }
    }

    /// The client is one from there from now on.
    pub fn comes_from(&mut self, origin: ClientOrigin) {
        self.services = Arc::new(Services { origin, ..Services::clone(&self.services) });
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

//! The mock without a ring: executes encoded commands in this process, with an arena, fences and a latch on the heap.
//!
//! The transport `direct` is nothing else, and the workers of the two old ways execute on it.

use super::error::ReplayError;
use super::probe::Probe;
use ringbar::sync::{AtomicU64, Ordering::Relaxed};
use ringbar_backend::{
    ArenaFault, Backend, ErrorLatch, Executed, FenceFault, Fences, Holds, HostMemory, Services,
    execute,
};
use ringbar_mock::{MockConfig, MockGpu};
use ringbar_vocabulary::{
    ArenaRef, ClientOrigin, Command, PostCommand, Reply, ReplyBody, Status, SyncCommand,
};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Fence words; a replay uses one a thread.
const FENCES: u32 = 512;

/// The mock's settings for a replay: the ring's worker must have the same, or layouts and addresses differ.
pub fn mock_config(device_memory_bytes: u64) -> MockConfig {
    MockConfig { device_memory_bytes, ..MockConfig::default() }
}

/// A mock GPU and what it needs of a worker.
pub struct LocalDevice {
    gpu: Probe<MockGpu>,
    services: Arc<Services>,
    host: Arc<HeapHost>,
    position: u64,
    encoded: Vec<u8>,
}

impl LocalDevice {
    /// A fresh device, and an arena of that many bytes.
    pub fn new(device_memory_bytes: u64, arena_bytes: usize) -> Result<Self, ReplayError> {
        let host = Arc::new(HeapHost {
            arena: Mutex::new(vec![0; arena_bytes]),
            first_failure: AtomicU64::new(0),
        });
        let services = Arc::new(Services {
            arena: host.clone(),
            fences: host.clone(),
            errors: host.clone(),
            holds: host.clone(),
            origin: ClientOrigin::Host,
        });
        let gpu = Probe::new(MockGpu::new(mock_config(device_memory_bytes))?);
        Ok(Self { gpu, services, host, position: 0, encoded: Vec::new() })
    }

    /// Executes one encoded command.
    pub fn execute(&mut self, bytes: &[u8]) -> Result<Executed, ReplayError> {
        self.position += 1;
        Ok(execute(&mut self.gpu, &self.services, self.position - 1, bytes)?)
    }

    fn encode_and_execute(&mut self, command: &impl Command) -> Result<Executed, ReplayError> {
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.clear();
        command.encode(&mut encoded);
        let executed = self.execute(&encoded);
        self.encoded = encoded;
        executed
    }

    /// Executes a posted command; a failure is latched.
    pub fn post<C: PostCommand>(&mut self, command: &C) -> Result<(), ReplayError> {
        self.encode_and_execute(command).map(drop)
    }

    /// Executes a synchronous command.
    pub fn call<C: SyncCommand>(&mut self, command: &C) -> Result<C::Reply, ReplayError> {
        match self.encode_and_execute(command)? {
            Executed::Replied(reply) => answer::<C>(&reply),
            Executed::Posted => Err(ReplayError::Answer { function: C::ROW.name }),
        }
    }

    /// Waits until no device work is outstanding.
    pub fn drain(&mut self) {
        self.gpu.drain();
    }

    /// The first posted command that failed, if one did.
    pub fn first_failure(&self) -> Option<Status> {
        match self.host.first_failure.load(Relaxed) {
            0 => None,
            status => Some(Status(status as u32)),
        }
    }

    /// Copies out of the arena; nothing if the block is not inside.
    pub fn read_arena(&self, at: ArenaRef, into: &mut [u8]) -> bool {
        self.host.read(at, into).is_ok()
    }

    /// Copies into the arena, for tests.
    #[cfg(test)]
    pub fn write_arena(&self, at: ArenaRef, from: &[u8]) {
        HostMemory::write(&*self.host, at, from).expect("inside the arena");
    }
}

/// Splits a reply into its fields, or its status as an error.
pub fn answer<C: SyncCommand>(reply: &Reply) -> Result<C::Reply, ReplayError> {
    let (bytes, len) = reply.to_bytes();
    decode_answer::<C>(&bytes[..len])
}

/// The same for a reply's bytes.
pub fn decode_answer<C: SyncCommand>(bytes: &[u8]) -> Result<C::Reply, ReplayError> {
    let function = C::ROW.name;
    let reply = C::Reply::decode(bytes).map_err(|_| ReplayError::Answer { function })?;
    reply.map_err(|status| ReplayError::Status { function, status })
}

/// A worker's services on the heap of one process.
struct HeapHost {
    arena: Mutex<Vec<u8>>,
    /// Status of the first failed post, 0 if there is none.
    first_failure: AtomicU64,
}

impl HeapHost {
    fn arena(&self) -> MutexGuard<'_, Vec<u8>> {
        self.arena.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn range(at: ArenaRef, arena_bytes: usize) -> Result<Range<usize>, ArenaFault> {
        if at.segment() != 0 {
            return Err(ArenaFault::Segment { found: at.segment(), expected: 1 });
        }
        let expected = arena_bytes as u64;
        match at.offset().checked_add(at.len) {
            Some(end) if end <= expected => Ok(at.offset() as usize..end as usize),
            _ => Err(ArenaFault::Outside { offset: at.offset(), len: at.len, expected }),
        }
    }

    fn block<T>(
        &self,
        at: ArenaRef,
        buffer_bytes: usize,
        copy: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<T, ArenaFault> {
        let mut arena = self.arena();
        let range = Self::range(at, arena.len())?;
        if buffer_bytes != range.len() {
            return Err(ArenaFault::BufferLength { found: buffer_bytes, expected: at.len });
        }
        Ok(copy(&mut arena[range]))
    }
}

impl HostMemory for HeapHost {
    fn check(&self, at: ArenaRef) -> Result<(), ArenaFault> {
        Self::range(at, self.arena().len()).map(drop)
    }

    fn read(&self, at: ArenaRef, into: &mut [u8]) -> Result<(), ArenaFault> {
        self.block(at, into.len(), |block| into.copy_from_slice(block))
    }

    fn write(&self, at: ArenaRef, from: &[u8]) -> Result<(), ArenaFault> {
        self.block(at, from.len(), |block| block.copy_from_slice(from))
    }
}

impl Fences for HeapHost {
    fn count(&self) -> u32 {
        FENCES
    }

    /// Nobody reads the words: whoever waits for a fence here waits for the device itself.
    fn write(&self, index: u32, _value: u64) -> Result<(), FenceFault> {
        if index < FENCES { Ok(()) } else { Err(FenceFault { found: index, expected: FENCES }) }
    }
}

impl ErrorLatch for HeapHost {
    fn latch(&self, _position: u64, status: Status) {
        // Only the first one stays.
        let _ = self.first_failure.compare_exchange(0, status.0.into(), Relaxed, Relaxed);
    }
}

impl Holds for HeapHost {
    fn begin(&self, _position: u64) {}

    /// Blocks of this arena are reused only after the device was waited for.
    fn end(&self, _position: u64) {}
}

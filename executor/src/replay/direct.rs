//! The transport `direct`: none. The mock executes each command in this process, encoded and decoded as over the others.

use super::error::ReplayError;
use super::link::{Link, PIECE_BYTES, Road, Traffic, pieces};
use super::local::LocalDevice;
use ringbar_vocabulary::{
    ArenaRef, DevicePtr, Fence, HostAlloc, HostFree, MemcpyDtoH, PostCommand, StreamId, SyncCommand,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where pinned blocks lie: behind the piece of a copy to the host.
pub const PINNED_OFFSET: u64 = PIECE_BYTES as u64;
/// Bytes of pinned blocks; a plan's limit is 8 MiB.
pub const PINNED_BYTES: u64 = 64 << 20;

/// A mock in this process.
pub struct DirectRoad {
    device: Arc<Mutex<LocalDevice>>,
    places: Arc<Mutex<PinnedPlaces>>,
}

impl DirectRoad {
    /// A fresh device.
    pub fn start(device_memory_bytes: u64) -> Result<Self, ReplayError> {
        let arena_bytes = (PINNED_OFFSET + PINNED_BYTES) as usize;
        let device = LocalDevice::new(device_memory_bytes, arena_bytes)?;
        Ok(Self { device: Arc::new(Mutex::new(device)), places: Arc::default() })
    }
}

impl Road for DirectRoad {
    type Link = DirectLink;

    fn link(&self) -> Result<DirectLink, ReplayError> {
        Ok(DirectLink { device: self.device.clone(), places: self.places.clone() })
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }

    fn has_worker(&self) -> bool {
        false
    }
}

/// Where pinned blocks lie in an arena that nobody shares: one behind the other, each place used again for the next block
/// of its size.
#[derive(Default)]
pub struct PinnedPlaces {
    taken: HashMap<u32, ArenaRef>,
    free: Vec<ArenaRef>,
    end: u64,
}

impl PinnedPlaces {
    /// A place for the block.
    pub fn take(&mut self, block: u32, len: u64) -> ArenaRef {
        let fits = self.free.iter().position(|place| place.len == len);
        let place = fits.map(|at| self.free.swap_remove(at)).unwrap_or_else(|| {
            let place = ArenaRef { addr: PINNED_OFFSET + self.end, len };
            self.end += len.next_multiple_of(64);
            place
        });
        self.taken.insert(block, place);
        place
    }

    /// The block is no longer used.
    pub fn give_back(&mut self, block: u32) -> Option<ArenaRef> {
        let place = self.taken.remove(&block)?;
        self.free.push(place);
        Some(place)
    }
}

/// One thread's end.
pub struct DirectLink {
    device: Arc<Mutex<LocalDevice>>,
    places: Arc<Mutex<PinnedPlaces>>,
}

/// A replay's locks are held by whole operations, so what a poisoned one guards is whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link for DirectLink {
    #[inline]
    fn post<C: PostCommand>(&mut self, command: &C) -> Result<(), ReplayError> {
        lock(&self.device).post(command)
    }

    fn post_and_wait<C: PostCommand>(&mut self, command: &C) -> Result<(), ReplayError> {
        let mut device = lock(&self.device);
        device.post(command)?;
        check(&device)
    }

    fn call<C: SyncCommand>(&mut self, command: &C) -> Result<C::Reply, ReplayError> {
        lock(&self.device).call(command)
    }

    fn dtoh(
        &mut self,
        into: &mut [u8],
        src: DevicePtr,
        stream: StreamId,
    ) -> Result<(), ReplayError> {
        let mut device = lock(&self.device);
        for (at, piece) in pieces(into.len()) {
            let dst = ArenaRef { addr: 0, len: piece as u64 };
            device.post(&MemcpyDtoH { dst, src: src.offset(at as u64), stream })?;
            device.post(&Fence { stream, index: 0, value: 0 })?;
            device.drain();
            device.read_arena(dst, &mut into[at..at + piece]);
        }
        check(&device)
    }

    fn synchronise(&mut self, stream: StreamId) -> Result<(), ReplayError> {
        let mut device = lock(&self.device);
        device.post(&Fence { stream, index: 0, value: 0 })?;
        device.drain();
        check(&device)
    }

    fn pin(&mut self, block: u32, bytes: u64) -> Result<(), ReplayError> {
        let block = lock(&self.places).take(block, bytes);
        self.post(&HostAlloc { block, flags: 0 })
    }

    fn unpin(&mut self, block: u32) -> Result<(), ReplayError> {
        let block = lock(&self.places).give_back(block);
        block.map_or(Ok(()), |block| self.post(&HostFree { block }))
    }
}

fn check(device: &LocalDevice) -> Result<(), ReplayError> {
    device.first_failure().map_or(Ok(()), |status| Err(ReplayError::PostFailed { status }))
}

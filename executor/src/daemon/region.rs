//! A client's region as its daemon holds it: across the deaths of workers.

use ringbar::layout::Sizes;
use ringbar::os::{EventFd, MapError, Mapping};
use ringbar::region::{self, Channel, RegionError, Terms};
use ringbar_vocabulary::VOCABULARY_HASH;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use thiserror::Error;

/// A region with one channel, in a memfd, and its doorbells. The arena is never touched here.
pub struct Region {
    memfd: OwnedFd,
    worker_bell: EventFd,
    client_bell: EventFd,
    channel: Channel,
    bytes: u64,
}

/// Why there is no region.
#[derive(Debug, Error)]
pub enum CreateError {
    /// No memory.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The sizes fit no region.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// No eventfd.
    #[error("no eventfd: {0}; likely cause: the limit of open files (ulimit -n)")]
    Bell(#[from] io::Error),
}

impl Region {
    /// A new region with one channel, which is not offered yet.
    ///
    /// # Errors
    /// If the system gives no memory or no descriptors.
    pub fn create(sizes: Sizes, features: u64) -> Result<Self, CreateError> {
        let bytes = region::region_bytes(&[sizes]);
        let (mapping, memfd) = Mapping::memfd_create("ringbar", bytes as usize)?;
        let mapping = Arc::new(mapping);
        let terms = Terms { vocabulary_hash: VOCABULARY_HASH, features };
        let places = region::create(&mapping, &[sizes], terms)?;
        let channel = Channel::open(&mapping, places[0])?;
        let (worker_bell, client_bell) = (EventFd::new()?, EventFd::new()?);
        Ok(Self { memfd, worker_bell, client_bell, channel, bytes })
    }

    /// The channel: its state and its counters.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Bytes of the region.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Memfd, worker's bell, client's bell.
    pub fn fds(&self) -> [BorrowedFd<'_>; 3] {
        [self.memfd.as_fd(), self.worker_bell.as_fd(), self.client_bell.as_fd()]
    }
}

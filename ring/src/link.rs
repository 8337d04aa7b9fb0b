//! A channel between two processes of one host, put together: a sealed memfd, an eventfd for each side, and a socket
//! that tells of death.
//!
//! The host makes a [`MemfdChannel`] and hands its three descriptors over; each side then takes its end. What travels
//! with the descriptors is the business of [`crate::handshake`].

use crate::arena::Arena;
use crate::client::{ArenaPlan, Client, ClientConfig, Limits};
use crate::error::ChannelError;
use crate::hub::RELOOK;
use crate::layout::Sizes;
use crate::os::doorbell::{EventFd, EventFdDoorbell};
use crate::os::liveness::PeerWatch;
use crate::os::mapping::{Mapping, PeerTrust};
use crate::os::membarrier::AsymmetricBarrier;
use crate::park::{FdBlock, FdPark};
use crate::region::{self, Channel, Expect, Place, Terms};
use crate::spin::SpinBudget;
use crate::sync::Arc;
use crate::wake::WakeMode;
use crate::worker::{Worker, WorkerConfig};
use core::time::Duration;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Feature bit: both sides registered for the asymmetric barrier, and wake by it.
pub const FEATURE_ASYMMETRIC_BARRIER: u64 = 1;

/// The wake-up protocol that a channel's features ask for.
pub fn wake_mode(features: u64) -> WakeMode {
    if features & FEATURE_ASYMMETRIC_BARRIER != 0 { WakeMode::Asymmetric } else { WakeMode::Fence }
}

/// The features that this process can offer: registers it for the asymmetric barrier, if the kernel has it.
pub fn features_here() -> u64 {
    match AsymmetricBarrier::of_process() {
        Ok(_) => FEATURE_ASYMMETRIC_BARRIER,
        Err(error) => {
            tracing::debug!(%error, "waking by full fences");
            0
        }
    }
}

/// What can be chosen about either end.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Longest poll before blocking. `None`: 200 us, or nothing where the process has one processor.
    pub spin_max: Option<Duration>,
    /// When silence is reported, and when it becomes an error (client only).
    pub limits: Limits,
    /// How the arena is shared out (client only).
    pub plan: ArenaPlan,
    /// Longest block of the worker before it looks again by itself.
    pub relook: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            spin_max: None,
            limits: Limits::default(),
            plan: ArenaPlan::default(),
            relook: RELOOK,
        }
    }
}

impl Options {
    fn spin(&self) -> SpinBudget {
        self.spin_max.map_or_else(SpinBudget::default, SpinBudget::new)
    }
}

/// One channel in a memfd of its own, with its doorbells: what the host makes, and what both sides hold.
pub struct MemfdChannel {
    memfd: Arc<OwnedFd>,
    channel: Channel,
    arena: Arc<Arena>,
    worker_bell: EventFd,
    client_bell: EventFd,
}

impl MemfdChannel {
    /// Host: makes region, identity and doorbells. The channel is not offered yet.
    pub fn create(name: &str, sizes: Sizes, terms: Terms) -> Result<Self, ChannelError> {
        sizes.check().map_err(region::RegionError::from)?;
        let bytes = region::region_bytes(&[sizes]) as usize;
        let (mapping, memfd) = Mapping::memfd_create(name, bytes).map_err(|e| {
            ChannelError::io("creating the region's memfd", std::io::Error::other(e))
        })?;
        let mapping = Arc::new(mapping);
        let places = region::create(&mapping, &[sizes], terms)?;
        let bell = || EventFd::new().map_err(|e| ChannelError::io("creating an eventfd", e));
        Self::assemble(mapping, memfd, places[0], bell()?, bell()?)
    }

    /// Worker: takes up what its host created. `place` comes from the host, not from the region.
    pub fn adopt(
        memfd: OwnedFd,
        place: Place,
        worker_bell: EventFd,
        client_bell: EventFd,
    ) -> Result<Self, ChannelError> {
        Self::assemble(map(&memfd)?, memfd, place, worker_bell, client_bell)
    }

    /// Client: takes up what a host handed over, after checking all that the region says.
    pub fn receive(
        memfd: OwnedFd,
        index: usize,
        want: Expect,
        worker_bell: EventFd,
        client_bell: EventFd,
    ) -> Result<Self, ChannelError> {
        let mapping = map(&memfd)?;
        let place = region::inspect(&mapping, index, want)?;
        Self::assemble(mapping, memfd, place, worker_bell, client_bell)
    }

    fn assemble(
        mapping: Arc<Mapping>,
        memfd: OwnedFd,
        place: Place,
        worker_bell: EventFd,
        client_bell: EventFd,
    ) -> Result<Self, ChannelError> {
        let channel = Channel::open(&mapping, place)?;
        let arena = Arc::new(map_arena(&mapping, &memfd, place)?);
        Ok(Self { memfd: Arc::new(memfd), channel, arena, worker_bell, client_bell })
    }

    /// Where the channel lies and what it is.
    pub fn place(&self) -> Place {
        self.channel.place
    }

    /// Its shared lines: state, counters, and for the host [`Channel::offer`].
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Its arena.
    pub fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// Bytes of the whole region.
    pub fn region_bytes(&self) -> u64 {
        region::region_bytes(&[self.place().identity.sizes()])
    }

    /// The descriptors to hand over: memfd, worker's doorbell, client's doorbell.
    pub fn fds(&self) -> [BorrowedFd<'_>; 3] {
        [self.memfd.as_fd(), self.worker_bell.as_fd(), self.client_bell.as_fd()]
    }

    /// Takes the consuming end. `watch` tells of the client's death.
    pub fn worker(
        &self,
        generation: u32,
        watch: &PeerWatch,
        options: Options,
    ) -> Result<Worker<FdBlock>, ChannelError> {
        let block = FdBlock::new(self.worker_bell.clone(), watch)
            .map_err(|e| ChannelError::io("setting up the worker's wait", e))?;
        let config = WorkerConfig {
            channel: self.channel.clone(),
            generation,
            arena: Arc::clone(&self.arena),
            doorbell: Arc::new(EventFdDoorbell(self.client_bell.clone())),
            wake: wake_mode(self.place().identity.features),
            spin: options.spin(),
            relook: options.relook,
        };
        Worker::start(config, block)
    }

    /// Takes the producing end. `watch` tells of the worker's death.
    pub fn client(
        &self,
        generation: u32,
        watch: PeerWatch,
        options: Options,
    ) -> Result<Client, ChannelError> {
        let park = FdPark::new(self.client_bell.clone(), watch)
            .map_err(|e| ChannelError::io("setting up the client's wait", e))?;
        Client::attach(ClientConfig {
            channel: self.channel.clone(),
            generation,
            arena: Arc::clone(&self.arena),
            plan: options.plan,
            doorbell: Arc::new(EventFdDoorbell(self.worker_bell.clone())),
            park: Box::new(park),
            wake: wake_mode(self.place().identity.features),
            spin: options.spin(),
            limits: options.limits,
            heartbeat: false,
        })
    }
}

fn map(memfd: &OwnedFd) -> Result<Arc<Mapping>, ChannelError> {
    let mapping = Mapping::memfd_attach(memfd)
        .map_err(|e| ChannelError::io("mapping the region's memfd", std::io::Error::other(e)))?;
    Ok(Arc::new(mapping))
}

/// The arena as segment 0: part of the whole mapping, or mapped once more at the address that both sides agreed on.
fn map_arena(mapping: &Arc<Mapping>, memfd: &OwnedFd, place: Place) -> Result<Arena, ChannelError> {
    let id = place.identity;
    let offset = place.offset + id.arena_offset;
    let failed = |e| ChannelError::io("mapping the arena", std::io::Error::other(e));
    if id.arena_bytes == 0 || id.arena_address == 0 {
        let part = mapping.subrange(offset as usize, id.arena_bytes as usize).map_err(failed)?;
        return Ok(Arena::new(part));
    }
    let address = id.arena_address as usize;
    let trust = PeerTrust::Strangers;
    let fixed = Mapping::map_at(memfd, offset, id.arena_bytes, address, trust).map_err(failed)?;
    let part = Arc::new(fixed).subrange(0, id.arena_bytes as usize).map_err(failed)?;
    Ok(Arena::new(part))
}

/// Both ends of a fresh channel in this process: for tests, benches, and threads that want a ring between them.
///
/// Generation 1, offered and running.
pub fn pair(
    sizes: Sizes,
    terms: Terms,
    options: Options,
) -> Result<(Client, Worker<FdBlock>), ChannelError> {
    let host = MemfdChannel::create("ringbar-pair", sizes, terms)?;
    host.channel().offer(1);
    let socket = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    );
    let (ours, theirs) = socket.map_err(|e| ChannelError::io("creating a socket pair", e))?;
    let worker = host.worker(1, &PeerWatch::of_connection(Arc::new(theirs)), options)?;
    let client = host.client(1, PeerWatch::of_connection(Arc::new(ours)), options)?;
    Ok((client, worker))
}

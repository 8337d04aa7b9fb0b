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
use crate::os::MapError;
use crate::os::doorbell::{EventFd, EventFdDoorbell};
use crate::os::liveness::PeerWatch;
use crate::os::mapping::{Mapping, PeerTrust, SubMapping};
use crate::os::membarrier::AsymmetricBarrier;
use crate::park::{FdBlock, FdPark, GuestBlock};
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
    /// What threads of a guest's client do first: those of a library block signals, which are the program's (client only).
    pub thread_begins: fn(),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            spin_max: None,
            limits: Limits::default(),
            plan: ArenaPlan::default(),
            relook: RELOOK,
            thread_begins: || (),
        }
    }
}

impl Options {
    pub(crate) fn spin(&self) -> SpinBudget {
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
        Self::assemble(mapping, memfd, places[0], [bell()?, bell()?], AddressTaken::Refuse)
    }

    /// Worker: takes up what its host created. `place` comes from the host, not from the region.
    pub fn adopt(
        memfd: OwnedFd,
        place: Place,
        worker_bell: EventFd,
        client_bell: EventFd,
    ) -> Result<Self, ChannelError> {
        let bells = [worker_bell, client_bell];
        Self::assemble(map(&memfd)?, memfd, place, bells, AddressTaken::Refuse)
    }

    /// Client: takes up what a host handed over, after checking all that the region says.
    ///
    /// If something else lies where both sides are to map the arena, it is mapped anywhere, and
    /// [`Arena::is_at_agreed_address`] says `false`: arena bytes have no common address then, all else works. A new
    /// session gets another address.
    pub fn receive(
        memfd: OwnedFd,
        index: usize,
        want: Expect,
        worker_bell: EventFd,
        client_bell: EventFd,
    ) -> Result<Self, ChannelError> {
        let mapping = map(&memfd)?;
        let place = region::inspect(&mapping, index, want)?;
        let bells = [worker_bell, client_bell];
        Self::assemble(mapping, memfd, place, bells, AddressTaken::MapAnywhere)
    }

    fn assemble(
        mapping: Arc<Mapping>,
        memfd: OwnedFd,
        place: Place,
        [worker_bell, client_bell]: [EventFd; 2],
        taken: AddressTaken,
    ) -> Result<Self, ChannelError> {
        let channel = Channel::open(&mapping, place)?;
        let arena = Arc::new(map_arena(&mapping, &memfd, place, taken)?);
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
        Worker::start(self.worker_config(generation, options), block)
    }

    /// Takes the consuming end of a channel whose client is a program in a VM, known by its heartbeat alone: gone once that
    /// has rested for `heart_limit`, from the start or later.
    pub fn guest_worker(
        &self,
        generation: u32,
        heart_limit: Duration,
        options: Options,
    ) -> Result<Worker<GuestBlock>, ChannelError> {
        let block = GuestBlock::new(self.worker_bell.clone(), &self.channel, heart_limit)
            .map_err(|e| ChannelError::io("setting up the worker's wait", e))?;
        Worker::start(self.worker_config(generation, options), block)
    }

    fn worker_config(&self, generation: u32, options: Options) -> WorkerConfig {
        WorkerConfig {
            channel: self.channel.clone(),
            generation,
            arena: Arc::clone(&self.arena),
            doorbell: Arc::new(EventFdDoorbell(self.client_bell.clone())),
            wake: wake_mode(self.place().identity.features),
            spin: options.spin(),
            relook: options.relook,
        }
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
            heartbeat: None,
        })
    }
}

fn map(memfd: &OwnedFd) -> Result<Arc<Mapping>, ChannelError> {
    let mapping = Mapping::memfd_attach(memfd)
        .map_err(|e| ChannelError::io("mapping the region's memfd", std::io::Error::other(e)))?;
    keep_from_children(&mapping);
    Ok(Arc::new(mapping))
}

/// A copy of this process by `fork` shall not reach the channel; where the kernel refuses, it is only asked not to.
pub(crate) fn keep_from_children(mapping: &Mapping) {
    if let Err(error) = mapping.keep_from_children() {
        tracing::debug!(%error, "forked children keep the channel mapped");
    }
}

/// What becomes of an arena whose address is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AddressTaken {
    Refuse,
    MapAnywhere,
}

/// The arena as segment 0: part of the whole mapping, or mapped once more at the address that both sides agreed on.
fn map_arena(
    mapping: &Arc<Mapping>,
    memfd: &OwnedFd,
    place: Place,
    taken: AddressTaken,
) -> Result<Arena, ChannelError> {
    let id = place.identity;
    let offset = place.offset + id.arena_offset;
    if id.arena_bytes != 0 && id.arena_address != 0 {
        match map_at(memfd, offset, id.arena_bytes, id.arena_address) {
            Ok(part) => return Ok(Arena::at_agreed_address(part)),
            Err(error @ ChannelError::ArenaAddress { .. })
                if taken == AddressTaken::MapAnywhere =>
            {
                tracing::debug!(%error, "mapping the arena anywhere");
            }
            Err(error) => return Err(error),
        }
    }
    let failed = |e| ChannelError::io("mapping the arena", std::io::Error::other(e));
    let part = mapping.subrange(offset as usize, id.arena_bytes as usize).map_err(failed)?;
    Ok(Arena::new(part))
}

fn map_at(
    memfd: &OwnedFd,
    offset: u64,
    bytes: u64,
    address: u64,
) -> Result<SubMapping, ChannelError> {
    let failed = |e| match e {
        MapError::AddressTaken { .. } => ChannelError::ArenaAddress { address, bytes },
        other => ChannelError::io("mapping the arena", std::io::Error::other(other)),
    };
    let trust = PeerTrust::Strangers;
    let fixed = Mapping::map_at(memfd, offset, bytes, address as usize, trust).map_err(failed)?;
    keep_from_children(&fixed);
    Arc::new(fixed).subrange(0, bytes as usize).map_err(failed)
}

/// Maps a further segment of `bytes`, for either side: where the arena's next segment belongs, or anywhere if the arena
/// lies anywhere. It is still to be added ([`Arena::add`], [`Client::add_segment`]).
///
/// # Errors
/// [`ChannelError::ArenaAddress`] if something else lies there, [`ChannelError::Io`] if the system gives no memory or the
/// memfd is none to map.
pub fn map_segment(arena: &Arena, memfd: &OwnedFd, bytes: u64) -> Result<SubMapping, ChannelError> {
    let failed = |e| ChannelError::io("mapping a segment of the arena", std::io::Error::other(e));
    // The seals are checked and the size is taken from the kernel by this one, also where it is not used.
    let anywhere = Mapping::memfd_attach(memfd).map_err(failed)?;
    match arena.next_address() {
        Some(address) => map_at(memfd, 0, bytes, address),
        None => Arc::new(anywhere).subrange(0, bytes as usize).map_err(failed),
    }
}

/// The lowest address that a host chooses for an arena, the one at which it begins, and the first one beyond.
///
/// The range is free in ordinary processes: the kernel puts libraries, stacks and the heap elsewhere, drivers and
/// sanitizers reserve other parts.
pub const ARENA_ADDRESSES: [u64; 3] = [0x6500_0000_0000, 0x6f00_0000_0000, 0x7000_0000_0000];

/// The address of the arena of session `number` where a client may have `client_bytes` of memory in all: one slot a
/// session, used in turn, so that a client that met a taken one gets another by connecting again.
///
/// Slots are twice as large as what the client may have (segments are aligned), at least 16 GiB and at most 1 TiB; 0 if
/// that is not enough: then both sides map the arena anywhere.
pub fn arena_address(number: u64, client_bytes: u64) -> u64 {
    const SLOT_MAX: u64 = 1 << 40;
    let [lowest, begin, end] = ARENA_ADDRESSES;
    let wanted = client_bytes
        .max(8 << 30)
        .checked_next_power_of_two()
        .and_then(|bytes| bytes.checked_mul(2));
    let Some(slot) = wanted.filter(|&slot| slot <= SLOT_MAX) else { return 0 };
    let range = end - lowest;
    lowest + (begin - lowest + (number % (range / slot)) * slot) % range
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_get_slots_of_their_own_until_the_range_is_used_up() {
        let [lowest, begin, end] = ARENA_ADDRESSES;
        let addresses: Vec<u64> = (0..704).map(|number| arena_address(number, 8 << 30)).collect();
        assert_eq!((addresses[0], addresses[1]), (begin, begin + (16 << 30)));
        assert_eq!(addresses[64], lowest, "after the last one come those below");
        let mut sorted = addresses.clone();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] >= 16 << 30));
        assert!(sorted[0] >= lowest && sorted[703] + (16 << 30) <= end);
        assert_eq!(arena_address(704, 8 << 30), begin);
    }

    #[test]
    fn a_client_with_more_memory_gets_larger_slots_and_one_with_too_much_none() {
        let [_, begin, _] = ARENA_ADDRESSES;
        assert_eq!(arena_address(1, 100 << 30), begin + (256 << 30));
        assert_eq!(arena_address(7, 513 << 30), 0);
        assert_eq!(arena_address(7, u64::MAX), 0);
    }

    #[test]
    fn an_arena_and_its_segments_lie_where_the_identity_says_or_the_error_names_the_address() {
        let sizes =
            Sizes { arena_bytes: 1 << 20, arena_address: 0x6efe_0000_0000, ..Sizes::default() };
        let host =
            MemfdChannel::create("ringbar-address", sizes, Terms::default()).expect("a region");
        assert_eq!(host.arena().place(0), Some((sizes.arena_address, 1 << 20)));
        let (_, memfd) = Mapping::memfd_create("ringbar-segment", 1 << 20).expect("a segment");
        let part = map_segment(host.arena(), &memfd, 1 << 20).expect("mapped");
        assert_eq!(part.as_ptr().addr() as u64, sizes.arena_address + (2 << 20));
        let taken = MemfdChannel::create("ringbar-address", sizes, Terms::default()).err();
        let address = sizes.arena_address;
        assert!(
            matches!(taken, Some(ChannelError::ArenaAddress { address: found, .. }) if found == address)
        );
        let memfd = host.memfd.try_clone().expect("one more descriptor");
        let (bells, want) =
            ((host.worker_bell.clone(), host.client_bell.clone()), Expect::default());
        let client = MemfdChannel::receive(memfd, 0, want, bells.0, bells.1).expect("a channel");
        assert!(!client.arena().is_at_agreed_address(), "its own process has it already");
    }
}

//! From an open device to a client: claim, check, map, attach.

use super::claim::{self, Lease};
use super::device::Device;
use super::memory::{self, Machine, Memory};
use super::park::GuestPark;
use super::{GuestConfig, GuestError};
use crate::arena::Arena;
use crate::client::{Client, ClientConfig};
use crate::directory;
use crate::layout::PAGE_BYTES;
use crate::link::{self, Options};
use crate::os::doorbell::DoorbellKind;
use crate::os::mapping::{Mapping, SubMapping};
use crate::region::{self, Channel, Expect, Place, RegionError, Span, State};
use crate::spin::{SPIN_MAX, SpinBudget};
use crate::sync::Arc;
use std::time::Instant;

/// How a guest's client came to its channel, for status output.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The device.
    pub device: Device,
    /// Which channel of the region.
    pub channel: usize,
    /// The generation.
    pub generation: u32,
    /// Where it lies and what it is.
    pub place: Place,
    /// How the worker is woken.
    pub doorbell: DoorbellKind,
    /// Whether this program sleeps until an interrupt, or polls.
    pub interrupts: bool,
    /// Memory type of the control words, as measured.
    pub control: Memory,
    /// Memory type of the arena, as measured.
    pub bulk: Memory,
    /// Whether the arena lies at the address that the host named, so that pinned pointers are device pointers.
    pub arena_at_address: bool,
}

/// Finds the device, claims a channel and attaches to it.
///
/// # Errors
/// [`GuestError`], which says what was found, the likely cause, and what to try. Never waits longer than
/// [`GuestConfig::patience`].
pub fn connect(
    config: &GuestConfig,
    want: Expect,
    options: Options,
) -> Result<(Client, Attached), GuestError> {
    let begun = Instant::now();
    let device = Device::find(config)?;
    let patience = config.patience.saturating_sub(begun.elapsed());
    attach(&device, &GuestConfig { patience, ..config.clone() }, want, options)
}

/// Claims a channel of a device that is open already, and attaches to it.
///
/// # Errors
/// As [`connect`].
pub fn attach(
    device: &Device,
    config: &GuestConfig,
    want: Expect,
    options: Options,
) -> Result<(Client, Attached), GuestError> {
    let lease = claim::claim(&device.directory, &device.bells, config.patience)?;
    let named = |error| GuestError::region(&device.name, error);
    let span = device.directory.span(lease.channel).map_err(named)?;
    let pieces = Pieces::map(device, span, want)?;
    let generation = generation_of(&pieces.channel, &lease)?;
    let vectors = directory::doorbells(&device.directory.lines);
    let vector = directory::vector(lease.channel, vectors);
    let bell = device.bells.bell(vectors, vector)?;
    let mut attached = Attached {
        device: device.clone(),
        channel: lease.channel,
        generation,
        place: pieces.place,
        doorbell: bell.kind(),
        interrupts: false,
        control: pieces.control,
        bulk: pieces.bulk,
        arena_at_address: pieces.arena_at_address,
    };
    let park = GuestPark::new(device, pieces.channel.header.clone(), lease, config.silence)?;
    attached.interrupts = crate::client::ClientPark::wants_doorbell(&park);
    let client = Client::attach(ClientConfig {
        channel: pieces.channel,
        generation,
        arena: pieces.arena,
        plan: options.plan,
        doorbell: bell,
        park: Box::new(park),
        wake: link::wake_mode(0),
        // A worker runs on the host's processors: polling keeps it from nothing, also where this machine has one only.
        spin: SpinBudget::new(options.spin_max.unwrap_or(SPIN_MAX))
            .with_dear_pauses(Machine::here().emulated),
        limits: options.limits,
        heartbeat: Some(options.thread_begins),
    })?;
    Ok((client, attached))
}

/// The generation that belongs to this claim. The assignment is looked at once more *after* it was read: between the two
/// this program may have been stopped, and the channel given to another one.
fn generation_of(channel: &Channel, lease: &Lease) -> Result<u32, GuestError> {
    let (state, generation) = channel.host_state();
    if matches!(state, State::Offered | State::Running) && generation != 0 && lease.holds() {
        return Ok(generation);
    }
    let expected = "an offered channel that is still assigned to this program".to_owned();
    let error = RegionError::State { found: state, generation, expected };
    Err(GuestError::Channel(error.into()))
}

/// A channel, mapped piece by piece: control words uncached or cached, the arena of its own type at its own address.
struct Pieces {
    place: Place,
    channel: Channel,
    arena: Arc<Arena>,
    arena_at_address: bool,
    control: Memory,
    bulk: Memory,
}

impl Pieces {
    fn map(device: &Device, span: Span, want: Expect) -> Result<Self, GuestError> {
        let named = |error| GuestError::region(&device.name, error);
        let header = Arc::new(device.control.map(span.offset, PAGE_BYTES as u64)?);
        let place = region::inspect_channel(&header, 0, span, want).map_err(named)?;
        drop(header);
        let id = place.identity;
        let control = Arc::new(device.control.map(span.offset, id.arena_offset)?);
        let here = Place { offset: 0, identity: id };
        let channel = Channel::open(&control, here).map_err(named)?;
        let control_type = memory::measure(&control);
        let (arena, bulk, arena_at_address) = Self::arena(device, place, &control)?;
        Ok(Self { place, channel, arena, arena_at_address, control: control_type, bulk })
    }

    fn arena(
        device: &Device,
        place: Place,
        control: &Arc<Mapping>,
    ) -> Result<(Arc<Arena>, Memory, bool), GuestError> {
        let id = place.identity;
        let offset = place.offset + id.arena_offset;
        if id.arena_bytes == 0 {
            let nothing = control.subrange(0, 0)?;
            return Ok((Arc::new(Arena::new(nothing)), memory::measure(control), true));
        }
        let (mapping, at_address) = map_arena(device, offset, id.arena_bytes, id.arena_address)?;
        let mapping = Arc::new(mapping);
        let bulk = memory::measure(&mapping);
        let part = mapping.subrange(0, id.arena_bytes as usize)?;
        Ok((Arc::new(arena_over(part, at_address, bulk)), bulk, at_address))
    }
}

/// The arena over memory of that type: what the processor does not cache is copied by streaming loads and stores only.
fn arena_over(part: SubMapping, at_address: bool, memory: Memory) -> Arena {
    let arena = if at_address { Arena::at_agreed_address(part) } else { Arena::new(part) };
    if memory.is_cached() { arena } else { arena.over_uncached_memory() }
}

/// The arena at the address that both sides agreed on, if that is free here.
fn map_arena(
    device: &Device,
    offset: u64,
    bytes: u64,
    address: u64,
) -> Result<(Mapping, bool), GuestError> {
    if address == 0 {
        return Ok((device.bulk.map(offset, bytes)?, false));
    }
    match device.bulk.map_at(offset, bytes, address as usize) {
        Ok(mapping) => Ok((mapping, true)),
        Err(error) => {
            tracing::warn!(%error, "pinned memory will have no device pointers");
            Ok((device.bulk.map(offset, bytes)?, false))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryType;
    use super::*;
    use core::time::Duration;

    #[test]
    fn bulk_memory_that_was_found_uncached_makes_an_arena_that_is_copied_by_streaming() {
        let over = |kind| {
            let part = crate::testing::zeroed(4096).subrange(0, 4096).expect("the whole mapping");
            let (load, load_ordinary, line) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
            arena_over(part, false, Memory { kind, load, load_ordinary, line })
        };
        assert!(over(MemoryType::Cached).is_cached());
        assert!(!over(MemoryType::WriteCombining).is_cached());
        assert!(!over(MemoryType::Uncached).is_cached());
    }
}

//! The client's side of the arena: it owns every byte, and says by position when it may reuse them.
//!
//! Segment 0 is shared out once: the front is a first-in, first-out staging area for bytes that one command uses, the
//! rest (and every further segment) holds long-lived blocks. Staged bytes come back when the worker's retired position
//! has passed their command; the order of release is the order of allocation.

use super::{Client, Inner, Patience, lock};
use crate::arena::alloc::{AllocError, Pinned, Staging, Ticket};
use crate::arena::{Arena, address, split};
use crate::counters::{ClientWord, set_client};
use crate::error::ChannelError;
use crate::layout::PAGE_BYTES;
use crate::os::mapping::SubMapping;
use crate::progress;
use crate::spsc::Violation;
use crate::sync::{Arc, Mutex, Ordering};
use core::time::Duration;
use std::collections::VecDeque;

/// Alignment of staged blocks: a line, so that two commands never share one.
const STAGING_ALIGN: u64 = 64;

/// How segment 0 of an arena is shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaPlan {
    /// Bytes for staging, at most; never more than half of the arena if anything is to be pinned.
    pub staging_bytes_max: u64,
}

impl Default for ArenaPlan {
    /// 8 MiB for staging: small enough to stay in the last-level cache while bulk data streams through it.
    fn default() -> Self {
        Self { staging_bytes_max: 8 << 20 }
    }
}

/// Most blocks that are staged at once.
const STAGED_MAX: usize = 4096;
/// Most pinned blocks in a segment.
const PINNED_MAX: usize = 1 << 20;

pub(super) struct ArenaOwner {
    arena: Arc<Arena>,
    /// `None` in a channel without arena.
    staging: Mutex<Option<Staging>>,
    pinned: Mutex<PinnedArea>,
}

struct PinnedArea {
    /// Offsets of an allocator are offsets in its segment.
    segments: Vec<(u16, Pinned)>,
    /// Blocks given back, and the position that must be retired before they are free.
    leaving: VecDeque<(u64, u64)>,
}

impl ArenaOwner {
    pub(super) fn new(arena: Arc<Arena>, plan: ArenaPlan) -> Self {
        let bytes = arena.segment_bytes(0);
        let page = PAGE_BYTES as u64;
        let staging = (bytes / 2 / page * page).min(plan.staging_bytes_max.next_multiple_of(page));
        // Whole pages: the only error left is an empty range, in a channel without arena.
        let pinned = Pinned::new(staging..bytes, PINNED_MAX).ok();
        let segments = pinned.into_iter().map(|blocks| (0, blocks)).collect();
        Self {
            arena,
            staging: Mutex::new(Staging::new(0..staging, STAGED_MAX).ok()),
            pinned: Mutex::new(PinnedArea { segments, leaving: VecDeque::new() }),
        }
    }

    pub(super) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }
}

/// A block of the staging area, to be filled and named in one command.
///
/// Dropped without [`posted`](Self::posted) it is free at once.
#[derive(Debug)]
pub struct Staged<'c> {
    inner: &'c Inner,
    ticket: Ticket,
    offset: u64,
    len: u64,
    /// Position of the command that uses it, once that is posted.
    position: Option<u64>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Staged<'_> {
    /// Its arena address, for the command.
    pub fn address(&self) -> u64 {
        address(0, self.offset)
    }

    /// Its bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True for a block of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies `bytes` into the block, `at` bytes behind its start.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Violation> {
        self.check(at, bytes.len() as u64)?;
        self.inner.arena.arena.write(self.address() + at, bytes)
    }

    /// Copies what the worker wrote out of the block, `at` bytes behind its start.
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Violation> {
        self.check(at, into.len() as u64)?;
        self.inner.arena.arena.read(self.address() + at, into)
    }

    fn check(&self, at: u64, len: u64) -> Result<(), Violation> {
        if at.checked_add(len).is_some_and(|end| end <= self.len) {
            return Ok(());
        }
        Err(Violation::Range { what: "staged bytes", start: at, len, limit: self.len })
    }

    /// The command that uses the block was posted at `position`: the block is free once that command is retired.
    pub fn posted(mut self, position: u64) {
        self.position = Some(position);
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if let Some(staging) = &mut *lock(&self.inner.arena.staging) {
            // The ticket is this block's own, so it cannot be stale.
            let _ = match self.position {
                Some(position) => staging.bind(self.ticket, position),
                None => staging.cancel(self.ticket),
            };
        }
    }
}

/// A long-lived block of the arena: pinned host memory, if the arena is registered with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedBlock {
    /// Its arena address.
    pub address: u64,
    /// Its bytes.
    pub len: u64,
    /// Where it is in this process; the peer can change the bytes at any time.
    pub pointer: usize,
}

impl Client {
    /// Bytes that can be staged at once.
    pub fn staging_bytes(&self) -> u64 {
        lock(&self.inner.arena.staging).as_ref().map_or(0, Staging::capacity)
    }

    /// Takes `len` bytes of the staging area. Waits, with no lock held, until the worker has retired enough of what was
    /// staged before; more than the whole area is [`ChannelError::ArenaFull`].
    pub fn stage(&self, len: u64) -> Result<Staged<'_>, ChannelError> {
        self.stage_within(len, None)
    }

    /// The same; after `limit` it ends with [`ChannelError::Deadline`].
    pub fn stage_within(
        &self,
        len: u64,
        limit: Option<Duration>,
    ) -> Result<Staged<'_>, ChannelError> {
        let inner = &*self.inner;
        if let Some(staged) = inner.try_stage(len)? {
            return Ok(staged);
        }
        let waits = inner.arena_waits.fetch_add(1, Ordering::Relaxed) + 1;
        set_client(&inner.channel.header, ClientWord::ArenaWaits, waits);
        inner.wait(|| inner.try_stage(len).transpose(), &mut Patience::of(limit))
    }

    /// Takes a long-lived block of `len` bytes. A full arena is [`ChannelError::ArenaFull`]: add a segment, or give blocks
    /// back. Whatever else an allocator refuses is [`ChannelError::Arena`].
    pub fn pin(&self, len: u64, align: u64) -> Result<PinnedBlock, ChannelError> {
        let inner = &*self.inner;
        let mut area = inner.pinned_area()?;
        let mut refused = None;
        for (number, blocks) in &mut area.segments {
            match blocks.alloc(len, align.max(STAGING_ALIGN)) {
                Ok(offset) => {
                    let address = address(*number, offset);
                    let pointer = inner.arena.arena.block(address, len)?.as_ptr() as usize;
                    return Ok(PinnedBlock { address, len, pointer });
                }
                Err(AllocError::Full { .. } | AllocError::TooLarge { .. }) => {}
                Err(other) => refused = Some(other),
            }
        }
        if let Some(error) = refused {
            return Err(error.into());
        }
        let free = area.segments.iter().map(|(_, blocks)| blocks.free_bytes()).max().unwrap_or(0);
        let capacity = area.segments.iter().map(|(_, blocks)| blocks.capacity()).sum();
        Err(ChannelError::ArenaFull { wanted: len, free, capacity })
    }

    /// Gives the pinned block at `address` back: it is free once everything posted up to now is retired.
    ///
    /// `false` if no pinned block starts there.
    pub fn unpin(&self, address: u64) -> Result<bool, ChannelError> {
        let mut area = self.inner.pinned_area()?;
        let (number, offset) = split(address);
        let known =
            area.segments.iter().any(|(n, b)| *n == number && b.block_bytes(offset).is_ok());
        let leaving = area.leaving.iter().any(|&(_, a)| a == address);
        if !known || leaving {
            return Ok(false);
        }
        let tail = lock(&self.inner.tx).producer.tail();
        area.leaving.push_back((tail, address));
        Ok(true)
    }

    /// Adds a further segment, which the host gave both sides under the same number.
    ///
    /// `false` if the number is taken or too large.
    pub fn add_segment(&self, number: u16, segment: SubMapping) -> bool {
        let bytes = segment.len() as u64;
        let owner = &self.inner.arena;
        let Ok(blocks) = Pinned::new(0..bytes, PINNED_MAX) else { return false };
        let added = owner.arena.add(number, segment);
        if added {
            lock(&owner.pinned).segments.push((number, blocks));
        }
        added
    }
}

impl Inner {
    fn try_stage(&self, len: u64) -> Result<Option<Staged<'_>>, ChannelError> {
        let retired = self.checked(progress::retired(&self.channel.header))?;
        let mut area = lock(&self.arena.staging);
        let full = |capacity| ChannelError::ArenaFull { wanted: len, free: capacity, capacity };
        let staging = area.as_mut().ok_or_else(|| full(0))?;
        staging.release_before(retired);
        match staging.reserve(len, STAGING_ALIGN) {
            Ok((offset, ticket)) => {
                Ok(Some(Staged { inner: self, ticket, offset, len, position: None }))
            }
            Err(AllocError::Full { .. } | AllocError::TooManyBlocks { .. }) => Ok(None),
            Err(_) => Err(full(staging.capacity())),
        }
    }

    /// The pinned area, with blocks freed that nothing in flight can use any more.
    fn pinned_area(&self) -> Result<crate::sync::MutexGuard<'_, PinnedArea>, ChannelError> {
        let retired = self.checked(progress::retired(&self.channel.header))?;
        let mut area = lock(&self.arena.pinned);
        while let Some(&(position, address)) = area.leaving.front()
            && position <= retired
        {
            area.leaving.pop_front();
            let (number, offset) = split(address);
            if let Some((_, blocks)) = area.segments.iter_mut().find(|(n, _)| *n == number) {
                // It was checked to be a block when it was given back.
                let _ = blocks.free(offset);
            }
        }
        Ok(area)
    }
}

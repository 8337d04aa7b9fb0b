//! Copies between host and device, and pinned host memory.
//!
//! A large copy goes through the arena in pieces, so that this side copies one piece while the worker copies the one
//! before. The pieces begin small, so that the worker begins early, and stay well below the second-level cache, so that a
//! piece is still in a cache when the other side takes it. One core copies slower than a device takes bytes, so a large
//! copy is shared out to a few threads.

use crate::signals::without_signals;
use crate::windows::Window;
use crate::{FenceTicket, Session, SessionError};
use ringbar::arena::copy::STREAMING_TRANSFER_BYTES_MIN;
use ringbar::client::PinnedBlock;
use ringbar::error::ChannelError;
use ringbar::sync::Ordering::Relaxed;
use ringbar_vocabulary::{
    ArenaRef, DevicePtr, HostAlloc, HostFree, MemcpyDtoH, MemcpyHtoD, StreamId, Tail,
};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Copies up to this size travel in the command itself.
const INLINE_COPY_BYTES_MAX: usize = 4096;
/// Pieces begin with this size and double.
const FIRST_PIECE_BYTES: usize = 32 << 10;
/// Largest piece.
const PIECE_BYTES_MAX: usize = 256 << 10;
/// Pieces of a copy to the host that are under way at once.
pub(crate) const PIECES_UNDER_WAY: usize = 4;
/// A copying thread gets at least this much: starting one takes as long as copying some hundred KiB.
const THREAD_BYTES_MIN: usize = 512 << 10;
/// Most threads that a copy is shared out to.
const THREADS_MAX: usize = 4;
/// How long a copy waits for the staging area before it goes another way. An area that is in use and moves is free sooner.
pub(crate) const STAGING_PATIENCE: Duration = Duration::from_millis(10);

/// How many threads a copy may take here: half of the processors, at most 4.
pub(crate) fn copy_threads_here() -> usize {
    std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).clamp(1, THREADS_MAX))
}

impl Session {
    /// Copies `bytes` to the device, in stream order. Returns when the source may be reused, which is before the copy is
    /// done.
    pub fn memcpy_htod(
        &self,
        dst: DevicePtr,
        bytes: &[u8],
        stream: StreamId,
    ) -> Result<(), SessionError> {
        self.shared.counters.htod_bytes.fetch_add(bytes.len() as u64, Relaxed);
        if bytes.len() <= INLINE_COPY_BYTES_MAX.min(self.record_bytes_max() / 2) {
            let data = Tail::Inline(bytes);
            return self.post(&MemcpyHtoD { dst, stream, data }).map(drop);
        }
        let share = self.share_bytes(bytes.len());
        let shares = bytes.chunks(share).enumerate();
        share_out(shares, |(i, part)| self.htod_share(dst.offset((i * share) as u64), part, stream))
    }

    fn htod_share(
        &self,
        dst: DevicePtr,
        bytes: &[u8],
        stream: StreamId,
    ) -> Result<(), SessionError> {
        let piece_bytes_max = self.piece_bytes();
        let mut piece_bytes = FIRST_PIECE_BYTES.min(piece_bytes_max);
        let (mut at, mut left) = (dst, bytes);
        while !left.is_empty() {
            let (piece, rest) = left.split_at(piece_bytes.min(left.len()));
            if !self.htod_piece(at, piece, stream)? {
                return self.htod_by_window(at, left, stream);
            }
            at = at.offset(piece.len() as u64);
            left = rest;
            piece_bytes = (2 * piece_bytes).min(piece_bytes_max);
        }
        Ok(())
    }

    /// `false` if the staging area does not move: then another way must be gone, since what holds it may wait for this.
    fn htod_piece(
        &self,
        dst: DevicePtr,
        piece: &[u8],
        stream: StreamId,
    ) -> Result<bool, SessionError> {
        let staged = self.shared.client.stage_within(piece.len() as u64, Some(STAGING_PATIENCE));
        let block = match staged {
            Ok(block) => block,
            Err(ChannelError::Deadline { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        block.write(0, piece)?;
        let data = Tail::Arena(ArenaRef { addr: block.address(), len: block.len() });
        let position = self.post(&MemcpyHtoD { dst, stream, data })?;
        block.posted(position);
        Ok(true)
    }

    /// Copies through a window, waiting for this stream alone.
    fn htod_by_window(
        &self,
        dst: DevicePtr,
        bytes: &[u8],
        stream: StreamId,
    ) -> Result<(), SessionError> {
        let window = self.window()?;
        let piece_bytes = self.piece_bytes();
        let mut slots = [None; PIECES_UNDER_WAY];
        let mut last = (0, None);
        let mut run = || {
            for (i, piece) in bytes.chunks(piece_bytes).enumerate() {
                let slot = i % PIECES_UNDER_WAY;
                if let Some(ticket) = slots[slot].take() {
                    self.reach(ticket, None)?;
                }
                let addr = window.address() + (slot * piece_bytes) as u64;
                self.shared.client.arena().write(addr, piece)?;
                let data = Tail::Arena(ArenaRef { addr, len: piece.len() as u64 });
                let dst = dst.offset((i * piece_bytes) as u64);
                last.0 = self.post(&MemcpyHtoD { dst, stream, data })?;
                let ticket = self.fence(stream)?;
                (slots[slot], last.1) = (Some(ticket), Some(ticket));
            }
            Ok(())
        };
        let result: Result<(), SessionError> = run();
        match (window, &result) {
            (Window::Own(block), Ok(())) => self.window_back(block, last.1),
            (Window::Own(block), Err(_)) => self.abandon(block),
            (Window::Staged(block), _) => block.posted(last.0),
        }
        result
    }

    /// Copies from the device, in stream order, and waits for the bytes; then reports failures of posts that were not
    /// reported yet.
    pub fn memcpy_dtoh(
        &self,
        into: &mut [u8],
        src: DevicePtr,
        stream: StreamId,
    ) -> Result<(), SessionError> {
        let total = into.len();
        self.shared.counters.dtoh_bytes.fetch_add(total as u64, Relaxed);
        let share = self.share_bytes(total);
        let streaming = total as u64 >= STREAMING_TRANSFER_BYTES_MIN;
        if total == 0 {
            // Only its place in the stream counts.
            self.dtoh_share(into, src, stream, false)?;
        }
        let shares = into.chunks_mut(share).enumerate();
        share_out(shares, |(i, part)| {
            self.dtoh_share(part, src.offset((i * share) as u64), stream, streaming)
        })?;
        self.check()
    }

    fn dtoh_share(
        &self,
        into: &mut [u8],
        src: DevicePtr,
        stream: StreamId,
        streaming: bool,
    ) -> Result<(), SessionError> {
        let total = into.len();
        let piece_bytes = self.piece_bytes();
        let pieces = total.div_ceil(piece_bytes).max(1);
        let begin = |piece: usize, addr: u64| {
            let start = piece * piece_bytes;
            let len = piece_bytes.min(total - start) as u64;
            let (dst, src) = (ArenaRef { addr, len }, src.offset(start as u64));
            self.post(&MemcpyDtoH { dst, src, stream })
        };
        let finish = |piece: usize, addr: u64| {
            let end = total.min((piece + 1) * piece_bytes);
            let place = &mut into[piece * piece_bytes..end];
            let arena = self.shared.client.arena();
            match streaming {
                true => arena.read_streaming(addr, place)?,
                false => arena.read(addr, place)?,
            }
            Ok(())
        };
        self.pump_out(pieces, stream, begin, finish)
    }

    /// Copies `pieces` pieces to the host: a few are under way in a window while the oldest is copied out of it.
    pub(crate) fn pump_out(
        &self,
        pieces: usize,
        stream: StreamId,
        mut begin: impl FnMut(usize, u64) -> Result<u64, SessionError>,
        mut finish: impl FnMut(usize, u64) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        let window = self.window()?;
        let slot_bytes = self.piece_bytes() as u64;
        let base = window.address();
        let place = |piece: usize| base + (piece % PIECES_UNDER_WAY) as u64 * slot_bytes;
        let mut last = 0;
        let mut run = || {
            let mut tickets: [Option<FenceTicket>; PIECES_UNDER_WAY] = [None; PIECES_UNDER_WAY];
            for piece in 0..pieces + PIECES_UNDER_WAY {
                let slot = piece % PIECES_UNDER_WAY;
                if let Some(ticket) = tickets[slot].take() {
                    self.reach(ticket, None)?;
                    finish(piece - PIECES_UNDER_WAY, place(piece))?;
                }
                if piece < pieces {
                    last = begin(piece, place(piece))?;
                    tickets[slot] = Some(self.fence(stream)?);
                }
            }
            Ok(())
        };
        // Where the device went meanwhile, zeros were read.
        let result = run().and_then(|()| Ok(self.shared.client.check_up()?));
        match (window, &result) {
            (Window::Own(block), Ok(())) => self.window_back(block, None),
            // Pieces may still be under way into it.
            (Window::Own(block), Err(_)) => self.abandon(block),
            (Window::Staged(staged), Ok(())) => drop(staged),
            (Window::Staged(staged), Err(_)) => staged.posted(last),
        }
        result
    }

    /// Piece size for this channel: four pieces under way must leave most of the staging area to other threads.
    pub(crate) fn piece_bytes(&self) -> usize {
        let staging = self.shared.staging_bytes as usize;
        (staging / (4 * PIECES_UNDER_WAY) / 64 * 64).clamp(64, PIECE_BYTES_MAX)
    }

    /// How much of a copy one thread takes.
    fn share_bytes(&self, total: usize) -> usize {
        let threads = self.shared.copy_threads.load(Relaxed) as usize;
        let threads = (total / THREAD_BYTES_MIN).clamp(1, threads.max(1));
        total.div_ceil(threads).next_multiple_of(64).max(64)
    }

    /// Sets how many threads a large copy is shared out to; by itself half of the processors, at most 4.
    pub fn set_copy_threads(&self, threads: u32) {
        self.shared.copy_threads.store(u64::from(threads), Relaxed);
    }

    /// Takes a block of pinned host memory in the arena: copies from and to it need no staging.
    pub fn pin(&self, len: u64) -> Result<PinnedBlock, SessionError> {
        self.pin_as(len, 0)
    }

    /// The same with `CU_MEMHOSTALLOC_*` flags.
    pub fn pin_as(&self, len: u64, flags: u32) -> Result<PinnedBlock, SessionError> {
        let block = self.pin_growing(len)?;
        self.post(&HostAlloc { block: whole(&block), flags })?;
        Ok(block)
    }

    /// The same, at an address that means the same to the device.
    ///
    /// # Errors
    /// [`SessionError::NoSharedAddress`] if the arena has none.
    pub fn pin_shared(&self, len: u64, flags: u32) -> Result<PinnedBlock, SessionError> {
        if !self.shared.client.arena_is_where_agreed() {
            return Err(SessionError::NoSharedAddress);
        }
        self.pin_as(len, flags)
    }

    /// Gives a pinned block back; it is free once everything posted up to now is retired. `false` if it is none.
    pub fn unpin(&self, block: &PinnedBlock) -> Result<bool, SessionError> {
        self.post(&HostFree { block: whole(block) })?;
        Ok(self.shared.client.unpin(block.address)?)
    }

    /// Writes `bytes` into a pinned block, `at` bytes behind its start.
    pub fn write_pinned(
        &self,
        block: &PinnedBlock,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), SessionError> {
        let place = part(block, at, bytes.len() as u64)?;
        Ok(self.shared.client.arena().write(place.addr, bytes)?)
    }

    /// Reads from a pinned block, `at` bytes behind its start.
    pub fn read_pinned(
        &self,
        block: &PinnedBlock,
        at: u64,
        into: &mut [u8],
    ) -> Result<(), SessionError> {
        let place = part(block, at, into.len() as u64)?;
        self.shared.client.arena().read(place.addr, into)?;
        Ok(self.shared.client.check_up()?)
    }

    /// Copies `len` bytes from a pinned block to the device, in stream order, without waiting.
    pub fn memcpy_htod_pinned(
        &self,
        dst: DevicePtr,
        (block, at, len): (&PinnedBlock, u64, u64),
        stream: StreamId,
    ) -> Result<u64, SessionError> {
        let data = Tail::Arena(part(block, at, len)?);
        self.shared.counters.htod_bytes.fetch_add(len, Relaxed);
        self.post(&MemcpyHtoD { dst, stream, data })
    }

    /// Copies `len` bytes from the device into a pinned block, in stream order, without waiting.
    pub fn memcpy_dtoh_pinned(
        &self,
        (block, at, len): (&PinnedBlock, u64, u64),
        src: DevicePtr,
        stream: StreamId,
    ) -> Result<u64, SessionError> {
        let dst = part(block, at, len)?;
        self.shared.counters.dtoh_bytes.fetch_add(len, Relaxed);
        self.post(&MemcpyDtoH { dst, src, stream })
    }
}

/// Runs `work` on every part: on the calling thread, and on one helper for each part behind the first as far as the system
/// gives threads. Answers with the first failure once all have ended.
fn share_out<T: Send>(
    parts: impl ExactSizeIterator<Item = T> + Send,
    work: impl Fn(T) -> Result<(), SessionError> + Sync,
) -> Result<(), SessionError> {
    let helpers = parts.len().saturating_sub(1);
    let queue = Mutex::new(parts);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || std::iter::from_fn(next).try_for_each(&work);
    if helpers == 0 {
        return run();
    }
    std::thread::scope(|scope| {
        let named = || std::thread::Builder::new().name("ringbar-copy".into());
        let start = || (0..helpers).map_while(|_| named().spawn_scoped(scope, run).ok()).collect();
        let helpers: Vec<_> = without_signals(start);
        let own = run();
        let others = helpers.into_iter().map(|helper| match helper.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        others.fold(own, Result::and)
    })
}

fn whole(block: &PinnedBlock) -> ArenaRef {
    ArenaRef { addr: block.address, len: block.len }
}

fn part(block: &PinnedBlock, at: u64, len: u64) -> Result<ArenaRef, SessionError> {
    let limit = block.len;
    whole(block).part(at, len).ok_or(SessionError::OutsideBlock { at, len, limit })
}

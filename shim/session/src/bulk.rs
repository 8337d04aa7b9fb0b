//! Copies between host and device, and pinned host memory.
//!
//! A large copy goes through the staging area in pieces, so that this side copies one piece while the worker copies the
//! one before. The pieces begin small, so that the worker begins early, and stay well below the second-level cache, so that
//! a piece is still in a cache when the other side takes it.

use crate::caller::reference;
use crate::{FenceTicket, Session, SessionError};
use ringbar::client::{PinnedBlock, Staged};
use ringbar::sync::Ordering::Relaxed;
use ringbar_vocabulary::{
    ArenaRef, DevicePtr, HostAlloc, HostFree, MemcpyDtoH, MemcpyHtoD, StreamId, Tail,
};

/// Copies up to this size travel in the command itself.
const INLINE_COPY_BYTES_MAX: usize = 4096;
/// Pieces begin with this size and double.
const FIRST_PIECE_BYTES: usize = 32 << 10;
/// Largest piece.
const PIECE_BYTES_MAX: usize = 256 << 10;
/// Pieces of a copy to the host that are under way at once.
const PIECES_UNDER_WAY: usize = 4;

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
        let piece_bytes_max = self.piece_bytes();
        let mut piece_bytes = FIRST_PIECE_BYTES.min(piece_bytes_max);
        let (mut at, mut left) = (dst, bytes);
        while !left.is_empty() {
            let (piece, rest) = left.split_at(piece_bytes.min(left.len()));
            self.htod_piece(at, piece, stream)?;
            at = at.offset(piece.len() as u64);
            left = rest;
            piece_bytes = (2 * piece_bytes).min(piece_bytes_max);
        }
        Ok(())
    }

    fn htod_piece(
        &self,
        dst: DevicePtr,
        piece: &[u8],
        stream: StreamId,
    ) -> Result<(), SessionError> {
        let block = self.shared.client.stage(piece.len() as u64)?;
        block.write(0, piece)?;
        let data = Tail::Arena(reference(&block));
        let position = self.post(&MemcpyHtoD { dst, stream, data })?;
        block.posted(position);
        Ok(())
    }

    /// Copies from the device, in stream order, and waits for the bytes; then reports failures of posts that were not
    /// reported yet.
    pub fn memcpy_dtoh(
        &self,
        into: &mut [u8],
        src: DevicePtr,
        stream: StreamId,
    ) -> Result<(), SessionError> {
        self.shared.counters.dtoh_bytes.fetch_add(into.len() as u64, Relaxed);
        let piece_bytes = self.piece_bytes();
        // One block for all pieces under way: whoever waits for staging holds none of it.
        let window = into.len().min(PIECES_UNDER_WAY * piece_bytes);
        let block = self.shared.client.stage(window.max(1) as u64)?;
        let mut copy = CopyOut { session: self, block: &block, src, stream, piece_bytes, last: 0 };
        let result = copy.run(into);
        let last = copy.last;
        if result.is_err() {
            // Pieces may still be under way into the block.
            block.posted(last);
        }
        result?;
        self.check()
    }

    /// Piece size for this channel: four pieces under way must leave most of the staging area to other threads.
    fn piece_bytes(&self) -> usize {
        let staging = self.shared.client.staging_bytes() as usize;
        (staging / (4 * PIECES_UNDER_WAY) / 64 * 64).clamp(64, PIECE_BYTES_MAX)
    }

    /// Takes a block of pinned host memory in the arena: copies from and to it need no staging.
    pub fn pin(&self, len: u64) -> Result<PinnedBlock, SessionError> {
        let block = self.shared.client.pin(len, 4096)?;
        self.post(&HostAlloc { block: whole(&block), flags: 0 })?;
        Ok(block)
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
        Ok(self.shared.client.arena().read(place.addr, into)?)
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

fn whole(block: &PinnedBlock) -> ArenaRef {
    ArenaRef { addr: block.address, len: block.len }
}

fn part(block: &PinnedBlock, at: u64, len: u64) -> Result<ArenaRef, SessionError> {
    let limit = block.len;
    whole(block).part(at, len).ok_or(SessionError::OutsideBlock { at, len, limit })
}

/// A copy to the host in pieces: a few are under way in one staged block while the oldest is copied out.
struct CopyOut<'s> {
    session: &'s Session,
    block: &'s Staged<'s>,
    src: DevicePtr,
    stream: StreamId,
    piece_bytes: usize,
    /// Position of the last command posted.
    last: u64,
}

impl CopyOut<'_> {
    fn run(&mut self, into: &mut [u8]) -> Result<(), SessionError> {
        let pieces = into.len().div_ceil(self.piece_bytes).max(1);
        let total = into.len();
        let mut tickets = [None; PIECES_UNDER_WAY];
        for (piece, ticket) in tickets.iter_mut().enumerate().take(pieces) {
            *ticket = Some(self.begin(piece, total)?);
        }
        for piece in 0..pieces {
            let slot = piece % PIECES_UNDER_WAY;
            if let Some(ticket) = tickets[slot].take() {
                self.session.reach(ticket, None)?;
            }
            let end = total.min((piece + 1) * self.piece_bytes);
            let place = &mut into[piece * self.piece_bytes..end];
            self.block.read((slot * self.piece_bytes) as u64, place)?;
            if piece + PIECES_UNDER_WAY < pieces {
                tickets[slot] = Some(self.begin(piece + PIECES_UNDER_WAY, total)?);
            }
        }
        Ok(())
    }

    /// Posts one piece and its fence.
    fn begin(&mut self, piece: usize, total: usize) -> Result<FenceTicket, SessionError> {
        let start = piece * self.piece_bytes;
        let len = self.piece_bytes.min(total - start) as u64;
        let addr = self.block.address() + (piece % PIECES_UNDER_WAY * self.piece_bytes) as u64;
        let src = self.src.offset(start as u64);
        let copy = MemcpyDtoH { dst: ArenaRef { addr, len }, src, stream: self.stream };
        self.last = self.session.post(&copy)?;
        self.session.fence(self.stream)
    }
}

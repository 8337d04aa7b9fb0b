//! More arena: a further segment from the executor when pinned memory does not fit what there is.

use crate::session::Origin;
use crate::{Session, SessionError};
use ringbar::client::PinnedBlock;
use ringbar::error::ChannelError;
use ringbar::handshake::{Deadline, Grow, Message};
use ringbar::link;
use std::sync::PoisonError;
use std::time::Duration;

/// Segments are whole multiples of this: both sides map them at such addresses.
const SEGMENT_UNIT: u64 = 2 << 20;
/// Least segment asked for at first: an arena has few segments, and small blocks share one.
const SEGMENT_BYTES_MIN: u64 = 256 << 20;
/// Most segments of an arena but its first.
const SEGMENTS_MAX: u64 = 63;
/// How long the executor may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl Session {
    /// Takes a pinned block; asks the executor for more arena if there is no room.
    pub(crate) fn pin_growing(&self, len: u64) -> Result<PinnedBlock, SessionError> {
        let full = match self.shared.client.pin(len, 4096) {
            Err(full @ ChannelError::ArenaFull { .. }) => full,
            other => return Ok(other?),
        };
        let mut grown = self.shared.grown.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have asked meanwhile.
        if let Ok(block) = self.shared.client.pin(len, 4096) {
            return Ok(block);
        }
        let exact = len.max(1).next_multiple_of(SEGMENT_UNIT);
        // Each further one is larger, so that there are never too many.
        let ample = SEGMENT_BYTES_MIN.saturating_mul(1 + *grown / 4);
        let wishes = [exact.max(ample), exact];
        let wishes = if wishes[0] == exact { &wishes[1..] } else { &wishes[..] };
        for &bytes in wishes {
            if *grown < SEGMENTS_MAX && self.grow(bytes)? {
                *grown += 1;
                return Ok(self.shared.client.pin(len, 4096)?);
            }
        }
        Err(full.into())
    }

    /// Asks for a segment. `false` if there is none to be had.
    fn grow(&self, bytes: u64) -> Result<bool, SessionError> {
        let Some(Origin::Socket { connection, .. }) = &self.shared.origin else {
            return Ok(false);
        };
        let deadline = Deadline::after(PATIENCE);
        connection.send(&Message::Grow(Grow { bytes }), &[], deadline)?;
        let received = connection.receive(deadline)?;
        let grown = match (received.message, received.descriptors.first()) {
            (Message::Grown(grown), Some(memfd)) => (grown, memfd),
            (Message::Refused(refusal), _) => {
                tracing::warn!(bytes, %refusal, "no more pinned memory");
                return Ok(false);
            }
            (other, _) => {
                tracing::warn!(message = other.name(), "the executor answered something else");
                return Ok(false);
            }
        };
        let (grown, memfd) = grown;
        let part = link::map_segment(self.shared.client.arena(), memfd, grown.len)?;
        Ok(self.shared.client.add_segment(grown.segment as u16, part))
    }
}

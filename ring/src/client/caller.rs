//! Synchronous calls.

use super::{Client, lock};
use crate::error::ChannelError;
use crate::hub::RELOOK;
use crate::lines::SharedLines;
use crate::reply::{ReplyBytes, Slot};
use crate::spsc::Reservation;
use crate::tag::REPLY_BYTES_MAX;
use core::time::Duration;

/// A thread's lease of one reply slot: makes synchronous calls, one at a time.
///
/// Dropping it gives the slot back.
pub struct Caller {
    client: Client,
    /// `None` while a reply that nobody waits for any more may still arrive in the leased slot.
    slot: Option<Slot>,
    reply: ReplyBytes,
}

impl Caller {
    pub(super) fn lease(client: &Client) -> Result<Self, ChannelError> {
        let slot = take_slot(client)?;
        Ok(Self { client: client.clone(), slot: Some(slot), reply: [0; REPLY_BYTES_MAX] })
    }

    /// Sends `request` and waits for the reply: at most 56 bytes, valid until the next call.
    #[inline]
    pub fn call(&mut self, request: &[u8]) -> Result<&[u8], ChannelError> {
        self.call_with(request.len(), |room| room.put(request), None)
    }

    /// Sends a request of `bytes` bytes that `write` puts straight into the ring, and waits for the reply.
    ///
    /// With a deadline the wait may end early with [`ChannelError::Deadline`]. The command may still be executed; its
    /// reply will be dropped, and the slot it arrives in is not used again in this generation.
    #[inline]
    pub fn call_with(
        &mut self,
        bytes: usize,
        write: impl FnOnce(&mut Reservation<'_, SharedLines>),
        deadline: Option<Duration>,
    ) -> Result<&[u8], ChannelError> {
        let mut slot = match self.slot.take() {
            Some(slot) => slot,
            None => take_slot(&self.client)?,
        };
        let inner = &*self.client.inner;
        let sent = inner.submit(bytes, Some(slot.number()), write);
        let position = match sent {
            Ok(position) => position,
            Err(error) => {
                self.slot = Some(slot);
                return Err(error);
            }
        };
        let replies = &inner.channel.replies;
        let reply = &mut self.reply;
        let answered = || match slot.take(replies, position, reply) {
            Ok(len) => len.map(Ok),
            Err(violation) => Some(Err(inner.poison(violation))),
        };
        let len = inner.wait(answered, deadline)?;
        self.slot = Some(slot);
        Ok(&self.reply[..len])
    }
}

/// Waits, without any other lock, until a slot is free.
fn take_slot(client: &Client) -> Result<Slot, ChannelError> {
    let inner = &*client.inner;
    let mut slots = lock(&inner.slots);
    loop {
        if let Some(slot) = slots.pop() {
            return Ok(slot);
        }
        inner.check()?;
        slots = inner
            .slot_returned
            .wait_timeout(slots, RELOOK)
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .0;
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            lock(&self.client.inner.slots).push(slot);
            self.client.inner.slot_returned.notify_one();
        }
    }
}

//! Synchronous calls.

use super::{Client, Inner, Patience, lock};
use crate::error::ChannelError;
use crate::hub::RELOOK;
use crate::lines::SharedLines;
use crate::reply::{ReplyBytes, Slot};
use crate::spsc::{Reservation, Violation};
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
    pub(super) fn lease(client: &Client, limit: Option<Duration>) -> Result<Self, ChannelError> {
        let slot = take_slot(&client.inner, &mut Patience::of(limit))?;
        Ok(Self { client: client.clone(), slot: Some(slot), reply: [0; REPLY_BYTES_MAX] })
    }

    /// Sends `request` and waits for the reply: at most 56 bytes, valid until the next call.
    #[inline]
    pub fn call(&mut self, request: &[u8]) -> Result<&[u8], ChannelError> {
        self.call_with(request.len(), |room| room.put(request), None)
    }

    /// Sends a request of `bytes` bytes that `write` puts straight into the ring, and waits for the reply.
    ///
    /// With a deadline every wait of the call (for a slot, room in the ring, the reply) may end early with
    /// [`ChannelError::Deadline`]. The command may still be executed; its reply will be dropped, and the slot that it
    /// arrives in is used again only after that.
    #[inline]
    pub fn call_with(
        &mut self,
        bytes: usize,
        write: impl FnOnce(&mut Reservation<'_, SharedLines>),
        deadline: Option<Duration>,
    ) -> Result<&[u8], ChannelError> {
        let inner = &*self.client.inner;
        let mut patience = Patience::of(deadline);
        let mut slot = match self.slot.take() {
            Some(slot) => slot,
            None => take_slot(inner, &mut patience)?,
        };
        let sent = inner.submit(bytes, Some(slot.number()), write, &mut patience);
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
        match inner.wait(answered, &mut patience) {
            Ok(len) => {
                self.slot = Some(slot);
                Ok(&self.reply[..len])
            }
            Err(error) => {
                lock(&inner.slots).abandoned.push((slot, position));
                Err(error)
            }
        }
    }
}

/// The reply slots that no caller has.
pub(super) struct Slots {
    free: Vec<Slot>,
    /// Whose reply nobody waits for any more, with the position of the command.
    abandoned: Vec<(Slot, u64)>,
}

impl Slots {
    /// All of them free.
    pub(super) fn all(count: u16, generation: u32) -> Self {
        let free = (0..count).rev().map(|number| Slot::new(number, generation)).collect();
        Self { free, abandoned: Vec::new() }
    }

    /// A free slot; failing that, one whose late reply has come.
    fn take(&mut self, replies: &SharedLines) -> Result<Option<Slot>, Violation> {
        if let Some(slot) = self.free.pop() {
            return Ok(Some(slot));
        }
        let mut late = [0; REPLY_BYTES_MAX];
        for index in 0..self.abandoned.len() {
            let (slot, position) = &mut self.abandoned[index];
            if slot.take(replies, *position, &mut late)?.is_some() {
                return Ok(Some(self.abandoned.swap_remove(index).0));
            }
        }
        Ok(None)
    }
}

/// Waits, without any other lock, until a slot is free.
fn take_slot(inner: &Inner, patience: &mut Patience) -> Result<Slot, ChannelError> {
    let mut slots = lock(&inner.slots);
    loop {
        match slots.take(&inner.channel.replies) {
            Ok(Some(slot)) => return Ok(slot),
            Ok(None) => {}
            Err(violation) => {
                drop(slots);
                return Err(inner.poison(violation));
            }
        }
        inner.check()?;
        if let Some(error) = patience.is_over() {
            return Err(error);
        }
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
            lock(&self.client.inner.slots).free.push(slot);
            self.client.inner.slot_returned.notify_one();
        }
    }
}

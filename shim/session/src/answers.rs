//! Blocks for answers that are too long for a reply.

use crate::session::TailBlock;
use crate::{Session, SessionError};
use ringbar::client::Client;
use ringbar_vocabulary::ArenaRef;

/// A place in the arena that a synchronous command writes its answer to. Free again when it is dropped.
pub struct AnswerBlock<'s> {
    client: &'s Client,
    /// Taken when it is dropped.
    block: Option<TailBlock<'s>>,
    place: ArenaRef,
}

impl AnswerBlock<'_> {
    /// The block, as commands name it.
    pub fn place(&self) -> ArenaRef {
        self.place
    }

    /// Its bytes.
    pub fn len(&self) -> u64 {
        self.place.len
    }

    /// True if it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.place.len == 0
    }

    /// Writes its first bytes, before the command: what is asked may be longer than a command, too.
    ///
    /// # Errors
    /// If `from` is longer than the block.
    pub fn write(&self, from: &[u8]) -> Result<(), SessionError> {
        let len = from.len() as u64;
        let part = self.place.part(0, len);
        let part = part.ok_or(SessionError::OutsideBlock { at: 0, len, limit: self.place.len })?;
        Ok(self.client.arena().write(part.addr, from)?)
    }

    /// Reads its first bytes.
    ///
    /// # Errors
    /// If `into` is longer than the block.
    pub fn read(&self, into: &mut [u8]) -> Result<(), SessionError> {
        let len = into.len() as u64;
        let part = self.place.part(0, len);
        let part = part.ok_or(SessionError::OutsideBlock { at: 0, len, limit: self.place.len })?;
        self.client.arena().read(part.addr, into)?;
        Ok(self.client.check_up()?)
    }
}

impl Drop for AnswerBlock<'_> {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            block.cancel(self.client);
        }
    }
}

impl Session {
    /// A block of `len` bytes for an answer: of the staging area, or of pinned memory where that area is too small or does
    /// not move, since what holds it may be waiting for whoever asks. So this waits for 10 ms at most.
    ///
    /// # Errors
    /// [`ChannelError::ArenaFull`](ringbar::error::ChannelError::ArenaFull) if there is neither, and the executor gives no
    /// more arena.
    pub fn answer_block(&self, len: u64) -> Result<AnswerBlock<'_>, SessionError> {
        let client = &self.shared.client;
        let block = match TailBlock::staged(client, len)? {
            Some(staged) => staged,
            None => TailBlock::Pinned(self.pin_growing(len)?),
        };
        let place = ArenaRef { addr: block.address(), len };
        Ok(AnswerBlock { client, block: Some(block), place })
    }
}

//! Blocks through which copies that must not hold the staging area go.
//!
//! The staging area comes back in the order in which it was taken, once *everything* posted before is retired. A copy that
//! waits for its stream must therefore hold none of it: the stream may wait for work of another thread whose copies need
//! the area. Windows are blocks of the pinned area that come back one by one, each as soon as its own copies are done.

use crate::bulk::{PIECES_UNDER_WAY, STAGING_PATIENCE};
use crate::{FenceTicket, Session, SessionError};
use ringbar::client::{PinnedBlock, Staged};
use ringbar::error::ChannelError;
use ringbar_vocabulary::StreamId;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The longest wait for room, as long as the executor bears a command of the driver's by default.
const LAST_PATIENCE: Duration = Duration::from_secs(3600);
/// Windows that are kept for the next copy.
const KEPT_MAX: usize = 16;

#[derive(Default)]
pub(crate) struct Windows(Mutex<Vec<Idle>>);

/// A window that no copy holds.
struct Idle {
    block: PinnedBlock,
    /// Reached when the worker does not use it any more.
    until: Option<FenceTicket>,
}

/// Where the pieces of one copy lie while they are under way.
pub(crate) enum Window<'s> {
    Own(PinnedBlock),
    /// The arena has no room for windows: a part of the staging area, as a last resort.
    Staged(Staged<'s>),
}

impl Window<'_> {
    pub(crate) fn address(&self) -> u64 {
        match self {
            Self::Own(block) => block.address,
            Self::Staged(staged) => staged.address(),
        }
    }
}

/// A block for one command to the device.
pub(crate) enum Patient<'s> {
    Staged(Staged<'s>),
    Window(PinnedBlock),
}

impl Patient<'_> {
    pub(crate) fn address(&self) -> u64 {
        match self {
            Self::Staged(staged) => staged.address(),
            Self::Window(block) => block.address,
        }
    }

    /// The command that uses it was posted to `stream` at `position`.
    pub(crate) fn posted(
        self,
        session: &Session,
        position: u64,
        stream: StreamId,
    ) -> Result<(), SessionError> {
        match self {
            Self::Staged(staged) => staged.posted(position),
            Self::Window(block) => session.window_back(block, Some(session.fence(stream)?)),
        }
        Ok(())
    }
}

impl Windows {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Bytes of every window: room for all pieces that are under way at once.
    pub(crate) fn window_bytes(&self) -> usize {
        PIECES_UNDER_WAY * self.piece_bytes()
    }

    /// A window of its own; `None` while the arena has no room for one.
    pub(crate) fn own_window(&self) -> Result<Option<PinnedBlock>, SessionError> {
        let mut idle = self.shared.windows.idle();
        let free = |idle: &Idle| idle.until.is_none_or(|ticket| self.is_reached(ticket));
        if let Some(at) = idle.iter().rposition(free) {
            return Ok(Some(idle.swap_remove(at).block));
        }
        drop(idle);
        match self.shared.client.pin(self.window_bytes() as u64, 4096) {
            Ok(block) => Ok(Some(block)),
            Err(ChannelError::ArenaFull { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A window for a copy that waits; a part of the staging area where there is no room for one.
    pub(crate) fn window(&self) -> Result<Window<'_>, SessionError> {
        if let Some(block) = self.own_window()? {
            return Ok(Window::Own(block));
        }
        Ok(Window::Staged(self.stage_at_last(self.window_bytes() as u64)?))
    }

    /// A block of at most a piece for one command to the device: staged, or a window where the staging area does not
    /// move; what holds it may be waiting for this very command.
    pub(crate) fn stage_patiently(&self, len: u64) -> Result<Patient<'_>, SessionError> {
        match self.shared.client.stage_within(len, Some(STAGING_PATIENCE)) {
            Ok(staged) => return Ok(Patient::Staged(staged)),
            Err(ChannelError::Deadline { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(block) = self.own_window()? {
            return Ok(Patient::Window(block));
        }
        Ok(Patient::Staged(self.stage_at_last(len)?))
    }

    /// A part of the staging area where nothing else is left: whoever holds it may be behind long work of the program's.
    fn stage_at_last(&self, len: u64) -> Result<Staged<'_>, SessionError> {
        match self.shared.client.stage_within(len, Some(LAST_PATIENCE)) {
            Err(ChannelError::Deadline { limit }) => Err(SessionError::NoRoom { len, limit }),
            other => Ok(other?),
        }
    }

    /// Gives a window back that the worker uses until `until`.
    pub(crate) fn window_back(&self, block: PinnedBlock, until: Option<FenceTicket>) {
        let mut idle = self.shared.windows.idle();
        if idle.len() < KEPT_MAX {
            idle.push(Idle { block, until });
            return;
        }
        drop(idle);
        self.abandon(block);
    }

    /// Gives a window back that commands posted so far may still use.
    pub(crate) fn abandon(&self, block: PinnedBlock) {
        // Fails only if the channel is over, and the block with it.
        let _ = self.shared.client.unpin(block.address);
    }
}

//! Waiting, and what ends it.

use super::{Inner, lock};
use crate::counters::{ClientWord, Counters, set_client};
use crate::error::ChannelError;
use crate::layout::line;
use crate::lines::Lines;
use crate::region::State;
use crate::spsc::Violation;
use crate::sync::Ordering;
use core::time::Duration;
use std::time::Instant;

/// Between two looks at a ring that is full for longer than it pays to poll: as long as the worker needs, at its fastest, for
/// what it releases at once, and a few percent of what it has before it.
const ROOM_NAP: Duration = Duration::from_micros(200);
/// Naps before the doorbell is waited for: the worker is busy with one thing, or stuck.
const ROOM_NAPS_MAX: u32 = 200;

/// How long all waits of one operation may take together. The time counts from the first look that found nothing for a
/// while, so that an operation that need not wait asks no clock.
pub(super) struct Patience {
    limit: Option<Duration>,
    /// Once there was something to wait for: when patience ends, never if that is beyond what a clock can say.
    end: Option<Option<Instant>>,
}

impl Patience {
    #[inline(always)]
    pub(super) fn of(limit: Option<Duration>) -> Self {
        Self { limit, end: None }
    }

    pub(super) fn is_over(&mut self) -> Option<ChannelError> {
        let limit = self.limit?;
        let now = Instant::now();
        let end = *self.end.get_or_insert_with(|| now.checked_add(limit));
        end.is_some_and(|end| now >= end).then_some(ChannelError::Deadline { limit })
    }
}

impl Inner {
    /// Waits for `ready`, or for the end of the channel, or of the caller's patience.
    #[inline]
    pub(super) fn wait<T>(
        &self,
        ready: impl FnMut() -> Option<Result<T, ChannelError>>,
        patience: &mut Patience,
    ) -> Result<T, ChannelError> {
        let parks = self.hub.parks();
        let result = self.hub.wait(ready, || self.broken(patience).map(Err));
        if self.hub.parks() != parks {
            set_client(&self.channel.header, ClientWord::Parks, self.hub.parks());
        }
        result
    }

    /// The same for what a worker does that has its hands full: it is left alone for a while. To be woken by it costs it a
    /// system call, and to go to sleep may interrupt it, each time that it releases a part of a full ring.
    pub(super) fn wait_napping<T>(
        &self,
        mut ready: impl FnMut() -> Option<Result<T, ChannelError>>,
        patience: &mut Patience,
    ) -> Result<T, ChannelError> {
        if let Some(found) = self.hub.poll(&mut ready) {
            return found;
        }
        for _ in 0..if cfg!(ringbar_loom) { 0 } else { ROOM_NAPS_MAX } {
            std::thread::sleep(ROOM_NAP);
            if let Some(found) = ready().or_else(|| self.broken(patience).map(Err)) {
                return found;
            }
        }
        self.wait(ready, patience)
    }

    /// What ends every wait.
    fn broken(&self, patience: &mut Patience) -> Option<ChannelError> {
        self.check()
            .and_then(|()| self.watchdog.check(&self.channel))
            .err()
            .or_else(|| patience.is_over())
    }

    /// Errors that any post must see at once: one private load and one of a line that hardly ever changes.
    #[inline(always)]
    pub(super) fn check_fast(&self) -> Result<(), ChannelError> {
        let running = matches!(self.channel.host_state(), (State::Offered | State::Running, generation) if generation == self.generation);
        if running && self.failed.get().is_none() { Ok(()) } else { self.check() }
    }

    /// Whether the channel still works; the first thing found wrong is kept for every later call.
    #[cold]
    pub(super) fn check(&self) -> Result<(), ChannelError> {
        if let Some(error) = self.failed.get() {
            return Err(error.clone());
        }
        if let Some(error) = self.hub.park().0.ended() {
            return Err(self.failed.get_or_init(|| error).clone());
        }
        let (state, generation) = self.channel.host_state();
        let found = match state {
            State::Closed => ChannelError::Closed,
            State::Poisoned => self.poisoned_by_peer(),
            _ if self.hub.park().0.peer_gone() => self.peer_died(),
            State::Offered | State::Running if generation == self.generation => return Ok(()),
            _ => self.peer_died(),
        };
        Err(self.failed.get_or_init(|| found).clone())
    }

    /// What a violation of the worker's left behind is not read again: no event, no fence, no progress.
    pub(super) fn unviolated(&self) -> Result<(), ChannelError> {
        match self.failed.get() {
            Some(error @ ChannelError::Violation(_)) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn peer_died(&self) -> ChannelError {
        self.doorbell.relieve();
        let counters = Counters::read(&self.channel.header);
        let sent = lock(&self.tx).commands;
        ChannelError::PeerDied { in_flight: sent.saturating_sub(counters.commands_executed) }
    }

    fn poisoned_by_peer(&self) -> ChannelError {
        let word = self.channel.header.load(line::HOST_STATUS, 2, Ordering::Relaxed);
        let (code, detail) = (word as u32, (word >> 32) as u32);
        ChannelError::Poisoned { reason: Violation::name_of(code), code, detail }
    }

    /// Ends the channel for a violation of the worker's: recorded once, said once.
    #[cold]
    pub(super) fn poison(&self, violation: Violation) -> ChannelError {
        let code = violation.code();
        if self.failed.set(violation.clone().into()).is_ok() {
            tracing::warn!(code, %violation, "the worker broke the protocol: channel poisoned");
            self.channel.set_error(line::CLIENT_STATUS, code, 0);
            self.leave(State::Poisoned);
        }
        self.failed.get().cloned().unwrap_or_else(|| violation.into())
    }

    /// Says that this side is through, unless the channel is in another generation, which belongs to somebody else.
    pub(super) fn leave(&self, state: State) {
        if self.channel.host_state().1 == self.generation {
            self.channel.set_state(line::CLIENT_STATUS, state, self.generation);
            self.ring();
        }
    }
}

impl Drop for Inner {
    /// The last clone leaves in order; a channel that failed keeps its state.
    fn drop(&mut self) {
        if self.failed.get().is_none() {
            self.leave(State::Closed);
        }
    }
}

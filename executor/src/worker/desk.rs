//! A worker's other duties: requests on the client's socket, signals, the watchdog.

use super::{report, watchdog::Watchdog};
use crate::failpoints::{self, Point};
use crate::job::Report;
use crate::serve::{Attendant, Look, ServeError, Wish};
use ringbar::arena::Arena;
use ringbar::handshake::{
    Connection, Deadline, Grown, Message, Refusal, RefusalCode, TransportError,
};
use ringbar::link;
use ringbar::os::Mapping;
use ringbar::park::{FdBlock, GuestBlock};
use ringbar::sync::{Arc, AtomicBool, Ordering};
use ringbar::worker::Block;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Requests that are taken at one look; more wait for the next, so that none can keep commands waiting.
const REQUESTS_A_LOOK: usize = 4;

/// What a desk has to know of how its worker blocks.
pub trait WorkerBlock: Block {
    /// Whether the client's socket had something at the last block.
    fn client_asks(&self) -> bool;
}

impl WorkerBlock for FdBlock {
    fn client_asks(&self) -> bool {
        self.owner_ready()
    }
}

impl WorkerBlock for GuestBlock {
    fn client_asks(&self) -> bool {
        false
    }
}

pub struct Desk {
    /// `None`: a program in a VM has no socket, and so nothing to ask for.
    connection: Option<Connection>,
    control: Arc<OwnedFd>,
    arena: Arc<Arena>,
    segment_bytes: u64,
    segment_bytes_max: u64,
    stop: Arc<AtomicBool>,
    said_bye: bool,
    watchdog: Watchdog,
}

impl Desk {
    pub fn new(
        connection: Option<Connection>,
        control: Arc<OwnedFd>,
        arena: Arc<Arena>,
        segment_bytes_max: u64,
        stop: Arc<AtomicBool>,
        watchdog: Watchdog,
    ) -> Self {
        Self {
            connection,
            control,
            arena,
            segment_bytes: 0,
            segment_bytes_max,
            stop,
            said_bye: false,
            watchdog,
        }
    }

    pub fn said_bye(&self) -> bool {
        self.said_bye
    }

    fn take_requests(&mut self) -> Result<(), ServeError> {
        for _ in 0..REQUESTS_A_LOOK {
            let Some(connection) = &self.connection else { return Ok(()) };
            let received = match connection.receive_now() {
                Ok(None) => return Ok(()),
                // The client is gone, which the ring's own wait finds as well.
                Err(TransportError::Closed { .. }) => return Ok(()),
                Ok(Some(received)) => received,
                Err(error) => return Err(ServeError::Request(error.to_string())),
            };
            match received.message {
                Message::Grow(grow) => self.grow(grow.bytes),
                Message::Bye => self.said_bye = true,
                other => {
                    let text = format!(
                        "found the message {} on a running channel, expected Grow or Bye",
                        other.name()
                    );
                    return Err(ServeError::Request(text));
                }
            }
        }
        Ok(())
    }

    fn grow(&mut self, bytes: u64) {
        if let Err(refusal) = self.try_grow(bytes) {
            tracing::info!(%refusal, "a further arena segment was refused");
            self.answer(&Message::Refused(refusal), None);
        }
    }

    fn try_grow(&mut self, bytes: u64) -> Result<(), Refusal> {
        let internal =
            |error: &dyn std::fmt::Display| Refusal::new(RefusalCode::Internal, &error.to_string());
        let after = self.segment_bytes.saturating_add(bytes);
        if after > self.segment_bytes_max {
            return Err(self.over_limit(bytes));
        }
        let segment = self.arena.next_segment();
        let segment = segment.ok_or_else(|| {
            Refusal::new(RefusalCode::Limits, "found 64 arena segments, expected at most 64")
        })?;
        let (_, memfd) =
            Mapping::memfd_create("ringbar-arena", bytes as usize).map_err(|e| internal(&e))?;
        let part = link::map_segment(&self.arena, &memfd, bytes).map_err(|e| internal(&e))?;
        failpoints::hit(Point::BeforeGrown);
        self.arena.add(segment, part);
        self.segment_bytes = after;
        self.answer(&Message::Grown(Grown { segment: segment.into(), len: bytes }), Some(&memfd));
        failpoints::hit(Point::AfterGrown);
        report(&self.control, &Report::Grown { segment_bytes: after });
        Ok(())
    }

    fn over_limit(&self, bytes: u64) -> Refusal {
        let left = self.segment_bytes_max - self.segment_bytes;
        let text = format!(
            "found a request for {bytes} more bytes of arena, expected at most {left}; try: a smaller segment, or a higher --client-memory"
        );
        Refusal::new(RefusalCode::Limits, &text)
    }

    /// A client that does not read its answers loses them.
    fn answer(&self, message: &Message, memfd: Option<&OwnedFd>) {
        let fds: Vec<_> = memfd.iter().map(AsFd::as_fd).collect();
        let Some(connection) = &self.connection else { return };
        if let Err(error) = connection.send(message, &fds, Deadline::after(Duration::ZERO)) {
            tracing::warn!(%error, "the client cannot be answered");
        }
    }
}

impl<B: WorkerBlock> Attendant<B> for Desk {
    fn attend(&mut self, block: &mut B, look: Look) -> Result<Wish, ServeError> {
        match look {
            Look::Busy => self.take_requests()?,
            Look::Idle { device_is_idle } => {
                if block.client_asks() {
                    self.take_requests()?;
                }
                self.watchdog.idle(device_is_idle);
            }
        }
        let left = self.said_bye && look != Look::Busy;
        let stop = left || self.stop.load(Ordering::Relaxed);
        Ok(if stop { Wish::Stop } else { Wish::GoOn })
    }

    #[inline(always)]
    fn begins(&mut self, position: u64, opcode: u16) -> Wish {
        self.watchdog.begins(position, opcode);
        if self.stop.load(Ordering::Relaxed) { Wish::Stop } else { Wish::GoOn }
    }
}

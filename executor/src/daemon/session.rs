//! One client's session: its region, and the worker of the present generation.

use super::limits::Limits;
use super::process::{EndKind, Ending, WorkerProcess};
use super::region::Region;
use super::told::Told;
use crate::status::{ClientStatus, CounterStatus, Stalls};
use ringbar::counters::Counters;
use ringbar::handshake::SessionToken;
use ringbar::layout::Sizes;
use ringbar::link::wake_mode;
use ringbar::os::liveness;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// A session.
pub struct Session {
    /// Names it to its client.
    pub token: SessionToken,
    /// The name that its client gave itself.
    pub name: String,
    /// What both sides can do, fixed when the region was made.
    pub features: u64,
    /// The channel's sizes.
    pub sizes: Sizes,
    /// Its memory.
    pub region: Region,
    /// The present generation, from 1.
    pub generation: u32,
    /// Its worker, or the time until which it waits for the client to attach again.
    pub state: State,
    /// Who connected last.
    pub client_pid: i32,
    client: Option<Arc<OwnedFd>>,
    opened: Instant,
    told: Told,
}

/// What a session is doing.
pub enum State {
    /// A worker serves it.
    Serving(WorkerProcess),
    /// Its worker died and is reaped.
    Waiting {
        /// When it is given up.
        until: Instant,
    },
}

/// Everything that a new session begins with.
pub struct Opening {
    /// Names it to its client.
    pub token: SessionToken,
    /// The name that its client gave itself.
    pub name: String,
    /// Features that were agreed on.
    pub features: u64,
    /// The channel's sizes.
    pub sizes: Sizes,
    /// Its memory, not offered yet.
    pub region: Region,
}

impl Session {
    /// A session without a worker, before its first generation.
    pub fn new(opening: Opening, now: Instant) -> Self {
        let Opening { token, name, features, sizes, region } = opening;
        Self {
            token,
            name,
            features,
            sizes,
            region,
            generation: 0,
            state: State::Waiting { until: now },
            client_pid: 0,
            client: None,
            opened: now,
            told: Told::default(),
        }
    }

    /// Offers the next generation. Only while no worker lives: the last one is reaped.
    pub fn offer_next(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1).max(1);
        self.region.channel().offer(self.generation);
        self.generation
    }

    /// Remembers who connected, and watches that process where the kernel tells of it.
    pub fn set_client(&mut self, socket: impl AsFd) -> Option<&Arc<OwnedFd>> {
        self.client_pid = liveness::peer_credentials(&socket).map_or(0, |found| found.pid);
        self.client = liveness::peer_pidfd(&socket).ok().flatten().map(Arc::new);
        self.client.as_ref()
    }

    /// Whether the client's process is known to be gone.
    pub fn client_is_gone(&self) -> bool {
        let exited = |fd: &Arc<OwnedFd>| liveness::has_exited(fd).unwrap_or(false);
        self.client.as_ref().is_some_and(exited)
    }

    /// Takes what the worker reported. False when no more will come.
    pub fn take_reports(&mut self) -> bool {
        let State::Serving(worker) = &self.state else { return false };
        self.told.take_reports(worker)
    }

    /// Commands that lasted, as far as they were told since the last question.
    pub fn take_stalls(&mut self) -> Stalls {
        self.told.take_stalls()
    }

    /// How the last worker ended.
    pub fn last_end(&self) -> &str {
        self.told.last_end.as_deref().unwrap_or_default()
    }

    /// The worker is reaped: the channel is marked, and the session waits for its client, or is over (`false`).
    pub fn worker_ended(&mut self, ending: &Ending, limits: &Limits, now: Instant) -> bool {
        self.region.channel().mark_lost();
        self.told.ended(ending);
        self.state = State::Waiting { until: now + limits.resume_grace };
        ending.kind == EndKind::Lost && !self.client_is_gone()
    }

    /// What `status` shows.
    pub fn status(&self, number: u64, now: Instant) -> ClientStatus {
        let counters = Counters::read(&self.region.channel().header);
        let (state, worker_pid) = match &self.state {
            State::Serving(worker) => {
                (format!("{:?}", self.region.channel().host_state().0), Some(worker.pid()))
            }
            State::Waiting { .. } => ("Waiting".to_owned(), None),
        };
        let (waiter, waiter_reason) = self.told.waiter.clone().unzip();
        ClientStatus {
            session: number,
            name: self.name.clone(),
            vm: None,
            channel: None,
            silent_ms: None,
            client_pid: self.client_pid,
            worker_pid,
            generation: self.generation,
            state: state.to_lowercase(),
            stalled: self.told.stalled(now),
            uptime_s: now.duration_since(self.opened).as_secs_f64(),
            wake: format!("{:?}", wake_mode(self.features)).to_lowercase(),
            waiter,
            waiter_reason: waiter_reason.flatten(),
            region_bytes: self.region.bytes(),
            segment_bytes: self.told.segment_bytes,
            doorbells_per_1000_commands: CounterStatus::per_1000(
                counters.client_bells,
                counters.commands_submitted,
            ),
            counters: counters.into(),
            last_end: self.told.last_end.clone(),
        }
    }
}

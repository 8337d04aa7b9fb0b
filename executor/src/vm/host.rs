//! The daemon's side of VMs: each is served for as long as its holder lives, and opened again when that is gone.
//!
//! # The life of a VM
//!
//! Its holder is found or started by a thread of its own, since an answer may take seconds that nobody else has to wait for.
//! From then on it is served. When the holder dies, the device is gone with it: all workers are ended, and a new holder makes
//! a new device. Where there is no holder, because another daemon has it or it is held with other settings, this is tried
//! again and again; other VMs and processes are served meanwhile.
//!
//! # The life of a channel
//!
//! A guest program claims a free channel. The daemon offers the next generation, starts a worker, has the holder keep both,
//! and assigns the channel. The worker ends when the program closes the channel or its heart rests; the daemon reaps it and
//! marks the channel lost if it was not closed. The channel stays with its claimant until that gives it back or its heart
//! rests, since a program that has not noticed may still write; then it is free, its arena is given back to the system, and
//! the next claim gets the next generation.
//!
//! When the monitor's connection closes, the VM is gone: all workers are killed and all channels freed at once.

mod serving;

use super::link::{Held, Holder, HolderError, ToHolder};
use super::{VmConfig, VmConfigError};
use crate::daemon::{self, Config};
use crate::failpoints::{self, Side};
use crate::status::{ClientStatus, VmCounts, VmStatus, status_path};
use ringbar::handshake::Listener;
use ringbar::os::{AnyWaiter, Interest, MapError, Waiter};
use ringbar::region::RegionError;
use serving::Serving;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Time between two looks at claims and hearts; also the daemon's heartbeat in the directory.
const TICK: Duration = Duration::from_millis(50);
/// How long a daemon waits before it opens a VM anew.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// Why a VM cannot be served.
#[derive(Debug, Error)]
pub enum VmError {
    /// There is no such device.
    #[error(transparent)]
    Config(#[from] VmConfigError),
    /// There is no holder.
    #[error(transparent)]
    Holder(#[from] HolderError),
    /// The memory cannot be mapped.
    #[error("VM {vm}: {source}")]
    Map {
        /// The VM.
        vm: String,
        /// What the system said.
        source: MapError,
    },
    /// There is no thread to serve it.
    #[error(
        "VM {vm}: starting its thread: {source}; try: a higher limit of processes or descriptors"
    )]
    Thread {
        /// The VM.
        vm: String,
        /// What the system said.
        source: io::Error,
    },
    /// The sizes fit no region.
    #[error("VM {vm}: {source}")]
    Region {
        /// The VM.
        vm: String,
        /// What is wrong.
        source: RegionError,
    },
}

/// What a VM needs of its daemon.
pub struct Context<'d> {
    /// Waits for everything.
    pub waiter: &'d mut AnyWaiter,
    /// What the daemon was started with.
    pub config: &'d mut Config,
    /// The time.
    pub now: Instant,
}

impl Context<'_> {
    fn watch(&mut self, fd: Arc<OwnedFd>, number: u64, part: u64, interest: Interest) {
        if let Err(error) = self.waiter.add(fd, daemon::token(number, part), interest) {
            tracing::error!(%error, "a descriptor cannot be waited for");
        }
    }

    fn unwatch(&mut self, number: u64, part: u64) {
        self.waiter.remove(daemon::token(number, part));
    }
}

/// One VM.
pub struct Vm {
    config: VmConfig,
    number: u64,
    state: State,
    ending: bool,
    /// Why it was not served last, so that the same reason is said once.
    said: Option<String>,
    /// What became of its programs, while it is not served.
    counts: VmCounts,
    /// Tells status beside its socket, unless the daemon itself does.
    status: Option<Listener>,
    status_at: Option<Instant>,
}

enum State {
    /// A thread finds or starts the holder.
    Opening(Opening),
    Served(Box<Serving>),
    Unserved {
        again_at: Instant,
    },
}

type Opened = Result<(Holder, Held), HolderError>;
type Opening = JoinHandle<Opened>;

impl Vm {
    /// Begins to find or make the VM's device. `number` and the numbers after it, one a channel, name it in the daemon's
    /// waiter.
    pub fn open(config: VmConfig, number: u64, context: &mut Context<'_>) -> Self {
        let state = Self::begin(&config, context);
        let status_at = (context.config.socket != config.socket).then_some(context.now);
        let counts = VmCounts::default();
        Self { config, number, state, ending: false, said: None, counts, status: None, status_at }
    }

    fn begin(config: &VmConfig, context: &mut Context<'_>) -> State {
        let failpoint = failpoints::take_for(&mut context.config.failpoint, Side::Holder);
        let (program, vm) = (context.config.worker_program.clone(), config.clone());
        let find = move || Holder::find_or_start(&program, &vm, failpoint);
        match std::thread::Builder::new().name(format!("opens {}", config.name)).spawn(find) {
            Ok(opening) => State::Opening(opening),
            Err(error) => {
                tracing::error!(%error, vm = config.name, "no thread to open a VM");
                State::Unserved { again_at: context.now + REOPEN_AFTER }
            }
        }
    }

    /// Whether its holder is still being found or started.
    pub fn is_opening(&self) -> bool {
        matches!(self.state, State::Opening(_))
    }

    /// Whether it is served now.
    pub fn is_served(&self) -> bool {
        matches!(self.state, State::Served(_))
    }

    /// Serves it if its holder has just been found.
    ///
    /// # Errors
    /// [`VmError`] if it cannot be served for now; it is opened again by a later [`tick`](Self::tick).
    pub fn take_opened(&mut self, context: &mut Context<'_>) -> Result<(), VmError> {
        let unserved = State::Unserved { again_at: context.now + REOPEN_AFTER };
        let opening = match std::mem::replace(&mut self.state, unserved) {
            State::Opening(opening) if opening.is_finished() => opening,
            other => {
                self.state = other;
                return Ok(());
            }
        };
        let panicked = |_| HolderError::Start {
            vm: self.config.name.clone(),
            source: io::Error::other("its thread panicked"),
        };
        let found = opening.join().map_err(panicked)??;
        if self.ending {
            abandon(&found, context.config.keep_devices || self.config.polled);
            return Ok(());
        }
        let counts = self.counts.clone();
        let serving = Serving::new(self.config.clone(), self.number, found, counts, context)?;
        (self.state, self.said) = (State::Served(Box::new(serving)), None);
        Ok(())
    }

    /// Says why it is not served, once for each reason in a row.
    pub fn say_unserved(&mut self, why: String) {
        if self.said.as_ref() != Some(&why) {
            tracing::error!(vm = self.config.name, "a VM is not served for now: {why}");
            self.said = Some(why);
        }
    }

    /// Whether `number` is one of this VM's.
    pub fn owns(&self, number: u64) -> bool {
        (self.number..=self.number + self.config.channels as u64).contains(&number)
    }

    /// Something of this VM's is ready.
    pub fn look_at(&mut self, number: u64, part: u64, context: &mut Context<'_>) {
        if let State::Served(serving) = &mut self.state {
            serving.look_at(number, part, context);
        }
    }

    /// Every 50 ms, see [`next_tick`](Self::next_tick).
    pub fn tick(&mut self, context: &mut Context<'_>) {
        self.tell_status_from_now_on(context);
        match &mut self.state {
            State::Served(serving) => {
                serving.tick(context);
                if let Some((why, counts)) = serving.ended() {
                    self.counts = counts;
                    self.state = State::Unserved { again_at: context.now + REOPEN_AFTER };
                    self.say_unserved(why);
                }
            }
            State::Opening(_) => {
                if let Err(error) = self.take_opened(context) {
                    self.say_unserved(error.to_string());
                }
            }
            State::Unserved { again_at } if *again_at <= context.now && !self.ending => {
                self.state = Self::begin(&self.config, context);
            }
            State::Unserved { .. } => {}
        }
    }

    /// When to [`tick`](Self::tick) next; never while there is no guest and nothing to end.
    pub fn next_tick(&self, now: Instant) -> Option<Instant> {
        match &self.state {
            State::Served(serving) => serving.next_tick(now).or(self.status_at),
            State::Opening(_) => Some(now + TICK),
            State::Unserved { again_at } => (!self.ending).then_some(*again_at),
        }
    }

    /// Ends in order: workers first, then the device, unless it is to stay or a VM has it, which could not connect again.
    pub fn end(&mut self, context: &mut Context<'_>) {
        self.ending = true;
        context.unwatch(self.number, daemon::VM_STATUS);
        (self.status, self.status_at) = (None, None);
        if let State::Served(serving) = &mut self.state {
            serving.end(context);
        }
    }

    /// Listens for who asks for status at this VM's socket, while it is served. A daemon before this one may still do so.
    fn tell_status_from_now_on(&mut self, context: &mut Context<'_>) {
        if !self.is_served() || self.status_at.is_none_or(|at| at > context.now) {
            return;
        }
        match Listener::bind_within(status_path(&self.config.socket), Duration::ZERO) {
            Ok(listener) => {
                let socket = listener.socket().clone();
                context.watch(socket, self.number, daemon::VM_STATUS, Interest::Readable);
                (self.status, self.status_at) = (Some(listener), None);
            }
            Err(error) => {
                tracing::debug!(%error, vm = self.config.name, "status cannot be told, for now");
                self.status_at = Some(context.now + REOPEN_AFTER);
            }
        }
    }

    /// Where status is told, if that is what is ready.
    pub fn status_listener(&self, ready: u64) -> Option<&Listener> {
        let is_it = ready == daemon::token(self.number, daemon::VM_STATUS);
        self.status.as_ref().filter(|_| is_it)
    }

    /// Whether it was ended and no worker is left.
    pub fn is_over(&self) -> bool {
        match &self.state {
            State::Served(serving) => serving.is_over(),
            State::Opening(_) => false,
            State::Unserved { .. } => self.ending,
        }
    }

    /// What `status` shows of it.
    pub fn status(&self) -> VmStatus {
        let mut status = VmStatus {
            name: self.config.name.clone(),
            socket: self.config.socket.display().to_string(),
            bytes: self.config.bytes,
            channels: self.config.channels,
            polled: self.config.polled,
            counts: self.counts.clone(),
            ..VmStatus::default()
        };
        match &self.state {
            State::Served(serving) => serving.tell(&mut status),
            State::Opening(_) | State::Unserved { .. } => {
                status.unserved = Some(self.said.clone().unwrap_or_else(|| "being opened".into()));
            }
        }
        status
    }

    /// Its channels that somebody has, as clients.
    pub fn clients(&self, now: Instant) -> Vec<ClientStatus> {
        match &self.state {
            State::Served(serving) => serving.clients(now),
            State::Opening(_) | State::Unserved { .. } => Vec::new(),
        }
    }
}

/// Leaves a holder that was found when it was no longer wanted, and ends it where [`Vm::end`] would have.
fn abandon((holder, held): &(Holder, Held), keep: bool) {
    if !keep && !held.monitors.connected {
        // If it is gone already, all the better.
        let _ = holder.tell(&ToHolder::EndIfUnused, None);
    }
}

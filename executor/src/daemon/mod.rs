//! The daemon: accepts clients, gives each a region and a worker process of its own, and outlives them all.
//!
//! One thread waits for everything: the listening sockets, connections that have not said hello, and of each session the
//! worker's pidfd, its control socket and the client's pidfd. It never waits for one client: whoever has to be waited for
//! has a deadline and is looked at when it is ready.
//!
//! # The life of a session
//!
//! A client says hello; the daemon makes its region, offers generation 1, starts a worker, hands the client's socket over
//! to it and closes its own copy: so the hang-up of that socket tells the client of its worker's death at once. When the
//! worker ends, the daemon reaps it first, then marks the channel lost. If the client left or broke the protocol, the
//! session is over and its memory is freed; otherwise it waits some seconds for the client to say hello again with its
//! token, and then offers the next generation on the same region to a new worker. A client that asks for that while its old
//! worker still lives has given up on it: the old worker is killed and the client asked to try again.
//!
//! VMs are served beside them, see [`crate::vm`].
//!
//! When the daemon dies, workers and clients go on: they need nothing of it. When it is asked to end, it asks its workers
//! to, and their clients see their channels closed.

mod guests;
pub mod limits;
pub(crate) mod process;

pub use process::KEPT_VARIABLES;
mod region;
mod session;
pub(crate) mod told;

use crate::device::Device;
use crate::failpoints::{self, Failpoint, Point};
use crate::job::WorkerOptions;
use crate::status::{self, DaemonStatus, Stalls, Status, VmCounts};
use crate::vm::VmConfig;
use crate::vm::host::{Context, Vm, VmError};
use guests::{ACCEPTS_A_LOOK, Guest};
use limits::{Limits, RateLimit};
use process::EndKind;
use ringbar::handshake::{Capabilities, Listener, TransportError, Version};
use ringbar::link;
use ringbar::os::{AnyWaiter, Interest, Ready, ReadySet, Waiter, WaiterKind};
use ringbar_vocabulary::VOCABULARY_HASH;
use session::{Session, State};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;

/// What a daemon is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect; status is told at the same path with `.status` behind it.
    pub socket: PathBuf,
    /// What workers execute on.
    pub device: Device,
    /// What clients may have.
    pub limits: Limits,
    /// How workers behave.
    pub worker: WorkerOptions,
    /// The program that is a worker when its first argument is `worker`.
    pub worker_program: PathBuf,
    /// Armed in the first worker or holder, whose step it is; for tests.
    pub failpoint: Option<Failpoint>,
    /// Whether processes of this host are served at `socket`; if not, only status is told beside it.
    pub serve_processes: bool,
    /// The VMs that are served as well.
    pub vms: Vec<VmConfig>,
    /// Whether the devices of VMs stay in place when the daemon ends in order, for the next one, also where no VM has them.
    pub keep_devices: bool,
    /// Whether programs in VMs may have a GPU that reaches all memory of its worker (HMM, ATS), and so may act as this user.
    pub allow_hmm: bool,
}

impl Config {
    /// A daemon at `socket` with everything else as it is by default; workers run this same program.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            device: Device::default(),
            limits: Limits::default(),
            worker: WorkerOptions::default(),
            worker_program: PathBuf::from("/proc/self/exe"),
            failpoint: None,
            serve_processes: true,
            vms: Vec::new(),
            keep_devices: false,
            allow_hmm: false,
        }
    }
}

/// Why there is no daemon, or no longer.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The socket could not be made.
    #[error(transparent)]
    Listen(#[from] TransportError),
    /// A VM cannot be served.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// Waiting failed.
    #[error("waiting for clients and workers: {0}")]
    Wait(#[from] io::Error),
}

const LISTENER: u64 = 0;
const STATUS: u64 = 1;
const STOP: u64 = 2;
/// Tokens of connections and sessions: their number times 4, plus what it is of them.
const GUEST: u64 = 0;
pub(crate) const WORKER: u64 = 1;
pub(crate) const CONTROL: u64 = 2;
const CLIENT: u64 = 3;
/// The same of a VM, and of its channels.
pub(crate) const HOLDER: u64 = 0;
pub(crate) const VM_STATUS: u64 = 1;
pub(crate) const GIVEN_BACK: u64 = 2;
pub(crate) const CLAIMS: u64 = 3;

pub(crate) fn token(number: u64, part: u64) -> u64 {
    number * 4 + part
}

/// A daemon.
pub struct Daemon {
    config: Config,
    capabilities: Capabilities,
    waiter: AnyWaiter,
    listener: Option<Listener>,
    status_listener: Option<Listener>,
    /// When to listen again, if listening failed.
    listen_at: Option<Instant>,
    rate: RateLimit,
    guests: BTreeMap<u64, Guest>,
    sessions: BTreeMap<u64, Session>,
    vms: Vec<Vm>,
    /// When to look at the VMs next.
    tick_at: Option<Instant>,
    next_number: u64,
    ending: bool,
    started: Instant,
    counts: Counts,
}

/// How long what a killed daemon had may seem alive: the kernel takes an io_uring down, and with it the sockets that it
/// waited for, some time after its process is gone.
pub(crate) const AFTERLIFE: Duration = Duration::from_secs(1);
/// Time between two tries.
pub(crate) const AFTERLIFE_RETRY: Duration = Duration::from_millis(20);

/// How long a daemon that starts waits for all its VMs to be opened: a holder that can answer does so in milliseconds.
const OPEN_PATIENCE: Duration = Duration::from_secs(1);
/// Time between two looks at that.
const OPEN_LOOK: Duration = Duration::from_millis(1);

fn bind_patiently(path: &Path) -> Result<Listener, TransportError> {
    let end = Instant::now() + AFTERLIFE;
    loop {
        match Listener::bind(path) {
            Err(TransportError::Live { .. }) if Instant::now() < end => {
                std::thread::sleep(AFTERLIFE_RETRY);
            }
            other => return other,
        }
    }
}

#[derive(Default)]
struct Counts {
    opened: u64,
    resumed: u64,
    refused: u64,
    lost: u64,
    poisoned: u64,
    stalls: Stalls,
}

impl Daemon {
    /// Listens. The daemon ends in order once `stop` is readable.
    ///
    /// # Errors
    /// [`DaemonError::Listen`] if the socket cannot be made, for instance because another daemon lives there;
    /// [`DaemonError::Vm`] if a VM's sizes are none, or nobody else is served and no VM can be.
    pub fn start(config: Config, stop: OwnedFd) -> Result<Self, DaemonError> {
        let bind = || bind_patiently(&config.socket);
        let listener = config.serve_processes.then(bind).transpose()?;
        let status_listener = bind_patiently(&status::status_path(&config.socket))?;
        let mut waiter = AnyWaiter::best();
        if let Some(listener) = &listener {
            waiter.add(listener.socket().clone(), LISTENER, Interest::Readable)?;
        }
        waiter.add(status_listener.socket().clone(), STATUS, Interest::Readable)?;
        waiter.add(Arc::new(stop), STOP, Interest::Readable)?;
        let now = Instant::now();
        let mut daemon = Self {
            capabilities: Capabilities {
                protocol: Version::OURS,
                features: link::features_here(),
                required_features: 0,
                vocabulary_hash: VOCABULARY_HASH,
            },
            rate: RateLimit::new(config.limits.connections_per_s, now),
            config,
            waiter,
            listener,
            status_listener: Some(status_listener),
            listen_at: None,
            guests: BTreeMap::new(),
            sessions: BTreeMap::new(),
            vms: Vec::new(),
            tick_at: None,
            next_number: 0,
            ending: false,
            started: now,
            counts: Counts::default(),
        };
        daemon.open_vms()?;
        Ok(daemon)
    }

    /// Opens all VMs at once, and waits for them a little. Who can serve nothing does not start; one VM that cannot be served
    /// does not keep the others, or processes, from it.
    fn open_vms(&mut self) -> Result<(), DaemonError> {
        let vms = std::mem::take(&mut self.config.vms);
        vms.iter().try_for_each(|vm| vm.sizes().map(drop)).map_err(VmError::from)?;
        for vm in vms {
            let number = self.next_number + 1;
            self.next_number += 1 + vm.channels as u64;
            let vm = self.with_vms(|_, context| Vm::open(vm, number, context));
            self.vms.push(vm);
            self.tick_at = Some(Instant::now());
        }
        let patience = Instant::now() + OPEN_PATIENCE;
        let mut failed = Vec::new();
        while self.vms.iter().any(Vm::is_opening)
            && (Instant::now() < patience || !self.serves_anybody())
        {
            std::thread::sleep(OPEN_LOOK);
            self.with_vms(|vms, context| {
                let opened = vms.iter_mut().enumerate();
                failed.extend(
                    opened.filter_map(|(at, vm)| Some((at, vm.take_opened(context).err()?))),
                );
            });
        }
        if !self.serves_anybody()
            && let Some((_, error)) = failed.pop()
        {
            return Err(error.into());
        }
        failed.into_iter().for_each(|(at, error)| self.vms[at].say_unserved(error.to_string()));
        Ok(())
    }

    fn serves_anybody(&self) -> bool {
        self.listener.is_some() || self.vms.iter().any(Vm::is_served)
    }

    /// Lets VMs do something with what they need of the daemon.
    fn with_vms<T>(&mut self, act: impl FnOnce(&mut [Vm], &mut Context<'_>) -> T) -> T {
        let (waiter, config) = (&mut self.waiter, &mut self.config);
        act(&mut self.vms, &mut Context { waiter, config, now: Instant::now() })
    }

    fn is_over(&self) -> bool {
        self.ending && self.sessions.is_empty() && self.vms.iter().all(Vm::is_over)
    }

    /// Serves until it is asked to end and its last worker is reaped.
    ///
    /// # Errors
    /// [`DaemonError::Wait`] if waiting fails, which nothing short of a broken kernel does.
    pub fn run(mut self) -> Result<(), DaemonError> {
        let mut ready = ReadySet::with_capacity(64);
        while !self.is_over() {
            let timeout =
                self.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
            self.waiter.wait(timeout, &mut ready)?;
            ready.iter().for_each(|ready| self.look_at(*ready));
            self.expire(Instant::now());
        }
        Ok(())
    }

    fn look_at(&mut self, ready: Ready) {
        match ready.token {
            LISTENER => self.accept(),
            STATUS => self.tell_status(STATUS),
            STOP => self.end(),
            other => {
                let number = other / 4;
                if self.vms.iter().any(|vm| vm.owns(number)) {
                    return self.look_at_vm(number, other % 4);
                }
                match other % 4 {
                    GUEST => self.hear(number),
                    WORKER => self.worker_ended(number),
                    CONTROL => self.take_reports(number),
                    _ => self.client_died(number),
                }
            }
        }
    }

    fn look_at_vm(&mut self, number: u64, part: u64) {
        self.tell_status(token(number, part));
        self.with_vms(|vms, context| {
            let vm = vms.iter_mut().find(|vm| vm.owns(number));
            vm.into_iter().for_each(|vm| vm.look_at(number, part, context));
        });
    }

    fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Waits for one descriptor more. Failing that, only its news come late or never, which deadlines bound.
    fn watch(&mut self, fd: Arc<OwnedFd>, token: u64, interest: Interest) {
        if let Err(error) = self.waiter.add(fd, token, interest) {
            tracing::error!(%error, "a descriptor cannot be waited for");
        }
    }

    fn unwatch(&mut self, number: u64, parts: &[u64]) {
        for &part in parts {
            self.waiter.remove(token(number, part));
        }
    }

    /// Ends in order: nobody new, and each worker is asked to end.
    fn end(&mut self) {
        tracing::info!(sessions = self.sessions.len(), "the daemon ends");
        failpoints::hit(Point::DaemonEnding);
        self.ending = true;
        for token in [LISTENER, STATUS, STOP] {
            self.waiter.remove(token);
        }
        (self.listener, self.status_listener, self.listen_at) = (None, None, None);
        for number in std::mem::take(&mut self.guests).into_keys() {
            self.waiter.remove(token(number, GUEST));
        }
        let kill_at = Instant::now() + self.config.limits.worker_end_limit;
        let waiting: Vec<_> = self
            .sessions
            .iter_mut()
            .filter_map(|(&number, session)| match &mut session.state {
                State::Serving(worker) => {
                    worker.ask_to_end(kill_at);
                    None
                }
                State::Waiting { .. } => Some(number),
            })
            .collect();
        waiting.into_iter().for_each(|number| self.free(number));
        self.with_vms(|vms, context| vms.iter_mut().for_each(|vm| vm.end(context)));
    }

    fn take_reports(&mut self, number: u64) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let goes_on = session.take_reports();
        self.counts.stalls.add(session.take_stalls());
        if !goes_on {
            self.waiter.remove(token(number, CONTROL));
        }
    }

    /// The worker's process has ended: it is reaped before anything else is done with its region.
    fn worker_ended(&mut self, number: u64) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        session.take_reports();
        self.counts.stalls.add(session.take_stalls());
        let State::Serving(worker) = &mut session.state else { return };
        failpoints::hit(Point::DaemonEndSeen);
        let ending = match worker.reap() {
            Ok(Some(ending)) => ending,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, session = number, "a worker cannot be reaped: its session is over");
                return self.free(number);
            }
        };
        failpoints::hit(Point::DaemonReaped);
        let goes_on = session.worker_ended(&ending, &self.config.limits, Instant::now());
        failpoints::hit(Point::DaemonMarked);
        self.unwatch(number, &[WORKER, CONTROL]);
        if !self.ending {
            self.counts.poisoned += u64::from(ending.kind == EndKind::Violation);
            if ending.kind == EndKind::Lost {
                self.counts.lost += 1;
                let reason = self.sessions.get(&number).map_or("", Session::last_end);
                tracing::warn!(session = number, reason, "a worker ended: {}", ending.text);
            }
        }
        if !goes_on || self.ending {
            self.free(number);
        }
    }

    /// The client's process has ended: what it had is freed, by its worker's end or, if that hangs, by force.
    fn client_died(&mut self, number: u64) {
        self.waiter.remove(token(number, CLIENT));
        let Some(session) = self.sessions.get_mut(&number) else { return };
        failpoints::hit(Point::DaemonClientDied);
        match &mut session.state {
            State::Serving(worker) => {
                worker.end_by(Instant::now() + self.config.limits.worker_end_limit)
            }
            State::Waiting { .. } => self.free(number),
        }
    }

    /// Forgets a session and its memory.
    fn free(&mut self, number: u64) {
        failpoints::hit(Point::DaemonFreeing);
        self.unwatch(number, &[WORKER, CONTROL, CLIENT]);
        if let Some(session) = self.sessions.remove(&number) {
            tracing::info!(session = number, generation = session.generation, "a session is over");
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let guests = self.guests.values().map(|guest| guest.until);
        let sessions = self.sessions.values().filter_map(|session| match &session.state {
            State::Serving(worker) => worker.kill_at,
            State::Waiting { until } => Some(*until),
        });
        guests.chain(sessions).chain(self.listen_at).chain(self.tick_at).min()
    }

    fn expire(&mut self, now: Instant) {
        if self.listen_at.is_some_and(|at| at <= now) {
            self.listen_at = None;
            let socket = self.listener.as_ref().map(|listener| listener.socket().clone());
            socket.into_iter().for_each(|socket| self.watch(socket, LISTENER, Interest::Readable));
        }
        self.expire_guests(now);
        if self.tick_at.is_none_or(|at| at <= now) {
            self.with_vms(|vms, context| vms.iter_mut().for_each(|vm| vm.tick(context)));
            self.tick_at = self.vms.iter().filter_map(|vm| vm.next_tick(now)).min();
        }
        let mut over = Vec::new();
        for (&number, session) in &mut self.sessions {
            match &mut session.state {
                State::Serving(worker) => worker.kill_if_due(now),
                State::Waiting { until } if *until <= now => over.push(number),
                State::Waiting { .. } => {}
            }
        }
        over.into_iter().for_each(|number| self.free(number));
    }

    /// Where those come who ask for status, if `ready` is such a place: the daemon's own, or a VM's.
    fn status_listener(&self, ready: u64) -> Option<&Listener> {
        match ready {
            STATUS => self.status_listener.as_ref(),
            other => self.vms.iter().find_map(|vm| vm.status_listener(other)),
        }
    }

    /// Tells everyone who asks at the place that is `ready`, waiting for none of them.
    fn tell_status(&mut self, ready: u64) {
        for _ in 0..ACCEPTS_A_LOOK {
            let listener = self.status_listener(ready);
            let asker = listener.and_then(|listener| listener.try_accept().ok().flatten());
            let Some(asker) = asker else { return };
            // Root may look into everything anyway.
            let peer = asker.peer_credentials();
            if !peer.is_ok_and(|peer| peer.is_same_user() || peer.uid == 0) {
                continue;
            }
            failpoints::hit(Point::DaemonAsked);
            if let Err(error) = status::tell(&asker, &self.status(Instant::now())) {
                tracing::warn!(%error, "status could not be told");
            }
        }
    }

    fn status(&self, now: Instant) -> Status {
        let sessions = self.sessions.iter();
        let processes = sessions.map(|(&number, session)| session.status(number, now));
        let guests = self.vms.iter().flat_map(|vm| vm.clients(now));
        Status { daemon: self.own_status(now), clients: processes.chain(guests).collect() }
    }

    fn own_status(&self, now: Instant) -> DaemonStatus {
        let waiter = match self.waiter.kind() {
            WaiterKind::Uring => "io_uring",
            WaiterKind::Poll => "poll",
        };
        let vms: Vec<_> = self.vms.iter().map(Vm::status).collect();
        let of_vms =
            |count: fn(&VmCounts) -> u64| -> u64 { vms.iter().map(|vm| count(&vm.counts)).sum() };
        let mut stalls = self.counts.stalls.clone();
        vms.iter().for_each(|vm| stalls.add(vm.counts.stalls.clone()));
        DaemonStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            backend: self.config.device.name().into(),
            uptime_s: now.duration_since(self.started).as_secs_f64(),
            waiter: waiter.into(),
            waiter_reason: self.waiter.fallback_reason().map(str::to_owned),
            asymmetric_barrier: self.capabilities.features & link::FEATURE_ASYMMETRIC_BARRIER != 0,
            sessions_opened: self.counts.opened + of_vms(|vm| vm.claims_answered),
            sessions_resumed: self.counts.resumed,
            refused: self.counts.refused + of_vms(|vm| vm.claims_refused),
            workers_lost: self.counts.lost + of_vms(|vm| vm.workers_lost),
            channels_poisoned: self.counts.poisoned + of_vms(|vm| vm.channels_poisoned),
            stalls,
            vms,
        }
    }
}

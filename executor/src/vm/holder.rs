//! The holder: a tiny process that holds one VM's device for as long as the VM lives, and longer.
//!
//! It is this program executed anew, in a session of its own, so that it goes on when the daemon ends or crashes. It serves
//! the device's socket to one monitor at a time, again after a replug or a new boot, and lets one daemon at a time have
//! everything. It decides nothing and reads nothing of the memory. Without a daemon and without a monitor it ends after a
//! minute, unless its VM is one that never connects, or its last daemon was told to leave the device in place. While anything
//! may still need it, it takes no signal for an order to end: a VM could not connect again.

use super::device_socket::{Access, DeviceSocket};
use super::link::{FromHolder, Kept, Monitors, ToHolder, holder_path};
use super::{VECTORS, VmConfig, ivshmem};
use crate::failpoints::{self, Point};
use crate::{job, logging, units};
use clap::Args;
use ringbar::directory::Constants;
use ringbar::handshake::{Connection, Listener};
use ringbar::os::{EventFd, Interest, Mapping, PollWaiter, ReadySet, Waiter};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long it waits for a daemon or a monitor when it has neither.
const LONELY_LIMIT: Duration = Duration::from_secs(60);
/// Words of a daemon that are taken at one look.
const WORDS_A_LOOK: usize = 64;
/// How long it accepts nobody after the system had no descriptor or no memory for a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

const DEVICE: u64 = 0;
const DAEMONS: u64 = 1;
const DAEMON: u64 = 2;
const MONITOR: u64 = 3;
const SIGNALS: u64 = 4;

/// Options of the hidden `ringbar vm-holder`.
#[derive(Debug, Args)]
pub struct HolderArgs {
    #[arg(long)]
    vm: String,
    #[arg(long)]
    socket: PathBuf,
    #[arg(long, value_parser = units::bytes)]
    size: u64,
    #[arg(long)]
    channels: usize,
    #[arg(long)]
    polled: bool,
    #[arg(long)]
    owner: Option<u32>,
    #[arg(long)]
    group: Option<u32>,
    #[arg(long)]
    mode: Option<u32>,
}

/// Runs this process as a holder.
pub fn run(args: &HolderArgs) -> ExitCode {
    logging::start(None);
    if let Err(error) = failpoints::arm_from_environment() {
        eprintln!("ringbar vm-holder: {error}");
        return ExitCode::FAILURE;
    }
    failpoints::hit(Point::HolderBegun);
    // Fails only for the leader of a process group, which has nothing to leave.
    let _ = rustix::process::setsid();
    let control = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(control) => control,
        Err(error) => {
            eprintln!("ringbar vm-holder: {error}");
            return ExitCode::FAILURE;
        }
    };
    let config = VmConfig {
        name: args.vm.clone(),
        socket: args.socket.clone(),
        bytes: args.size,
        channels: args.channels,
        polled: args.polled,
        access: Access { owner: args.owner, group: args.group, mode: args.mode },
    };
    // First of all: from now on its life is a VM's.
    let started = ignored_signals().map_err(|e| format!("no signal can be ignored: {e}"));
    match started.and_then(|signals| Holder::start(config, signals)) {
        Ok(holder) => {
            failpoints::hit(Point::HolderMade);
            holder.run(Arc::new(control))
        }
        Err(reason) => {
            // The daemon says it; without one nobody needs to know.
            let _ = job::send(&control, &FromHolder::Refused { reason }, &[]);
            ExitCode::FAILURE
        }
    }
}

struct Holder {
    config: VmConfig,
    layout: Constants,
    memory: OwnedFd,
    to_host: Vec<EventFd>,
    to_guest: Vec<EventFd>,
    channels: Vec<(Kept, Option<OwnedFd>)>,
    waiter: PollWaiter,
    device: DeviceSocket,
    daemons: Listener,
    daemon: Option<Arc<OwnedFd>>,
    told: Told,
    monitor: Option<Arc<OwnedFd>>,
    gone: u64,
    refused: u64,
    lonely_since: Instant,
    /// It stays although nobody is there.
    stays: bool,
    /// The present daemon, or the last one, took the device over.
    taken_over: bool,
    /// Why a daemon was refused last, and nobody has been admitted since.
    said_refused: Option<String>,
    /// Somebody waits to be accepted, for which the system lacked something; when to try again.
    accept_at: Option<Instant>,
    /// That was said, and nobody has been accepted since.
    said_accept: bool,
    signals: UnixStream,
    ended: bool,
}

/// What the daemon knows of monitors. A daemon that does not read, because it is stopped, must neither cost memory nor miss
/// that a VM has gone.
#[derive(Default)]
struct Told {
    /// Number of the last word.
    number: u64,
    /// Number of the last one that it says it has heard.
    heard: u64,
    /// It is to be told more as soon as it has heard that.
    more: bool,
    /// It could not be told that a monitor has gone. No other one is served until then, so that none of the next VM's claims
    /// is answered before.
    holds_back: bool,
}

impl Holder {
    fn start(config: VmConfig, signals: UnixStream) -> Result<Self, String> {
        let layout = config.layout().map_err(|e| e.to_string())?;
        // This socket first: whoever has it has the VM.
        let daemons = Listener::bind(holder_path(&config.socket)).map_err(|e| e.to_string())?;
        let device = DeviceSocket::bind(&config.socket, &config.access)?;
        let name = format!("ringbar-vm-{}", config.name);
        let (mapping, memory) =
            Mapping::memfd_create(&name, config.bytes as usize).map_err(|e| e.to_string())?;
        drop(mapping);
        let bells = || -> io::Result<Vec<_>> { (0..VECTORS).map(|_| EventFd::new()).collect() };
        let to_host = bells().map_err(|e| format!("no eventfd: {e}"))?;
        let to_guest = bells().map_err(|e| format!("no eventfd: {e}"))?;
        let channels = (0..config.channels).map(|_| (Kept::default(), None)).collect();
        let mut waiter = PollWaiter::new();
        let told = signals.as_fd().try_clone_to_owned().map_err(|e| e.to_string())?;
        let listening = [
            (device.socket.clone(), DEVICE),
            (daemons.socket().clone(), DAEMONS),
            (Arc::new(told), SIGNALS),
        ];
        for (fd, token) in listening {
            waiter.add(fd, token, Interest::Readable).map_err(|e| e.to_string())?;
        }
        Ok(Self {
            config,
            layout,
            memory,
            to_host,
            to_guest,
            channels,
            waiter,
            device,
            daemons,
            daemon: None,
            told: Told::default(),
            monitor: None,
            gone: 0,
            refused: 0,
            lonely_since: Instant::now(),
            stays: false,
            taken_over: false,
            said_refused: None,
            accept_at: None,
            said_accept: false,
            signals,
            ended: false,
        })
    }

    fn run(mut self, first: Arc<OwnedFd>) -> ExitCode {
        self.serve_daemon(first);
        let mut ready = ReadySet::with_capacity(4);
        while !self.ended {
            let now = Instant::now();
            let ends_in = self.ends_in(now);
            if ends_in.is_some_and(|left| left.is_zero()) && self.is_unused() {
                tracing::info!(vm = self.config.name, "neither a daemon nor a VM: the holder ends");
                break;
            }
            let accept_in = self.accept_at.map(|at| at.saturating_duration_since(now));
            if accept_in.is_some_and(|left| left.is_zero()) {
                self.accept_at = None;
                self.serve_listeners(!self.told.holds_back);
                continue;
            }
            let timeout = ends_in.into_iter().chain(accept_in).min();
            if let Err(error) = self.waiter.wait(timeout, &mut ready) {
                tracing::error!(%error, vm = self.config.name, "the holder cannot wait");
                return ExitCode::FAILURE;
            }
            // Who left goes first, so that who comes finds the place free.
            let mut tokens: Vec<_> = ready.iter().map(|ready| ready.token).collect();
            tokens.sort_unstable_by(|a, b| b.cmp(a));
            for token in tokens {
                if !self.ended {
                    self.look_at(token);
                }
            }
        }
        ExitCode::SUCCESS
    }

    /// After how long it ends by itself; never while there is, or may be, somebody who needs it.
    fn ends_in(&self, now: Instant) -> Option<Duration> {
        let wanted = self.daemon.is_some() || self.monitor.is_some();
        let lonely = !wanted && !self.config.polled && !self.stays;
        let waited = now.saturating_duration_since(self.lonely_since);
        lonely.then(|| LONELY_LIMIT.saturating_sub(waited))
    }

    /// Whether no VM has the device: one that connects just now could not do so again, so it is accepted before the answer. Where
    /// nobody can be accepted for now, one may be waiting.
    fn is_unused(&mut self) -> bool {
        self.accept_monitor();
        self.monitor.is_none() && !self.told.holds_back && self.accept_at.is_none()
    }

    fn look_at(&mut self, token: u64) {
        match token {
            SIGNALS => self.hear_signals(),
            DEVICE => self.accept_monitor(),
            DAEMONS => self.accept_daemon(),
            DAEMON => self.listen_to_daemon(),
            _ => self.monitor_left(),
        }
    }

    /// Somebody asks it to end by a signal, perhaps all processes of a service.
    fn hear_signals(&mut self) {
        let mut bytes = [0; 64];
        // What is not read now is read at the next look.
        let _ = rustix::net::recv(&self.signals, &mut bytes, RecvFlags::DONTWAIT);
        if self.ends_in(Instant::now()).is_some() && self.is_unused() {
            self.ended = true;
            return;
        }
        tracing::warn!(
            vm = self.config.name,
            "a signal asks the holder to end: ignored, a VM that lost its device could not connect again; \
             try: `ringbar vm end`"
        );
    }

    fn serve_listeners(&mut self, monitors_too: bool) {
        let device = monitors_too.then(|| (self.device.socket.clone(), DEVICE));
        let daemons = (self.daemons.socket().clone(), DAEMONS);
        for (fd, token) in std::iter::once(daemons).chain(device) {
            if let Err(error) = self.waiter.add(fd, token, Interest::Readable) {
                tracing::error!(%error, "nobody can be waited for");
            }
        }
    }

    /// Whoever waits stays ready to be accepted: without a pause this would be asked again at once, for ever.
    fn cannot_accept(&mut self, error: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.said_accept, true) {
            tracing::error!(%error, vm = self.config.name, "nobody can be accepted for now; likely cause: no free descriptors or no memory");
        }
        self.waiter.remove(DAEMONS);
        self.waiter.remove(DEVICE);
        self.accept_at = Some(Instant::now() + ACCEPT_AGAIN);
    }

    fn accept_daemon(&mut self) {
        let connection = match self.daemons.try_accept() {
            Ok(Some(connection)) => connection,
            Ok(None) => return,
            Err(error) => return self.cannot_accept(&error),
        };
        self.said_accept = false;
        match self.admit(&connection) {
            Ok(()) => self.serve_daemon(connection.socket().clone()),
            Err(reason) => {
                // Those that take over where one ends ask again and again.
                if self.said_refused.as_ref() != Some(&reason) {
                    tracing::warn!(
                        vm = self.config.name,
                        reason,
                        "a daemon was refused; further ones are not told of"
                    );
                    self.said_refused = Some(reason.clone());
                }
                let refused = FromHolder::Refused { reason };
                // Best effort: it may be gone.
                let _ = job::send(connection.socket().as_fd(), &refused, &[]);
            }
        }
    }

    fn admit(&self, connection: &Connection) -> Result<(), String> {
        let peer = connection.peer_credentials().map_err(|e| e.to_string())?;
        if !peer.is_same_user() {
            let own = rustix::process::geteuid().as_raw();
            return Err(format!("found user {}, expected {own}; try: run as that user", peer.uid));
        }
        if self.daemon.is_some() {
            return Err("another daemon serves this VM; try: end that one first".into());
        }
        Ok(())
    }

    /// Tells a daemon everything; from then on it is told of monitors.
    fn serve_daemon(&mut self, control: Arc<OwnedFd>) {
        if let Err(error) = self.tell_all(&control) {
            tracing::warn!(%error, vm = self.config.name, "a daemon could not be told");
            return;
        }
        failpoints::hit(Point::HolderTold);
        match self.waiter.add(control.clone(), DAEMON, Interest::Readable) {
            Ok(()) => {
                (self.daemon, self.told) = (Some(control), Told::default());
                self.taken_over = false;
            }
            Err(error) => tracing::error!(%error, "a daemon cannot be waited for"),
        }
    }

    fn monitors(&self) -> Monitors {
        Monitors { connected: self.monitor.is_some(), gone: self.gone, refused: self.refused }
    }

    fn tell_all(&self, control: &OwnedFd) -> io::Result<()> {
        let device = FromHolder::Device {
            name: self.config.name.clone(),
            bytes: self.config.bytes,
            channels: self.config.channels,
            pid: std::process::id(),
            polled: self.config.polled,
            monitors: self.monitors(),
            layout: self.layout.words().to_vec(),
        };
        let bells = self.to_host.iter().chain(&self.to_guest).map(AsFd::as_fd);
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(self.memory.as_fd()).chain(bells).collect();
        job::send(control, &device, &fds)?;
        failpoints::hit(Point::HolderTelling);
        self.channels.iter().try_for_each(|(kept, worker)| {
            let worker = worker.as_ref().map(AsFd::as_fd);
            job::send(control, &FromHolder::Channel(*kept), worker.as_slice())
        })
    }

    fn listen_to_daemon(&mut self) {
        for _ in 0..WORDS_A_LOOK {
            let Some(daemon) = self.daemon.clone() else { return };
            match job::receive(&*daemon) {
                Ok(None) => return,
                Ok(Some((ToHolder::Keep { channel, kept }, fds))) => {
                    failpoints::hit(Point::HolderKeeping);
                    if let Some(place) = self.channels.get_mut(channel) {
                        *place = (kept, fds.into_iter().next());
                    }
                }
                Ok(Some((ToHolder::Heard { number }, _))) => {
                    self.told.heard = number;
                    if self.told.more {
                        self.tell_monitors();
                    }
                }
                Ok(Some((ToHolder::Stay { always }, _))) => {
                    self.stays = always;
                    self.taken_over = true;
                    self.said_refused = None;
                }
                Ok(Some((ToHolder::EndIfUnused, _))) if !self.is_unused() => {
                    let reason = "a VM has just connected, and would lose its device for good; try: shut that VM down first, or --force";
                    // Whoever asked may not wait for an answer.
                    let _ =
                        job::send(&*daemon, &FromHolder::Refused { reason: reason.into() }, &[]);
                }
                Ok(Some((ToHolder::End | ToHolder::EndIfUnused, _))) => {
                    failpoints::hit(Point::HolderEnding);
                    self.ended = true;
                    return;
                }
                Err(error) => self.daemon_left(&error),
            }
        }
    }

    /// Where it took nothing over, because it wants another device, and comes again each second, nobody was there.
    fn daemon_left(&mut self, error: &io::Error) {
        if self.taken_over {
            tracing::info!(%error, vm = self.config.name, "the daemon is gone: holding on");
            self.lonely_since = Instant::now();
        }
        self.waiter.remove(DAEMON);
        self.daemon = None;
        // The next one is told everything.
        self.serve_monitors_again();
    }

    /// Tells the daemon what is so now, or once it has heard more of what it was told before.
    fn tell_monitors(&mut self) {
        let Some(daemon) = &self.daemon else { return };
        let (number, monitors) = (self.told.number + 1, self.monitors());
        match job::send(&**daemon, &FromHolder::Monitors { number, monitors }, &[]) {
            Ok(()) => {
                (self.told.number, self.told.more) = (number, false);
                self.serve_monitors_again();
            }
            Err(error) if !std::mem::replace(&mut self.told.more, true) => {
                tracing::warn!(%error, vm = self.config.name, "the daemon cannot be told, for now");
            }
            Err(_) => {}
        }
    }

    fn serve_monitors_again(&mut self) {
        if !std::mem::take(&mut self.told.holds_back) {
            return;
        }
        if self.accept_at.is_some() {
            return;
        }
        let listening = self.device.socket.clone();
        if let Err(error) = self.waiter.add(listening, DEVICE, Interest::Readable) {
            tracing::error!(%error, vm = self.config.name, "no monitor can be waited for");
        }
    }

    fn accept_monitor(&mut self) {
        if self.told.holds_back {
            return;
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let monitor = match rustix::net::accept_with(&self.device.socket, flags) {
            Ok(monitor) => monitor,
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return,
            Err(error) => return self.cannot_accept(&error),
        };
        self.said_accept = false;
        if self.monitor.is_some() {
            tracing::warn!(vm = self.config.name, "a second monitor was refused: one is connected");
            self.refused += 1;
            // If it is gone already it needs to know nothing.
            let _ = ivshmem::refuse(&monitor);
            // They can be many, and only their number matters: while one word waits to be heard there is no other.
            self.told.more = true;
            if self.told.heard == self.told.number {
                self.tell_monitors();
            }
            return;
        }
        failpoints::hit(Point::HolderGreeting);
        for bell in self.to_host.iter().chain(&self.to_guest) {
            // Rings of an earlier boot; one too many is only an empty wake-up.
            let _ = bell.drain();
        }
        let (to_host, to_guest) = (&self.to_host, &self.to_guest);
        let greeted = ivshmem::greet(
            &monitor,
            self.memory.as_fd(),
            to_host.iter().map(AsFd::as_fd),
            to_guest.iter().map(AsFd::as_fd),
        );
        let monitor = Arc::new(monitor);
        let watched = greeted.and_then(|()| {
            // It never says anything, so whatever is readable is its end.
            self.waiter.add(monitor.clone(), MONITOR, Interest::HangUp)
        });
        if let Err(error) = watched {
            return tracing::warn!(%error, vm = self.config.name, "a monitor could not be served");
        }
        failpoints::hit(Point::HolderGreeted);
        self.monitor = Some(monitor);
        self.tell_monitors();
    }

    fn monitor_left(&mut self) {
        self.waiter.remove(MONITOR);
        self.monitor = None;
        self.gone += 1;
        self.channels.iter_mut().for_each(|(kept, _)| kept.vm_is_gone = true);
        failpoints::hit(Point::HolderMonitorLeft);
        self.lonely_since = Instant::now();
        self.tell_monitors();
        if self.daemon.is_some() && self.told.more {
            self.told.holds_back = true;
            self.waiter.remove(DEVICE);
        }
    }
}

/// Becomes readable by the signals that usually end a process, which from now on do nothing else.
fn ignored_signals() -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, theirs.try_clone()?)?;
    }
    Ok(ours)
}

#[cfg(test)]
#[path = "holder_tests.rs"]
mod tests;

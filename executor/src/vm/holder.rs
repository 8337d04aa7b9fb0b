//! The holder: a tiny process that holds one VM's device for as long as the VM lives, and longer.
//!
//! It is this program executed anew, in a session of its own, so that it goes on when the daemon ends or crashes. It serves
//! the device's socket to one monitor at a time, again after a replug or a new boot, and lets one daemon at a time have
//! everything. It decides nothing and reads nothing of the memory. Without a daemon and without a monitor it ends after a
//! minute, unless its VM is one that never connects.

use super::link::{FromHolder, Kept, Monitors, ToHolder, holder_path};
use super::{VECTORS, VmConfig, ivshmem};
use crate::failpoints::{self, Point};
use crate::{job, logging, units};
use clap::Args;
use ringbar::handshake::{Connection, Listener};
use ringbar::os::{EventFd, Interest, Mapping, PollWaiter, ReadySet, Waiter};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long it waits for a daemon or a monitor when it has neither.
const LONELY_LIMIT: Duration = Duration::from_secs(60);
/// Words of a daemon that are taken at one look.
const WORDS_A_LOOK: usize = 64;

const DEVICE: u64 = 0;
const DAEMONS: u64 = 1;
const DAEMON: u64 = 2;
const MONITOR: u64 = 3;

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
    };
    match Holder::start(config) {
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
    fn start(config: VmConfig) -> Result<Self, String> {
        config.sizes().map_err(|e| e.to_string())?;
        // This socket first: whoever has it has the VM.
        let daemons = Listener::bind(holder_path(&config.socket)).map_err(|e| e.to_string())?;
        let device = DeviceSocket::bind(&config.socket)?;
        let name = format!("ringbar-vm-{}", config.name);
        let (mapping, memory) =
            Mapping::memfd_create(&name, config.bytes as usize).map_err(|e| e.to_string())?;
        drop(mapping);
        let bells = || -> io::Result<Vec<_>> { (0..VECTORS).map(|_| EventFd::new()).collect() };
        let to_host = bells().map_err(|e| format!("no eventfd: {e}"))?;
        let to_guest = bells().map_err(|e| format!("no eventfd: {e}"))?;
        let channels = (0..config.channels).map(|_| (Kept::default(), None)).collect();
        let mut waiter = PollWaiter::new();
        let listening = [(device.socket.clone(), DEVICE), (daemons.socket().clone(), DAEMONS)];
        for (fd, token) in listening {
            waiter.add(fd, token, Interest::Readable).map_err(|e| e.to_string())?;
        }
        Ok(Self {
            config,
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
            ended: false,
        })
    }

    fn run(mut self, first: Arc<OwnedFd>) -> ExitCode {
        self.serve_daemon(first);
        let mut ready = ReadySet::with_capacity(4);
        while !self.ended {
            let lonely = self.daemon.is_none() && self.monitor.is_none() && !self.config.polled;
            let left = LONELY_LIMIT.saturating_sub(self.lonely_since.elapsed());
            if lonely && left.is_zero() {
                tracing::info!(vm = self.config.name, "neither a daemon nor a VM: the holder ends");
                break;
            }
            if let Err(error) = self.waiter.wait(lonely.then_some(left), &mut ready) {
                tracing::error!(%error, vm = self.config.name, "the holder cannot wait");
                return ExitCode::FAILURE;
            }
            // Who left goes first, so that who comes finds the place free.
            let mut tokens: Vec<_> = ready.iter().map(|ready| ready.token).collect();
            tokens.sort_unstable_by(|a, b| b.cmp(a));
            tokens.into_iter().for_each(|token| self.look_at(token));
        }
        ExitCode::SUCCESS
    }

    fn look_at(&mut self, token: u64) {
        match token {
            DEVICE => self.accept_monitor(),
            DAEMONS => self.accept_daemon(),
            DAEMON => self.listen_to_daemon(),
            _ => self.monitor_left(),
        }
    }

    fn accept_daemon(&mut self) {
        let Ok(Some(connection)) = self.daemons.try_accept() else { return };
        match self.admit(&connection) {
            Ok(()) => self.serve_daemon(connection.socket().clone()),
            Err(reason) => {
                tracing::warn!(vm = self.config.name, reason, "a daemon was refused");
                let refused = FromHolder::Refused { reason };
                // Best effort: it may be gone.
                let _ = job::send(connection.socket().as_fd(), &refused, &[]);
            }
        }
    }

    fn admit(&self, connection: &Connection) -> Result<(), String> {
        let peer = connection.peer_credentials().map_err(|e| e.to_string())?;
        if !peer.is_same_user() {
            return Err(format!("found user {}, expected the holder's own", peer.uid));
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
            Ok(()) => (self.daemon, self.told) = (Some(control), Told::default()),
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
            let Some(daemon) = &self.daemon else { return };
            match job::receive(&**daemon) {
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
                Ok(Some((ToHolder::End, _))) => {
                    failpoints::hit(Point::HolderEnding);
                    self.ended = true;
                    return;
                }
                Err(error) => {
                    tracing::info!(%error, vm = self.config.name, "the daemon is gone: holding on");
                    self.waiter.remove(DAEMON);
                    self.daemon = None;
                    // The next one is told everything.
                    self.serve_monitors_again();
                    self.lonely_since = Instant::now();
                }
            }
        }
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
        let listening = self.device.socket.clone();
        if let Err(error) = self.waiter.add(listening, DEVICE, Interest::Readable) {
            tracing::error!(%error, vm = self.config.name, "no monitor can be waited for");
        }
    }

    fn accept_monitor(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(monitor) = rustix::net::accept_with(&self.device.socket, flags) else { return };
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

/// The socket that monitors connect to; its file is removed on drop.
struct DeviceSocket {
    socket: Arc<OwnedFd>,
    path: PathBuf,
}

impl DeviceSocket {
    /// Makes the socket file with mode 0600. Only the holder of the VM's other socket comes here, so nobody else is about
    /// to do the same.
    fn bind(path: &Path) -> Result<Self, String> {
        let failed = |what: &str, e: io::Error| format!("{}: {what}: {e}", path.display());
        match std::fs::symlink_metadata(path) {
            Ok(data) if !data.file_type().is_socket() => {
                return Err(format!("{}: found a file that is no socket", path.display()));
            }
            Ok(_) => match UnixStream::connect(path) {
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(|e| failed("removing a dead socket", e))?;
                }
                _ => {
                    return Err(format!(
                        "{}: somebody else listens there; try: another --socket for the VM",
                        path.display()
                    ));
                }
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed("looking for an old socket", e)),
        }
        let bound = || -> io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let kind = SocketType::STREAM;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
            // On Linux the file takes over the mode of the socket, so it is private from its first moment.
            rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
            rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
            rustix::net::listen(&socket, 4)?;
            Ok(socket)
        };
        let socket = Arc::new(bound().map_err(|e| failed("listening", e))?);
        Ok(Self { socket, path: path.into() })
    }
}

impl Drop for DeviceSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// A holder whose daemon is this test, and its folder.
    fn holder() -> (Holder, OwnedFd, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("vm");
        let config =
            VmConfig { name: "vm".into(), socket, bytes: 1 << 20, channels: 1, polled: false };
        let mut holder = Holder::start(config).unwrap();
        let (daemon, theirs) = job::control_pair().unwrap();
        holder.serve_daemon(Arc::new(theirs));
        for _ in 0..2 {
            job::receive::<FromHolder>(&daemon).unwrap().expect("the device, and its channel");
        }
        (holder, daemon, folder)
    }

    fn connect(holder: &mut Holder) -> UnixStream {
        let monitor = UnixStream::connect(&holder.config.socket).unwrap();
        holder.accept_monitor();
        monitor
    }

    /// The next word about monitors, if one waits.
    fn hear(daemon: &OwnedFd) -> Option<(u64, Monitors)> {
        match job::receive(daemon).unwrap()?.0 {
            FromHolder::Monitors { number, monitors } => Some((number, monitors)),
            other => panic!("{other:?}"),
        }
    }

    fn say_heard(holder: &mut Holder, daemon: &OwnedFd, number: u64) {
        job::send(daemon, &ToHolder::Heard { number }, &[]).unwrap();
        holder.listen_to_daemon();
    }

    fn serves_monitors(holder: &mut Holder) -> bool {
        let _waits = UnixStream::connect(&holder.config.socket).unwrap();
        let mut ready = ReadySet::with_capacity(4);
        holder.waiter.wait(Some(Duration::ZERO), &mut ready).unwrap();
        let serves = ready.iter().any(|ready| ready.token == DEVICE);
        // Taken off the queue again, and gone by then.
        let _ = rustix::net::accept(&holder.device.socket);
        serves
    }

    #[test]
    fn a_second_monitor_is_told_a_version_that_does_not_exist_before_it_is_hung_up_on() {
        let (mut holder, _daemon, _folder) = holder();
        let _first = connect(&mut holder);
        let mut said = Vec::new();
        connect(&mut holder).read_to_end(&mut said).unwrap();
        assert_eq!(said, ivshmem::REFUSAL.to_le_bytes());
        assert!(holder.monitor.is_some() && holder.gone == 0, "the first one has its device");
    }

    #[test]
    fn refusals_that_a_stopped_daemon_does_not_hear_are_one_word_and_the_end_of_a_vm_is_another() {
        let (mut holder, daemon, _folder) = holder();
        let monitor = connect(&mut holder);
        (0..1000).for_each(|_| drop(connect(&mut holder)));
        drop(monitor);
        holder.monitor_left();
        let connected = Monitors { connected: true, gone: 0, refused: 0 };
        assert_eq!(hear(&daemon), Some((1, connected)));
        let gone = Monitors { connected: false, gone: 1, refused: 1000 };
        assert_eq!(hear(&daemon), Some((2, gone)));
        assert_eq!(hear(&daemon), None);
        say_heard(&mut holder, &daemon, 2);
        assert_eq!(hear(&daemon), None, "it knows everything");
        let _monitor = connect(&mut holder);
        assert_eq!(hear(&daemon).unwrap().0, 3);
        drop(connect(&mut holder));
        assert_eq!(hear(&daemon), None, "one waits to be heard");
        say_heard(&mut holder, &daemon, 3);
        let refused = Monitors { connected: true, gone: 1, refused: 1001 };
        assert_eq!(hear(&daemon), Some((4, refused)));
    }

    #[test]
    fn no_vm_is_served_before_a_stopped_daemon_can_be_told_that_the_last_one_has_gone() {
        let (mut holder, daemon, _folder) = holder();
        let mut boots = 0;
        while !holder.told.holds_back {
            drop(connect(&mut holder));
            holder.monitor_left();
            boots += 1;
            assert!(boots < 100_000, "its socket never is full");
        }
        assert!(!serves_monitors(&mut holder));
        let mut last = (0, Monitors::default());
        while let Some((number, monitors)) = hear(&daemon) {
            assert_eq!(number, last.0 + 1);
            last = (number, monitors);
            say_heard(&mut holder, &daemon, number);
        }
        assert_eq!(last.1, Monitors { connected: false, gone: boots, refused: 0 });
        assert!(serves_monitors(&mut holder));
    }

    #[test]
    fn a_daemon_that_dies_holds_no_vm_back_and_the_next_one_is_told_which_channels_are_over() {
        let (mut holder, daemon, _folder) = holder();
        let kept = Kept { generation: 1, claimant: Some(7), ..Kept::default() };
        let monitor = connect(&mut holder);
        job::send(&daemon, &ToHolder::Keep { channel: 0, kept }, &[]).unwrap();
        holder.listen_to_daemon();
        while !holder.told.holds_back {
            drop(connect(&mut holder));
            holder.monitor_left();
        }
        drop((monitor, daemon));
        holder.listen_to_daemon();
        assert!(holder.daemon.is_none() && serves_monitors(&mut holder));
        let (daemon, theirs) = job::control_pair().unwrap();
        holder.serve_daemon(Arc::new(theirs));
        let device: FromHolder = job::receive(&daemon).unwrap().unwrap().0;
        assert!(matches!(device, FromHolder::Device { monitors, .. } if monitors.gone > 0));
        let channel: FromHolder = job::receive(&daemon).unwrap().unwrap().0;
        assert_eq!(channel, FromHolder::Channel(Kept { vm_is_gone: true, ..kept }));
    }
}

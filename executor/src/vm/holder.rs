//! The holder: a tiny process that holds one VM's device for as long as the VM lives, and longer.
//!
//! It is this program executed anew, in a session of its own, so that it goes on when the daemon ends or crashes. It serves
//! the device's socket to one monitor at a time, again after a replug or a new boot, and lets one daemon at a time have
//! everything. It decides nothing and reads nothing of the memory. Without a daemon and without a monitor it ends after a
//! minute.

use super::link::{FromHolder, Kept, ToHolder, holder_path};
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
    monitor: Option<Arc<OwnedFd>>,
    lonely_since: Instant,
    ended: bool,
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
            monitor: None,
            lonely_since: Instant::now(),
            ended: false,
        })
    }

    fn run(mut self, first: Arc<OwnedFd>) -> ExitCode {
        self.serve_daemon(first);
        let mut ready = ReadySet::with_capacity(4);
        while !self.ended {
            let lonely = self.daemon.is_none() && self.monitor.is_none();
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
            Ok(()) => self.daemon = Some(control),
            Err(error) => tracing::error!(%error, "a daemon cannot be waited for"),
        }
    }

    fn tell_all(&self, control: &OwnedFd) -> io::Result<()> {
        let device = FromHolder::Device {
            name: self.config.name.clone(),
            bytes: self.config.bytes,
            channels: self.config.channels,
            pid: std::process::id(),
            connected: self.monitor.is_some(),
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
                Ok(Some((ToHolder::End, _))) => {
                    failpoints::hit(Point::HolderEnding);
                    self.ended = true;
                    return;
                }
                Err(error) => {
                    tracing::info!(%error, vm = self.config.name, "the daemon is gone: holding on");
                    self.waiter.remove(DAEMON);
                    self.daemon = None;
                    self.lonely_since = Instant::now();
                }
            }
        }
    }

    fn tell_daemon(&self, word: &FromHolder) {
        if let Some(daemon) = &self.daemon
            && let Err(error) = job::send(&**daemon, word, &[])
        {
            tracing::warn!(%error, vm = self.config.name, "the daemon cannot be told");
        }
    }

    fn accept_monitor(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(monitor) = rustix::net::accept_with(&self.device.socket, flags) else { return };
        if self.monitor.is_some() {
            tracing::warn!(vm = self.config.name, "a second monitor was refused: one is connected");
            return self.tell_daemon(&FromHolder::MonitorRefused);
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
        self.tell_daemon(&FromHolder::Monitor { connected: true });
    }

    fn monitor_left(&mut self) {
        self.waiter.remove(MONITOR);
        self.monitor = None;
        failpoints::hit(Point::HolderMonitorLeft);
        self.lonely_since = Instant::now();
        self.tell_daemon(&FromHolder::Monitor { connected: false });
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

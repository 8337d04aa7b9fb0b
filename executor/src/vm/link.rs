//! What a holder and its daemon say to each other, and how a daemon finds or starts a holder.
//!
//! One JSON text a datagram, as between daemon and worker ([`crate::job`]). The holder tells everything it holds when a
//! daemon connects, then what becomes of monitors; the daemon tells what is to be kept for the next daemon.

use super::device_socket::Access;
use super::{VECTORS, VmConfig};
use crate::daemon::{AFTERLIFE, AFTERLIFE_RETRY};
use crate::job;
use ringbar::handshake::{Connection, Deadline, TransportError};
use ringbar::os::EventFd;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;

/// The hidden subcommand that makes a process a holder.
pub const SUBCOMMAND: &str = "vm-holder";
/// Longest wait for a holder's next word when a daemon starts.
const TELL_LIMIT: Duration = Duration::from_secs(5);

/// What is kept of one channel for the next daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The generation offered last, 0 for none: no daemon ever offers it again.
    pub generation: u32,
    /// The nonce of who has the channel.
    pub claimant: Option<u64>,
    /// Its worker, whose pidfd comes with this.
    pub worker_pid: Option<u32>,
    /// Its claimant's VM has gone since this was kept; the holder says that.
    #[serde(default)]
    pub vm_is_gone: bool,
}

/// What became of the device's monitors. Each says all that the one before said, so that only the last one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitors {
    /// Whether one is connected.
    pub connected: bool,
    /// How many have gone.
    pub gone: u64,
    /// How many were refused, because one was connected.
    pub refused: u64,
}

/// What a holder says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromHolder {
    /// First: the device, with its memory, what the guest rings and what rings the guest.
    Device {
        /// The VM's name.
        name: String,
        /// Bytes of memory.
        bytes: u64,
        /// Number of channels, each of which is told next.
        channels: usize,
        /// The holder's process.
        pid: u32,
        /// Whether its VM never connects.
        polled: bool,
        /// Its monitors.
        monitors: Monitors,
        /// Where the build that made it lays out what in it, see [`VmConfig::layout`]; nothing from one that cannot tell.
        #[serde(default)]
        layout: Vec<(usize, usize, u64)>,
    },
    /// Then each channel, with its worker's pidfd if it has one.
    Channel(Kept),
    /// A monitor came, went, or was refused.
    Monitors {
        /// Counts these words up from 1, for each daemon anew.
        number: u64,
        /// What is so now.
        monitors: Monitors,
    },
    /// The holder does not serve this daemon, or could not start.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What a daemon says to a holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToHolder {
    /// Replaces what is kept of a channel; its worker's pidfd comes with it.
    Keep {
        /// The channel.
        channel: usize,
        /// What to keep.
        kept: Kept,
    },
    /// It has heard of monitors, up to the word of that number: so the holder knows how much waits to be heard.
    Heard {
        /// The word's.
        number: u64,
    },
    /// First of a daemon that takes the device over: whether to stay without a daemon and a VM, for longer than a minute.
    Stay {
        /// Until it is ended.
        always: bool,
    },
    /// The device is no longer wanted: end, unless a VM has it, or connects just now; then this is refused.
    EndIfUnused,
    /// End, whoever has the device.
    End,
}

/// Why there is no holder.
#[derive(Debug, Error)]
pub enum HolderError {
    /// It could not be started.
    #[error("starting the holder of VM {vm}: {source}")]
    Start {
        /// The VM.
        vm: String,
        /// What the system said.
        source: io::Error,
    },
    /// It said no.
    #[error("VM {vm}: {reason}")]
    Refused {
        /// The VM.
        vm: String,
        /// Why.
        reason: String,
    },
    /// It runs with other settings.
    #[error(
        "VM {vm}: the device at this socket is held for VM {found_name} with {found_bytes} bytes and {found_channels} channels, {}; \
         try: the same options as before, or, once its VM is shut down, `ringbar vm end --socket {socket}`",
        if *found_polled { "polled" } else { "not polled" }
    )]
    Other {
        /// The VM.
        vm: String,
        /// Its socket.
        socket: String,
        /// Name found.
        found_name: String,
        /// Bytes found.
        found_bytes: u64,
        /// Channels found.
        found_channels: usize,
        /// Whether it is for a VM that never connects.
        found_polled: bool,
    },
    /// Another build made it, and lays out its memory in another way: nothing of it can be taken over.
    #[error(
        "VM {vm}: the device at this socket was made by another version of ringbar (process {pid}), whose layout of the memory \
         differs; try: serve it with that version, or, once its VM is shut down, `ringbar vm end --socket {socket}`"
    )]
    Layout {
        /// The VM.
        vm: String,
        /// Its socket.
        socket: String,
        /// The holder's process.
        pid: u32,
    },
    /// It lives in another user's process.
    #[error("VM {vm}: {path} belongs to user {uid}; try: run as that user, or another --socket")]
    User {
        /// The VM.
        vm: String,
        /// The holder's socket.
        path: String,
        /// Its user.
        uid: u32,
    },
    /// It answers with something else, or not in time.
    #[error(
        "the holder of VM {vm} (process {pid}): {source}; likely cause: it is stopped, or of another version; try: \
         `kill -CONT {pid}`, or, once its VM is shut down, `ringbar vm end --socket {socket}`"
    )]
    Answer {
        /// The VM.
        vm: String,
        /// Its socket.
        socket: String,
        /// The holder's process, 0 if it has no number here.
        pid: u32,
        /// What went wrong.
        source: io::Error,
    },
}

impl HolderError {
    /// Whether a holder that was found may be another one, or none, in a moment.
    fn may_pass(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match self {
            Self::Refused { .. } => true,
            Self::Answer { source, .. } => {
                matches!(source.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
            }
            _ => false,
        }
    }
}

/// Where the holder of the device at `socket` listens for daemons.
pub fn holder_path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".holder");
    path.into()
}

/// A holder as its daemon sees it.
#[derive(Debug)]
pub struct Holder {
    control: Arc<OwnedFd>,
    child: Option<Child>,
    /// Its process.
    pub pid: u32,
}

/// Everything that a holder holds.
#[derive(Debug)]
pub struct Held {
    /// The device's memory.
    pub memory: OwnedFd,
    /// What the guest rings, by vector.
    pub to_host: Vec<EventFd>,
    /// What rings the guest, by vector.
    pub to_guest: Vec<EventFd>,
    /// Each channel, with its worker's pidfd.
    pub channels: Vec<(Kept, Option<OwnedFd>)>,
    /// Its monitors.
    pub monitors: Monitors,
    /// Whether the holder was there before.
    pub found: bool,
}

impl Holder {
    /// Finds the holder of this VM, or starts one: this program, or `program`, executed anew,
    /// with `failpoint` as a variable more.
    ///
    /// # Errors
    /// [`HolderError`] if it cannot be started, or is one for another device.
    pub fn find_or_start(
        program: &Path,
        vm: &VmConfig,
        failpoint: Option<(&'static str, String)>,
    ) -> Result<(Self, Held), HolderError> {
        let end = Instant::now() + AFTERLIFE;
        loop {
            let found = Self::find(vm)?;
            let was_there = found.is_some();
            let mut holder =
                found.map_or_else(|| Self::start(program, vm, failpoint.clone()), Ok)?;
            match holder.listen(vm) {
                Ok(held) if was_there => {
                    // It made the socket with what its first daemon was told; what was not said may have been done by hand.
                    if vm.access != Access::default()
                        && let Err(error) = vm.access.give(&vm.socket)
                    {
                        // A VM that has the device no longer needs its socket.
                        tracing::error!(
                            vm = vm.name,
                            "the device is served, but its socket is not as wanted: {error}"
                        );
                    }
                    return Ok((holder, Held { found: true, ..held }));
                }
                Ok(held) => return Ok((holder, held)),
                // It may not know yet that its last daemon is dead, or be about to end as that told it.
                Err(error) if was_there && error.may_pass() && Instant::now() < end => {
                    std::thread::sleep(AFTERLIFE_RETRY);
                }
                Err(error) => {
                    holder.reap();
                    return Err(error);
                }
            }
        }
    }

    /// The holder that lives at this VM's socket, if one does.
    ///
    /// # Errors
    /// [`HolderError::User`] if it is another user's.
    pub fn find(vm: &VmConfig) -> Result<Option<Self>, HolderError> {
        let path = holder_path(&vm.socket);
        let connection = match Connection::connect(&path, Deadline::after(TELL_LIMIT)) {
            Ok(connection) => connection,
            Err(TransportError::Connect { source, .. }) if says_nobody(&source) => return Ok(None),
            Err(error) => {
                return Err(HolderError::Refused {
                    vm: vm.name.clone(),
                    reason: error.to_string(),
                });
            }
        };
        let owner = connection.peer_credentials();
        let owner = owner.map_err(|e| vm.answer(0, io::Error::other(e)))?;
        if !owner.is_same_user() {
            let path = path.display().to_string();
            return Err(HolderError::User { vm: vm.name.clone(), path, uid: owner.uid });
        }
        let pid = owner.pid.unsigned_abs();
        Ok(Some(Self { control: connection.socket().clone(), child: None, pid }))
    }

    fn start(
        program: &Path,
        vm: &VmConfig,
        failpoint: Option<(&'static str, String)>,
    ) -> Result<Self, HolderError> {
        let failed = |source| HolderError::Start { vm: vm.name.clone(), source };
        let (control, theirs) = job::control_pair().map_err(failed)?;
        let mut command = Command::new(program);
        command.arg0("ringbar").arg(SUBCOMMAND).args(["--vm", &vm.name]);
        let socket = std::path::absolute(&vm.socket).map_err(failed)?;
        command.arg("--socket").arg(socket).args(["--size", &vm.bytes.to_string()]);
        command.args(["--channels", &vm.channels.to_string()]);
        command.args(vm.polled.then_some("--polled"));
        let Access { owner, group, mode } = vm.access;
        for (option, value) in [("--owner", owner), ("--group", group), ("--mode", mode)] {
            command.args(value.map(|value| format!("{option}={value}")));
        }
        command.env_clear().envs(std::env::var_os("RUST_LOG").map(|value| ("RUST_LOG", value)));
        command.envs(failpoint);
        command.current_dir("/").stdin(theirs).stdout(Stdio::null());
        let child = command.spawn().map_err(failed)?;
        Ok(Self { control: Arc::new(control), pid: child.id(), child: Some(child) })
    }

    /// Takes everything that the holder tells at first.
    fn listen(&mut self, vm: &VmConfig) -> Result<Held, HolderError> {
        let (device, fds) = self.next_within(vm)?;
        let FromHolder::Device { name, bytes, channels, pid, polled, monitors, layout } = device
        else {
            return Err(vm.answer(self.pid, io::Error::other(format!("found {device:?} first"))));
        };
        if (&name, bytes, channels, polled) != (&vm.name, vm.bytes, vm.channels, vm.polled) {
            return Err(HolderError::Other {
                vm: vm.name.clone(),
                socket: vm.socket.display().to_string(),
                found_name: name,
                found_bytes: bytes,
                found_channels: channels,
                found_polled: polled,
            });
        }
        self.pid = pid;
        if !vm.layout().is_ok_and(|ours| ours.words() == layout) {
            let socket = vm.socket.display().to_string();
            return Err(HolderError::Layout { vm: vm.name.clone(), socket, pid });
        }
        let mut fds = fds.into_iter();
        let few = || vm.answer(pid, io::Error::other("too few descriptors"));
        let memory = fds.next().ok_or_else(few)?;
        let bells: io::Result<Vec<_>> = fds.map(EventFd::from_fd).collect();
        let mut to_host = bells.map_err(|e| vm.answer(self.pid, e))?;
        if to_host.len() != 2 * VECTORS {
            return Err(few());
        }
        let to_guest = to_host.split_off(VECTORS);
        let mut kept = Vec::with_capacity(channels);
        for _ in 0..channels {
            match self.next_within(vm)? {
                (FromHolder::Channel(channel), fds) => kept.push((channel, fds.into_iter().next())),
                (other, _) => {
                    return Err(vm.answer(self.pid, io::Error::other(format!("found {other:?}"))));
                }
            }
        }
        Ok(Held { memory, to_host, to_guest, channels: kept, monitors, found: false })
    }

    fn next_within(&self, vm: &VmConfig) -> Result<(FromHolder, Vec<OwnedFd>), HolderError> {
        match job::receive_within(&*self.control, TELL_LIMIT) {
            Ok((FromHolder::Refused { reason }, _)) => {
                Err(HolderError::Refused { vm: vm.name.clone(), reason })
            }
            Ok(other) => Ok(other),
            Err(error) => Err(vm.answer(self.pid, error)),
        }
    }

    /// Readable when it has something to say, or is gone.
    pub fn control(&self) -> &Arc<OwnedFd> {
        &self.control
    }

    /// Its next word, without waiting. An error says that it is gone.
    ///
    /// # Errors
    /// If it has ended, or speaks another language.
    pub fn next(&self) -> io::Result<Option<FromHolder>> {
        Ok(job::receive(&*self.control)?.map(|(word, _)| word))
    }

    /// Says something to it.
    ///
    /// # Errors
    /// If it is gone, or does not read.
    pub fn tell(&self, word: &ToHolder, worker: Option<BorrowedFd<'_>>) -> io::Result<()> {
        job::send(&*self.control, word, worker.as_slice())
    }

    /// Reaps it after its end, if it was started here.
    pub fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It hung up, so it has ended or is about to; if not, it is of no use.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// No socket, or one whose holder has ended.
pub(super) fn says_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

impl VmConfig {
    fn answer(&self, pid: u32, source: io::Error) -> HolderError {
        let socket = self.socket.display().to_string();
        HolderError::Answer { vm: self.name.clone(), socket, pid, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_that_does_not_exist_or_is_dead_means_that_there_is_no_holder() {
        let folder = tempfile::tempdir().unwrap();
        let vm = VmConfig { socket: folder.path().join("vm"), ..VmConfig::default() };
        assert!(Holder::find(&vm).unwrap().is_none());
        let other = std::os::unix::net::UnixListener::bind(holder_path(&vm.socket)).unwrap();
        let error = Holder::find(&vm).unwrap_err().to_string();
        assert!(error.contains("vm.holder") && error.contains("another program"), "{error}");
        drop(other);
    }

    #[test]
    fn a_device_that_another_build_lays_out_otherwise_is_not_taken_over() {
        let (bytes, channels) = (super::super::BYTES_DEFAULT, super::super::CHANNELS_DEFAULT);
        let vm = VmConfig { name: "vm".into(), bytes, channels, ..VmConfig::default() };
        let ours = vm.layout().unwrap().words().to_vec();
        let mut moved = ours.clone();
        moved[0].2 += 4096;
        // Ours goes on to the descriptors, which were not sent.
        for (layout, refused) in [(moved, true), (Vec::new(), true), (ours, false)] {
            let (control, theirs) = job::control_pair().unwrap();
            let monitors = Monitors::default();
            let (name, pid, polled) = (vm.name.clone(), 7, false);
            let device =
                FromHolder::Device { name, bytes, channels, pid, polled, monitors, layout };
            job::send(&theirs, &device, &[]).unwrap();
            let mut holder = Holder { control: Arc::new(control), child: None, pid: 0 };
            let error = holder.listen(&vm).unwrap_err();
            assert_eq!(matches!(error, HolderError::Layout { pid: 7, .. }), refused, "{error}");
        }
    }
}

//! What a holder and its daemon say to each other, and how a daemon finds or starts a holder.
//!
//! One JSON text a datagram, as between daemon and worker ([`crate::job`]). The holder tells everything it holds when a
//! daemon connects, then what becomes of monitors; the daemon tells what is to be kept for the next daemon.

use super::{VECTORS, VmConfig};
use crate::daemon::{AFTERLIFE, AFTERLIFE_RETRY};
use crate::job;
use ringbar::handshake::{Connection, Deadline, TransportError};
use ringbar::os::EventFd;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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
    /// The device is no longer wanted: end.
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
         try: the same options as before, or `ringbar vm end --socket PATH` first",
        if *found_polled { "polled" } else { "not polled" }
    )]
    Other {
        /// The VM.
        vm: String,
        /// Name found.
        found_name: String,
        /// Bytes found.
        found_bytes: u64,
        /// Channels found.
        found_channels: usize,
        /// Whether it is for a VM that never connects.
        found_polled: bool,
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
        "the holder of VM {vm}: {source}; likely cause: a holder of another version; try: `ringbar vm end --socket PATH`"
    )]
    Answer {
        /// The VM.
        vm: String,
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
                Ok(held) => return Ok((holder, Held { found: was_there, ..held })),
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
        let connected = Connection::connect(&path, Deadline::after(TELL_LIMIT));
        let connection = match connected {
            Ok(connection) => connection,
            Err(TransportError::PathTooLong { .. }) => {
                let reason = connected.err().map_or_else(String::new, |e| e.to_string());
                return Err(HolderError::Refused { vm: vm.name.clone(), reason });
            }
            Err(_) => return Ok(None),
        };
        let owner = connection.peer_credentials();
        let owner = owner.map_err(|e| vm.answer(io::Error::other(e)))?;
        if !owner.is_same_user() {
            let path = path.display().to_string();
            return Err(HolderError::User { vm: vm.name.clone(), path, uid: owner.uid });
        }
        Ok(Some(Self { control: connection.socket().clone(), child: None, pid: 0 }))
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
        command.env_clear().envs(std::env::var_os("RUST_LOG").map(|value| ("RUST_LOG", value)));
        command.envs(failpoint);
        command.current_dir("/").stdin(theirs).stdout(Stdio::null());
        let child = command.spawn().map_err(failed)?;
        Ok(Self { control: Arc::new(control), pid: child.id(), child: Some(child) })
    }

    /// Takes everything that the holder tells at first.
    fn listen(&mut self, vm: &VmConfig) -> Result<Held, HolderError> {
        let (device, fds) = self.next_within(vm)?;
        let FromHolder::Device { name, bytes, channels, pid, polled, monitors } = device else {
            return Err(vm.answer(io::Error::other(format!("found {device:?} first"))));
        };
        if (&name, bytes, channels, polled) != (&vm.name, vm.bytes, vm.channels, vm.polled) {
            return Err(HolderError::Other {
                vm: vm.name.clone(),
                found_name: name,
                found_bytes: bytes,
                found_channels: channels,
                found_polled: polled,
            });
        }
        self.pid = pid;
        let mut fds = fds.into_iter();
        let few = || vm.answer(io::Error::other("too few descriptors"));
        let memory = fds.next().ok_or_else(few)?;
        let bells: io::Result<Vec<_>> = fds.map(EventFd::from_fd).collect();
        let mut to_host = bells.map_err(|e| vm.answer(e))?;
        if to_host.len() != 2 * VECTORS {
            return Err(few());
        }
        let to_guest = to_host.split_off(VECTORS);
        let mut kept = Vec::with_capacity(channels);
        for _ in 0..channels {
            match self.next_within(vm)? {
                (FromHolder::Channel(channel), fds) => kept.push((channel, fds.into_iter().next())),
                (other, _) => return Err(vm.answer(io::Error::other(format!("found {other:?}")))),
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
            Err(error) => Err(vm.answer(error)),
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

impl VmConfig {
    fn answer(&self, source: io::Error) -> HolderError {
        HolderError::Answer { vm: self.name.clone(), source }
    }
}

/// Ends the holder of the device at `socket`, whoever's daemon it serves.
///
/// # Errors
/// If there is none, or a daemon uses it: then that daemon is to be ended.
pub fn end(socket: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let path = holder_path(socket);
    let connection = Connection::connect(&path, Deadline::after(TELL_LIMIT))?;
    match job::receive_within::<FromHolder>(connection.socket().as_fd(), TELL_LIMIT)?.0 {
        FromHolder::Device { .. } => {}
        FromHolder::Refused { reason } => return Err(reason.into()),
        other => return Err(format!("found {other:?}, expected a device").into()),
    }
    job::send(connection.socket().as_fd(), &ToHolder::End, &[])?;
    Ok(())
}

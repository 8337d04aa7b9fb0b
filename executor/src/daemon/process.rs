//! A worker process as its daemon sees it: started, watched, ended, reaped.

use crate::job::{self, Exit, Job, Report};
use crate::worker::SUBCOMMAND;
use ringbar::os::liveness;
use rustix::process::Signal;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

/// Variables that a worker gets: what is logged, and what the driver reads. Which devices a program sees is its own
/// variable and library's business. None through which a library could be put in the driver's place.
pub const KEPT_VARIABLES: [&str; 8] = [
    "RUST_LOG",
    "HOME",
    "CUDA_DEVICE_ORDER",
    "CUDA_CACHE_PATH",
    "CUDA_CACHE_MAXSIZE",
    "CUDA_CACHE_DISABLE",
    "CUDA_MODULE_LOADING",
    "CUDA_MPS_PIPE_DIRECTORY",
];

/// A worker that runs, or has ended and is not reaped yet.
pub struct WorkerProcess {
    pid: u32,
    /// `None` if an earlier daemon started it: then its exit is all that can be known of it.
    child: Option<Child>,
    pidfd: Arc<OwnedFd>,
    control: Option<Arc<OwnedFd>>,
    /// When it is killed, if it has not ended by then.
    pub kill_at: Option<Instant>,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// In words.
    pub text: String,
    /// What that means.
    pub kind: EndKind,
    /// Whether a signal ended it.
    pub by_signal: bool,
}

/// What the end of a worker means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndKind {
    /// Its client left.
    Left,
    /// Its client broke the protocol.
    Violation,
    /// It was lost, or asked to end: its client may go on in a new generation.
    Lost,
    /// Nobody can say: an earlier daemon had started it.
    Unseen,
}

impl WorkerProcess {
    /// Starts a worker: this program, or `program`, executed anew with nothing of this process but standard error.
    ///
    /// It waits for its job, see [`give`](Self::give), and ends if this process ends before. `failpoint` is a variable more
    /// for it.
    pub fn start(
        program: &Path,
        session: u64,
        failpoint: Option<(&'static str, String)>,
    ) -> io::Result<Self> {
        let (control, theirs) = job::control_pair()?;
        let mut command = Command::new(program);
        command.arg0("ringbar").args([SUBCOMMAND, "--session", &session.to_string()]);
        let kept = KEPT_VARIABLES.iter().filter_map(|&name| Some((name, std::env::var_os(name)?)));
        command.env_clear().envs(kept);
        command.envs(failpoint);
        command.current_dir("/").stdin(theirs).stdout(Stdio::null());
        let mut child = command.spawn()?;
        // A child that is not reaped keeps its number, so this is the right process.
        match liveness::pidfd_open(child.id() as i32) {
            Ok(pidfd) => Ok(Self {
                pid: child.id(),
                child: Some(child),
                pidfd: Arc::new(pidfd),
                control: Some(Arc::new(control)),
                kill_at: None,
            }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// Gives it its job and the descriptors: region, worker's bell, client's bell, and the client's socket if it has one.
    ///
    /// If that fails the worker is ended.
    pub fn give(self, job: &Job, fds: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let sent = self.control.as_ref().map_or(Ok(()), |control| job::send(control, job, fds));
        match sent {
            Ok(()) => Ok(self),
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    /// Ends and reaps one that has no job yet and gets none.
    pub fn discard(mut self) {
        self.kill();
        if let Some(Err(error)) = self.child.as_mut().map(Child::wait) {
            tracing::error!(%error, pid = self.pid, "a worker without a job cannot be reaped");
        }
    }

    /// Takes over a worker that an earlier daemon started.
    pub fn adopt(pid: u32, pidfd: OwnedFd) -> Self {
        Self { pid, child: None, pidfd: Arc::new(pidfd), control: None, kill_at: None }
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Readable once it has ended.
    pub fn pidfd(&self) -> &Arc<OwnedFd> {
        &self.pidfd
    }

    /// Readable when it has something to report; none if an earlier daemon started it.
    pub fn control(&self) -> Option<&Arc<OwnedFd>> {
        self.control.as_ref()
    }

    /// Its next report. An error says that no more will come.
    pub fn next_report(&self) -> io::Result<Option<Report>> {
        let control = self.control.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok(job::receive(&**control)?.map(|(report, _)| report))
    }

    /// Asks it to end in order, and has it killed at `kill_at` if it does not.
    pub fn ask_to_end(&mut self, kill_at: Instant) {
        self.signal(Signal::TERM);
        self.end_by(kill_at);
    }

    /// Has it killed at `kill_at` at the latest.
    pub fn end_by(&mut self, kill_at: Instant) {
        self.kill_at = Some(self.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
    }

    /// Kills it if its time is over.
    pub fn kill_if_due(&mut self, now: Instant) {
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill_at = None;
            self.kill();
        }
    }

    /// Ends it at once. It is reaped when its pidfd says so.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Err(error) = rustix::process::pidfd_send_signal(&*self.pidfd, signal) {
            tracing::debug!(%error, pid = self.pid(), "the worker has ended already");
        }
    }

    /// Reaps it if it has ended; only then nothing of it can write into its region any more.
    pub fn reap(&mut self) -> io::Result<Option<Ending>> {
        if let Some(child) = &mut self.child {
            return Ok(child.try_wait()?.map(ending));
        }
        // Somebody else's child by now: its exit ends all of its threads, whoever reaps it.
        let text = "ended; an earlier daemon had started it";
        Ok(liveness::has_exited(&*self.pidfd)?.then(|| Ending {
            text: text.into(),
            kind: EndKind::Unseen,
            by_signal: false,
        }))
    }
}

fn ending(status: ExitStatus) -> Ending {
    if let Some(signal) = status.signal() {
        let text = format!("ended by signal {signal}");
        return Ending { text, kind: EndKind::Lost, by_signal: true };
    }
    let (text, kind) = match status.code().and_then(Exit::from_code) {
        Some(Exit::ClientLeft) => ("the client left", EndKind::Left),
        Some(Exit::Violation) => ("the client broke the protocol", EndKind::Violation),
        Some(Exit::DeviceLost) => ("the device was lost", EndKind::Lost),
        Some(Exit::Failed) => ("failed", EndKind::Lost),
        Some(Exit::Hung) => ("a command took too long", EndKind::Lost),
        Some(Exit::Stopped) => ("asked to end", EndKind::Lost),
        None => ("ended with an unknown code", EndKind::Lost),
    };
    Ending { text: text.into(), kind, by_signal: false }
}

//! A daemon on a thread of this process, with real worker processes: for the main job, examples, benches and tests.

use crate::daemon::{Config, Daemon, DaemonError};
use crate::status::{self, QueryError, Status};
use ringbar::os::EventFd;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use tempfile::TempDir;
use thiserror::Error;

/// A running daemon; ends in order, workers included, when it is dropped.
///
/// Workers are this same program executed anew with `worker` as its first argument, so its `main` must begin with
/// [`crate::worker::run_if_asked`], or the configuration must name another program (`worker_program`).
pub struct Embedded {
    socket: PathBuf,
    stop: EventFd,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
}

/// Why there is no embedded daemon.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    /// No private folder, no eventfd, or no thread.
    #[error("{what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The daemon did not start.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> EmbeddedError {
    move |source| EmbeddedError::System { what, source }
}

impl Embedded {
    /// Starts a daemon whose socket lies in a private temporary folder; `change` changes what it is started with.
    ///
    /// # Errors
    /// [`EmbeddedError`], if the system gives no folder, socket or thread.
    pub fn start(change: impl FnOnce(&mut Config)) -> Result<Self, EmbeddedError> {
        let folder = tempfile::Builder::new().prefix("ringbar-").tempdir();
        let folder = folder.map_err(system("creating a private folder"))?;
        let mut config = Config::new(folder.path().join("socket"));
        change(&mut config);
        let socket = config.socket.clone();
        let stop = EventFd::new().map_err(system("creating an eventfd"))?;
        let theirs = stop.as_fd().try_clone_to_owned().map_err(system("sharing an eventfd"))?;
        let daemon = Daemon::start(config, theirs)?;
        let thread = std::thread::Builder::new().name("ringbar-daemon".into()).spawn(move || {
            if let Err(error) = daemon.run() {
                tracing::error!(%error, "the embedded daemon ended");
            }
        });
        let thread = Some(thread.map_err(system("starting the daemon's thread"))?);
        Ok(Self { socket, stop, thread, _folder: folder })
    }

    /// Where clients connect.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What the daemon tells about itself and its clients.
    ///
    /// # Errors
    /// [`QueryError`] if it does not answer.
    pub fn status(&self) -> Result<Status, QueryError> {
        status::query(&self.socket)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Err(error) = self.stop.signal() {
            tracing::error!(%error, "the embedded daemon cannot be told to end");
            return;
        }
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended as well.
            let _ = thread.join();
        }
    }
}

//! What keeps `ringbar run` and `ringbar env` from doing their work.

use crate::embedded::EmbeddedError;
use crate::status::QueryError;
use ringbar::guest::GuestError;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use thiserror::Error;

/// Exit code of `ringbar run` itself, when it fails before the program runs; shells and `env` keep it free as well.
const OWN_FAILURE: u8 = 125;
/// The program exists and cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// There is no such program.
const NOT_FOUND: u8 = 127;

/// Why a program was not run.
#[derive(Debug, Error)]
pub enum RunError {
    /// A library that programs load is not there.
    #[error(
        "found no {name} beside {program}; likely cause: it was not copied with this program, or not built; try: \
         put it there (into a virtual machine, too), or cargo build --release"
    )]
    LibraryMissing {
        /// Its file name.
        name: &'static str,
        /// The folder of this program, where it was looked for first.
        program: PathBuf,
    },
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        /// What was attempted.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The executor of this virtual machine's host cannot be reached.
    #[error("{0}; for an executor of this machine, give --backend")]
    Guest(#[from] GuestError),
    /// No executor.
    #[error("starting an executor: {0}")]
    Executor(#[from] EmbeddedError),
    /// The executor does not say how it fared.
    #[error(transparent)]
    Status(#[from] QueryError),
    /// A backend that cannot work here.
    #[error("--backend {name}: {reason}; try: --backend mock, which needs no GPU")]
    Backend {
        /// The backend.
        name: &'static str,
        /// Why it cannot.
        reason: String,
    },
    /// A path that cannot be put into a list of paths.
    #[error(
        "the path {0:?} holds a blank or a colon, which the loader's lists of libraries cannot hold; try: TMPDIR=/tmp"
    )]
    UnusablePath(PathBuf),
    /// A setting of the mock that does not exist, and similar.
    #[error("{0}")]
    Options(String),
    /// The program could not be started.
    #[error("starting {program:?}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What the program left as statistics cannot be read.
    #[error(
        "the statistics in {path}: {reason}; likely cause: libraries of another version; try: cargo build --release"
    )]
    Statistics {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl RunError {
    /// The exit code: as shells have it where the program cannot be started, 125 for everything else.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => NOT_FOUND,
            Self::Start { .. } => NOT_EXECUTABLE,
            _ => OWN_FAILURE,
        })
    }
}

/// Adds what was attempted to the system's error.
pub(super) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::System { what: what.into(), source }
}

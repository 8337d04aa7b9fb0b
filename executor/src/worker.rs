//! The worker process: serves one channel of one client, and ends with it.
//!
//! Its standard input is a socket to the daemon, from which its job and its descriptors come ([`crate::job`]). It goes on
//! when the daemon dies: client and worker need nothing of it. It ends when the client leaves, breaks the protocol or
//! dies, when the device becomes unusable, when a command hangs (if that is watched), and at SIGTERM or SIGINT, which it
//! turns into an orderly end for its client.

mod desk;
mod watchdog;

use crate::device::Device;
use crate::failpoints::{self, Point};
use crate::job::{self, ClientKind, Exit, JOB_DESCRIPTORS, Job, Report};
use crate::logging::{self, SharedCounts};
use crate::replay::probe::Probe;
use crate::serve::{End, ServeError, Served, serve_attended};
use desk::{Desk, WorkerBlock};
use ringbar::handshake::Connection;
use ringbar::link::{self, MemfdChannel, Options};
use ringbar::os::{EventFd, WaiterKind};
use ringbar::park::{FdBlock, GuestBlock};
use ringbar::sync::{Arc, AtomicBool};
use ringbar::worker::Worker;
use ringbar_cuda::CudaGpu;
use ringbar_mock::MockGpu;
use std::error::Error;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;
use watchdog::{Bounds, Watchdog};

/// The hidden subcommand that makes a process a worker.
pub const SUBCOMMAND: &str = "worker";

/// Longest wait for the job.
const JOB_LIMIT: Duration = Duration::from_secs(10);

/// Runs this process as a worker if it was started as one: for programs that embed a daemon and have no command line of
/// their own to dispatch. To be called first in `main`.
pub fn run_if_asked() -> Option<ExitCode> {
    let asked =
        std::env::args_os().nth(1).is_some_and(|argument| argument == OsStr::new(SUBCOMMAND));
    asked.then(run)
}

/// Runs this process as a worker.
pub fn run() -> ExitCode {
    // A key at the terminal (Ctrl-C) is for the program, which may go on with its GPU, and for the daemon, which ends its
    // workers in order. Fails only for a worker that leads a group already.
    let _ = rustix::process::setsid();
    if let Err(error) = failpoints::arm_from_environment() {
        eprintln!("ringbar worker: {error}");
        return ExitCode::from(Exit::Failed as u8);
    }
    failpoints::hit(Point::WorkerBegun);
    let exit = match start() {
        Ok(started) => started.serve(),
        Err(error) => {
            eprintln!("ringbar worker: {error}");
            Exit::Failed
        }
    };
    ExitCode::from(exit as u8)
}

/// A worker that has its channel and is about to serve it.
struct Started {
    job: Job,
    worker: AnyWorker,
    desk: Desk,
    control: Arc<OwnedFd>,
}

/// By how the client is known to live.
enum AnyWorker {
    Process(Worker<FdBlock>),
    Guest(Worker<GuestBlock>),
}

fn start() -> Result<Started, Box<dyn Error>> {
    let control = Arc::new(std::io::stdin().as_fd().try_clone_to_owned()?);
    let (job, mut fds) = job::receive_within::<Job>(&*control, JOB_LIMIT)
        .map_err(|e| format!("no job on the standard input: {e}; likely cause: started by hand and not by `ringbar serve`"))?;
    let (found, expected) = (fds.len(), JOB_DESCRIPTORS);
    let Some(last) = fds.pop().filter(|_| found == expected) else {
        return Err(format!("found {found} descriptors with the job, expected {expected}").into());
    };
    let client = match &job.client {
        ClientKind::Process => {
            logging::start_for(job.options.log_lines_per_s, job.fields(), None);
            Some(Connection::from_fd(last)?)
        }
        ClientKind::Guest { channel, channels, .. } => {
            let shared = SharedCounts::open(&last, *channel, *channels)?;
            logging::start_for(job.options.log_lines_per_s, job.fields(), Some(shared));
            None
        }
    };
    failpoints::hit(Point::WorkerTold);
    let channel = adopt(&job, fds)?;
    let stop = stop_flag()?;
    let worker = match (&client, &job.client) {
        (Some(connection), _) => process_worker(&job, &channel, connection, &control)?,
        (None, ClientKind::Guest { heart_limit_ms, .. }) => {
            let limit = Duration::from_millis(*heart_limit_ms);
            let worker = channel.guest_worker(job.generation, limit, options(&job))?;
            report_started(&control, "epoll", None);
            AnyWorker::Guest(worker)
        }
        (None, ClientKind::Process) => return Err("no socket to the client".into()),
    };
    let limit = |ms: Option<u64>| ms.map(Duration::from_millis);
    let bounds = Bounds {
        command: limit(job.options.command_timeout_ms),
        device: limit(job.options.device_timeout_ms),
    };
    let watchdog = Watchdog::start(bounds, control.clone())?;
    let arena = channel.arena().clone();
    let desk = Desk::new(client, control.clone(), arena, job.segment_bytes_max, stop, watchdog);
    Ok(Started { job, worker, desk, control })
}

/// Takes up the channel: its region, the worker's bell, the client's bell.
fn adopt(job: &Job, fds: Vec<OwnedFd>) -> Result<MemfdChannel, Box<dyn Error>> {
    let [memfd, worker_bell, client_bell] = <[OwnedFd; 3]>::try_from(fds)
        .map_err(|fds| format!("found {} descriptors of a channel, expected 3", fds.len()))?;
    // The feature was agreed on; a process must register itself.
    let missing = job.features & !link::features_here();
    if missing != 0 {
        return Err(
            format!("this process lacks the features {missing:#x} that were agreed on").into()
        );
    }
    let (worker_bell, client_bell) =
        (EventFd::from_fd(worker_bell)?, EventFd::from_fd(client_bell)?);
    Ok(MemfdChannel::adopt(memfd, job.place(), worker_bell, client_bell)?)
}

fn process_worker(
    job: &Job,
    channel: &MemfdChannel,
    connection: &Connection,
    control: &OwnedFd,
) -> Result<AnyWorker, Box<dyn Error>> {
    let watch = connection.watch()?;
    failpoints::hit(Point::WorkerMapped);
    let mut worker = channel.worker(job.generation, &watch, options(job))?;
    failpoints::hit(Point::WorkerStarted);
    let block = worker.block_mut();
    block.add(connection.socket().clone())?;
    let waiter = match block.kind() {
        WaiterKind::Uring => "io_uring",
        WaiterKind::Poll => "poll",
    };
    report_started(control, waiter, block.fallback_reason());
    Ok(AnyWorker::Process(worker))
}

fn options(job: &Job) -> Options {
    let spin_max = job.options.spin_max_us.map(Duration::from_micros);
    Options { spin_max, ..Options::default() }
}

/// Set by SIGTERM and SIGINT.
fn stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, flag.clone())?;
    }
    Ok(flag)
}

fn report_started(control: &OwnedFd, waiter: &str, reason: Option<&str>) {
    let waiter_reason = reason.map(str::to_owned);
    report(control, &Report::Started { waiter: waiter.into(), waiter_reason });
}

/// Tells the daemon, which may be gone: nothing depends on it.
fn report(control: &OwnedFd, report: &Report) {
    if let Err(error) = job::send(control, report, &[]) {
        tracing::debug!(%error, "the daemon was not told");
    }
}

impl Started {
    fn serve(self) -> Exit {
        let Self { job, worker, mut desk, control } = self;
        let result = match worker {
            AnyWorker::Process(worker) => serve_on_device(&job, worker, &mut desk),
            AnyWorker::Guest(worker) => serve_on_device(&job, worker, &mut desk),
        };
        let (exit, reason) = ending(&result, desk.said_bye());
        tracing::info!(reason, "the worker ends");
        report(&control, &Report::Ended { reason });
        exit
    }
}

fn serve_on_device<B: WorkerBlock>(
    job: &Job,
    worker: Worker<B>,
    desk: &mut Desk,
) -> Result<Served, ServeError> {
    let (fence_words, origin) = (job.sizes.fence_words, job.client.origin());
    match &job.device {
        Device::Mock(settings) => match MockGpu::new(settings.config()) {
            Ok(gpu) => serve_attended(worker, fence_words, origin, &mut Probe::new(gpu), desk),
            Err(error) => Err(ServeError::Attendant(error.to_string())),
        },
        // Begun only now that the arena has its address: the driver takes addresses for itself.
        Device::Cuda(settings) => match CudaGpu::new(&settings.config()) {
            Ok(mut gpu) => serve_attended(worker, fence_words, origin, &mut gpu, desk),
            Err(error) => Err(ServeError::Attendant(error.to_string())),
        },
    }
}

fn ending(result: &Result<Served, ServeError>, said_bye: bool) -> (Exit, String) {
    match result {
        Ok(Served { end: End::ClientLeft, .. }) => (Exit::ClientLeft, "the client left".into()),
        Ok(Served { end: End::Stopped, .. }) if said_bye => {
            (Exit::ClientLeft, "the client said goodbye".into())
        }
        Ok(Served { end: End::Stopped, .. }) => (Exit::Stopped, "asked to end".into()),
        Ok(Served { end: End::DeviceLost(status), .. }) => {
            (Exit::DeviceLost, format!("the device was lost: {status}"))
        }
        Err(error) if error.is_violation() => (Exit::Violation, error.to_string()),
        Err(error) => (Exit::Failed, error.to_string()),
    }
}

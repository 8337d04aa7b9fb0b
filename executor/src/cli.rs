//! The command line of `ringbar`.

use crate::daemon::limits::Limits;
use crate::daemon::{Config, Daemon};
use crate::device::{BackendName, Choice, Device, MockSettings};
use crate::failpoints::{self, Failpoint, Side};
use crate::job::WorkerOptions;
use crate::units::Bound;
use crate::vm::options::{PlaceArgs, Places};
use crate::{
    bench, figures, idle, logging, probe, replay, run as run_program, status, units, vm, worker,
};
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::error::Error;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Carries GPU calls through a shared-memory ring to an executor process.
///
/// Without a command it replays a recorded inference run through a ring into a worker process and prints what that cost.
#[derive(Debug, Parser)]
#[command(name = "ringbar", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Without a command: print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What `ringbar` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Accept clients and run one worker process for each.
    Serve(Box<ServeArgs>),
    /// List a daemon's clients with their counters.
    Status(StatusArgs),
    /// Check a running daemon: attach as a client and take each step of the protocol once.
    Probe(probe::ProbeArgs),
    /// Measure what an idle daemon with one idle client costs, in percent of a core.
    IdleCpu(idle::IdleArgs),
    /// Run a program with its CUDA calls executed by an executor.
    Run(run_program::RunArgs),
    /// Print the variables that make a program load the libraries and find the executor, for a shell.
    Env(run_program::EnvArgs),
    /// Replay recorded calls over the ring or another transport, and say what they cost.
    Replay(replay::ReplayArgs),
    /// Measure the ring against this machine's own limits, between threads and between processes.
    Bench(bench::BenchArgs),
    /// Measure what the executor reaches on this machine: the main job, the recorded pace, weights, one core, idle.
    Figures(figures::FiguresArgs),
    /// Serve one replay over one of the old transports; started by `replay` and by nobody else.
    #[command(hide = true)]
    ReplayWorker(replay::ReplayWorkerArgs),
    /// Serve one client; started by `serve` and by nobody else.
    #[command(hide = true)]
    Worker(WorkerArgs),
    /// Virtual machines.
    #[command(subcommand)]
    Vm(vm::command::VmCommand),
    /// Hold the device of a VM; started by `serve` and by nobody else.
    #[command(hide = true)]
    VmHolder(vm::holder::HolderArgs),
}

/// Where the daemon is.
#[derive(Clone, Debug, Args)]
pub struct SocketArgs {
    /// The daemon's socket [default: $RINGBAR_SOCKET, else $XDG_RUNTIME_DIR/ringbar.sock].
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

impl SocketArgs {
    /// The path given, or the default.
    ///
    /// # Errors
    /// If none is given and the environment names none.
    pub fn path(&self) -> Result<PathBuf, String> {
        let variable =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let given = self.socket.clone().or_else(|| variable("RINGBAR_SOCKET"));
        given.or_else(|| variable("XDG_RUNTIME_DIR").map(|folder| folder.join("ringbar.sock"))).ok_or_else(|| {
            "found no socket path, and neither RINGBAR_SOCKET nor XDG_RUNTIME_DIR is set; try: --socket PATH".into()
        })
    }
}

/// Options of `ringbar serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    places: PlaceArgs,
    /// Leave the devices of VMs in place at an orderly end, for the next daemon, also those that no VM has at the moment.
    #[arg(long)]
    keep_devices: bool,
    /// Serve VMs on a GPU that reaches all memory of its worker (HMM or ATS, device attribute 88): kernels out of any VM can then
    /// act as this user on the host. Without this they are refused; better is the option uvm_disable_hmm=1 of the kernel
    /// module nvidia_uvm.
    #[arg(long, requires = "vm")]
    allow_hmm: bool,
    /// What workers execute on [default: cuda where NVIDIA's driver is found, else mock].
    #[arg(long, value_enum)]
    backend: Option<BackendName>,
    /// Memory of the mock GPU, which each client has for itself [default: 16GiB].
    #[arg(long, value_name = "BYTES", value_parser = units::bytes)]
    device_memory: Option<u64>,
    /// A setting of the mock GPU, for instance latency_ns=2000 or bandwidth_bytes_per_s=20000000000.
    #[arg(long, value_name = "NAME=VALUE")]
    mock: Vec<String>,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    timeouts: TimeoutArgs,
    /// Longest poll of a worker before it sleeps [default: 200us, nothing on a single core]; a hundred times that, 20ms at most, while a client waits for the device.
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    spin_max: Option<Duration>,
    /// Log lines of one class that are written in a second.
    #[arg(long, value_name = "N", default_value_t = logging::LINES_PER_S)]
    log_lines_per_second: u32,
    /// Arm a failpoint: a worker's or a holder's in the first one, the daemon's in this process.
    #[arg(long, value_name = "NAME[:TIMES][=ACTION]", hide = true)]
    failpoint: Option<Failpoint>,
}

/// What a worker may not exceed.
#[derive(Clone, Debug, Args)]
pub struct TimeoutArgs {
    /// End a worker whose command is inside the driver for longer, or `never`; it is told of after 10 s in the log, by
    /// `ringbar status` and by `ringbar run --stats` [default: 1h].
    #[arg(long, value_name = "TIME", value_parser = units::bound)]
    command_timeout: Option<Bound>,
    /// End a worker whose device work, to which nobody adds, takes longer, or `never` [default: never].
    #[arg(long, value_name = "TIME", value_parser = units::bound)]
    device_timeout: Option<Bound>,
}

/// Longer than any command of the driver's own takes, and than a program can want to wait for a single one behind its own
/// work: why not less says `shim/BLOCKING.md`.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(3600);

impl TimeoutArgs {
    /// Whether neither was given.
    pub fn is_default(&self) -> bool {
        self.command_timeout.is_none() && self.device_timeout.is_none()
    }

    /// Puts them into the options of workers.
    pub fn apply(&self, worker: &mut WorkerOptions) {
        let command = self.command_timeout.unwrap_or(Bound(Some(COMMAND_TIMEOUT)));
        let device = self.device_timeout.unwrap_or(Bound(None));
        let [command, device] =
            [command, device].map(|bound| bound.0.map(|time| time.as_millis() as u64));
        (worker.command_timeout_ms, worker.device_timeout_ms) = (command, device);
    }
}

/// Limits of a daemon.
#[derive(Debug, Args)]
struct LimitArgs {
    /// Sessions at once.
    #[arg(long, value_name = "N", default_value_t = Limits::default().sessions_max)]
    sessions_max: usize,
    /// Connections in a second.
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections_per_s)]
    connections_per_second: u32,
    /// Connections at once that have not said hello yet.
    #[arg(long, value_name = "N", default_value_t = Limits::default().handshakes_max)]
    handshakes_max: usize,
    /// Time for a client's hello.
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "2s")]
    handshake_timeout: Duration,
    /// Shared memory that one client may have.
    #[arg(long, value_name = "BYTES", value_parser = units::bytes, default_value = "8GiB")]
    client_memory: u64,
    /// How long a client whose worker died may attach again.
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "10s")]
    resume_grace: Duration,
    /// Silence of a program in a VM after which it counts as dead.
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "5s")]
    guest_heart_limit: Duration,
}

impl LimitArgs {
    fn limits(&self) -> Limits {
        Limits {
            sessions_max: self.sessions_max,
            connections_per_s: self.connections_per_second,
            handshakes_max: self.handshakes_max,
            handshake_limit: self.handshake_timeout,
            client_memory_bytes: self.client_memory,
            resume_grace: self.resume_grace,
            guest_heart_limit: self.guest_heart_limit,
            ..Limits::default()
        }
    }
}

/// Options of `ringbar status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Options of the hidden `ringbar worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// The session's number, for process lists.
    #[arg(long)]
    session: Option<u64>,
}

type AnyError = Box<dyn Error>;

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    if let Some(code) = bench::serve_if_asked() {
        return code;
    }
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let Some(command) = cli.command else { return replay::main_job(cli.json) };
    let done = match command {
        Command::Serve(args) => serve(&args, serve_matches(&matches)),
        Command::Status(args) => show_status(&args),
        Command::Probe(args) => probe::run(&args),
        Command::IdleCpu(args) => idle::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Figures(args) => figures::run(&args),
        Command::Run(args) => return run_program::command(&args),
        Command::Env(args) => return run_program::env(&args),
        Command::Replay(args) => return replay::command(&args),
        Command::ReplayWorker(args) => return replay::worker(&args),
        Command::Worker(_) => return worker::run(),
        Command::Vm(command) => return vm::command::run(&command),
        Command::VmHolder(args) => return vm::holder::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringbar: {error}");
            ExitCode::FAILURE
        }
    }
}

impl ServeArgs {
    /// What workers execute on, and one line on standard error that says it unless it was asked for.
    fn device(&self) -> Result<Device, AnyError> {
        let (device, choice) = Device::choose(self.backend, self.mock_settings()?)?;
        if choice != Choice::Asked {
            eprintln!("ringbar serve: {choice}");
        }
        Ok(device)
    }

    /// The mock with these settings, if there are any.
    fn mock_settings(&self) -> Result<Option<MockSettings>, AnyError> {
        if self.mock.is_empty() && self.device_memory.is_none() {
            return Ok(None);
        }
        let mut settings = MockSettings::default();
        settings.device_memory_bytes = self.device_memory.unwrap_or(settings.device_memory_bytes);
        self.mock.iter().try_for_each(|setting| settings.set(setting))?;
        Ok(Some(settings))
    }

    fn config(&self, matches: &ArgMatches) -> Result<Config, AnyError> {
        let mut worker = WorkerOptions {
            spin_max_us: self.spin_max.map(|time| time.as_micros() as u64),
            log_lines_per_s: Some(self.log_lines_per_second),
            ..WorkerOptions::default()
        };
        self.timeouts.apply(&mut worker);
        let failpoint = self.failpoint;
        let device = self.device()?;
        let limits = self.limits.limits();
        let Places { socket, vms } = self.places.places(matches)?;
        // A daemon that is only told of VMs serves only those.
        let serve_processes = socket.is_some() || vms.is_empty();
        let socket = match vms.first() {
            Some(vm) if !serve_processes => vm.socket.clone(),
            _ => SocketArgs { socket }.path()?,
        };
        let (keep_devices, allow_hmm) = (self.keep_devices, self.allow_hmm);
        let config = Config { device, limits, worker, failpoint, ..Config::new(socket) };
        Ok(Config { serve_processes, vms, keep_devices, allow_hmm, ..config })
    }
}

/// Those of `serve`, which tell the order of its options.
fn serve_matches(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, matches)| matches)
}

fn serve(args: &ServeArgs, matches: &ArgMatches) -> Result<(), AnyError> {
    logging::start(Some(args.log_lines_per_second));
    let config = args.config(matches)?;
    if let Some(failpoint) = config.failpoint
        && matches!(failpoint.point.side(), Side::Daemon | Side::VmDaemon)
    {
        failpoints::arm(failpoint);
    }
    raise_descriptor_limit();
    let daemon = Daemon::start(config, stop_descriptor()?)?;
    tell_ready();
    Ok(daemon.run()?)
}

/// Tells systemd that the service is ready, where it started this as one of `Type=notify`.
pub(crate) fn tell_ready() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "systemd could not be told that this is ready");
    }
}

/// A session takes six descriptors, so the usual limit of 1,024 would end at 170 of them.
fn raise_descriptor_limit() {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, ..limits };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Readable after SIGTERM or SIGINT.
pub(crate) fn stop_descriptor() -> std::io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGTERM, theirs.try_clone()?)?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGINT, theirs)?;
    Ok(ours.into())
}

fn show_status(args: &StatusArgs) -> Result<(), AnyError> {
    let status = status::query(&args.socket.path()?)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        println!("{}", status.to_table());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_is_bounded_unless_somebody_says_never() {
        let options = |line: &str| {
            let matches = Cli::command().get_matches_from(line.split_whitespace());
            let cli = Cli::from_arg_matches(&matches).unwrap();
            let Some(Command::Serve(args)) = cli.command else { panic!("not serve") };
            args.config(serve_matches(&matches)).unwrap().worker
        };
        let hour = options("ringbar serve --backend mock --socket /s").command_timeout_ms;
        assert_eq!(hour, Some(3_600_000));
        let never = options("ringbar serve --backend mock --socket /s --command-timeout never");
        assert_eq!((never.command_timeout_ms, never.device_timeout_ms), (None, None));
    }

    #[test]
    fn options_of_serve_reach_the_configuration() {
        let line = "ringbar serve --socket /s --device-memory 1GiB --mock latency_ns=7 --sessions-max 3 \
                    --handshake-timeout 300ms --client-memory 64MiB --command-timeout 5s --device-timeout never --failpoint after_reply:2";
        let matches = Cli::command().get_matches_from(line.split_whitespace());
        let cli = Cli::from_arg_matches(&matches).unwrap();
        let Some(Command::Serve(args)) = cli.command else { panic!("not serve") };
        let config = args.config(serve_matches(&matches)).unwrap();
        let Device::Mock(mock) = &config.device else { panic!("not the mock") };
        assert_eq!((mock.device_memory_bytes, mock.latency_ns), (1 << 30, 7));
        assert_eq!((config.limits.sessions_max, config.limits.client_memory_bytes), (3, 64 << 20));
        assert_eq!(config.limits.handshake_limit, Duration::from_millis(300));
        assert_eq!(config.worker.command_timeout_ms, Some(5000));
        assert_eq!(config.worker.device_timeout_ms, None);
        assert_eq!(config.failpoint.unwrap().at, 2);
    }
}

//! `ringbar run`: runs a program on an executor, and `ringbar env`: the variables for those who set them by hand.
//!
//! The program stays as it is. It loads our libraries because they lie under NVIDIA's names in a folder at the head of the
//! loader's search, and are loaded before its own where a search path is built into it.

mod environment;
mod error;
mod libraries;
mod program;
mod stats;
mod way_out;

pub use error::RunError;

use crate::cli::{SocketArgs, TimeoutArgs};
use crate::daemon::Config;
use crate::device::{BackendName, Choice, Device, MockSettings};
use crate::embedded::Embedded;
use crate::logging;
use clap::Args;
use environment::{RECORD_VARIABLE, SOCKET_VARIABLE, STATS_VARIABLE, shell_word, variables};
use error::system;
use libraries::Libraries;
use ringbar::guest::GuestError;
use stats::Stats;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use way_out::WayOut;

/// Options of `ringbar run`.
#[derive(Debug, Args)]
#[command(
    after_help = "The program finds the libraries libcuda.so.1 and libcudart.so.13 of this build instead of NVIDIA's, by
LD_LIBRARY_PATH, LD_PRELOAD and TRITON_LIBCUDA_PATH, and the executor by RINGBAR_SOCKET. Its standard
input, output and error are its own; signals sent to this process go on to it. SIGPIPE has its default
action in it, also where this process was started to ignore it.

In a virtual machine with a ringbar device the libraries find the executor of the host by themselves:
none is started, unless --backend asks for one. RINGBAR_SOCKET of the environment is not looked at.
RINGBAR_VM names the device where there are several, and says how to use it (ringbar vm check --help).

Exit code: the program's own; 128 and the signal's number if a signal ended it; 127 if there is no such
program, 126 if it cannot be executed, 125 for a failure of `ringbar run` itself.

Variables that the libraries read: RINGBAR_STRICT=1 makes every call synchronous, with exact errors;
RINGBAR_LOG is a filter for what they log (warn, info, debug). CUDA_VISIBLE_DEVICES works as usual.
RINGBAR_CUDA_DRIVER names NVIDIA's libcuda.so.1 for the executor where it is in no usual place.

A program with the CUDA runtime linked in statically (nvcc's default) cannot be served: link it with
`nvcc -cudart shared`.

Examples:
  ringbar run -- ./vector_add
  ringbar run --stats -- python3 train.py --epochs 1
  ringbar run --backend mock --record calls.csv -- ./vector_add && ringbar replay calls.csv
  ringbar serve --socket /tmp/gpu.sock & ringbar run --connect /tmp/gpu.sock -- ./vector_add"
)]
pub struct RunArgs {
    /// Use the executor at this socket and start none.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["backend", "mock"])]
    connect: Option<PathBuf>,
    /// What the executor executes on [default: cuda where NVIDIA's driver is found, else mock].
    #[arg(long, value_enum)]
    backend: Option<BackendName>,
    /// A setting of the mock GPU, for instance latency_ns=2000.
    #[arg(long, value_name = "NAME=VALUE")]
    mock: Vec<String>,
    /// Say at the end, on standard error, what crossed: calls by function and class, doorbells, bytes, waits, unsupported
    /// calls.
    #[arg(long)]
    stats: bool,
    /// Record every call of the program, for `ringbar replay FILE`; further processes of it record to FILE.PID.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    timeouts: TimeoutArgs,
    /// The program and its arguments.
    #[arg(
        value_name = "PROGRAM",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    program: Vec<OsString>,
}

/// Options of `ringbar env`.
#[derive(Debug, Args)]
#[command(
    after_help = "For a shell: eval \"$(ringbar env)\". The socket is that of a daemon that you start yourself, with `ringbar
serve`; it need not run yet."
)]
pub struct EnvArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// Where the links to the libraries go; they stay [default: $XDG_RUNTIME_DIR/ringbar-libraries, else a folder of yours
    /// under $TMPDIR].
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Runs `ringbar run`.
pub fn command(args: &RunArgs) -> ExitCode {
    logging::start(None);
    run(args).unwrap_or_else(|error| failed("run", &error))
}

/// Runs `ringbar env`.
pub fn env(args: &EnvArgs) -> ExitCode {
    match print_variables(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("env", &error),
    }
}

fn failed(name: &str, error: &RunError) -> ExitCode {
    eprintln!("ringbar {name}: {error}");
    error.exit_code()
}

fn run(args: &RunArgs) -> Result<ExitCode, RunError> {
    let libraries = Libraries::find()?;
    let folder = tempfile::Builder::new().prefix("ringbar-run-").tempdir();
    let folder = folder.map_err(system("creating a private folder"))?;
    libraries.stage(folder.path())?;
    // Ends, with its workers, when this function does.
    let (socket, executor) = executor_of(args)?;
    let stats = folder.path().join("stats");
    let command = program_command(args, folder.path(), socket.as_deref(), &stats)?;
    let status = program::run(command)?;
    if args.stats {
        // The exit code is the program's, whatever can still be said of it.
        let said = print_stats(&stats, executor.as_ref());
        said.unwrap_or_else(|error| {
            eprintln!("ringbar run: not all that crossed is known: {error}")
        });
    }
    Ok(program::exit_code(status))
}

/// The socket that the program is told, if the libraries do not find the executor by themselves, and an executor of our own.
fn executor_of(args: &RunArgs) -> Result<(Option<PathBuf>, Option<Embedded>), RunError> {
    if let Some(path) = &args.connect {
        args.refuse_timeouts()?;
        return Ok((Some(absolute(path)?), None));
    }
    if args.chooses_no_executor() {
        match WayOut::find()? {
            WayOut::Host(name) => {
                args.refuse_timeouts()?;
                eprintln!("ringbar run: using the host's executor through {name}");
                return Ok((None, None));
            }
            WayOut::Unknown(error) => say_own_gpu("run", &error),
            WayOut::None => {}
        }
    }
    let executor = start_executor(args)?;
    Ok((Some(executor.socket().to_owned()), Some(executor)))
}

fn print_stats(stats: &Path, executor: Option<&Embedded>) -> Result<(), RunError> {
    eprintln!("{}", Stats::read(stats)?);
    if let Some(executor) = executor {
        eprintln!("{}", executor.status()?.daemon.stalls);
    }
    Ok(())
}

fn program_command(
    args: &RunArgs,
    folder: &Path,
    socket: Option<&Path>,
    stats: &Path,
) -> Result<Command, RunError> {
    let [program, arguments @ ..] = args.program.as_slice() else {
        return Err(RunError::Options("no program given; try: ringbar run -- PROGRAM".into()));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    // One that is inherited would keep the libraries from the way out.
    command.env_remove(SOCKET_VARIABLE);
    command.envs(variables(folder, socket, |name| std::env::var_os(name))?);
    if args.stats {
        command.env(STATS_VARIABLE, stats);
    }
    if let Some(file) = &args.record {
        command.env(RECORD_VARIABLE, fresh_recording(file)?);
    }
    Ok(command)
}

impl RunArgs {
    fn chooses_no_executor(&self) -> bool {
        self.backend.is_none() && self.mock.is_empty()
    }

    fn refuse_timeouts(&self) -> Result<(), RunError> {
        if self.timeouts.is_default() {
            return Ok(());
        }
        let text = "--command-timeout and --device-timeout are for an executor that is started here; try: give them to \
                    `ringbar serve`, in a virtual machine to that of its host";
        Err(RunError::Options(text.into()))
    }
}

/// The absolute path of a recording, after removing one that was there before: the first process takes the name.
fn fresh_recording(file: &Path) -> Result<PathBuf, RunError> {
    let file = absolute(file)?;
    match std::fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(system(format!("replacing {}", file.display()))(error))
        }
        _ => Ok(file),
    }
}

/// The program may change its folder.
fn absolute(path: &Path) -> Result<PathBuf, RunError> {
    std::path::absolute(path).map_err(system(format!("finding {}", path.display())))
}

fn start_executor(args: &RunArgs) -> Result<Embedded, RunError> {
    let device = device(args)?;
    let memory_bytes = machine_memory_bytes();
    Ok(Embedded::start(|config: &mut Config| {
        config.device = device;
        // A private executor: what its only user may pin is for the machine to say.
        config.limits.client_memory_bytes = memory_bytes.max(config.limits.client_memory_bytes);
        config.limits.sessions_max = SESSIONS_MAX;
        config.limits.connections_per_s = SESSIONS_MAX as u32;
        args.timeouts.apply(&mut config.worker);
    })?)
}

/// Processes of one program that use CUDA at once.
const SESSIONS_MAX: usize = 1024;

fn machine_memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(info.mem_unit.into())
}

fn device(args: &RunArgs) -> Result<Device, RunError> {
    let (device, choice) = Device::choose(args.backend, mock(&args.mock)?)
        .map_err(|error| RunError::Backend { name: "cuda", reason: error.to_string() })?;
    // Standard error is the program's: on a GPU nothing has to be said.
    if choice == Choice::NoDriver {
        eprintln!("ringbar run: {choice}");
    }
    Ok(device)
}

/// The mock with these settings, if there are any.
fn mock(given: &[String]) -> Result<Option<MockSettings>, RunError> {
    let mut settings = MockSettings::default();
    for setting in given {
        settings.set(setting).map_err(|error| RunError::Options(error.to_string()))?;
    }
    Ok((!given.is_empty()).then_some(settings))
}

/// The libraries that `ringbar run` gives to programs, in words.
///
/// # Errors
/// With the first one that is nowhere.
pub fn libraries() -> Result<String, RunError> {
    Libraries::find().map(|libraries| libraries.to_string())
}

/// Whether the libraries find the executor by themselves: not where a socket is named.
fn goes_out(args: &EnvArgs) -> Result<bool, RunError> {
    let named = std::env::var_os(SOCKET_VARIABLE).is_some_and(|value| !value.is_empty());
    if named || args.socket.socket.is_some() {
        return Ok(false);
    }
    let way = WayOut::find()?;
    if let WayOut::Unknown(error) = &way {
        say_own_gpu("env", error);
    }
    Ok(matches!(way, WayOut::Host(_)))
}

/// What could not be looked at may have been the way out.
fn say_own_gpu(name: &str, error: &GuestError) {
    eprintln!("ringbar {name}: using this machine's GPU; {error}");
}

fn print_variables(args: &EnvArgs) -> Result<(), RunError> {
    let socket = match goes_out(args)? {
        true => None,
        false => Some(absolute(&args.socket.path().map_err(RunError::Options)?)?),
    };
    let folder = match &args.folder {
        Some(folder) => absolute(folder)?,
        None => own_folder(),
    };
    let libraries = Libraries::find()?;
    make_private(&folder)?;
    libraries.stage(&folder)?;
    let mut text = OsString::new();
    for (name, value) in
        variables(&folder, socket.as_deref(), |name| inherited_elsewhere(name, &folder))?
    {
        text.push(format!("export {name}="));
        text.push(shell_word(&value));
        text.push("\n");
    }
    std::io::stdout().write_all(text.as_bytes()).map_err(system("printing the variables"))
}

/// What a list holds besides what an earlier `ringbar env` put there.
fn inherited_elsewhere(name: &str, folder: &Path) -> Option<OsString> {
    let list = std::env::var_os(name)?;
    let others = std::env::split_paths(&list).filter(|path| !path.starts_with(folder));
    std::env::join_paths(others).ok()
}

/// A folder that no other user owns, and that stays.
fn own_folder() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder).join("ringbar-libraries"),
        None => {
            let user = rustix::process::getuid().as_raw();
            std::env::temp_dir().join(format!("ringbar-libraries-{user}"))
        }
    }
}

/// Makes the folder, or checks that it is ours: whoever may write it decides what programs load.
fn make_private(folder: &Path) -> Result<(), RunError> {
    let what = || format!("creating {}", folder.display());
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(system(what()))?;
    let found = std::fs::symlink_metadata(folder).map_err(system(what()))?;
    let ours = found.is_dir() && found.uid() == rustix::process::getuid().as_raw();
    if !ours || found.mode() & 0o022 != 0 {
        let folder = folder.display();
        return Err(RunError::Options(format!(
            "{folder} can be written by others, who would decide what your programs load; try: --folder FOLDER"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::os::unix::fs::PermissionsExt;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    #[test]
    fn everything_after_the_program_is_the_programs() {
        for line in ["run --stats -- prog --stats -x", "run --stats prog --stats -x"] {
            let Line { run } = Line::parse_from(line.split(' '));
            assert!(run.stats);
            assert_eq!(run.program, ["prog", "--stats", "-x"]);
        }
    }

    #[test]
    fn limits_of_an_executor_that_is_not_started_here_are_refused() {
        let Line { run } = Line::parse_from(["run", "--command-timeout", "2s", "prog"]);
        let text = run.refuse_timeouts().unwrap_err().to_string();
        assert!(text.contains("--command-timeout") && text.contains("try: "), "{text}");
        let Line { run } = Line::parse_from(["run", "prog"]);
        run.refuse_timeouts().unwrap();
    }

    #[test]
    fn a_setting_of_the_mock_reaches_the_device_and_a_wrong_one_is_named() {
        let expected = MockSettings { latency_ns: 7, ..MockSettings::default() };
        assert_eq!(mock(&["latency_ns=7".into()]).unwrap(), Some(expected));
        assert!(mock(&["speed=7".into()]).unwrap_err().to_string().contains("speed"));
    }

    #[test]
    fn a_folder_that_others_can_write_is_no_place_for_libraries() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("libraries");
        make_private(&place).unwrap();
        make_private(&place).unwrap();
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(make_private(&place).unwrap_err().to_string().contains("--folder"));
    }

    #[test]
    fn an_old_recording_is_removed_before_the_program_runs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("calls.csv");
        std::fs::write(&file, "old").unwrap();
        assert_eq!(fresh_recording(&file).unwrap(), file);
        assert!(!file.exists());
        assert_eq!(fresh_recording(&file).unwrap(), file);
    }
}

//! Real daemons and clients for the tests of this folder.

#![allow(dead_code, reason = "each test file uses its own part")]

pub mod device;
pub mod guest;
pub mod lacking;
pub mod page;

use ringbar::client::ArenaPlan;
use ringbar::layout::Sizes;
use ringbar::link::Options;
use ringbar_executor::attach::{AttachError, Attachment, Wish, attach};
use ringbar_executor::status::{self, ClientStatus, Status};
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const RINGBAR: &str = env!("CARGO_BIN_EXE_ringbar");

/// How long anything may take that has to happen at all.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A `ringbar serve` process.
pub struct Server {
    child: Child,
    folder: TempDir,
}

/// The processes that write to that log: a daemon, its workers, its holders.
pub fn processes(log: &Path) -> Vec<u32> {
    let writes =
        |pid: &u32| std::fs::read_link(format!("/proc/{pid}/fd/2")).is_ok_and(|to| to == log);
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    pids.filter(writes).collect()
}

impl Server {
    /// Starts one with further options, separated by blanks.
    pub fn start(options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Self { child: Self::spawn(&folder, options), folder };
        server.wait_until_up();
        server
    }

    fn spawn(folder: &TempDir, options: &str) -> Child {
        let log = folder.path().join("log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(RINGBAR);
        command.args(["serve", "--backend", "mock", "--socket"]).arg(folder.path().join("s"));
        command.args(["--device-memory", "64MiB"]).args(options.split_whitespace());
        command.env("RUST_LOG", "info").stdin(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn wait_until_up(&self) {
        let up = || status::query(&self.socket()).is_ok();
        assert!(eventually(up), "the daemon does not start: {}", self.log());
    }

    /// Starts another one in the place of one that has ended, and again where it ends because that is not quite gone yet.
    pub fn start_again(&mut self, options: &str) {
        let (folder, log, socket) = (&self.folder, self.log_path(), self.socket());
        start_again(&mut self.child, || Self::spawn(folder, options), &log, &socket);
    }

    /// The daemon and its workers, as far as they live, and those of daemons before it.
    pub fn processes(&self) -> Vec<u32> {
        processes(&self.folder.path().join("log"))
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that daemon and workers wrote to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap()
    }

    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub fn status(&self) -> Status {
        status::query(&self.socket()).unwrap()
    }

    /// The client of that name, if the daemon has one.
    pub fn client(&self, name: &str) -> Option<ClientStatus> {
        self.status().clients.into_iter().find(|client| client.name == name)
    }

    pub fn attach(&self, wish: &Wish) -> Result<Attachment, AttachError> {
        attach(&self.socket(), wish)
    }

    /// A client of that name with small rings.
    pub fn client_named(&self, name: &str) -> Attachment {
        self.attach(&named(name)).unwrap()
    }

    pub fn signal(&self, signal: &str) {
        send_signal(self.pid(), signal);
    }

    /// Waits for the daemon's end; its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.wait_for_status().code()
    }

    /// Waits for the daemon's end; the signal that ended it.
    pub fn wait_for_signal(&mut self) -> Option<i32> {
        self.wait_for_status().signal()
    }

    fn wait_for_status(&mut self) -> ExitStatus {
        let ended = || self.child.try_wait().unwrap().is_some();
        assert!(eventually(ended), "the daemon does not end");
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            return;
        }
        self.signal("TERM");
        if !eventually(|| self.child.try_wait().unwrap().is_some()) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

/// A wish for a small channel: 64 lines, 1 MiB of arena, half of it for staging.
pub fn named(name: &str) -> Wish {
    let sizes = Sizes { command_lines: 64, arena_bytes: 1 << 20, ..Sizes::default() };
    let options =
        Options { plan: ArenaPlan { staging_bytes_max: 512 << 10 }, ..Options::default() };
    Wish { name: name.into(), sizes, options, limit: PATIENCE, ..Wish::default() }
}

/// True once `condition` holds, false if it does not in time.
pub fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

pub fn send_signal(pid: u32, signal: &str) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    let signal = match signal {
        "TERM" => rustix::process::Signal::TERM,
        "KILL" => rustix::process::Signal::KILL,
        "STOP" => rustix::process::Signal::STOP,
        "CONT" => rustix::process::Signal::CONT,
        "INT" => rustix::process::Signal::INT,
        "HUP" => rustix::process::Signal::HUP,
        "USR1" => rustix::process::Signal::USR1,
        other => panic!("no signal {other}"),
    };
    rustix::process::kill_process(pid, signal).unwrap();
}

/// What a program wrote.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a program that must end well.
pub fn success(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    output
}

/// How long a program may take on a slow machine: it is only ended then, nothing is measured.
const PROGRAM_PATIENCE: Duration = Duration::from_secs(120);

/// Ends a program that takes too long, so that its test fails and the others go on.
pub fn wait_with_patience(mut child: Child) -> Output {
    let (pid, end) = (child.id(), Instant::now() + PROGRAM_PATIENCE);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            send_signal(pid, "TERM");
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

/// Runs a program to its end, or ends it if it takes too long.
pub fn with_patience(command: &mut Command) -> Output {
    wait_with_patience(command.spawn().unwrap())
}

/// Open descriptors of a process.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Processes whose parent is `pid`, zombies included.
pub fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(child) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields = stat.rsplit(')').next().unwrap_or_default();
        if fields.split_whitespace().nth(1) == Some(&pid.to_string()) {
            found.push(child);
        }
    }
    found
}

/// Starts a daemon in the place of `child`, which has ended, until it answers: again where it ends because that is not quite
/// gone yet.
fn start_again(child: &mut Child, spawn: impl Fn() -> Child, log: &Path, socket: &Path) {
    let log = || std::fs::read_to_string(log).unwrap();
    let before = log().len();
    *child = spawn();
    let up = eventually(|| {
        if child.try_wait().unwrap().is_some() {
            let said = log().split_off(before);
            assert!(tells_of_predecessor(&said), "the daemon ends: {said}");
            *child = spawn();
        }
        status::query(socket).is_ok()
    });
    assert!(up, "the daemon does not start: {}", log());
}

/// Whether a daemon ended because the one before it was not quite gone.
pub fn tells_of_predecessor(said: &str) -> bool {
    said.contains("living listener") || said.contains("another daemon serves")
}

/// Whether there is a process of that number that has not ended.
pub fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

//! Real processes on the software GPU: loaders, forks, ends, lost executors, the choice of devices. Their programs are
//! compiled here, by the C compiler that links Rust's own.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use support::{RINGBAR, Server, eventually, send_signal, success, text, with_patience};
use tempfile::TempDir;

/// A program of `processes`, compiled into a folder of its own.
struct Program {
    folder: TempDir,
    path: PathBuf,
}

fn compile(source: &str, to: &Path, options: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/processes");
    let mut command = Command::new("cc");
    command.args(["-O1", "-Wall", "-Wextra", "-Werror"]).arg(folder.join(source));
    command.arg("-o").arg(to).args(options);
    success(&mut command);
}

impl Program {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("process");
        compile("process.c", &path, &["-ldl", "-lpthread"]);
        Self { folder, path }
    }

    /// Runs it by `ringbar run` with further options.
    fn on_mock(&self, options: &[&str], way: &str) -> Command {
        let mut command = Command::new(RINGBAR);
        command.args(["run", "--backend", "mock"]).args(options).arg("--").arg(&self.path).arg(way);
        command.env_remove("CUDA_VISIBLE_DEVICES");
        command
    }

    /// Runs it on a daemon, by the loader's path alone: nothing but the program keeps the library loaded.
    fn on(&self, server: &Server, way: &str) -> Command {
        let libraries = self.folder.path().join("libraries");
        let mut env = Command::new(RINGBAR);
        success(env.args(["env", "--socket", "/none", "--folder"]).arg(&libraries));
        let mut command = Command::new(&self.path);
        command.arg(way).env("LD_LIBRARY_PATH", &libraries).env("RINGBAR_SOCKET", server.socket());
        command.env_remove("LD_PRELOAD").env_remove("CUDA_VISIBLE_DEVICES");
        command
    }
}

/// What a program says that must end by itself, with 0.
fn says(command: &mut Command) -> String {
    let output = ends(command);
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}

fn ends(command: &mut Command) -> Output {
    with_patience(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

#[test]
fn a_library_that_is_closed_and_opened_again_goes_on_with_its_session() {
    let (program, server) = (Program::new(), Server::start(""));
    says(&mut program.on(&server, "reopen"));
    assert_eq!(server.status().daemon.sessions_opened, 1);
}

#[test]
fn a_program_ends_while_a_thread_waits_for_a_stream_that_stands_still() {
    let (program, server) = (Program::new(), Server::start(""));
    assert_eq!(says(&mut program.on(&server, "wait")), "waiting\n");
    assert!(eventually(|| server.status().clients.is_empty()), "its session ends too");
}

#[test]
fn a_program_ends_while_threads_are_inside_calls() {
    let (program, server) = (Program::new(), Server::start(""));
    for _ in 0..5 {
        says(&mut program.on(&server, "work"));
    }
    assert!(eventually(|| server.status().clients.is_empty()), "its sessions end too");
}

#[test]
fn calls_of_exit_handlers_and_destructors_are_answered() {
    let (program, server) = (Program::new(), Server::start(""));
    assert_eq!(says(&mut program.on(&server, "end")), "exit handler: 0\ndestructor: 0\n");
}

#[test]
fn children_forked_while_threads_are_inside_calls_are_told_and_end_and_their_parent_goes_on() {
    let (program, server) = (Program::new(), Server::start(""));
    says(&mut program.on(&server, "fork"));
    assert_eq!(server.status().daemon.sessions_opened, 1);
}

#[test]
fn children_of_a_parent_that_used_nothing_and_children_that_become_programs_start_afresh() {
    let (program, server) = (Program::new(), Server::start(""));
    says(&mut program.on(&server, "fresh"));
    assert_eq!(server.status().daemon.sessions_opened, 4);
}

#[test]
fn a_runtime_that_a_search_path_built_into_the_program_names_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let theirs = place("libcudart.so.13");
    compile("other_runtime.c", &theirs, &["-shared", "-fPIC", "-Wl,-soname,libcudart.so.13"]);
    let rpath = format!("-Wl,--disable-new-dtags,-rpath,{}", folder.path().display());
    let program = place("asks");
    compile("asks_version.c", &program, &[theirs.to_str().unwrap(), &rpath]);
    assert_eq!(says(Command::new(&program).env_remove("LD_PRELOAD")), "0 1\n", "by itself");
    let mut command = Command::new(RINGBAR);
    command.args(["run", "--backend", "mock", "--"]).arg(&program);
    assert_eq!(says(command.env_remove("LD_PRELOAD")), "0 13000\n");
}

/// Lines of the devices that a program sees under a choice.
fn devices(program: &Program, choice: Option<&str>) -> Vec<String> {
    let mut command = program.on_mock(&["--mock", "devices=3"], "devices");
    if let Some(choice) = choice {
        command.env("CUDA_VISIBLE_DEVICES", choice);
    }
    says(&mut command).lines().map(str::to_owned).collect()
}

#[test]
fn a_program_sees_the_devices_that_it_may_see_in_the_order_that_was_asked_for() {
    let program = Program::new();
    let all = devices(&program, None);
    let uuid = |device: usize| all[device + 1].split(' ').next().unwrap();
    assert_eq!((all[0].as_str(), all.len()), ("init 0", 4));
    assert!(uuid(0) != uuid(1) && uuid(1) != uuid(2) && uuid(0) != uuid(2), "{all:?}");
    let by_uuid = format!("GPU-{},GPU-{}", uuid(1), uuid(0));
    let choices: [(&str, &[usize]); 6] = [
        ("0,1,2", &[0, 1, 2]),
        ("2,0", &[2, 0]),
        ("1", &[1]),
        ("1,-1,0", &[1]),
        ("1,7,0", &[1]),
        (&by_uuid, &[1, 0]),
    ];
    for (choice, expected) in choices {
        // Within the program devices are counted from 0, and memory of each is its own.
        let lines = expected.iter().enumerate().map(|(n, device)| format!("{} {n}", uuid(*device)));
        let expected: Vec<String> = ["init 0".to_owned()].into_iter().chain(lines).collect();
        assert_eq!(devices(&program, Some(choice)), expected, "{choice}");
    }
}

#[test]
fn a_program_that_may_see_no_device_is_told_that_there_is_none() {
    let program = Program::new();
    for choice in ["", "-1", "3", "0,0", "GPU-no", "NoDevFiles"] {
        assert_eq!(devices(&program, Some(choice)), ["init 100"], "{choice:?}");
    }
}

fn first_line(child: &mut Child) -> String {
    use std::io::{BufRead, BufReader};
    let mut line = String::new();
    BufReader::with_capacity(1, child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line
}

/// What a program says after its worker was killed.
fn says_after_the_loss(way: &str) -> Output {
    let (program, server) = (Program::new(), Server::start(""));
    let mut command = program.on(&server, way);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(first_line(&mut child), "ready\n");
    let status = server.status();
    let client = status.clients.iter().find(|c| c.client_pid == child.id() as i32).unwrap();
    send_signal(client.worker_pid.unwrap(), "KILL");
    support::wait_with_patience(child)
}

#[test]
fn a_program_whose_worker_is_killed_gets_one_error_from_then_on() {
    let output = says_after_the_loss("lose");
    // CUDA_ERROR_SYSTEM_NOT_READY
    assert_eq!(text(&output.stdout), "802 802 802 802\n", "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr).matches("the executor is lost").count(), 1);
}

#[test]
fn a_program_that_asks_its_killed_worker_nothing_is_told_and_its_callbacks_too() {
    let output = says_after_the_loss("told");
    assert_eq!(text(&output.stdout), "802 802\n", "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr).matches("the executor is lost").count(), 1);
}

#[test]
fn an_executor_that_dies_at_any_command_of_a_program_is_an_error_and_no_hang() {
    let program = Program::new();
    for at in [1, 2, 3, 5, 8, 13, 21] {
        let setting = format!("abort_at_command={at}");
        let output = ends(&mut program.on_mock(&["--mock", &setting], "lose"));
        let said = text(&output.stderr);
        let told = output.status.success() && text(&output.stdout).ends_with("802 802 802 802\n");
        let failed_early = output.status.code() == Some(1) && said.contains(": 802\n");
        assert!(told || failed_early, "{at}: {}\n{}{said}", output.status, text(&output.stdout));
    }
}

#[test]
fn what_is_not_supported_says_so_each_time_is_logged_once_by_name_and_counted() {
    let output = ends(&mut Program::new().on_mock(&["--stats"], "unsupported"));
    let errors = text(&output.stderr);
    assert_eq!(text(&output.stdout), "801\n801\n801\n", "{errors}");
    let logged = errors.matches("not supported; further calls of it are only counted").count();
    assert_eq!(logged, 1, "{errors}");
    let counted =
        |line: &&str| line.contains("cuEGLStreamConsumerConnect ") && line.contains(" 3 ");
    assert!(errors.lines().any(|line| counted(&line)), "{errors}");
}

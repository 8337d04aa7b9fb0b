//! `ringbar run` and `ringbar env` with small programs of the system.

mod support;

use ringbar_executor::status;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use support::{RINGBAR, Server, eventually, send_signal, success, text};

/// `ringbar run` on the mock with further options and a shell script as the program.
fn run(options: &[&str], script: &str) -> Command {
    let mut command = Command::new(RINGBAR);
    command.arg("run").args(options).args(["--", "sh", "-c", script]);
    command.env_remove("RINGBAR_SOCKET").env_remove("LD_PRELOAD");
    command
}

fn mock(script: &str) -> Command {
    run(&["--backend", "mock"], script)
}

#[test]
fn input_output_and_exit_code_are_the_programs_own() {
    let mut command = mock("cat; echo to the side >&2; exit 42");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"through and through").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(42), "{}", text(&output.stderr));
    assert_eq!(output.stdout, b"through and through");
    assert_eq!(text(&output.stderr), "to the side\n");
}

#[test]
fn a_program_ended_by_a_signal_gives_the_code_that_a_shell_would_show() {
    assert_eq!(mock("kill -SEGV $$").output().unwrap().status.code(), Some(128 + 11));
}

#[test]
fn a_missing_program_and_one_that_is_no_program_give_the_codes_of_a_shell() {
    let code = |program: &Path| {
        let mut command = Command::new(RINGBAR);
        command.args(["run", "--backend", "mock", "--"]).arg(program);
        let output = command.output().unwrap();
        let (code, said) = (output.status.code(), text(&output.stderr));
        assert!(said.contains(program.to_str().unwrap()), "{said}");
        code
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "no program").unwrap();
    assert_eq!(code(&folder.path().join("none")), Some(127));
    assert_eq!(code(&file), Some(126));
}

/// A program that says it is ready, and then what signal it got. It ends with the test, whatever becomes of that.
struct Waiting {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Waiting {
    /// Starts it by way of `wrapper`, a program and arguments before `ringbar`.
    fn start(wrapper: &[&str], names: &str) -> Self {
        let traps: String =
            names.split(' ').map(|name| format!("trap 'echo {name}' {name}; ")).collect();
        // Whoever is left alone ends: its standard input closes with the test.
        let script = format!(
            "{traps} echo ready; while :; do read -r -t 1 line; s=$?; [ $s = 0 ] || [ $s -gt 128 ] || exit 7; done"
        );
        let mut words = wrapper.to_vec();
        words.extend([RINGBAR, "run", "--backend", "mock", "--", "bash", "-c", &script]);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut program = Self { child, lines };
        assert_eq!(program.next_line(), "ready");
        program
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim().to_string()
    }

    fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
    }

    /// Closes its input and waits.
    fn end(mut self) -> Option<i32> {
        drop(self.child.stdin.take());
        self.child.wait().unwrap().code()
    }
}

#[test]
fn signals_sent_to_ringbar_reach_the_program() {
    let mut program = Waiting::start(&["env", "--default-signal"], "INT TERM USR1");
    for name in ["INT", "TERM", "USR1", "INT"] {
        program.signal(name);
        assert_eq!(program.next_line(), name);
    }
    assert_eq!(program.end(), Some(7));
}

#[test]
fn a_signal_that_was_to_be_ignored_stays_ignored_in_the_program() {
    let wrapper = ["env", "--default-signal", "--ignore-signal=INT"];
    // A shell cannot trap what was ignored when it started.
    let mut program = Waiting::start(&wrapper, "INT TERM");
    program.signal("INT");
    program.signal("TERM");
    assert_eq!(program.next_line(), "TERM");
    assert_eq!(program.end(), Some(7));
}

#[test]
fn the_libraries_lie_in_a_folder_of_their_own_that_is_gone_at_the_end() {
    let script = "printf '%s\\n' \"$LD_LIBRARY_PATH\" \"$LD_PRELOAD\" \"$TRITON_LIBCUDA_PATH\" \"$RINGBAR_SOCKET\"; \
                  ls \"$TRITON_LIBCUDA_PATH\"; test -S \"$RINGBAR_SOCKET\"";
    let output = success(mock(script).env("LD_LIBRARY_PATH", "/opt/mine"));
    let printed = text(&output.stdout);
    let lines: Vec<_> = printed.lines().collect();
    let folder = lines[2];
    assert_eq!(lines[0], format!("{folder}:/opt/mine"));
    assert_eq!(lines[1], format!("{folder}/libcuda.so.1:{folder}/libcudart.so.13"));
    let names = ["libcuda.so", "libcuda.so.1", "libcudart.so", "libcudart.so.13"];
    assert_eq!(lines[4..], names, "{printed}");
    assert!(!Path::new(folder).exists() && !Path::new(lines[3]).exists());
    // The loader found nothing wrong with what it was told to load.
    assert_eq!(text(&output.stderr), "");
}

/// A command on a machine that seems to have no driver.
fn without_driver(command: &mut Command) -> Output {
    command.env("RINGBAR_CUDA_DRIVER", "/no/such/libcuda.so.1").output().unwrap()
}

#[test]
fn without_a_driver_and_a_backend_the_program_runs_on_the_mock_and_is_told_so() {
    let output = without_driver(&mut run(&[], "test -S \"$RINGBAR_SOCKET\" && echo ran"));
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "ran\n".into()));
    assert!(text(&output.stderr).contains("running on the mock GPU"), "{}", text(&output.stderr));
}

#[test]
fn serve_without_a_driver_and_a_backend_serves_the_mock_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let mut command = Command::new(RINGBAR);
    command.arg("serve").arg("--socket").arg(&socket).stderr(Stdio::piped());
    let daemon = command.env("RINGBAR_CUDA_DRIVER", "/no/such/libcuda.so.1").spawn().unwrap();
    assert!(eventually(|| status::query(&socket).is_ok()));
    assert_eq!(status::query(&socket).unwrap().daemon.backend, "mock");
    send_signal(daemon.id(), "TERM");
    let said = text(&daemon.wait_with_output().unwrap().stderr);
    assert!(said.contains("ringbar serve: no NVIDIA driver here"), "{said}");
}

#[test]
fn the_cuda_backend_without_a_driver_is_a_failure_of_its_own() {
    let output = without_driver(&mut run(&["--backend", "cuda"], "echo ran"));
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(125), String::new()));
    assert!(text(&output.stderr).contains("--backend mock"), "{}", text(&output.stderr));
}

#[test]
fn a_given_executor_is_used_and_none_is_started() {
    let server = Server::start("");
    let socket = server.socket();
    let mut command = run(&["--connect", socket.to_str().unwrap()], "echo $RINGBAR_SOCKET");
    assert_eq!(text(&success(&mut command).stdout).trim(), socket.to_str().unwrap());
}

#[test]
fn statistics_of_a_program_without_cuda_say_so_on_standard_error() {
    let output = success(&mut run(&["--backend", "mock", "--stats"], "echo out"));
    assert_eq!(output.stdout, b"out\n");
    assert!(text(&output.stderr).contains("no process of the program used CUDA"));
}

#[test]
fn the_exit_code_stays_the_programs_where_the_statistics_cannot_be_had() {
    let script = "echo nonsense > \"$RINGBAR_STATS\"; exit 42";
    let output = run(&["--backend", "mock", "--stats"], script).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(42), "{said}");
    assert!(said.contains("not all that crossed is known"), "{said}");
}

#[test]
fn the_executor_ends_with_the_program() {
    let output = success(&mut mock("echo $RINGBAR_SOCKET"));
    let socket = text(&output.stdout).trim().to_string();
    assert!(socket.starts_with('/'), "{socket}");
    assert!(eventually(|| !Path::new(&socket).exists()));
}

#[test]
fn a_socket_that_the_environment_names_keeps_no_program_from_the_way_out_of_a_virtual_machine() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = run(&[], "echo ran on \"$RINGBAR_SOCKET\"");
    command.env("RINGBAR_SOCKET", "/tmp/of-another-day.sock");
    command.env("RINGBAR_VM", folder.path().join("none"));
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("none") && said.contains("try: ") && output.stdout.is_empty(), "{said}");
    // A region: the libraries find it, and nothing else.
    let memory = folder.path().join("region");
    let sizes = [ringbar::layout::Sizes { arena_bytes: 1 << 16, ..Default::default() }];
    let file = std::fs::File::create_new(&memory).unwrap();
    file.set_len(ringbar::region::region_bytes(&sizes)).unwrap();
    let mapping = ringbar::os::Mapping::file(&memory, ringbar::os::PeerTrust::Own).unwrap();
    let terms = ringbar::region::Terms { vocabulary_hash: 1, features: 0 };
    ringbar::region::create(&std::sync::Arc::new(mapping), &sizes, terms).unwrap();
    let output = success(command.env("RINGBAR_VM", &memory));
    assert_eq!(text(&output.stdout), "ran on \n");
    assert!(text(&output.stderr).contains("using the host's executor"), "{output:?}");
}

#[test]
fn the_variables_of_env_make_a_shell_load_the_libraries() {
    let folder = tempfile::tempdir().unwrap();
    let libraries = folder.path().join("libraries");
    let mut command = Command::new(RINGBAR);
    command.args(["env", "--socket", "/tmp/it's.sock", "--folder"]).arg(&libraries);
    let variables = text(&success(&mut command).stdout);
    let script = format!("{variables}\nls \"$TRITON_LIBCUDA_PATH\"; echo \"$RINGBAR_SOCKET\"");
    let output = success(Command::new("sh").args(["-c", &script]));
    assert_eq!(
        text(&output.stdout),
        "libcuda.so\nlibcuda.so.1\nlibcudart.so\nlibcudart.so.13\n/tmp/it's.sock\n"
    );
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_second_env_in_the_same_shell_adds_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let env = |preload: &str| {
        let mut command = Command::new(RINGBAR);
        command.args(["env", "--socket", "/s", "--folder"]).arg(folder.path().join("libraries"));
        text(&success(command.env("LD_LIBRARY_PATH", preload).env_remove("LD_PRELOAD")).stdout)
    };
    let once = env("/opt/mine");
    let list = format!("{}:/opt/mine", folder.path().join("libraries").display());
    assert!(once.contains(&format!("LD_LIBRARY_PATH='{list}'")), "{once}");
    assert_eq!(env(&list), once);
}

#[test]
fn help_names_every_variable_and_the_way_out_for_static_runtimes() {
    let output = success(Command::new(RINGBAR).args(["run", "--help"]));
    let mut help = String::new();
    output.stdout.as_slice().read_to_string(&mut help).unwrap();
    for part in ["RINGBAR_STRICT", "RINGBAR_LOG", "RINGBAR_CUDA_DRIVER", "-cudart shared", "127"] {
        assert!(help.contains(part), "{part} is not in {help}");
    }
}

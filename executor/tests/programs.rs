//! Programs that NVIDIA's compiler made (`shim/programs`, compiled by `.ci/programs`), unmodified, on the software GPU
//! through `ringbar run`.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::{RINGBAR, text, with_patience};

/// A compiled program; none, said by name, if it was not compiled.
fn program(name: &str) -> Option<PathBuf> {
    support::lacking::program(Path::new(RINGBAR).ancestors().nth(2).unwrap(), name)
}

/// Runs a program with further options of `ringbar run`.
fn run_with(options: &[&str], program: &Path) -> Output {
    let mut command = Command::new(RINGBAR);
    command.args(["run", "--backend", "mock"]).args(options).arg("--").arg(program);
    observed(&mut command)
}

/// Runs a program that finds no executor by the environment of this test.
fn observed(command: &mut Command) -> Output {
    command.env_remove("RINGBAR_SOCKET").env_remove("LD_PRELOAD");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    with_patience(command)
}

fn run(program: &Path) -> Output {
    run_with(&[], program)
}

/// Runs a program, which must say exactly what it says on a GPU.
fn says(name: &str, expected: &str) {
    let Some(program) = program(name) else { return };
    let output = run(&program);
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{said}{errors}", output.status);
    assert_eq!(said, expected, "{name}\n{errors}");
}

macro_rules! programs {
    ($($promise:ident: $name:literal says $file:literal;)+) => {
        /// The programs and what they say.
        const PROGRAMS: &[(&str, &str)] = &[$(
            ($name, include_str!(concat!("../../shim/programs/expected/", $file, ".txt"))),
        )+];
        $(
        #[test]
        fn $promise() {
            says($name, include_str!(concat!("../../shim/programs/expected/", $file, ".txt")));
        }
        )+
    };
}

programs! {
    vectors_are_added: "01_vector_add" says "01_vector_add";
    streams_overlap_and_join: "02_saxpy_streams" says "02_saxpy_streams";
    a_sum_in_shared_memory_is_right: "03_reduce" says "03_reduce";
    matrices_are_multiplied_by_template_kernels: "04_matmul_tiled" says "04_matmul_tiled";
    events_keep_order_and_tell_times: "05_events_timing" says "05_events_timing";
    a_captured_graph_runs_and_is_updated: "06_graph_capture" says "06_graph_capture";
    a_graph_made_of_nodes_runs_and_changes: "07_graph_nodes" says "07_graph_nodes";
    host_and_device_share_memory: "08_managed_pinned" says "08_managed_pinned";
    allocations_in_stream_order_work: "09_async_pool" says "09_async_pool";
    rectangles_and_boxes_are_copied: "10_two_dimensional" says "10_two_dimensional";
    variables_on_the_device_are_reached: "11_constants" says "11_constants";
    host_functions_run_in_stream_order: "12_host_function" says "12_host_function";
    threads_share_a_device: "13_threads" says "13_threads";
    threads_have_default_streams_of_their_own: "13_threads_own_default_streams" says "13_threads";
    errors_are_cudas_own: "14_errors" says "14_errors";
    devices_and_kernels_are_described: "15_occupancy" says "15_occupancy";
    cooperative_launches_work: "16_cooperative" says "16_cooperative";
    kernels_print: "17_printf" says "17_printf";
    children_by_fork_are_told_and_parents_unharmed: "18_fork" says "18_fork";
    driver_and_runtime_mix: "19_driver_api" says "19_driver_api";
    managed_variables_are_shared_by_turns: "21_managed_variables" says "21_managed_variables";
    objects_live_as_long_as_graphs_hold_them: "22_user_objects" says "22_user_objects";
    a_device_works_anew_after_a_reset: "23_reset" says "23_reset";
    threads_default_streams_work_anew_after_a_reset: "23_reset_own_default_streams" says "23_reset";
    two_processes_share_device_memory: "24_ipc" says "24_ipc";
    textures_and_surfaces_are_read_as_documented: "25_textures" says "25_textures";
    many_kernels_and_large_parameters_work: "20_many_kernels" says "20_many_kernels";
}

#[test]
fn a_program_with_a_runtime_of_its_own_is_told_how_to_be_linked() {
    let Some(program) = program("01_vector_add_own_runtime") else { return };
    let output = run(&program);
    let errors = text(&output.stderr);
    assert!(!output.status.success(), "{errors}");
    assert!(errors.contains("-cudart shared"), "{errors}");
}

/// The number in the last column of the row of a table that begins with that word.
fn row(table: &str, first: &str) -> Option<u64> {
    let cells =
        |line: &str| line.split(['│', '┆']).map(|c| c.trim().to_owned()).collect::<Vec<_>>();
    let rows = table.lines().map(cells);
    let found = rows.into_iter().find(|cells| cells.get(1).is_some_and(|cell| cell == first))?;
    found.iter().rev().find_map(|cell| cell.parse().ok())
}

#[test]
fn statistics_say_what_crossed_by_function_class_and_kind() {
    let Some(program) = program("01_vector_add") else { return };
    let output = run_with(&["--stats"], &program);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        include_str!("../../shim/programs/expected/01_vector_add.txt")
    );
    let table = text(&output.stderr);
    let count = |first: &str| row(&table, first).unwrap_or_else(|| panic!("no {first} in {table}"));
    assert!(count("cuLaunchKernel") >= 1 && count("cuMemAlloc_v2") >= 1, "{table}");
    assert!(count("__cudaLaunchKernel") >= 1 && count("cudaMalloc") >= 1, "{table}");
    for class in ["local", "post", "sync"] {
        assert!(count(&format!("calls of class {class}")) > 0, "{table}");
    }
    let posts = count("calls of class post");
    assert!(count("commands") > 0 && posts > 0 && count("command bytes") > 0, "{table}");
    assert!(count("bytes to the device") > 0 && count("bytes from the device") > 0, "{table}");
    assert_eq!(count("unsupported calls"), 0, "{table}");
    for first in ["doorbells to the worker", "doorbells to the program", "publications"] {
        count(first);
    }
    assert!(table.contains("Processes that used CUDA: 01_vector_add ("), "{table}");
}

#[test]
fn a_recording_of_a_program_is_replayed() {
    let Some(program) = program("01_vector_add") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.csv");
    let output = run_with(&["--record", file.to_str().unwrap()], &program);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let recorded = std::fs::read_to_string(&file).unwrap();
    for function in ["cuLaunchKernel", "cuMemAlloc_v2", "cuMemcpy"] {
        assert!(recorded.contains(function), "{function} is not in {recorded}");
    }
    let output = observed(Command::new(RINGBAR).arg("replay").arg(&file));
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn the_variables_of_env_let_a_program_run_on_a_daemon() {
    let Some(program) = program("01_vector_add") else { return };
    let server = support::Server::start("");
    let folder = tempfile::tempdir().unwrap();
    let script = "eval \"$(\"$0\" env --socket \"$1\" --folder \"$2\")\"; exec \"$3\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, RINGBAR]).arg(server.socket());
    let output = observed(command.arg(folder.path().join("libraries")).arg(&program));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        include_str!("../../shim/programs/expected/01_vector_add.txt")
    );
    assert_eq!(server.status().daemon.sessions_opened, 1);
}

#[test]
fn programs_say_the_same_when_every_call_waits_for_its_execution() {
    for (name, expected) in PROGRAMS {
        let Some(program) = program(name) else { return };
        let mut command = Command::new(RINGBAR);
        command.args(["run", "--backend", "mock", "--"]).arg(program).env("RINGBAR_STRICT", "1");
        let output = observed(&mut command);
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        // Only that a launch answers for its own kernel at once.
        let early = "the launch of a bad kernel: cudaSuccess, no error";
        let exact = "the launch of a bad kernel: cudaErrorIllegalAddress, an illegal memory access was encountered";
        assert_eq!(text(&output.stdout), expected.replace(early, exact), "{name}");
    }
}

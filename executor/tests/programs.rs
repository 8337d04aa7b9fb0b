//! Programs that NVIDIA's compiler made (`shim/programs`, compiled by `.ci/programs`), unmodified, on the software GPU
//! through `ringbar run`.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::RINGBAR;

/// How long a program may take on a slow machine: it is only ended then, nothing is measured.
const PATIENCE: Duration = Duration::from_secs(120);

/// A compiled program; none, said by name, if it was not compiled.
fn program(name: &str) -> Option<PathBuf> {
    let target = Path::new(RINGBAR).ancestors().nth(2).unwrap();
    let path = target.join("programs").join(name);
    if !path.exists() {
        eprintln!("did not run: {name} is not compiled; run .ci/programs first");
        return None;
    }
    Some(path)
}

/// Ends a program that takes too long, so that its test fails and the others go on.
fn output(mut child: Child) -> Output {
    let (pid, start) = (child.id(), Instant::now());
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            support::send_signal(pid, "TERM");
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

fn run(program: &Path) -> Output {
    let mut command = Command::new(RINGBAR);
    command.args(["run", "--backend", "mock", "--"]).arg(program);
    command.env_remove("RINGBAR_SOCKET").env_remove("LD_PRELOAD");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    output(command.spawn().unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
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
    ($($promise:ident: $name:literal says $file:literal;)+) => {$(
        #[test]
        fn $promise() {
            says($name, include_str!(concat!("../../shim/programs/expected/", $file, ".txt")));
        }
    )+};
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

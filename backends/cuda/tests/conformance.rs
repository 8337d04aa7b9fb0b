//! The suite of all backends on a real GPU, each check in a process of its own: a kernel that fails ends its process.
//!
//! Without arguments runs every check; with names, those. `--one NAME` is the child. Where there is no driver it says that
//! nothing ran, and passes.

use ringbar_backend::conformance::{CHECKS, Subject, run};
use ringbar_cuda::{CudaConfig, CudaGpu, driver_library};
use std::process::{Command, ExitCode, Output};
use std::sync::Mutex;
use std::time::Instant;

/// The kernels that the suite launches.
const IMAGE: &[u8] = include_bytes!("kernels.ptx");
/// Checks at once.
const CHILDREN: usize = 6;

fn subject(library: &std::path::Path) -> Subject {
    let config = CudaConfig { library: Some(library.into()), captures_output: false };
    let backend = Box::new(CudaGpu::new(&config).expect("a GPU"));
    Subject { backend, image: IMAGE.into() }
}

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|one| one != "--nocapture").collect();
    let library = match driver_library() {
        Ok(library) => library,
        Err(error) => {
            println!("conformance on a GPU did not run: {error}");
            return ExitCode::SUCCESS;
        }
    };
    if let [flag, name] = &arguments[..]
        && flag == "--one"
    {
        run(name, || subject(&library));
        return ExitCode::SUCCESS;
    }
    let chosen = |name: &&str| arguments.is_empty() || arguments.iter().any(|one| one == name);
    let names: Vec<_> = CHECKS.iter().map(|check| check.name).filter(chosen).collect();
    let failed = run_all(&names);
    println!("conformance on a GPU: {} passed, {failed} failed", names.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs checks in children, some at once; says how many failed.
fn run_all(names: &[&str]) -> usize {
    let (next, failed) = (Mutex::new(names.iter()), Mutex::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CHILDREN {
            scope.spawn(|| {
                loop {
                    let Some(name) = next.lock().expect("no child panics").next() else { return };
                    let began = Instant::now();
                    let output = child(name);
                    let passed = output.status.success();
                    let verdict = if passed { "ok" } else { "FAILED" };
                    println!("{name} ... {verdict} ({} ms)", began.elapsed().as_millis());
                    if !passed {
                        *failed.lock().expect("no child panics") += 1;
                        println!("{}", String::from_utf8_lossy(&output.stderr));
                    }
                }
            });
        }
    });
    failed.into_inner().expect("no child panics")
}

fn child(name: &str) -> Output {
    let program = std::env::current_exe().expect("this program");
    Command::new(program).args(["--one", name]).output().expect("a child process")
}

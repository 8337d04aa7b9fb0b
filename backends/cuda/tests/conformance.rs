//! The suite of all backends on a real GPU, each check in a process of its own: a kernel that fails ends its process.
//!
//! Without arguments runs every check; with names, those. `--one NAME` is the child. Where there is no driver it says that
//! nothing ran, and passes. `--launch-cost` measures instead what a launch costs in the worker, from a ring that another
//! thread filled, beside the driver's own call.

use ringbar::layout::Sizes;
use ringbar::link::{self, Options};
use ringbar::region::Terms;
use ringbar::worker::Next;
use ringbar_backend::conformance::{CHECKS, IMAGE, Subject, run};
use ringbar_backend::testing::FakeWorker;
use ringbar_backend::{Backend, Executed, execute};
use ringbar_cuda::{CudaConfig, CudaGpu, driver_library};
use ringbar_vocabulary::{Command as _, *};
use std::process::{Command, ExitCode, Output};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Checks at once.
const CHILDREN: usize = 6;

fn subject(library: &std::path::Path) -> Subject {
    let config = CudaConfig { library: Some(library.into()), captures_output: true };
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
    if arguments == ["--launch-cost"] {
        launch_cost(&library);
        return ExitCode::SUCCESS;
    }
    let chosen = |name: &&str| arguments.is_empty() || arguments.iter().any(|one| one == name);
    let names: Vec<_> = CHECKS.iter().map(|check| check.name).filter(chosen).collect();
    // Others would be seen in how much memory is free.
    let (alone, together): (Vec<_>, Vec<_>) =
        names.iter().copied().partition(|name| name.starts_with("free_memory"));
    let failed = run_all(&alone) + run_all(&together);
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

/// Launches of one measurement: few enough that the hardware queue never fills.
const BURST: u32 = 200;
const ROUNDS: usize = 201;
/// `CU_STREAM_NON_BLOCKING`.
const STREAM_NON_BLOCKING: u32 = 1;

/// A launch of eight arguments, as the worker executes it and as the driver's call alone, alternating.
fn launch_cost(library: &std::path::Path) {
    let mut gpu =
        CudaGpu::new(&CudaConfig { library: Some(library.into()), captures_output: false })
            .expect("a GPU");
    let mut worker = FakeWorker::new(1 << 20, 64);
    worker.call(&mut gpu, Init { flags: 0 }).expect("no violation").expect("init");
    let (module, function) = (ModuleId(1), FunctionId(1));
    let image = Tail::Inline(IMAGE);
    let load = ModuleLoad { context: ContextId::FIRST, module, image };
    worker.call(&mut gpu, load).expect("no violation").expect("the module");
    let lookup = FunctionLookup {
        module,
        function,
        layout: ArenaRef::default(),
        name: Tail::Inline(b"eight"),
    };
    let found = worker.call(&mut gpu, lookup).expect("no violation").expect("the kernel");
    // As a program's own that is measured natively: it waits for no other.
    let (context, stream) = (ContextId::FIRST, StreamId(1));
    let create = StreamCreate { context, stream, flags: STREAM_NON_BLOCKING, priority: 0 };
    worker.post(&mut gpu, create).expect("no violation");
    let params = vec![0; found.param_bytes as usize];
    let mut bytes = Vec::new();
    LaunchKernel {
        function,
        grid: [1; 3],
        block: [1; 3],
        shared_bytes: 0,
        stream,
        params: Tail::Inline(&params),
    }
    .encode(&mut bytes);
    let terms = Terms { vocabulary_hash: VOCABULARY_HASH, features: 0 };
    let (client, mut ring) =
        link::pair(Sizes::default(), terms, Options::default()).expect("a ring");
    let post = || {
        for _ in 0..BURST {
            client.post(&bytes).expect("room in the ring");
        }
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // On another processor, as a client is.
        std::thread::scope(|scope| scope.spawn(post).join().expect("a burst"));
        let began = Instant::now();
        for _ in 0..BURST {
            let Ok(Next::Command(record)) = ring.next() else { panic!("a command was posted") };
            if record.followed {
                gpu.more_follows();
            }
            let done = execute(&mut gpu, worker.services(), record.position, record.bytes);
            assert_eq!(done, Ok(Executed::Posted));
        }
        ours.push(began.elapsed());
        gpu.drain();
        let began = Instant::now();
        gpu.bare_launches(function, stream, &params, BURST).expect("launches");
        theirs.push(began.elapsed());
        gpu.drain();
    }
    assert_eq!(worker.errors.first(), None, "no launch failed");
    let (ours, theirs) = (median_ns(&mut ours), median_ns(&mut theirs));
    println!(
        "launch of 8 arguments, medians of {ROUNDS} bursts of {BURST}: driver alone {theirs:.0} ns, worker {ours:.0} ns, beyond the driver {:.0} ns",
        ours - theirs
    );
}

fn median_ns(bursts: &mut [Duration]) -> f64 {
    bursts.sort_unstable();
    bursts[bursts.len() / 2].as_nanos() as f64 / f64::from(BURST)
}

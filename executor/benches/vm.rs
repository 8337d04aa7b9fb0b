//! What calls out of a virtual machine cost, beside the old way, in one run: over real KVM by a bare monitor, and in a real
//! guest that QEMU emulates. Writes a record.
//!
//! ```text
//! .ci/vm figures --record benches/record
//! ```
//!
//! It prepares the guest and starts this with the folder in `RINGBAR_VM_TESTS`. Where that or KVM is missing, the record
//! says what was not measured, and why.

#[path = "../tests/bare/mod.rs"]
mod bare;
mod record;
#[path = "../tests/support/mod.rs"]
mod support;

use bare::BareError;
use bare::mediator::{Mediator, echo};
use bare::program::{Program, probe};
use clap::Parser;
use record::{Found, Measured, Record, Road, Round};
use ringbar_benches::calls::{Bench, Figures};
use ringbar_benches::cores::Cores;
use ringbar_benches::drive::Plan;
use ringbar_benches::error::BenchError;
use ringbar_benches::limits::Limit;
use rustix::process::Pid;
use rustix::thread::CpuSet;
use std::error::Error;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use support::device::VmServer;
use support::guest::{Boot, Guest, Raw, VARIABLE};

/// Options.
#[derive(Debug, Parser)]
struct Arguments {
    /// Write text and JSON, named by machine and date, into this folder.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Measure nothing: write this earlier record (its JSON) anew, with what its rounds say.
    #[arg(long, value_name = "FILE")]
    again: Option<PathBuf>,
    /// Rounds: each takes both roads once, with a fresh daemon, worker and guest.
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: usize,
    /// Calls of each kind in a round.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    calls: u64,
    /// What `cargo bench` says.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Sizes of every device here.
const SIZES: &str = "--device-memory 64MiB --size 64MiB";

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let found = match &arguments.again {
        Some(path) => Found::read(path)?,
        None => Found::here(measure(arguments)?),
    };
    let record = Record::of(found);
    print!("{}", record.text());
    if let Some(folder) = &arguments.record {
        for path in record.write(folder)? {
            eprintln!("wrote {}", path.display());
        }
    }
    Ok(())
}

/// All rounds of both roads.
fn measure(arguments: &Arguments) -> Result<[Measured; 2], Box<dyn Error>> {
    let folder = std::env::var_os(VARIABLE).map(PathBuf::from);
    let no_kvm = BareError::lacking(probe())?.map(|why| why.to_string());
    let (mut bare, mut emulated) = (Vec::new(), Vec::new());
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        if no_kvm.is_none() {
            bare.push(on_a_thread(arguments.calls)?);
        }
        if let Some(folder) = &folder {
            emulated.push(emulated_guest(folder.clone(), arguments.calls)?);
        }
    }
    let kvm = Measured { road: Road::BareKvm, rounds: bare, missing: no_kvm };
    let missing = format!("{VARIABLE} names no folder with a guest; try: .ci/vm figures");
    let missing = folder.is_none().then_some(missing);
    Ok([kvm, Measured { road: Road::Emulated, rounds: emulated, missing }])
}

/// [`over_kvm`] on a thread of its own: what is started later must not be kept to that thread's core.
fn on_a_thread(calls: u64) -> Result<Round, Box<dyn Error>> {
    let measuring = std::thread::spawn(move || over_kvm(calls).map_err(|error| error.to_string()));
    Ok(measuring.join().map_err(|_| "the measuring thread failed")??)
}

/// The bare monitor: the virtual processor on the first core, worker or mediator on the second.
fn over_kvm(calls: u64) -> Result<Round, Box<dyn Error>> {
    let server = VmServer::start_with(SIZES, "");
    let program = Program::attach(&server, None)?;
    let mut mediator = Mediator::start()?;
    let attached = program.session.attached().ok_or("no device")?;
    let memory = format!("control {}, bulk {}", attached.control, attached.bulk);
    let worker = server.client(attached.channel).and_then(|client| client.worker_pid);
    for (pid, core) in [(None, 0), (worker, 1), (Some(mediator.pid()), 1)] {
        pin(pid, core);
    }
    let native = Bench::prepare(&program.session, calls)?.round_trips()?;
    let native_ns = Some(native.round_trip_ns);
    let figures = bare::figures::measure_with(&program, calls, &mut mediator)?;
    program.session.close();
    Ok(Round { memory, figures, native_ns, limit_ns: limit()?, guest: None })
}

/// A line of 56 bytes there and one of 16 back between two threads, without any ring, in nanoseconds.
fn limit() -> Result<f64, BenchError> {
    // On threads of its own, which it keeps to the cores.
    Limit::Exchange.between_threads(Plan::of(50_000), Cores { left: 0, right: 1 })
}

/// Puts a process (its first thread, which works), or this thread, on a core.
fn pin(pid: Option<u32>, core: usize) {
    let pid = pid.and_then(|pid| Pid::from_raw(pid as i32));
    let mut cores = CpuSet::new();
    cores.set(core);
    // A core that may not be used, or does not exist, is left to the scheduler, and costs precision only.
    let _ = rustix::thread::sched_setaffinity(pid, &cores);
}

/// A guest under QEMU's emulation, where the scheduler puts everything.
fn emulated_guest(folder: PathBuf, calls: u64) -> Result<Round, Box<dyn Error>> {
    let server = VmServer::start_with(SIZES, "");
    let (socket, old) = (server.socket(), server.socket_of("old"));
    let listener = UnixListener::bind(&old)?;
    let mediator = std::thread::spawn(move || {
        let (monitor, _) = listener.accept()?;
        echo(monitor)?.wait()
    });
    let chardev = format!("socket,id=old,path={}", old.display());
    let raw = Raw::start(&server.socket_of("raw"))?;
    let backend = raw.backend();
    let arguments = [
        ["-chardev", &chardev, "-device", "pci-serial,chardev=old"],
        ["-object", &backend, "-device", "ivshmem-plain,memdev=raw"],
    ];
    let script = format!("ringbar-guest-tests figures --old --limit --json --calls {calls}");
    let boot = Boot { arguments: arguments.as_flattened(), ..Boot::new(folder, &socket, &script) };
    let console = Guest::boot(&boot).succeed();
    mediator.join().map_err(|_| "the mediator's thread failed")??;
    drop(raw);
    let line = |start: &str| {
        let found = console.lines().find_map(|line| line.strip_prefix(start));
        found.ok_or_else(|| format!("no line {start:?} on the console:\n{console}"))
    };
    let memory = line("figure: memory: ")?.to_owned();
    let figures: Figures = serde_json::from_str(line("figures: ")?)?;
    let guest = Some(serde_json::from_str(line("limit: ")?)?);
    Ok(Round { memory, figures, native_ns: None, limit_ns: limit()?, guest })
}

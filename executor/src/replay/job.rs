//! `ringbar replay`, and the main job: what `ringbar` does without a command.

use super::args::{Pace as PaceOption, ReplayArgs, ReplayBackend, Transport, ending};
use super::copy_rate;
use super::direct::DirectRoad;
use super::error::ReplayError;
use super::old::OldRoad;
use super::pace::{GAP_MAX, Pace};
use super::report::{CopyRate, Report, Row};
use super::ring::RingRoad;
use super::run::{Material, Outcome, PlanBytes, Rounds, memory_after, replay};
use crate::device::{Device, MockSettings};
use crate::recording::{Payloads, Plan, PlanLimits, Recording};
use indicatif::{ProgressBar, ProgressStyle};
use ringbar_vocabulary::MemoryDigestReply;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Memory of every device of a replay. Addresses, and so digests, are the same whatever its size.
const DEVICE_MEMORY_BYTES: u64 = 8 << 30;
/// Calls that the timed rounds of `ringbar replay` make, about.
const CALLS: u64 = 100_000;
/// Bulk bytes that they move at most, about.
const BULK_BYTES: u64 = 6_000_000_000;
/// Of so many timed rounds one more is timed step by step.
const STEPWISE_EVERY: u64 = 4;
/// From so many bytes a round on, the bulk rate is worth telling.
const BULK_ROUND_BYTES_MIN: u64 = 64 << 20;
/// What the main job replays, and for how long over the ring.
const MAIN_RECORDING: &str = "llama-1b-eager-decode";
const MAIN_TIME: Duration = Duration::from_millis(2_500);
const MAIN_SEED: u64 = 1;
/// Timed rounds of the main job over the slow transports.
const MAIN_SLOW_ROUNDS: u64 = 2;

/// A recording, ready to be replayed over any transport.
struct Workload {
    name: String,
    plan: Plan,
    payloads: Payloads,
    pace: Option<Pace>,
    seed: u64,
}

impl Workload {
    fn open(text: &str, seed: u64, pace: PaceOption) -> Result<Self, ReplayError> {
        let shipped = Recording::shipped_names().any(|name| name == text);
        let is_shipped = shipped && !Path::new(text).exists();
        let recording = if is_shipped { Recording::shipped(text)? } else { Recording::open(text)? };
        let plan = Plan::new(&recording, &PlanLimits::default());
        let payloads = Payloads::new(seed, &plan);
        let pace = (pace == PaceOption::Recorded).then(|| Pace::new(plan.steps()));
        Ok(Self { name: text.to_owned(), plan, payloads, pace, seed })
    }

    fn material(&self) -> Material<'_> {
        Material { plan: &self.plan, payloads: &self.payloads, pace: self.pace.as_ref() }
    }

    fn calls(&self) -> u64 {
        self.plan.steps().len() as u64
    }

    /// Rounds that do not depend on the transport, so that digests can be compared.
    fn default_rounds(&self) -> u64 {
        if self.pace.is_some() {
            return 1;
        }
        let bulk = PlanBytes::of(&self.plan);
        let by_bytes = BULK_BYTES / (bulk.h2d + bulk.d2h).max(1);
        (CALLS / self.calls().max(1)).min(by_bytes).clamp(1, 1000)
    }

    fn report(&self) -> Report {
        Report::new(&self.name, &self.plan, self.seed, self.pace.as_ref())
    }
}

/// Where the worker comes from.
#[derive(Clone, Copy, Default)]
struct Source<'a> {
    /// The program that workers run, this one if `None`.
    program: Option<&'a Path>,
    /// A daemon that runs already.
    connect: Option<&'a Path>,
    /// The executor of this virtual machine's host.
    vm: bool,
}

/// Replays over one transport.
fn over(
    transport: Transport,
    source: Source<'_>,
    workload: &Workload,
    rounds: Rounds,
    progress: &mut dyn FnMut(),
) -> Result<Outcome, ReplayError> {
    let material = workload.material();
    if source.vm {
        let road = RingRoad::connect_guest()?;
        return replay(&road, &material, rounds, progress);
    }
    match (transport, source.connect) {
        (Transport::Ring, Some(socket)) => {
            replay(&RingRoad::connect(socket)?, &material, rounds, progress)
        }
        (Transport::Ring, None) => {
            let settings = MockSettings {
                device_memory_bytes: DEVICE_MEMORY_BYTES,
                ..MockSettings::default()
            };
            let road = RingRoad::start(source.program, Device::Mock(settings))?;
            replay(&road, &material, rounds, progress)
        }
        (Transport::Direct, _) => {
            replay(&DirectRoad::start(DEVICE_MEMORY_BYTES)?, &material, rounds, progress)
        }
        (Transport::Doorbell | Transport::Socket, _) => {
            let road = OldRoad::start(transport, source.program, DEVICE_MEMORY_BYTES)?;
            replay(&road, &material, rounds, progress)
        }
    }
}

/// The steps of the fast transports are timed in rounds of their own: there a look at the clock costs as much as a call.
fn rounds_of(transport: Transport, timed: u64) -> Rounds {
    let stepwise = match transport {
        Transport::Ring | Transport::Direct => timed.div_ceil(STEPWISE_EVERY),
        Transport::Doorbell | Transport::Socket => 0,
    };
    Rounds { timed, stepwise }
}

/// What the device's memory must be after those numbers of rounds.
fn expected_memory(
    workload: &Workload,
    rounds: &[u64],
    progress: &mut dyn FnMut(),
) -> Result<Vec<MemoryDigestReply>, ReplayError> {
    let road = DirectRoad::start(DEVICE_MEMORY_BYTES)?;
    memory_after(&road, &workload.material(), rounds, progress)
}

fn check_memory(
    transport: Transport,
    outcome: &Outcome,
    expected: &MemoryDigestReply,
) -> Result<(), ReplayError> {
    if outcome.memory == *expected {
        return Ok(());
    }
    Err(ReplayError::Memory {
        transport: transport.name(),
        rounds: outcome.rounds.total(),
        found: outcome.memory.digest,
        expected: expected.digest,
    })
}

/// `ringbar replay`.
pub fn replay_command(args: &ReplayArgs) -> Result<(), ReplayError> {
    if args.backend == ReplayBackend::Cuda {
        return Err(ReplayError::NoKernels);
    }
    if (args.connect.is_some() || args.vm) && args.transport != Transport::Ring {
        let text = "--connect and --vm need --transport ring: the other transports start workers of their own";
        return Err(ReplayError::Usage(text.into()));
    }
    let workload = Workload::open(&args.recording, args.seed, args.pace)?;
    let paced = workload.pace.is_some();
    let timed = args.rounds.unwrap_or_else(|| workload.default_rounds());
    let rounds = match paced {
        // At the recorded pace there is time to look at the clock.
        true => Rounds { timed, stepwise: 0 },
        false => rounds_of(args.transport, timed),
    };
    let checked = args.connect.is_none() && args.transport != Transport::Direct;
    let bar = progress_bar(rounds.total() + if checked { rounds.total() } else { 0 });
    bar.set_message(args.transport.name());
    let source = Source {
        program: args.worker_program.as_deref(),
        connect: args.connect.as_deref(),
        vm: args.vm,
    };
    let mut tick = || bar.inc(1);
    let outcome = over(args.transport, source, &workload, rounds, &mut tick)?;
    if checked {
        bar.set_message("checking");
        if !args.vm {
            check_digests(&[(args.transport, outcome.digest)])?;
        }
        let expected = expected_memory(&workload, &[rounds.total()], &mut tick)?;
        check_memory(args.transport, &outcome, &expected[0])?;
    }
    bar.finish_and_clear();
    let mut report = workload.report();
    report.copy_rate = copy_rate_beside(&workload, &outcome);
    report.rows.push(Row::new(args.transport, &workload.plan, &outcome, checked));
    report.print(args.json);
    Ok(())
}

/// The machine's own copy rate, where bulk bytes are what the recording is about.
fn copy_rate_beside(workload: &Workload, outcome: &Outcome) -> Option<CopyRate> {
    let bulk = PlanBytes::of(&workload.plan);
    let moved = (bulk.h2d + bulk.d2h) * outcome.rounds.timed;
    (bulk.h2d + bulk.d2h >= BULK_ROUND_BYTES_MIN).then(|| CopyRate {
        bulk_bytes_per_s: moved as f64 / outcome.elapsed.as_secs_f64(),
        single_thread_bytes_per_s: copy_rate::single_thread_bytes_per_s(),
    })
}

/// What `ringbar` does without a command: replays a recorded inference run over the ring and over the two old ways, and
/// prints the figures side by side.
pub fn main_job(json: bool) -> ExitCode {
    ending("main job", run_main_job(json, Source::default()))
}

fn run_main_job(json: bool, source: Source<'_>) -> Result<(), ReplayError> {
    let workload = Workload::open(MAIN_RECORDING, MAIN_SEED, PaceOption::None)?;
    let bar = progress_bar(1);
    let ring_rounds = ring_rounds(&workload, source)?;
    let plan = [
        (Transport::Ring, rounds_of(Transport::Ring, ring_rounds)),
        (Transport::Doorbell, rounds_of(Transport::Doorbell, MAIN_SLOW_ROUNDS)),
        (Transport::Socket, rounds_of(Transport::Socket, MAIN_SLOW_ROUNDS)),
        (Transport::Direct, rounds_of(Transport::Direct, ring_rounds)),
    ];
    let longest = plan.iter().map(|(_, rounds)| rounds.total()).max().unwrap_or(0);
    bar.set_length(plan.iter().map(|(_, rounds)| rounds.total()).sum::<u64>() + longest);
    let mut outcomes = Vec::new();
    for (transport, rounds) in plan {
        bar.set_message(transport.name());
        let outcome = over(transport, source, &workload, rounds, &mut || bar.inc(1))?;
        outcomes.push((transport, outcome));
    }
    bar.set_message("checking");
    check_all(&workload, &outcomes, &mut || bar.inc(1))?;
    bar.finish_and_clear();
    let mut report = workload.report();
    let rows = outcomes
        .iter()
        .map(|(transport, outcome)| Row::new(*transport, &workload.plan, outcome, true));
    report.rows.extend(rows);
    report.print(json);
    Ok(())
}

/// Rounds over the ring that take about [`MAIN_TIME`], by the time of a few.
fn ring_rounds(workload: &Workload, source: Source<'_>) -> Result<u64, ReplayError> {
    const TRIAL: Rounds = Rounds { timed: 4, stepwise: 0 };
    let trial = over(Transport::Ring, source, workload, TRIAL, &mut || ())?;
    let round = trial.elapsed.as_secs_f64() / TRIAL.timed as f64;
    Ok(((MAIN_TIME.as_secs_f64() / round) as u64).clamp(1, 10_000))
}

/// One digest for all transports, and after all rounds the memory that the same rounds leave without transport.
fn check_all(
    workload: &Workload,
    outcomes: &[(Transport, Outcome)],
    progress: &mut dyn FnMut(),
) -> Result<(), ReplayError> {
    let mut rounds: Vec<u64> = outcomes.iter().map(|(_, outcome)| outcome.rounds.total()).collect();
    rounds.sort_unstable();
    rounds.dedup();
    let expected = expected_memory(workload, &rounds, progress)?;
    let digests: Vec<_> = outcomes.iter().map(|(by, outcome)| (*by, outcome.digest)).collect();
    check_digests(&digests)?;
    for (transport, outcome) in outcomes {
        let at = rounds.binary_search(&outcome.rounds.total()).unwrap_or(0);
        check_memory(*transport, outcome, &expected[at])?;
    }
    Ok(())
}

/// Each transport's worker was started by this program, so each has a digest, and all have the same one.
pub(super) fn check_digests(digests: &[(Transport, Option<u64>)]) -> Result<(), ReplayError> {
    let mut expected = None;
    for &(transport, digest) in digests {
        let transport = transport.name();
        let found = digest.ok_or(ReplayError::NoDigest { transport })?;
        let expected = *expected.get_or_insert(found);
        if found != expected {
            return Err(ReplayError::Digest { transport, found, expected });
        }
    }
    Ok(())
}

/// On a terminal; silent otherwise.
fn progress_bar(rounds: u64) -> ProgressBar {
    let bar = ProgressBar::new(rounds);
    let style = ProgressStyle::with_template("{msg:>9} {wide_bar} {pos}/{len} rounds, {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// What is said of shortened pauses.
pub fn longest_pause_ms() -> u128 {
    GAP_MAX.as_millis()
}

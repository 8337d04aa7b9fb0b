//! The transports that need no other process, beside each other.

use super::direct::DirectRoad;
use super::error::ReplayError;
use super::job::check_digests;
use super::link::Road;
use super::probe::Probe;
use super::ring::RingRoad;
use super::run::{Material, Outcome, Rounds, memory_after, replay};
use crate::recording::{Payloads, Plan, PlanLimits, Recording, RecordingLimits};
use crate::serve::serve_channel;
use ringbar::layout::Sizes;
use ringbar::link::{self, Options};
use ringbar::region::Terms;
use ringbar_mock::{MockConfig, MockGpu};
use ringbar_session::Session;
use ringbar_vocabulary::VOCABULARY_HASH;

#[test]
fn a_digest_that_is_missing_or_another_is_an_error() {
    use super::args::Transport::{Direct, Ring, Socket};
    check_digests(&[(Ring, Some(1)), (Socket, Some(1)), (Direct, Some(1))]).unwrap();
    for wrong in [
        [(Ring, None), (Socket, Some(1))],
        [(Ring, Some(1)), (Socket, None)],
        [(Ring, None), (Socket, None)],
    ] {
        let error = check_digests(&wrong).unwrap_err();
        assert!(matches!(error, ReplayError::NoDigest { .. }), "{error}");
    }
    let error = check_digests(&[(Ring, Some(1)), (Socket, Some(2))]).unwrap_err();
    assert!(matches!(error, ReplayError::Digest { transport: "socket", .. }), "{error}");
}

const DEVICE_MEMORY_BYTES: u64 = 1 << 30;
const ROUNDS: Rounds = Rounds { timed: 2, stepwise: 1 };

/// Every kind of call, from two threads, most of them more than once.
const ROWS: &str = "\
0,0,cudaMalloc,sync,16,0,-
10,0,cudaHostAlloc,sync,16,0,-
10,0,cudaMemcpyAsync,post,48,5000000,h2d
10,1,cudaMalloc,post,16,0,-
10,1,cudaMemcpy,sync,48,100,h2d
10,0,cudaLaunchKernel,post,92,0,-
10,1,cudaLaunchKernel,post,48,0,-
10,1,cudaLaunchKernel,post,51,0,-
10,0,cudaLaunchKernel,sync,3500,0,-
10,0,cudaLaunchKernel,post,32812,0,-
10,0,cudaGetDevice,local,0,0,-
10,0,cublasGemmEx,post,120,0,-
10,1,cublasGemmEx,post,200000,0,-
10,1,cudnnBackendGetAttribute,sync,40,0,-
10,1,cudnnBackendGetAttribute,sync,70000,0,-
10,0,cudaStreamCreate,post,16,0,-
10,0,cudaEventCreate,sync,16,0,-
10,0,cudaEventRecord,post,16,0,-
10,0,cudaStreamWaitEvent,post,16,0,-
10,0,cudaEventQuery,sync,16,0,-
10,0,cudaEventSynchronize,sync,16,0,-
10,0,cudaEventDestroy,post,16,0,-
10,0,cudaStreamDestroy,post,16,0,-
10,0,cudaMemsetAsync,post,33,0,-
10,0,cudaMemcpyAsync,post,48,0,d2d
10,0,cudaMemcpyAsync,sync,48,2000000,d2h
10,1,cudaMemcpyAsync,post,48,3000,d2h
10,1,cudaMemcpyAsync,sync,48,0,d2h
10,1,cudaMemcpyAsync,post,48,0,h2d
10,0,cudaStreamQuery,sync,16,0,-
10,0,cuModuleLoadData,sync,16,0,-
10,0,cuModuleGetFunction,sync,16,0,-
10,1,cuModuleGetFunction,sync,16,0,-
10,0,cudaFreeHost,post,16,0,-
10,0,cudaStreamSynchronize,sync,16,0,-
10,1,cudaFree,post,16,0,-
10,1,cudaDeviceSynchronize,sync,16,0,-
";

fn plan(rows: &str) -> Plan {
    let text = format!("gap_ns,thread,call,class,inline_bytes,bulk_bytes,dir\n{rows}");
    let recording = Recording::from_reader(text.as_bytes(), &RecordingLimits::default());
    Plan::new(&recording.expect("well formed"), &PlanLimits::default())
}

fn outcome<R: Road>(road: &R, plan: &Plan, seed: u64) -> Outcome {
    let payloads = Payloads::new(seed, plan);
    let material = Material { plan, payloads: &payloads, pace: None };
    replay(road, &material, ROUNDS, &mut || ()).expect("every call works")
}

fn direct(plan: &Plan, seed: u64) -> Outcome {
    outcome(&DirectRoad::start(DEVICE_MEMORY_BYTES).expect("a device"), plan, seed)
}

/// Over a ring to a thread of this process.
fn ring(plan: &Plan, seed: u64) -> Outcome {
    let terms = Terms { vocabulary_hash: VOCABULARY_HASH, features: 0 };
    let sizes = Sizes::default();
    let (client, worker) = link::pair(sizes, terms, Options::default()).expect("a channel");
    let config = MockConfig { device_memory_bytes: DEVICE_MEMORY_BYTES, ..MockConfig::default() };
    let serving = std::thread::spawn(move || {
        let mut gpu = Probe::new(MockGpu::new(config).expect("a device"));
        serve_channel(worker, sizes.fence_words, &mut gpu).expect("an honest client")
    });
    let outcome = outcome(&RingRoad::over(Session::over(client)), plan, seed);
    serving.join().expect("no panic");
    outcome
}

#[test]
fn every_kind_of_call_gives_the_same_digest_and_memory_over_the_ring_as_without() {
    let plan = plan(ROWS);
    let (ring, direct) = (ring(&plan, 7), direct(&plan, 7));
    assert!(ring.digest.is_some());
    assert_eq!(ring.digest, direct.digest);
    assert_eq!(ring.memory, direct.memory);
    assert!(ring.worker_time.is_some() && direct.worker_time.is_none());
}

#[test]
fn another_seed_and_another_order_are_another_digest_and_other_memory() {
    let base = direct(&plan(ROWS), 7);
    assert_eq!(direct(&plan(ROWS), 7).digest, base.digest, "the same is the same");
    let mut rows: Vec<&str> = ROWS.lines().collect();
    rows.swap(5, 6);
    let swapped = rows.join("\n");
    for other in [direct(&plan(ROWS), 8), direct(&plan(&swapped), 7)] {
        assert_ne!(other.digest, base.digest);
        assert_ne!(other.memory, base.memory);
    }
}

#[test]
fn the_memory_depends_on_how_many_rounds_were_played() {
    let plan = plan(ROWS);
    let payloads = Payloads::new(7, &plan);
    let material = Material { plan: &plan, payloads: &payloads, pace: None };
    let road = DirectRoad::start(DEVICE_MEMORY_BYTES).expect("a device");
    let memories = memory_after(&road, &material, &[1, 2, 4], &mut || ()).expect("works");
    assert_ne!(memories[0], memories[1]);
    assert_eq!(memories[2], direct(&plan, 7).memory, "as after the rounds of a replay");
}

#[test]
fn more_loads_and_lookups_than_a_thread_keeps_are_played() {
    let load = "0,0,cuModuleLoadData,sync,16,0,-\n".repeat(300);
    let lookup = "0,0,cuModuleGetFunction,sync,16,0,-\n".repeat(4200);
    let plan = plan(&(load + &lookup));
    assert_eq!(ring(&plan, 1).digest, direct(&plan, 1).digest);
}

#[test]
fn a_recording_of_local_calls_alone_is_replayed_too() {
    let plan = plan("0,0,cudaGetDevice,local,0,0,-\n");
    assert_eq!(ring(&plan, 1).digest, direct(&plan, 1).digest);
}

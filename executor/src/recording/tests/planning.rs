//! Plans: what is done in which order.

use super::*;

#[test]
fn local_calls_are_counted_and_nothing_else() {
    let plan =
        plan_of("1,0,a,local,0,0,-\n2,0,b,local,0,0,-\n3,0,c,post,8,0,-\n4,0,a,local,0,0,-\n");
    assert_eq!((plan.steps().len(), plan.local_calls()), (1, 3));
    let step = plan.steps()[0];
    assert_eq!((step.locals_before, step.due_ns, step.row), (2, 6, 2));
    assert_eq!(plan.duration_ns(), 10);
}

#[test]
fn unknown_calls_fall_back_by_class_with_their_name_and_bytes() {
    let call = call_hash("cublasNeverSeen");
    assert_eq!(
        steps_of("0,0,cublasNeverSeen,post,70,0,-\n0,0,cublasNeverSeen,sync,24,0,-\n"),
        [
            Step::LibraryCall { call, inline_bytes: 70 },
            Step::LibraryQuery { call, inline_bytes: 24 }
        ]
    );
}

#[test]
fn a_launch_carries_the_bytes_beyond_its_head() {
    let call = call_hash("cuLaunchKernel");
    let rows = "0,0,cuLaunchKernel,post,56,0,-\n0,0,cuLaunchKernel,post,10,0,-\n\
                0,0,cuLaunchKernel,post,32812,0,-\n0,0,cuLaunchKernel,post,32813,0,-\n";
    assert_eq!(
        steps_of(rows),
        [
            Step::Launch { param_bytes: 8 },
            Step::Launch { param_bytes: 0 },
            Step::Launch { param_bytes: 32_764 },
            Step::LibraryCall { call, inline_bytes: 32_813 }
        ]
    );
}

#[test]
fn an_allocation_is_as_large_as_the_next_copy_to_it() {
    let plan = plan_of(
        "0,0,cudaMalloc,sync,24,0,-\n0,1,cudaMemcpy,post,48,77777,h2d\n\
         0,0,cudaMemcpy,post,48,5000,h2d\n0,0,cudaMemcpy,post,48,9000,h2d\n\
         0,0,cudaMalloc,sync,24,0,-\n0,0,cudaMalloc,sync,24,0,-\n0,0,cudaMemcpy,post,48,600,h2d\n",
    );
    let made = plan.buffers().iter().filter(|buffer| buffer.origin == Origin::Call);
    assert_eq!(made.map(|buffer| buffer.bytes).collect::<Vec<_>>(), [5000, 1 << 20, 600]);
    let to: Vec<_> = plan.steps().iter().filter_map(|step| copied_to(step.step)).collect();
    // Thread 1 has no allocation, and 9,000 bytes do not fit thread 0's: both land in a buffer of setup.
    assert_eq!(to, [BufferId(2), BufferId(4), BufferId(0), BufferId(6)]);
}

fn copied_to(step: Step) -> Option<BufferId> {
    match step {
        Step::CopyH2D { to, .. } => Some(to.buffer),
        _ => None,
    }
}

#[test]
fn a_query_that_is_posted_is_only_a_library_call() {
    let call = call_hash("cudaEventQuery");
    assert_eq!(
        steps_of("0,0,cudaEventQuery,post,24,0,-\n"),
        [Step::LibraryCall { call, inline_bytes: 24 }]
    );
}

#[test]
fn events_are_the_newest_living_else_the_threads_own() {
    let rows = "0,4,cudaEventRecord,post,32,0,-\n0,9,cudaEventCreate,post,32,0,-\n\
                0,9,cudaEventRecord,post,32,0,-\n0,9,cudaEventDestroy,post,32,0,-\n\
                0,9,cudaEventQuery,sync,24,0,-\n";
    assert_eq!(
        steps_of(rows),
        [
            Step::EventRecord { event: EventId(0) },
            Step::EventCreate { event: EventId(2) },
            Step::EventRecord { event: EventId(2) },
            Step::EventDestroy { event: EventId(2) },
            Step::EventQuery { event: EventId(1) },
        ]
    );
}

#[test]
fn freeing_nothing_is_only_a_library_call() {
    let call = call_hash("cudaFree");
    assert_eq!(
        steps_of("0,0,cudaFree,post,32,0,-\n"),
        [Step::LibraryCall { call, inline_bytes: 32 }]
    );
}

#[test]
fn a_copy_recorded_without_bytes_between_device_buffers_still_does_work() {
    let steps = steps_of("0,0,cudaMemcpyAsync,post,48,0,d2d\n");
    let [Step::CopyD2D { bytes: 4096, from, to }] = steps[..] else { panic!("{steps:?}") };
    assert_ne!(from.buffer, to.buffer);
}

#[test]
fn a_copy_above_the_piece_size_becomes_pieces_that_add_up() {
    let bytes = (1_u64 << 33) + 12_345;
    let plan = plan_of(&format!("0,0,cudaMemcpy,sync,48,{bytes},h2d\n"));
    let moved: u64 = plan.steps().iter().map(|step| step.step.h2d_bytes() as u64).sum();
    assert_eq!(moved, bytes);
    assert_eq!(plan.steps().len(), 33);
    assert!(plan.device_bytes_peak() <= 1 << 30);
}

#[test]
fn the_plan_of_the_weight_load_fills_an_allocation_a_tensor() {
    let recording = Recording::shipped("llama-1b-weight-load").unwrap();
    let plan = Plan::new(&recording, &PlanLimits::default());
    let filled: HashSet<_> = plan.steps().iter().filter_map(|s| copied_to(s.step)).collect();
    assert_eq!(filled.len(), 201);
    assert_eq!(plan.teardown().buffers.len(), 201);
    assert!(plan.device_bytes_peak() < 2_300_000_000);
}

#[test]
fn whatever_is_recorded_every_step_finds_its_objects_alive_and_its_places_in_range() {
    let mut random = Random(0xa11);
    for _ in 0..200 {
        let recording = random_recording(&mut random);
        let limits = PlanLimits {
            device_bytes_max: 1 << random.below(34),
            scratch_bytes_max: 1 << random.below(32),
            piece_bytes_max: 1 << random.below(30),
            host_bytes_max: 1 << random.below(24),
            objects_max: random.below(20),
        };
        Machine::run(&Plan::new(&recording, &limits));
    }
}

fn random_recording(random: &mut Random) -> Recording {
    let names: Vec<_> = known_calls().map(|(name, _)| name).chain(["x", "cublasY"]).collect();
    let rows: String = (0..=random.below(300))
        .map(|_| {
            let class = *random.pick(&["post", "sync", "sync", "local"]);
            let dir = *random.pick(&["-", "-", "-", "h2d", "d2h", "d2d"]);
            let bulk = if dir == "-" || class == "local" { 0 } else { random.below(1 << 24) };
            let thread = random.below(4) * 85;
            let inline = random.below(40_000);
            format!("1,{thread},{},{class},{inline},{bulk},{dir}\n", random.pick(&names))
        })
        .collect();
    parse_rows(&rows).unwrap()
}

/// Runs a plan on nothing, checking that nothing is used before it is made or after it is gone.
#[derive(Default)]
struct Machine {
    buffers: HashSet<BufferId>,
    streams: HashSet<StreamId>,
    events: HashSet<EventId>,
    blocks: HashSet<HostBlockId>,
}

impl Machine {
    fn run(plan: &Plan) {
        let mut machine = Machine::default();
        let setup = |id: &u32| plan.buffers()[*id as usize].origin == Origin::Setup;
        machine.buffers = (0..plan.buffers().len() as u32).filter(setup).map(BufferId).collect();
        machine.events = (0..plan.thread_count() as u32).map(EventId).collect();
        for step in plan.steps() {
            machine.step(plan, step);
            let device = machine.buffers.iter().map(|id| plan.buffers()[id.0 as usize].bytes);
            assert!(device.sum::<u64>() <= plan.device_bytes_peak());
        }
        let down = plan.teardown();
        assert!(down.buffers.iter().all(|id| machine.buffers.remove(id)));
        assert!(down.streams.iter().all(|id| machine.streams.remove(id)));
        assert!(down.events.iter().all(|id| machine.events.remove(id)));
        assert!(down.host_blocks.iter().all(|id| machine.blocks.remove(id)));
        assert_eq!(machine.buffers.len(), 2 * plan.thread_count());
        assert_eq!(machine.events.len(), plan.thread_count());
        assert!(machine.streams.is_empty() && machine.blocks.is_empty());
    }

    fn step(&mut self, plan: &Plan, planned: &PlannedStep) {
        let in_range = |place: Place, bytes: u32| {
            let buffer = plan.buffers()[place.buffer.0 as usize];
            assert!(self.buffers.contains(&place.buffer), "{planned:?}");
            assert_eq!(buffer.thread, planned.thread);
            assert!(place.offset + u64::from(bytes) <= buffer.bytes, "{planned:?}");
        };
        match planned.step {
            Step::CopyH2D { bytes, to: at }
            | Step::CopyD2H { bytes, from: at }
            | Step::Memset { bytes, at, .. } => in_range(at, bytes),
            Step::CopyD2D { bytes, from, to } => {
                in_range(from, bytes);
                in_range(to, bytes);
                assert_ne!(from.buffer, to.buffer);
            }
            Step::Alloc { buffer } => assert!(self.buffers.insert(buffer)),
            Step::Free { buffer } => assert!(self.buffers.remove(&buffer)),
            Step::HostAlloc { block } => assert!(self.blocks.insert(block)),
            Step::HostFree { block } => assert!(self.blocks.remove(&block)),
            Step::StreamCreate { stream } => assert!(self.streams.insert(stream)),
            Step::StreamDestroy { stream } => assert!(self.streams.remove(&stream)),
            Step::EventCreate { event } => assert!(self.events.insert(event)),
            Step::EventDestroy { event } => assert!(self.events.remove(&event)),
            Step::StreamWaitEvent { event }
            | Step::EventRecord { event }
            | Step::EventQuery { event }
            | Step::EventSynchronize { event } => assert!(self.events.contains(&event)),
            _ => {}
        }
    }
}

//! The session's own rules: init, facts, latching, violations.

use super::rig::{DEFAULT, Rig};
use crate::{Executed, Violation};
use ringbar_vocabulary::*;

pub(super) fn a_ping_answers_with_its_token(rig: &mut Rig) {
    for token in [0, 1, u64::MAX] {
        assert_eq!(rig.call(Ping { token }), Ok(PingReply { token }), "even before init");
    }
}

pub(super) fn everything_before_init_is_not_initialized(rig: &mut Rig) {
    assert_eq!(
        rig.call(MemAlloc { context: ContextId::FIRST, bytes: 1 }),
        Err(Status::NOT_INITIALIZED)
    );
    assert_eq!(rig.call(MemGetInfo { context: ContextId::FIRST }), Err(Status::NOT_INITIALIZED));
    rig.refused(LibraryQuery { library: 1, function: 2, request: Tail::Inline(&[]) });
    rig.post_fails(
        EventCreate { context: ContextId::FIRST, event: EventId(1), flags: 0 },
        Status::NOT_INITIALIZED,
    );
    rig.init();
    rig.alloc(1);
}

pub(super) fn init_refuses_flags(rig: &mut Rig) {
    assert_eq!(rig.call(Init { flags: 1 }), Err(Status::INVALID_VALUE));
    let reply = rig.init();
    assert!(reply.device_count >= 1 && reply.driver_version >= 12_000);
    assert_eq!(rig.init(), reply, "init may be repeated");
}

pub(super) fn facts_describe_the_device(rig: &mut Rig) {
    rig.init();
    let facts = ArenaRef::new(0, 0, 65_536).unwrap();
    let bytes = rig.call(DeviceFacts { device: 0, facts }).unwrap().bytes;
    let block = rig.read_arena(facts.part(0, bytes).unwrap());
    let facts = DeviceFactsBlock::from_bytes(&block).unwrap();
    assert_eq!(
        facts.total_memory_bytes,
        rig.call(MemGetInfo { context: ContextId::FIRST }).unwrap().total_bytes
    );
    assert!(!facts.name.is_empty() && facts.attributes.is_sorted());
    let (major, minor) = facts.compute_capability;
    let attributes = [facts.attribute(75), facts.attribute(76)];
    assert_eq!(attributes, [Some(major as i32), Some(minor as i32)]);
}

pub(super) fn facts_are_not_written_into_too_small_a_block(rig: &mut Rig) {
    rig.init();
    let facts = rig.stage(0, &[0x5a; 16]);
    let bytes = rig.call(DeviceFacts { device: 0, facts }).unwrap().bytes;
    assert!(bytes > 16);
    assert_eq!(rig.read_arena(facts), [0x5a; 16]);
}

pub(super) fn facts_of_no_device_are_refused(rig: &mut Rig) {
    let device = rig.init().device_count;
    let facts = ArenaRef::new(0, 0, 4096).unwrap();
    assert_eq!(rig.call(DeviceFacts { device, facts }), Err(Status::INVALID_DEVICE));
}

pub(super) fn the_first_failure_is_latched_with_its_position(rig: &mut Rig) {
    rig.init();
    rig.stream();
    let position = rig.worker.position();
    rig.post(EventDestroy { event: EventId(77) });
    rig.post(MemFree { at: DevicePtr(1) });
    rig.backend.drain();
    assert_eq!(rig.worker.errors.first(), Some((position, Status::INVALID_HANDLE)));
    assert_eq!(rig.worker.errors.count(), 2);
    assert_eq!(rig.backend.lost(), None);
    rig.alloc(64);
}

pub(super) fn failures_are_told_by_their_numbers(rig: &mut Rig) {
    rig.init();
    let position = rig.worker.position();
    rig.post(EventDestroy { event: EventId(77) });
    rig.post(StreamDestroy { stream: StreamId(78) });
    rig.backend.drain();
    for number in [0, 1] {
        let told = rig.call(FailureStatus { number }).expect("an answer");
        assert_eq!((told.position, told.status), (position + number, Status::INVALID_HANDLE.0));
    }
    assert_eq!(rig.call(FailureStatus { number: 2 }).expect("an answer").status, 0);
}

pub(super) fn malformed_bytes_are_a_violation(rig: &mut Rig) {
    rig.init();
    let unknown = [&0xfff0u16.to_le_bytes()[..], &[0; 6]].concat();
    let local = [&u64::from(Row::by_cuda_name("cuEventQuery").unwrap().opcode).to_le_bytes()[..]];
    for bytes in [&[][..], &[2, 0, 0], &unknown, local[0]] {
        assert!(matches!(rig.execute(bytes), Err(Violation::Malformed(_))), "{bytes:?}");
    }
}

pub(super) fn a_block_outside_the_arena_is_a_violation(rig: &mut Rig) {
    rig.init();
    let (dst, stream) = (rig.alloc(4096), DEFAULT);
    let outside = [
        ArenaRef { addr: 0, len: u64::MAX },
        ArenaRef { addr: 1 << 20, len: 1 },
        ArenaRef { addr: (1 << 20) - 1, len: 2 },
        ArenaRef { addr: 9 << 48, len: 8 },
        ArenaRef { addr: (1 << 48) - 1, len: u64::MAX - 7 },
    ];
    for at in outside {
        let commands = [
            rig.violation(MemcpyHtoD { dst, stream, data: Tail::Arena(at) }),
            rig.violation(MemcpyDtoH { dst: at, src: dst, stream }),
            rig.violation(HostAlloc { block: at, flags: 0 }),
            rig.violation(DeviceFacts { device: 0, facts: at }),
        ];
        assert!(commands.iter().all(|violation| matches!(violation, Violation::Arena(_))));
    }
}

pub(super) fn a_fence_that_does_not_exist_is_a_violation(rig: &mut Rig) {
    rig.init();
    for index in [64, u32::MAX] {
        let violation = rig.violation(Fence { stream: DEFAULT, index, value: 1 });
        assert!(matches!(violation, Violation::Fence(fault) if fault.found == index));
    }
    assert_eq!(rig.worker.fences.log(), []);
}

pub(super) fn arbitrary_commands_never_panic(rig: &mut Rig) {
    rig.init();
    for seed in 0..200 {
        for sample in samples(seed) {
            let sync = sample.row.class == Class::Sync;
            if let Ok(executed) = rig.execute(&sample.bytes) {
                assert_eq!(matches!(executed, Executed::Replied(_)), sync, "{}", sample.row.name);
            }
        }
    }
    rig.backend.drain();
}

pub(super) fn commands_are_counted(rig: &mut Rig) {
    rig.init();
    let at = rig.alloc(1000);
    let data = Tail::Arena(rig.stage(0, &[1; 600]));
    rig.post(MemcpyHtoD { dst: at, stream: DEFAULT, data });
    rig.upload(at, DEFAULT, &[2; 32]);
    rig.download(at, 100, DEFAULT);
    let stats = rig.call(Stats {}).unwrap();
    assert_eq!(stats.commands, rig.worker.position());
    assert_eq!((stats.htod_bytes, stats.dtoh_bytes), (632, 100));
    assert!(stats.allocated_bytes >= 1000 && stats.launches == 0);
}

pub(super) fn giant_tails_are_refused_without_giant_buffers(rig: &mut Rig) {
    rig.init();
    let kernel = rig.kernel("copy");
    let giant = ArenaRef::new(0, 0, 1 << 20).unwrap();
    let params = Tail::Arena(giant);
    rig.post_fails(super::rig::launch(kernel.id, DEFAULT, params), Status::INVALID_VALUE);
    let module = rig.module();
    let (function, layout) = (FunctionId(5000), giant);
    let lookup = FunctionLookup { module, function, layout, name: Tail::Arena(giant) };
    let refused = rig.call(lookup).unwrap_err();
    assert!([Status::INVALID_VALUE, Status::NOT_FOUND].contains(&refused), "{refused}");
}

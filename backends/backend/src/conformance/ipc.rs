//! Memory and events that other processes can open. Who made a handle cannot open it, so opening is tested by programs of two
//! processes, and so are the codes of refusals, against NVIDIA's library: here it counts that something is refused.

use super::rig::Rig;
use ringbar_vocabulary::*;

/// `CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED`.
const IPC_EVENT_SUPPORTED: u32 = 125;
/// `CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS`.
const LAZY_PEER_ACCESS: u32 = 1;
/// `CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS`.
const OF_TWO_PROCESSES: u32 = 6;

fn place(rig: &Rig) -> ArenaRef {
    rig.stage(0, &[0; 64])
}

fn written(rig: &Rig, place: ArenaRef) -> [u64; 8] {
    let bytes = rig.read_arena(place);
    std::array::from_fn(|at| u64::from_le_bytes(bytes[8 * at..8 * at + 8].try_into().unwrap()))
}

fn open(handle: [u64; 8]) -> IpcMemoryOpen {
    IpcMemoryOpen { context: ContextId::FIRST, flags: LAZY_PEER_ACCESS, handle }
}

pub(super) fn an_allocation_has_a_handle_that_its_own_process_cannot_open(rig: &mut Rig) {
    rig.init();
    let (at, handle) = (rig.alloc(4 << 20), place(rig));
    rig.call(IpcMemoryHandle { at, handle }).expect("a handle");
    let words = written(rig, handle);
    assert_ne!(words, [0; 8]);
    // This process has the memory already.
    rig.refused(open(words));
    rig.upload(at, StreamId::DEFAULT, &[7; 64]);
    assert_eq!(rig.download(at, 64, StreamId::DEFAULT), [7; 64], "it is used as before");
    rig.post(MemFree { at });
    rig.wait(StreamId::DEFAULT);
    rig.no_failure();
}

pub(super) fn what_is_no_allocation_has_no_handle(rig: &mut Rig) {
    rig.init();
    let handle = place(rig);
    let at = DevicePtr(8);
    rig.refused(IpcMemoryHandle { at, handle });
    assert_eq!(written(rig, handle), [0; 8], "nothing is written");
    let (at, short) = (rig.alloc(64), rig.stage(0, &[0; 8]));
    let asked = IpcMemoryHandle { at, handle: short };
    assert_eq!(rig.call(asked), Err(Status::INVALID_VALUE), "64 bytes have no room there");
    // Nobody gave that handle out, and the memory was not opened.
    rig.refused(open([!0; 8]));
    rig.refused(IpcMemoryClose { at });
    rig.no_failure();
}

/// Whoever presents a handle gets what it names, which may be of another virtual machine.
pub(super) fn a_client_in_a_virtual_machine_gives_out_and_opens_nothing(rig: &mut Rig) {
    rig.init();
    rig.worker.comes_from(ClientOrigin::Guest);
    let (at, handle, context) = (rig.alloc(64), place(rig), ContextId::FIRST);
    let unsupported = rig.call(Stats {}).unwrap().unsupported;
    let (event, other) = (EventId(rig.id()), EventId(rig.id()));
    rig.post(EventCreate { context, event, flags: OF_TWO_PROCESSES });
    let answers = [
        rig.call(IpcMemoryHandle { at, handle }).err(),
        rig.call(open([1; 8])).err(),
        rig.call(IpcMemoryClose { at }).err(),
        rig.call(IpcEventHandle { event, handle }).err(),
        rig.call(IpcEventOpen { context, event: other, handle: [1; 8] }).err(),
    ];
    assert_eq!(answers, [Some(Status::NOT_SUPPORTED); 5]);
    assert_eq!(written(rig, handle), [0; 8]);
    assert_eq!(rig.call(Stats {}).unwrap().unsupported, unsupported + 5, "each is counted");
    assert_eq!(events_offered(rig), Some(0));
    rig.no_failure();
    rig.worker.comes_from(ClientOrigin::Host);
    rig.call(IpcMemoryHandle { at, handle }).expect("a handle for a process of the host");
}

/// What the device answers of events between processes.
fn events_offered(rig: &mut Rig) -> Option<i32> {
    let facts = ArenaRef::new(0, 0, 65_536).unwrap();
    let bytes = rig.call(DeviceFacts { device: 0, facts }).unwrap().bytes;
    let block = rig.read_arena(facts.part(0, bytes).unwrap());
    DeviceFactsBlock::from_bytes(&block).unwrap().attribute(IPC_EVENT_SUPPORTED)
}

/// A device says whether it has such events; one that has none refuses them all.
pub(super) fn events_of_two_processes_are_there_where_the_device_says_so(rig: &mut Rig) {
    rig.init();
    let offered = events_offered(rig);
    let (event, handle) = (EventId(rig.id()), place(rig));
    let context = ContextId::FIRST;
    rig.post(EventCreate { context, event, flags: OF_TWO_PROCESSES });
    let made = rig.call(IpcEventHandle { event, handle });
    let other = EventId(rig.id());
    let opened = |rig: &mut Rig, handle| rig.call(IpcEventOpen { context, event: other, handle });
    if offered == Some(1) {
        made.expect("a handle");
        let words = written(rig, handle);
        assert_ne!(words, [0; 8]);
        assert!(opened(rig, words).is_err(), "this process has the event already");
        rig.post(EventRecord {
            event,
            stream: StreamId::DEFAULT,
            flags: 0,
            index: NO_FENCE,
            value: 0,
        });
        rig.wait(StreamId::DEFAULT);
        let ordinary = rig.event();
        rig.refused(IpcEventHandle { event: ordinary, handle });
    } else {
        assert_eq!(made, Err(Status::NOT_SUPPORTED));
        assert_eq!(opened(rig, [0; 8]), Err(Status::NOT_SUPPORTED));
    }
    rig.no_failure();
}

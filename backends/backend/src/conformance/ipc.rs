//! Memory and events that other processes can open. Who made a handle cannot open it, so opening is tested by programs of two
//! processes.

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
    assert!(rig.call(open(words)).is_err(), "this process has the memory already");
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
    assert!(rig.call(IpcMemoryHandle { at, handle }).is_err());
    assert_eq!(written(rig, handle), [0; 8], "nothing is written");
    let (at, short) = (rig.alloc(64), rig.stage(0, &[0; 8]));
    let asked = IpcMemoryHandle { at, handle: short };
    assert_eq!(rig.call(asked), Err(Status::INVALID_VALUE), "64 bytes have no room there");
    assert!(rig.call(open([!0; 8])).is_err(), "nobody gave that handle out");
    assert!(rig.call(IpcMemoryClose { at }).is_err(), "it was not opened");
    rig.no_failure();
}

/// A device says whether it has such events; one that has none refuses them all.
pub(super) fn events_of_two_processes_are_there_where_the_device_says_so(rig: &mut Rig) {
    rig.init();
    let facts = ArenaRef::new(0, 0, 65_536).unwrap();
    let bytes = rig.call(DeviceFacts { device: 0, facts }).unwrap().bytes;
    let block = rig.read_arena(facts.part(0, bytes).unwrap());
    let offered = DeviceFactsBlock::from_bytes(&block).unwrap().attribute(IPC_EVENT_SUPPORTED);
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
        assert!(rig.call(IpcEventHandle { event: ordinary, handle }).is_err());
    } else {
        assert_eq!(made, Err(Status::NOT_SUPPORTED));
        assert_eq!(opened(rig, [0; 8]), Err(Status::NOT_SUPPORTED));
    }
    rig.no_failure();
}

//! Memory in stream order, pools, reserved addresses with mapped physical memory.

use super::rig::{DEFAULT, Rig, pattern};
use ringbar_vocabulary::*;

const THRESHOLD: u32 = 4;
const RESERVED: u32 = 5;
const USED: u32 = 7;
const READ_WRITE: u32 = 3;

fn used(rig: &mut Rig, pool: PoolId, attribute: u32) -> u64 {
    rig.call(PoolGetAttribute { pool, attribute }).expect("an attribute").value
}

pub(super) fn memory_is_allocated_and_freed_in_stream_order(rig: &mut Rig) {
    rig.init();
    let stream = rig.stream();
    for round in 0..10u8 {
        let ask = MemAllocAsync { pool: PoolId::CURRENT, bytes: 100_000, stream };
        let at = rig.call(ask).expect("memory").at;
        rig.post(MemsetD8 { dst: at, count: 100_000, stream, value: round });
        let from = rig.start_download(at, 64, stream);
        rig.post(MemFreeAsync { at, stream });
        rig.wait(stream);
        assert_eq!(rig.read_arena(from), [round; 64]);
    }
    rig.no_failure();
    let ask = MemAllocAsync { pool: PoolId::CURRENT, bytes: 0, stream };
    assert_eq!(rig.call(ask), Ok(MemAllocAsyncReply { at: DevicePtr(0) }), "nothing is no error");
    rig.post_fails(MemFreeAsync { at: DevicePtr(8), stream }, Status::INVALID_VALUE);
}

pub(super) fn a_pool_counts_what_is_used_and_keeps_what_it_may(rig: &mut Rig) {
    rig.init();
    let pool = PoolId(rig.id());
    rig.call(PoolCreate { pool, device: 0, max_bytes: 0 }).expect("a pool");
    let value = 1 << 30;
    rig.call(PoolSetAttribute { pool, attribute: THRESHOLD, value }).expect("a threshold");
    assert_eq!(used(rig, pool, THRESHOLD), value);
    let ask = MemAllocAsync { pool, bytes: 1 << 20, stream: DEFAULT };
    let at = rig.call(ask).expect("memory").at;
    assert!(used(rig, pool, USED) >= 1 << 20);
    rig.post(MemFreeAsync { at, stream: DEFAULT });
    rig.wait(DEFAULT);
    assert_eq!(used(rig, pool, USED), 0);
    assert!(used(rig, pool, RESERVED) >= 1 << 20, "kept below the threshold");
    let kept = used(rig, pool, RESERVED);
    rig.call(PoolTrim { pool, keep_bytes: 0 }).expect("it is trimmed");
    // A driver gives back what it knows to be unused, which may be nothing yet.
    assert!(used(rig, pool, RESERVED) <= kept);
    rig.no_failure();
    rig.post(PoolDestroy { pool });
    assert!(rig.call(PoolTrim { pool, keep_bytes: 0 }).is_err(), "it is gone");
}

pub(super) fn a_devices_pool_can_be_changed_and_its_own_access_not(rig: &mut Rig) {
    rig.init();
    let pool = PoolId(rig.id());
    rig.call(PoolCreate { pool, device: 0, max_bytes: 0 }).expect("a pool");
    rig.call(DeviceSetPool { device: 0, pool }).expect("it is current");
    let ask = MemAllocAsync { pool: PoolId::CURRENT, bytes: 4096, stream: DEFAULT };
    let at = rig.call(ask).expect("memory").at;
    assert!(used(rig, pool, USED) >= 4096);
    let access = PoolAccess { pool, device: 0, set: 0, flags: 0 };
    assert_eq!(rig.call(access).map(|reply| reply.flags), Ok(READ_WRITE));
    assert!(rig.call(PoolAccess { set: 1, ..access }).is_err(), "its own device keeps it");
    rig.post(MemFreeAsync { at, stream: DEFAULT });
    rig.wait(DEFAULT);
    rig.no_failure();
}

/// Physical memory of one unit, mapped with access at the start of reserved addresses of two.
struct Mapped {
    at: DevicePtr,
    unit: u64,
    memory: MemoryId,
}

fn map(rig: &mut Rig) -> Mapped {
    rig.init();
    let unit = rig.call(PhysicalGranularity { device: 0, option: 0 }).expect("a unit").bytes;
    let reserve = AddressReserve { bytes: 2 * unit, align: 0, near: DevicePtr(0) };
    let at = rig.call(reserve).expect("addresses").at;
    let memory = MemoryId(rig.id());
    let create = PhysicalCreate { memory, device: 0, bytes: unit, flags: 0 };
    rig.call(create).expect("memory");
    rig.call(MemMap { at, bytes: unit, offset: 0, memory }).expect("a mapping");
    let access = MemSetAccess { at, bytes: unit, device: 0, flags: READ_WRITE };
    rig.call(access).expect("access");
    Mapped { at, unit, memory }
}

pub(super) fn mapped_memory_is_used_like_any_other(rig: &mut Rig) {
    let Mapped { at, unit, .. } = map(rig);
    let bytes = pattern(1000, 3);
    let end = at.offset(unit - 1000);
    rig.upload(end, DEFAULT, &bytes);
    assert_eq!(rig.download(end, 1000, DEFAULT), bytes);
    let flags = rig.call(MemGetAccess { at: end, device: 0 }).expect("an answer").flags;
    assert_eq!(flags, u64::from(READ_WRITE));
    rig.no_failure();
    let data = Tail::Inline(&bytes);
    let dst = end.offset(1);
    rig.post_fails(MemcpyHtoD { dst, stream: DEFAULT, data }, Status::INVALID_VALUE);
}

pub(super) fn physical_memory_keeps_its_bytes_from_mapping_to_mapping(rig: &mut Rig) {
    let Mapped { at, unit, memory } = map(rig);
    let bytes = pattern(4096, 4);
    rig.upload(at, DEFAULT, &bytes);
    rig.wait(DEFAULT);
    let whole = 2 * unit;
    assert!(rig.call(AddressFree { at, bytes: whole }).is_err(), "something is mapped there");
    rig.call(MemUnmap { at, bytes: unit }).expect("it is unmapped");
    let second = at.offset(unit);
    rig.call(MemMap { at: second, bytes: unit, offset: 0, memory }).expect("mapped elsewhere");
    let flags = READ_WRITE;
    rig.call(MemSetAccess { at: second, bytes: unit, device: 0, flags }).expect("access");
    assert_eq!(rig.download(second, 4096, DEFAULT), bytes);
    rig.no_failure();
    rig.call(PhysicalRelease { memory }).expect("released while it is mapped");
    assert_eq!(rig.download(second, 4096, DEFAULT), bytes);
    rig.call(MemUnmap { at: second, bytes: unit }).expect("it is unmapped");
    rig.call(AddressFree { at, bytes: whole }).expect("the addresses are given back");
    assert!(rig.call(PhysicalRelease { memory }).is_err(), "it is gone");
}

pub(super) fn sizes_that_are_no_whole_units_are_refused(rig: &mut Rig) {
    let Mapped { unit, .. } = map(rig);
    let memory = MemoryId(rig.id());
    let create = PhysicalCreate { memory, device: 0, bytes: unit / 2 + 1, flags: 0 };
    assert_eq!(rig.call(create), Err(Status::INVALID_VALUE));
    let create = PhysicalCreate { bytes: unit, device: 1 << 20, ..create };
    assert_eq!(rig.call(create), Err(Status::INVALID_DEVICE));
}

//! Contexts: what is theirs, and what ends with them.

use super::rig::{DEFAULT, Rig};
use ringbar_vocabulary::*;

const CREATED: ContextId = ContextId(1030);

fn create(rig: &mut Rig) {
    rig.init();
    rig.call(ContextCreate { context: CREATED, device: 0, flags: 0 }).expect("a context");
}

pub(super) fn a_created_context_has_streams_and_memory_of_its_own(rig: &mut Rig) {
    create(rig);
    let at = rig.call(MemAlloc { context: CREATED, bytes: 4096 }).expect("memory").at;
    let stream = StreamId(rig.id());
    rig.post(StreamCreate { context: CREATED, stream, flags: 0, priority: 0 });
    rig.post(MemsetD8 { dst: at, count: 4096, stream, value: 3 });
    let default = CREATED.default_stream();
    rig.post(MemsetD8 { dst: at, count: 8, stream: default, value: 4 });
    let expected = [&[4; 8][..], &[3; 56]].concat();
    assert_eq!(rig.download(at, 64, default), expected);
    rig.no_failure();
    rig.call(ContextDestroy { context: CREATED }).expect("it is destroyed");
    rig.post_fails(Fence { stream, index: 0, value: 99 }, Status::INVALID_HANDLE);
    rig.post_fails(Fence { stream: default, index: 0, value: 99 }, Status::INVALID_HANDLE);
    assert_eq!(rig.call(MemAlloc { context: CREATED, bytes: 1 }), Err(Status::INVALID_CONTEXT));
}

pub(super) fn a_context_that_does_not_exist_is_refused(rig: &mut Rig) {
    rig.init();
    let context = ContextId(5000);
    assert_eq!(rig.call(MemAlloc { context, bytes: 64 }), Err(Status::INVALID_CONTEXT));
    assert_eq!(rig.call(ContextDestroy { context }), Err(Status::INVALID_CONTEXT));
    let device = 1 << 20;
    assert_eq!(rig.call(ContextCreate { context, device, flags: 0 }), Err(Status::INVALID_DEVICE));
}

pub(super) fn resetting_a_primary_context_ends_what_it_had_and_it_lives_on(rig: &mut Rig) {
    rig.init();
    rig.call(PrimaryContextRetain { device: 0, flags: 0 }).expect("it is live");
    let (stream, module) = (rig.stream(), rig.module());
    rig.alloc(1 << 20);
    rig.call(PrimaryContextReset { device: 0 }).expect("it is reset");
    rig.post_fails(Fence { stream, index: 0, value: 99 }, Status::INVALID_HANDLE);
    rig.post_fails(ModuleUnload { module }, Status::INVALID_HANDLE);
    rig.call(PrimaryContextRetain { device: 0, flags: 0 }).expect("it is live again");
    let at = rig.alloc(64);
    rig.upload(at, DEFAULT, &[5; 64]);
    assert_eq!(rig.download(at, 64, DEFAULT), [5; 64]);
}

pub(super) fn limits_are_read_and_set(rig: &mut Rig) {
    rig.init();
    let (context, limit) = (ContextId::FIRST, 0);
    let before = rig.call(ContextGetLimit { context, limit }).expect("a limit").value;
    let value = before + 4096;
    rig.call(ContextSetLimit { context, limit, value }).expect("it can be set");
    assert!(rig.call(ContextGetLimit { context, limit }).expect("a limit").value >= value);
    let unknown = ContextGetLimit { context, limit: 999 };
    assert!(rig.call(unknown).is_err(), "no such limit");
}

pub(super) fn flags_of_a_live_context_are_set(rig: &mut Rig) {
    create(rig);
    const LMEM_RESIZE_TO_MAX: u32 = 0x10;
    for context in [ContextId::FIRST, CREATED] {
        for flags in [LMEM_RESIZE_TO_MAX, 0] {
            rig.call(ContextSetFlags { context, flags }).expect("it can be set");
        }
        let unknown = ContextSetFlags { context, flags: 1 << 20 };
        assert_eq!(rig.call(unknown), Err(Status::INVALID_VALUE));
    }
    let nowhere = ContextSetFlags { context: ContextId(900), flags: 0 };
    assert!(rig.call(nowhere).is_err());
}

pub(super) fn the_cache_of_a_context_is_reset_and_textures_have_a_width(rig: &mut Rig) {
    rig.init();
    rig.call(ContextResetL2 { context: ContextId::FIRST }).expect("it is reset");
    assert!(rig.call(ContextResetL2 { context: ContextId(900) }).is_err());
    // Floats, four of them.
    let ask = DeviceTextureWidth { device: 0, format: 0x20, channels: 4 };
    assert!(rig.call(ask).expect("a width").elements >= 1 << 16);
    assert!(rig.call(DeviceTextureWidth { device: 900, ..ask }).is_err());
}

/// Access to the memory of a context was enabled before, was never enabled, and is not possible.
const ALREADY_ENABLED: Status = Status(704);
const NOT_ENABLED: Status = Status(705);
const UNSUPPORTED: Status = Status(217);
/// `CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED`.
const ACCESS_SUPPORTED: u32 = 2;

fn can_access(rig: &mut Rig, device: u32, peer: u32) -> bool {
    let ask = DevicePeerQuery { device, peer, attribute: CAN_ACCESS_PEER };
    let value = rig.call(ask).expect("an answer").value;
    assert!((0..=1).contains(&value), "{value}");
    value == 1
}

pub(super) fn what_devices_can_do_with_each_other_is_told(rig: &mut Rig) {
    let count = rig.init().device_count;
    assert!(!can_access(rig, 0, 0), "a device is no peer of itself");
    let alone = DevicePeerQuery { device: 0, peer: 0, attribute: ACCESS_SUPPORTED };
    assert_eq!(rig.call(alone), Err(Status::INVALID_DEVICE));
    for (device, peer) in [(0, count), (count, 0)] {
        let ask = DevicePeerQuery { device, peer, attribute: CAN_ACCESS_PEER };
        assert_eq!(rig.call(ask), Err(Status::INVALID_DEVICE));
    }
    for peer in 1..count {
        let ask = DevicePeerQuery { device: 0, peer, attribute: ACCESS_SUPPORTED };
        let supported = rig.call(ask).expect("an answer").value == 1;
        assert_eq!(supported, can_access(rig, 0, peer), "two names of one fact");
        let unknown = DevicePeerQuery { attribute: 9999, ..ask };
        assert_eq!(rig.call(unknown), Err(Status::INVALID_VALUE));
    }
}

pub(super) fn a_context_reaches_another_devices_memory_once_it_may(rig: &mut Rig) {
    let count = rig.init().device_count;
    let context = ContextId::FIRST;
    let own = ContextPeerAccess { context, peer: context, enable: 1 };
    assert!(rig.call(own).is_err(), "a context is no peer of itself");
    let nobody = ContextPeerAccess { peer: ContextId(5000), ..own };
    assert_eq!(rig.call(nobody), Err(Status::INVALID_CONTEXT));
    // More is promised where there is more than one device.
    for device in 1..count.min(3) {
        rig.call(PrimaryContextRetain { device, flags: 0 }).expect("it is live");
        let enable = ContextPeerAccess { context, peer: ContextId(device), enable: 1 };
        let disable = ContextPeerAccess { enable: 0, ..enable };
        if !can_access(rig, 0, device) {
            assert_eq!(rig.call(enable), Err(UNSUPPORTED));
            continue;
        }
        assert_eq!(rig.call(disable), Err(NOT_ENABLED));
        rig.call(enable).expect("it may");
        assert_eq!(rig.call(enable), Err(ALREADY_ENABLED));
        let far = rig.call(MemAlloc { context: ContextId(device), bytes: 64 }).expect("memory").at;
        let near = rig.alloc(64);
        rig.upload(near, DEFAULT, &[device as u8; 64]);
        rig.post(MemcpyDtoD { dst: far, src: near, bytes: 64, stream: DEFAULT });
        assert_eq!(rig.download(far, 64, DEFAULT), [device as u8; 64]);
        rig.call(disable).expect("it was enabled");
        assert_eq!(rig.call(disable), Err(NOT_ENABLED));
    }
    rig.no_failure();
}

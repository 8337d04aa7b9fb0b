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

pub(super) fn the_cache_of_a_context_is_reset_and_textures_have_a_width(rig: &mut Rig) {
    rig.init();
    rig.call(ContextResetL2 { context: ContextId::FIRST }).expect("it is reset");
    assert!(rig.call(ContextResetL2 { context: ContextId(900) }).is_err());
    // Floats, four of them.
    let ask = DeviceTextureWidth { device: 0, format: 0x20, channels: 4 };
    assert!(rig.call(ask).expect("a width").elements >= 1 << 16);
    assert!(rig.call(DeviceTextureWidth { device: 900, ..ask }).is_err());
}

//! Memory, streams and events of the library over the mock.

mod common;

use ringbar::sync::{AtomicU32, Ordering::SeqCst};
use ringbar_shim_cuda::arg::{In, Out};
use ringbar_shim_cuda::context::*;
use ringbar_shim_cuda::event::*;
use ringbar_shim_cuda::handles::Handle;
use ringbar_shim_cuda::host_function::*;
use ringbar_shim_cuda::memop::*;
use ringbar_shim_cuda::memory::advice::*;
use ringbar_shim_cuda::memory::alloc::*;
use ringbar_shim_cuda::memory::attributes::*;
use ringbar_shim_cuda::memory::copy::*;
use ringbar_shim_cuda::memory::memset::*;
use ringbar_shim_cuda::memory::pinned::*;
use ringbar_shim_cuda::memory::plan::*;
use ringbar_shim_cuda::memory::pool::*;
use ringbar_shim_cuda::memory::rect::*;
use ringbar_shim_cuda::memory::vmm::*;
use ringbar_shim_cuda::stream::*;
use std::ffi::c_void;

/// Calls a C function with arguments that are valid for it.
macro_rules! call {
    ($function:ident ( $($argument:expr),* )) => {
        // SAFETY: every pointer that this test passes lives through the call and is large enough.
        unsafe { $function($($argument),*) }
    };
}

const INVALID_VALUE: u32 = 1;
const INVALID_HANDLE: u32 = 400;
const NONE: Handle = Handle::NULL;

/// The session, and the primary context of device 0 on this thread.
fn start() {
    common::start();
    let mut context = NONE;
    assert_eq!(call!(cuDevicePrimaryCtxRetain(Out::to(&mut context), 0)), 0);
    assert_eq!(call!(cuCtxSetCurrent(context)), 0);
}

fn alloc(bytes: usize) -> u64 {
    let mut at = 0;
    assert_eq!(call!(cuMemAlloc_v2(Out::to(&mut at), bytes)), 0);
    at
}

fn pinned(bytes: usize) -> usize {
    let mut at = 0;
    assert_eq!(call!(cuMemHostAlloc(Out::to(&mut at), bytes, 0)), 0);
    at
}

fn stream(flags: u32) -> Handle {
    let mut stream = NONE;
    assert_eq!(call!(cuStreamCreate(Out::to(&mut stream), flags)), 0);
    stream
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) ^ (i >> 8) ^ seed) as u8).collect()
}

fn address(bytes: &[u8]) -> usize {
    bytes.as_ptr().expose_provenance()
}

fn address_mut(bytes: &mut [u8]) -> usize {
    bytes.as_mut_ptr().expose_provenance()
}

#[test]
fn bytes_go_to_the_device_and_come_back_by_every_way() {
    start();
    let bytes = 3 << 20;
    let (at, other, host) = (alloc(bytes), alloc(bytes), pinned(bytes));
    let sent = pattern(bytes, 1);
    let mut back = vec![0; bytes];
    assert_eq!(call!(cuMemcpyHtoD_v2(at, address(&sent), bytes)), 0);
    assert_eq!(call!(cuMemcpyDtoD_v2(other, at, bytes)), 0);
    assert_eq!(call!(cuMemcpyDtoH_v2(host, other, bytes)), 0);
    assert_eq!(call!(cuMemcpy(address_mut(&mut back) as u64, host as u64, bytes)), 0);
    assert!(back == sent, "through the device and pinned memory");
    let again = pattern(bytes, 2);
    assert_eq!(call!(cuMemcpy(host as u64, address(&again) as u64, bytes)), 0);
    assert_eq!(call!(cuMemcpyAsync(at, host as u64, bytes, NONE)), 0);
    assert_eq!(call!(cuMemcpyDtoHAsync_v2(address_mut(&mut back), at, bytes, NONE)), 0);
    assert!(back == again, "an asynchronous copy to pageable memory is done when it returns");
    for freed in [at, other] {
        assert_eq!(call!(cuMemFree_v2(freed)), 0);
    }
    assert_eq!(call!(cuMemFreeHost(host)), 0);
    assert_eq!(call!(cuCtxSynchronize()), 0);
}

#[test]
fn wrong_addresses_and_sizes_answer_as_cuda_says() {
    start();
    let at = alloc(1000);
    let mut byte = [0_u8; 2048];
    let host = address_mut(&mut byte);
    let mut place = 0;
    assert_eq!(call!(cuMemAlloc_v2(Out::to(&mut place), 0)), INVALID_VALUE);
    assert_eq!(call!(cuMemAlloc_v2(Out::null(), 8)), INVALID_VALUE);
    assert_eq!(call!(cuMemcpyHtoD_v2(at, host, 1001)), INVALID_VALUE);
    assert_eq!(call!(cuMemcpyHtoD_v2(host as u64, host, 8)), INVALID_VALUE);
    assert_eq!(call!(cuMemcpyDtoH_v2(host, host as u64, 8)), INVALID_VALUE);
    assert_eq!(call!(cuMemcpyHtoD_v2(0, host, 0)), 0, "nothing is copied anywhere");
    assert_eq!(call!(cuMemsetD32_v2(at + 2, 0, 1)), INVALID_VALUE);
    assert_eq!(call!(cuMemsetD8_v2(at, 0, 1001)), INVALID_VALUE);
    assert_eq!(call!(cuMemFree_v2(at + 8)), INVALID_VALUE);
    assert_eq!(call!(cuMemFree_v2(0)), 0);
    assert_eq!(call!(cuMemFree_v2(at)), 0);
    assert_eq!(call!(cuMemFree_v2(at)), INVALID_VALUE, "it was freed");
    assert_eq!(call!(cuMemFreeHost(host)), INVALID_VALUE);
    assert_eq!(call!(cuCtxSynchronize()), 0, "nothing of this reached the executor");
}

#[test]
fn fills_are_what_they_say() {
    start();
    let at = alloc(64);
    let mut back = [0xee_u8; 64];
    assert_eq!(call!(cuMemsetD8_v2(at, 1, 64)), 0);
    assert_eq!(call!(cuMemsetD16_v2(at + 8, 0x0203, 2)), 0);
    assert_eq!(call!(cuMemsetD32Async(at + 16, 0x0405_0607, 1, NONE)), 0);
    assert_eq!(call!(cuMemcpyDtoH_v2(address_mut(&mut back), at, 64)), 0);
    let mut expected = [1; 64];
    expected[8..12].copy_from_slice(&[3, 2, 3, 2]);
    expected[16..20].copy_from_slice(&[7, 6, 5, 4]);
    assert_eq!(back, expected);
}

#[test]
fn pointers_are_known_for_what_they_are() {
    start();
    let (at, host) = (alloc(1000), pinned(1000) as u64);
    let ask = |attribute, pointer| {
        let mut value = 0_u64;
        let place = (&raw mut value).cast();
        let answer = call!(cuPointerGetAttribute(place, attribute, pointer));
        (answer, value)
    };
    assert_eq!(ask(2, at + 999), (0, 2));
    assert_eq!(ask(2, host), (0, 1));
    assert_eq!(ask(3, host + 5), (0, host + 5), "the device reaches it at the same address");
    assert_eq!(ask(2, at + 1000).0, INVALID_VALUE);
    assert_eq!(ask(99, at).0, INVALID_VALUE);
    assert_eq!((ask(11, at + 7), ask(12, at + 7)), ((0, at), (0, 1000)));
    let mut own = [0_u8; 100];
    let own = address_mut(&mut own);
    assert_eq!(ask(2, own as u64).0, INVALID_VALUE);
    assert_eq!(call!(cuMemHostRegister_v2(own, 100, 0)), 0);
    assert_eq!(ask(2, own as u64 + 99), (0, 1));
    assert_eq!(call!(cuMemHostRegister_v2(own + 50, 100, 0)), 712, "some of it is registered");
    assert_eq!(call!(cuMemHostUnregister(own)), 0);
    assert_eq!(call!(cuMemHostUnregister(own)), 713);
    let (mut base, mut bytes) = (0, 0);
    let (to_base, to_bytes) = (Out::to(&mut base), Out::to(&mut bytes));
    assert_eq!(call!(cuMemGetAddressRange_v2(to_base, to_bytes, at + 3)), 0);
    assert_eq!((base, bytes), (at, 1000));
    assert_eq!(call!(cuMemGetAddressRange_v2(to_base, to_bytes, 12)), 500);
}

#[test]
fn streams_are_found_by_their_handle_until_they_are_destroyed() {
    start();
    let handle = stream(1);
    let (mut flags, mut priority, mut context) = (9, 9, NONE);
    assert_eq!(call!(cuStreamGetFlags(handle, Out::to(&mut flags))), 0);
    assert_eq!(call!(cuStreamGetPriority(handle, Out::to(&mut priority))), 0);
    assert_eq!(call!(cuStreamGetCtx(handle, Out::to(&mut context))), 0);
    assert_eq!((flags, priority), (1, 0));
    let mut current = NONE;
    assert_eq!(call!(cuCtxGetCurrent(Out::to(&mut current))), 0);
    assert_eq!(context, current);
    assert_eq!(call!(cuStreamSynchronize(handle)), 0);
    assert_eq!(call!(cuStreamQuery(handle)), 0);
    assert_eq!(call!(cuStreamDestroy_v2(handle)), 0);
    assert_eq!(call!(cuStreamDestroy_v2(handle)), INVALID_HANDLE);
    assert_eq!(call!(cuStreamQuery(handle)), INVALID_HANDLE);
    for garbage in [3, 0xdead_beef, usize::MAX] {
        assert_eq!(call!(cuStreamSynchronize(Handle(garbage))), INVALID_HANDLE);
    }
    let mut place = NONE;
    assert_eq!(call!(cuStreamCreate(Out::to(&mut place), 2)), INVALID_VALUE);
}

#[test]
fn a_threads_own_default_stream_is_one_stream_a_thread() {
    start();
    let id = |stream: usize| {
        let mut id = 0;
        assert_eq!(call!(cuStreamGetId_ptsz(Handle(stream), Out::to(&mut id))), 0);
        id
    };
    let (own, legacy) = (id(0), id(1));
    assert_eq!((own, own), (id(2), id(0)));
    assert_ne!(own, legacy);
    let other = std::thread::spawn(move || {
        start();
        id(0)
    });
    assert_ne!(other.join().expect("no panic"), own);
    assert_eq!(call!(cuStreamSynchronize(Handle(2))), 0);
}

#[test]
fn an_event_is_complete_when_its_stream_got_there() {
    start();
    let (handle, at, mut event) = (stream(1), alloc(1 << 20), NONE);
    assert_eq!(call!(cuEventCreate(Out::to(&mut event), 0)), 0);
    assert_eq!(call!(cuEventQuery(event)), 0, "an event without a record is complete");
    assert_eq!(call!(cuMemsetD8Async(at, 1, 1 << 20, handle)), 0);
    assert_eq!(call!(cuEventRecord(event, handle)), 0);
    assert_eq!(call!(cuStreamWaitEvent(NONE, event, 0)), 0);
    assert_eq!(call!(cuEventSynchronize(event)), 0);
    assert_eq!(call!(cuEventQuery(event)), 0);
    assert_eq!(call!(cuStreamDestroy_v2(handle)), 0);
    assert_eq!(call!(cuEventQuery(event)), 0, "also when its stream is gone");
    assert_eq!(call!(cuEventDestroy_v2(event)), 0);
    assert_eq!(call!(cuEventQuery(event)), INVALID_HANDLE);
    assert_eq!(call!(cuEventDestroy_v2(event)), INVALID_HANDLE);
    assert_eq!(call!(cuEventCreate(Out::to(&mut event), 64)), INVALID_VALUE);
    assert_eq!(call!(cuCtxSynchronize()), 0);
}

#[test]
fn an_event_of_a_context_is_behind_the_work_of_all_its_streams() {
    start();
    let (handle, at, mut event) = (stream(1), alloc(1 << 20), NONE);
    assert_eq!(call!(cuEventCreate(Out::to(&mut event), 2)), 0);
    assert_eq!(call!(cuMemsetD8Async(at, 7, 1 << 20, handle)), 0);
    assert_eq!(call!(cuCtxRecordEvent(NONE, event)), 0);
    let mut context = NONE;
    assert_eq!(call!(cuCtxGetCurrent(Out::to(&mut context))), 0);
    assert_eq!(call!(cuCtxWaitEvent(context, event)), 0);
    assert_eq!(call!(cuEventSynchronize(event)), 0);
    let mut bytes = [0_u8; 16];
    assert_eq!(call!(cuMemcpyDtoH_v2(address_mut(&mut bytes), at, 16)), 0);
    assert_eq!(bytes, [7; 16], "the event was behind the fill of the other stream");
    assert_eq!(call!(cuStreamSynchronize(handle)), 0);
    assert_eq!(call!(cuCtxRecordEvent(Handle(3), event)), 201);
    assert_eq!(call!(cuMemFree_v2(at)), 0);
}

#[test]
fn boxes_go_row_by_row_and_leave_the_gaps_alone() {
    start();
    let (width, height, pitch) = (100, 37, 128);
    let at = alloc(pitch * height);
    assert_eq!(call!(cuMemsetD8_v2(at, 0xaa, pitch * height)), 0);
    let sent = pattern(200 * height, 4);
    let host = |address| Side2D { memory_type: 1, host: address, pitch: 200, ..Side2D::default() };
    let device = Side2D { memory_type: 2, device: at, pitch, ..Side2D::default() };
    let there =
        CUDA_MEMCPY2D { src: host(address(&sent)), dst: device, width_bytes: width, height };
    assert_eq!(call!(cuMemcpy2D_v2(In::from(&there))), 0);
    let mut whole = vec![0; pitch * height];
    assert_eq!(call!(cuMemcpyDtoH_v2(address_mut(&mut whole), at, pitch * height)), 0);
    for (row, found) in whole.chunks(pitch).enumerate() {
        assert_eq!(found[..width], sent[row * 200..row * 200 + width]);
        assert!(found[width..].iter().all(|byte| *byte == 0xaa));
    }
    let mut back = vec![7; 200 * height];
    let to = host(address_mut(&mut back));
    let here = CUDA_MEMCPY2D { src: device, dst: to, width_bytes: width, height };
    assert_eq!(call!(cuMemcpy2DAsync_v2(In::from(&here), NONE)), 0);
    for (found, sent) in back.chunks(200).zip(sent.chunks(200)) {
        assert_eq!(found[..width], sent[..width]);
        assert!(found[width..].iter().all(|byte| *byte == 7));
    }
}

#[test]
fn a_host_function_runs_between_the_work_before_and_behind_it() {
    start();
    let (handle, host) = (stream(1), pinned(4096));
    let flag: &AtomicU32 = {
        let place: *mut u32 = std::ptr::with_exposed_provenance_mut(host);
        // SAFETY: the pinned block lives to the end of the test, and everyone uses these bytes as an atomic.
        unsafe { AtomicU32::from_ptr(place) }
    };
    unsafe extern "C" fn note(data: *mut c_void) {
        // SAFETY: it is called with the flag.
        let flag = unsafe { AtomicU32::from_ptr(data.cast()) };
        let _ = flag.compare_exchange(1, 2, SeqCst, SeqCst);
    }
    let data = flag.as_ptr().cast();
    assert_eq!(call!(cuMemsetD32Async(host as u64, 1, 1, handle)), 0);
    assert_eq!(call!(cuLaunchHostFunc(handle, Some(note), data)), 0);
    assert_eq!(call!(cuMemcpyDtoDAsync_v2(host as u64 + 64, host as u64, 4, handle)), 0);
    assert_eq!(call!(cuStreamSynchronize(handle)), 0);
    let mut copied = 0_u32;
    let place = (&raw mut copied).expose_provenance();
    assert_eq!(call!(cuMemcpy(place as u64, host as u64 + 64, 4)), 0);
    assert_eq!((flag.load(SeqCst), copied), (2, 2));
    assert_eq!(call!(cuLaunchHostFunc(handle, None, data)), INVALID_VALUE);
    assert_eq!(call!(cuMemFreeHost(host)), 0);
}

#[test]
fn a_stream_waits_for_a_value_and_others_copy_meanwhile() {
    start();
    let (waiting, working, host) = (stream(1), stream(1), pinned(4096) as u64);
    let bytes = 16 << 20;
    let (at, other) = (alloc(bytes), alloc(bytes));
    let zeros = [0_u8; 64];
    assert_eq!(call!(cuMemcpy(host, address(&zeros) as u64, 64)), 0);
    assert_eq!(call!(cuStreamWaitValue32_v2(waiting, host, 1, 0)), 0);
    // More than the staging area holds, in a stream that the copies below must release.
    let blocked = std::thread::spawn(move || {
        start();
        let sent = pattern(bytes, 1);
        assert_eq!(call!(cuMemcpyHtoDAsync_v2(at, address(&sent), bytes, waiting)), 0);
        let mut back = vec![0; bytes];
        assert_eq!(call!(cuMemcpyDtoHAsync_v2(address_mut(&mut back), at, bytes, waiting)), 0);
        assert!(back == sent);
    });
    let sent = pattern(bytes, 2);
    let mut back = vec![0; bytes];
    assert_eq!(call!(cuMemcpyHtoDAsync_v2(other, address(&sent), bytes, working)), 0);
    assert_eq!(call!(cuMemcpyDtoHAsync_v2(address_mut(&mut back), other, bytes, working)), 0);
    assert!(back == sent);
    assert_eq!(call!(cuStreamQuery(waiting)), 600, "nobody wrote the value");
    assert_eq!(call!(cuStreamWriteValue32_v2(working, host, 1, 0)), 0);
    blocked.join().expect("no panic");
    assert_eq!(call!(cuStreamWriteValue32_v2(working, host + 2, 1, 0)), INVALID_VALUE);
    assert_eq!(call!(cuStreamWriteValue64_v2(working, 64, 1, 0)), INVALID_VALUE);
}

#[test]
fn memory_of_a_pool_comes_and_goes_in_stream_order() {
    start();
    let handle = stream(1);
    let (mut default, mut current, mut at) = (NONE, NONE, 0);
    assert_eq!(call!(cuDeviceGetDefaultMemPool(Out::to(&mut default), 0)), 0);
    assert_eq!(call!(cuDeviceGetMemPool(Out::to(&mut current), 0)), 0);
    assert_eq!(default, current);
    let sent = pattern(1 << 16, 3);
    assert_eq!(call!(cuMemAllocAsync(Out::to(&mut at), 1 << 16, handle)), 0);
    assert_eq!(call!(cuMemcpyHtoDAsync_v2(at, address(&sent), 1 << 16, handle)), 0);
    let mut back = vec![0; 1 << 16];
    assert_eq!(call!(cuMemcpyDtoHAsync_v2(address_mut(&mut back), at, 1 << 16, handle)), 0);
    assert!(back == sent);
    let mut pool = NONE;
    let place = (&raw mut pool).cast();
    assert_eq!(call!(cuPointerGetAttribute(place, 17, at + 5)), 0);
    assert_eq!(pool, default);
    assert_eq!(call!(cuMemFreeAsync(at, handle)), 0);
    assert_eq!(call!(cuMemFreeAsync(at, handle)), INVALID_VALUE, "it was freed");
    let mut threshold = 1_u64 << 20;
    let place = (&raw mut threshold).cast();
    assert_eq!(call!(cuMemPoolSetAttribute(default, 4, place)), 0);
    threshold = 0;
    let place = (&raw mut threshold).cast();
    assert_eq!(call!(cuMemPoolGetAttribute(default, 4, place)), 0);
    assert_eq!(threshold, 1 << 20);
    assert_eq!(call!(cuMemPoolDestroy(default)), INVALID_VALUE, "default pools stay");
    assert_eq!(call!(cuMemPoolTrimTo(Handle(7), 0)), INVALID_VALUE);
    assert_eq!(call!(cuStreamSynchronize(handle)), 0);
}

#[test]
fn physical_memory_lives_while_a_handle_or_a_mapping_of_it_does() {
    start();
    let location = CUmemLocation { kind: 1, id: 0 };
    let properties = CUmemAllocationProp::on(location);
    let mut unit = 0;
    let of = In::from(&properties);
    assert_eq!(call!(cuMemGetAllocationGranularity(Out::to(&mut unit), of, 0)), 0);
    let (mut at, mut memory, mut again) = (0, NONE, NONE);
    assert_eq!(call!(cuMemAddressReserve(Out::to(&mut at), 2 * unit, 0, 0, 0)), 0);
    assert_eq!(call!(cuMemCreate(Out::to(&mut memory), unit, of, 0)), 0);
    assert_eq!(call!(cuMemMap(at + unit as u64, unit, 0, memory, 0)), 0);
    assert_eq!(call!(cuMemMap(at + unit as u64, unit, 0, memory, 0)), INVALID_VALUE, "mapped");
    let access = CUmemAccessDesc { location, flags: 3 };
    assert_eq!(call!(cuMemSetAccess(at + unit as u64, unit, In::from(&access), 1)), 0);
    assert_eq!(call!(cuMemRelease(memory)), 0);
    assert_eq!(call!(cuMemRelease(memory)), INVALID_VALUE);
    let sent = pattern(unit, 9);
    let mut back = vec![0; unit];
    assert_eq!(call!(cuMemcpyHtoD_v2(at + unit as u64, address(&sent), unit)), 0);
    assert_eq!(call!(cuMemcpyDtoH_v2(address_mut(&mut back), at + unit as u64, unit)), 0);
    assert!(back == sent, "it lives on while it is mapped");
    assert_eq!(call!(cuMemcpyHtoD_v2(at, address(&sent), 8)), INVALID_VALUE, "nothing is there");
    let inside = (at + unit as u64 + 8) as usize;
    assert_eq!(call!(cuMemRetainAllocationHandle(Out::to(&mut again), inside)), 0);
    assert_eq!(call!(cuMemAddressFree(at, 2 * unit)), INVALID_VALUE, "it is in use");
    assert_eq!(call!(cuMemUnmap(at + unit as u64, unit)), 0);
    assert_eq!(call!(cuMemAddressFree(at, 2 * unit)), 0);
    assert_eq!(call!(cuMemRelease(again)), 0);
    assert_eq!(call!(cuMemMap(at, unit, 0, again, 0)), INVALID_VALUE, "nothing is left of it");
}

#[test]
fn batches_of_managed_memory_answer_as_for_a_device_that_cannot_use_it_beside_the_host() {
    const INVALID_DEVICE: u32 = 101;
    start();
    let (mut at, stream) = (0, stream(1));
    assert_eq!(call!(cuMemAllocManaged(Out::to(&mut at), 8192, 1)), 0);
    let place = |kind| CUmemLocation { kind, id: 0 };
    let (halves, sizes) = ([at, at + 4096], [4096_usize; 2]);
    let sizes = In::at_address(sizes.as_ptr());
    let discard = |starts: [u64; 2], flags, stream| {
        let starts = In::at_address(starts.as_ptr());
        call!(cuMemDiscardBatchAsync(starts, sizes, 2, flags, stream))
    };
    let prefetch = |places: [CUmemLocation; 2], firsts: [usize; 2], count| {
        let starts = In::at_address(halves.as_ptr());
        let (places, firsts) = (In::at_address(places.as_ptr()), In::at_address(firsts.as_ptr()));
        let both = [
            call!(cuMemPrefetchBatchAsync(starts, sizes, 2, places, firsts, count, 0, stream)),
            call!(cuMemDiscardAndPrefetchBatchAsync(
                starts, sizes, 2, places, firsts, count, 0, stream
            )),
        ];
        assert_eq!(both[0], both[1]);
        both[0]
    };
    assert_eq!(discard(halves, 0, stream), INVALID_DEVICE);
    assert_eq!(discard(halves, 1, stream), INVALID_VALUE, "no such flag");
    assert_eq!(discard(halves, 0, NONE), INVALID_VALUE, "the legacy default stream");
    assert_eq!(discard([at, at + 8192], 0, stream), INVALID_VALUE, "none of it");
    assert_eq!(prefetch([place(1), place(2)], [0, 1], 2), INVALID_DEVICE);
    assert_eq!(prefetch([place(1), place(9)], [0, 1], 2), INVALID_VALUE, "no place");
    for (firsts, count) in [([1, 2], 2), ([0, 0], 2), ([0, 2], 2), ([0, 1], 0), ([0, 1], 3)] {
        assert_eq!(prefetch([place(1); 2], firsts, count), INVALID_VALUE, "{firsts:?}, {count}");
    }
    assert_eq!(call!(cuMemFree_v2(at)), 0);
}

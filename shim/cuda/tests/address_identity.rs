//! Addresses of device memory are nothing else's in the program's process.

#[macro_use]
mod common;

use ringbar_shim_cuda::arg::Out;
use ringbar_shim_cuda::context::{cuCtxSetCurrent, cuDevicePrimaryCtxRetain};
use ringbar_shim_cuda::memory::alloc::cuMemAlloc_v2;
use ringbar_shim_cuda::memory::vmm::cuMemAddressReserve;
use ringbar_shim_cuda::types::CUcontext;

/// Where the mock has its device memory.
const DEVICE_BASE: u64 = 0x7000_0000_0000;
const BYTES: usize = 64 << 10;

/// Memory of the program's; where it is wished for, if nothing is there.
fn host_memory(near: u64) -> u64 {
    let near = std::ptr::without_provenance_mut(near as usize);
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: without MAP_FIXED nothing that is mapped is touched.
    let found = unsafe { libc::mmap(near, BYTES, access, kind, -1, 0) };
    assert_ne!(found, libc::MAP_FAILED);
    found.addr() as u64
}

fn apart(a: u64, b: u64) -> bool {
    a.abs_diff(b) >= BYTES as u64
}

#[test]
fn device_memory_never_lies_where_the_program_has_memory_nor_the_other_way_round() {
    common::start();
    let mut context = CUcontext::NULL;
    assert_eq!(c!(cuDevicePrimaryCtxRetain(Out::to(&mut context), 0)), 0);
    assert_eq!(c!(cuCtxSetCurrent(context)), 0);
    // Where the first allocations would be.
    let own = host_memory(DEVICE_BASE);
    assert_eq!(own, DEVICE_BASE, "nothing is there yet");
    let (mut at, mut reserved) = (0, 0);
    assert_eq!(c!(cuMemAlloc_v2(Out::to(&mut at), BYTES)), 0);
    assert!(apart(at, own), "{at:#x}");
    assert_eq!(c!(cuMemAddressReserve(Out::to(&mut reserved), 2 << 20, 0, 0, 0)), 0);
    for device in [at, reserved] {
        let later = host_memory(device);
        assert!(apart(later, device), "{later:#x} is device memory already");
    }
}

//! The whole way once: init, context, module, launch, synchronise.

mod common;

use ringbar_shim_cuda::arg::Out;
use ringbar_shim_cuda::device::{cuDeviceGetAttribute, cuDeviceGetCount};
use ringbar_shim_cuda::init::cuDriverGetVersion;

#[test]
fn the_driver_says_its_version() {
    common::start();
    let mut version = 0;
    // SAFETY: the place lives through the call.
    assert_eq!(unsafe { cuDriverGetVersion(Out::to(&mut version)) }, 0);
    assert!(version >= 12_000, "{version}");
}

#[test]
fn the_device_introduces_itself() {
    common::start();
    let (mut count, mut major) = (0, 0);
    // SAFETY: the place lives through the call.
    assert_eq!(unsafe { cuDeviceGetCount(Out::to(&mut count)) }, 0);
    // SAFETY: the place lives through the call.
    assert_eq!(unsafe { cuDeviceGetAttribute(Out::to(&mut major), 75, 0) }, 0);
    assert!(count >= 1 && major >= 7, "{count} {major}");
    // SAFETY: the place lives through the call.
    assert_eq!(unsafe { cuDeviceGetAttribute(Out::to(&mut major), 75, count) }, 101);
}

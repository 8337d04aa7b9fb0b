//! The whole way once: init, context, module, launch, synchronise.

mod common;

use ringbar_shim_cuda::arg::Out;
use ringbar_shim_cuda::init::cuDriverGetVersion;

#[test]
fn the_driver_says_its_version() {
    common::start();
    let mut version = 0;
    // SAFETY: the place lives through the call.
    assert_eq!(unsafe { cuDriverGetVersion(Out::to(&mut version)) }, 0);
    assert!(version >= 12_000, "{version}");
}

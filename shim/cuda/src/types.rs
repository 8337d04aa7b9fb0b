//! The C types of the driver interface, as far as this library needs to know them.
//!
//! Enumerations are plain numbers here: a value that no version of CUDA knows is data, not undefined behaviour.

use crate::handles::Handle;
use std::ffi::c_void;

/// `CUdevice`: the ordinal among the visible devices.
pub type CUdevice = i32;
/// `CUdeviceptr`: an address in device memory.
pub type CUdeviceptr = u64;
/// `CUcontext`.
pub type CUcontext = Handle;
/// `CUmodule`.
pub type CUmodule = Handle;
/// `CUlibrary`.
pub type CUlibrary = Handle;
/// `CUfunction`; a `CUkernel` may stand in its place.
pub type CUfunction = Handle;
/// `CUkernel`.
pub type CUkernel = Handle;
/// `CUstream`.
pub type CUstream = Handle;
/// `CUevent`.
pub type CUevent = Handle;
/// `CUgraph`.
pub type CUgraph = Handle;
/// `CUgraphExec`.
pub type CUgraphExec = Handle;
/// `CUgraphNode`.
pub type CUgraphNode = Handle;
/// `CUuserObject`.
pub type CUuserObject = Handle;
/// `CUmemoryPool`.
pub type CUmemoryPool = Handle;
/// `CUarray`.
pub type CUarray = Handle;
/// `CUlinkState`.
pub type CUlinkState = Handle;
/// `CUhostFn`: a function of the program that runs in stream order.
pub type CUhostFn = Option<unsafe extern "C" fn(*mut c_void)>;

/// What a null stream means to the function that was called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefaultStream {
    /// The legacy default stream of the current context.
    Legacy,
    /// The calling thread's own default stream: the `_ptsz` and `_ptds` spellings.
    PerThread,
}

/// `CUuuid`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CUuuid {
    /// Its bytes.
    pub bytes: [u8; 16],
}

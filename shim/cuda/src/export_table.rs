//! Tables of private functions, by which NVIDIA's own runtime speaks to NVIDIA's own driver. There are none here.

use crate::arg::{In, Out};
use ringbar_vocabulary::Status;
use std::ffi::c_void;
use std::sync::Once;

/// What a program is told that brings NVIDIA's runtime along.
const MESSAGE: &str = "ringbar: this program contains NVIDIA's own CUDA runtime, which needs private functions of \
NVIDIA's own driver and cannot work here.
Likely cause: it was linked with the static runtime, which is what nvcc does by default.
Try: link it again with `nvcc -cudart shared` (in CMake: CUDA_RUNTIME_LIBRARY Shared), and start it by `ringbar run`.";

entry! {
    /// Tables of private functions: there are none, so the answer is always NOT_FOUND. Only NVIDIA's runtime asks.
    free fn cuGetExportTable(table: Out<*const c_void>, id: In<[u64; 2]>) {
        static SAID: Once = Once::new();
        table.required()?.set(std::ptr::null())?;
        if id.get()? == [0; 2] {
            // No table has that name anywhere.
            return Err(Status::INVALID_VALUE.into());
        }
        SAID.call_once(|| eprintln!("{MESSAGE}"));
        Err(Status::NOT_FOUND.into())
    }
}

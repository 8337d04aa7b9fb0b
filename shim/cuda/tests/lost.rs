//! What a program sees when its executor vanishes.

#[macro_use]
mod common;

use ringbar_shim_cuda::arg::Out;
use ringbar_shim_cuda::context::{cuCtxGetCurrent, cuCtxSetCurrent, cuDevicePrimaryCtxRetain};
use ringbar_shim_cuda::error_text::cuGetErrorName;
use ringbar_shim_cuda::exports;
use ringbar_shim_cuda::memory::alloc::cuMemAlloc_v2;
use ringbar_shim_cuda::stream::cuStreamSynchronize;
use ringbar_shim_cuda::types::{CUcontext, CUstream};
use ringbar_vocabulary::Status;

#[test]
fn every_call_answers_one_error_at_once_when_the_executor_is_gone() {
    // Enough for init, the facts and the context; then the worker goes while the program allocates.
    common::start_until(|seen| seen == 40);
    let mut context = CUcontext::NULL;
    assert_eq!(c!(cuDevicePrimaryCtxRetain(Out::to(&mut context), 0)), 0);
    assert_eq!(c!(cuCtxSetCurrent(context)), 0);
    let mut at = 0;
    let codes: Vec<u32> = (0..64).map(|_| c!(cuMemAlloc_v2(Out::to(&mut at), 256))).collect();
    let lost = Status::SYSTEM_NOT_READY.0;
    let first = codes.iter().position(|code| *code != 0).expect("the worker goes");
    assert!(codes[first..].iter().all(|code| *code == lost), "{codes:?}");
    assert_eq!(c!(cuCtxGetCurrent(Out::to(&mut context))), lost, "a local call");
    assert_eq!(c!(cuStreamSynchronize(CUstream::NULL)), lost, "a wait");
    let mut name = std::ptr::null();
    assert_eq!(c!(cuGetErrorName(lost, Out::to(&mut name))), 0, "a pure function");
    let calls = exports::calls();
    assert!(calls.iter().any(|(export, count)| export.name == "cuMemAlloc_v2" && *count == 64));
    assert_eq!(common::functions_that_do_not_answer(lost), [], "functions of every class");
}

//! What a program sees when its device fails: one failure, from the first answer that tells it.

#[macro_use]
mod common;

use ringbar_shim_cuda::arg::{Out, Text};
use ringbar_shim_cuda::context::{cuCtxGetCurrent, cuCtxSetCurrent, cuDevicePrimaryCtxRetain};
use ringbar_shim_cuda::event::{cuEventCreate, cuEventQuery, cuEventRecord};
use ringbar_shim_cuda::function::cuLaunchKernel;
use ringbar_shim_cuda::handles::Handle;
use ringbar_shim_cuda::module::{cuModuleGetFunction, cuModuleLoadData};
use ringbar_shim_cuda::stream::cuStreamSynchronize;
use ringbar_vocabulary::Status;
use std::ptr::null;

#[test]
fn once_a_call_has_told_of_a_failed_device_every_other_answers_the_same() {
    let mut config = common::config();
    config.faults.fail_at_launch = Some(1);
    // This worker does not end by itself, so nothing else tells the program.
    common::start_with(config, |_| false);
    let none = Handle::NULL;
    let (mut context, mut module, mut fill, mut event) = (none, none, none, none);
    assert_eq!(c!(cuDevicePrimaryCtxRetain(Out::to(&mut context), 0)), 0);
    assert_eq!(c!(cuCtxSetCurrent(context)), 0);
    assert_eq!(c!(cuModuleLoadData(Out::to(&mut module), common::PTX.as_ptr().cast())), 0);
    let name = Text::from(c"_Z9fill_withPiii");
    assert_eq!(c!(cuModuleGetFunction(Out::to(&mut fill), module, name)), 0);
    assert_eq!(c!(cuEventCreate(Out::to(&mut event), 0)), 0);

    let (at, value, count) = (0_u64, 0_i32, 0_i32);
    let params = [(&raw const at).cast(), (&raw const value).cast(), (&raw const count).cast()];
    let launched = c!(cuLaunchKernel(fill, 1, 1, 1, 1, 1, 1, 0, none, params.as_ptr(), null()));
    assert_eq!(launched, 0, "it fails later");
    let failed = Status::LAUNCH_FAILED.0;
    assert_eq!(c!(cuStreamSynchronize(none)), failed);
    assert_eq!(c!(cuEventRecord(event, none)), failed, "a posted call");
    assert_eq!(c!(cuEventQuery(event)), failed, "a question");
    assert_eq!(c!(cuCtxGetCurrent(Out::to(&mut context))), failed, "a local call");
    assert_eq!(common::functions_that_do_not_answer(failed), [], "functions of every class");
}

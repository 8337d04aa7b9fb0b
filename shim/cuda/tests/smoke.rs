//! The whole way once: init, context, module, launch, synchronise.

#[macro_use]
mod common;

use ringbar_shim_cuda::arg::{In, Out, Text};
use ringbar_shim_cuda::context::{cuCtxGetCurrent, cuCtxSetCurrent, cuDevicePrimaryCtxRetain};
use ringbar_shim_cuda::device::{cuDeviceGetAttribute, cuDeviceGetCount, cuDeviceGetName};
use ringbar_shim_cuda::function::{
    CUlaunchAttribute, CUlaunchConfig, cuFuncGetName, cuFuncGetParamInfo, cuLaunchKernel,
    cuLaunchKernelEx,
};
use ringbar_shim_cuda::handles::Kind;
use ringbar_shim_cuda::init::cuDriverGetVersion;
use ringbar_shim_cuda::module::{
    cuLibraryGetModule, cuLibraryLoadData, cuLinkAddData_v2, cuLinkComplete, cuLinkCreate_v2,
    cuLinkDestroy, cuModuleGetFunction, cuModuleLoadData, cuModuleLoadDataEx, cuModuleUnload,
};
use ringbar_shim_cuda::session::live;
use ringbar_shim_cuda::types::{CUcontext, CUfunction, CUlinkState, CUmodule, CUstream};
use ringbar_vocabulary::{ContextId, DevicePtr, MemAlloc, StreamId};
use std::ffi::{CStr, c_void};

/// Two kernels that the mock has, with their parameters; it does not read the code.
const PTX: &CStr = c".version 8.0
.target sm_90
.address_size 64
.visible .entry fill_u32(
    .param .u64 fill_u32_param_0,
    .param .u32 fill_u32_param_1,
    .param .u64 fill_u32_param_2
)
{
    ret;
}
.visible .entry copy(
    .param .u64 copy_param_0,
    .param .u64 copy_param_1,
    .param .u64 copy_param_2
)
{
    ret;
}
";

/// A context on this thread, and a module of the mock's own kernels in it.
fn module() -> CUmodule {
    common::start();
    let mut context = CUcontext::NULL;
    assert_eq!(c!(cuDevicePrimaryCtxRetain(Out::to(&mut context), 0)), 0);
    assert_eq!(c!(cuCtxSetCurrent(context)), 0);
    let mut module = CUmodule::NULL;
    let image = PTX.as_ptr().cast();
    assert_eq!(c!(cuModuleLoadData(Out::to(&mut module), image)), 0);
    module
}

fn function(module: CUmodule, name: &'static CStr) -> Result<CUfunction, u32> {
    let mut function = CUfunction::NULL;
    match c!(cuModuleGetFunction(Out::to(&mut function), module, Text::from(name))) {
        0 => Ok(function),
        code => Err(code),
    }
}

fn memory(bytes: u64) -> DevicePtr {
    live()
        .expect("a session")
        .call(&MemAlloc { context: ContextId::FIRST, bytes })
        .expect("memory")
        .at
}

fn read(at: DevicePtr, words: usize) -> Vec<u32> {
    let mut bytes = vec![0; 4 * words];
    live()
        .expect("a session")
        .session
        .memcpy_dtoh(&mut bytes, at, StreamId::DEFAULT)
        .expect("a copy");
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("four"))).collect()
}

fn fill(function: CUfunction, grid: u32, at: DevicePtr, value: u32, count: u64) -> u32 {
    let params: [*const c_void; 3] =
        [(&raw const at).cast(), (&raw const value).cast(), (&raw const count).cast()];
    let null = std::ptr::null();
    c!(cuLaunchKernel(function, grid, 1, 1, 32, 1, 1, 0, CUstream::NULL, params.as_ptr(), null))
}

#[test]
fn the_driver_and_its_device_introduce_themselves() {
    common::start();
    let (mut version, mut count, mut major) = (0, 0, 0);
    assert_eq!(c!(cuDriverGetVersion(Out::to(&mut version))), 0);
    assert_eq!(c!(cuDeviceGetCount(Out::to(&mut count))), 0);
    assert_eq!(c!(cuDeviceGetAttribute(Out::to(&mut major), 75, 0)), 0);
    assert!(version >= 12_000 && count >= 1 && major >= 7, "{version} {count} {major}");
    let mut name = [0; 64];
    assert_eq!(c!(cuDeviceGetName(Out::at_address(name.as_mut_ptr()), 64, 0)), 0);
    assert_ne!(name[0], 0);
    assert_eq!(c!(cuDeviceGetAttribute(Out::to(&mut major), 75, count)), 101);
}

#[test]
fn a_launched_kernel_does_its_work() {
    let function = function(module(), c"fill_u32").expect("the mock has it");
    let at = memory(1024);
    assert_eq!(fill(function, 1, at, 7, 256), 0);
    assert_eq!(read(at, 256), [7; 256]);
}

#[test]
fn an_image_that_was_loaded_is_not_sent_again() {
    module();
    let text = format!("{}// {}\n\0", PTX.to_str().expect("text"), "-".repeat(8192));
    let load = || {
        let mut module = CUmodule::NULL;
        assert_eq!(c!(cuModuleLoadData(Out::to(&mut module), text.as_ptr().cast())), 0);
        module
    };
    let known = || live().expect("a session").session.counts().image_bytes_known;
    load();
    let before = known();
    let again = function(load(), c"fill_u32").expect("the same kernels");
    // Other tests of this program load shorter images, which are always sent.
    assert_eq!(known() - before, text.len() as u64);
    let at = memory(64);
    assert_eq!(fill(again, 1, at, 9, 16), 0);
    assert_eq!(read(at, 16), [9; 16]);
}

#[test]
fn a_launch_takes_its_parameters_from_a_block_as_well() {
    let function = function(module(), c"fill_u32").expect("the mock has it");
    let at = memory(64);
    let block: [u64; 3] = [at.0, 9, 16];
    let bytes = 24_usize;
    let extra: [*const c_void; 5] =
        [1 as _, block.as_ptr().cast(), 2 as _, (&raw const bytes).cast(), std::ptr::null()];
    let config = CUlaunchConfig {
        grid: [1; 3],
        block: [1; 3],
        shared_bytes: 0,
        stream: CUstream::NULL,
        attributes: In::<CUlaunchAttribute>::null(),
        attribute_count: 0,
    };
    let config = In::from(&config);
    assert_eq!(c!(cuLaunchKernelEx(config, function, std::ptr::null(), extra.as_ptr())), 0);
    assert_eq!(read(at, 16), [9; 16]);
}

#[test]
fn a_launch_that_cannot_be_is_refused_at_once() {
    let function = function(module(), c"fill_u32").expect("the mock has it");
    let at = memory(64);
    assert_eq!(fill(function, 0, at, 1, 1), 1, "no blocks");
    assert_eq!(fill(CUfunction::NULL, 1, at, 1, 1), 400, "no function");
    let null = std::ptr::null();
    let too_many = c!(cuLaunchKernel(function, 1, 1, 1, 4096, 1, 1, 0, CUstream::NULL, null, null));
    assert_eq!(too_many, 1, "4096 threads");
}

#[test]
fn a_function_knows_its_name_and_its_parameters() {
    let function = function(module(), c"fill_u32").expect("the mock has it");
    let mut name = std::ptr::null();
    assert_eq!(c!(cuFuncGetName(Out::to(&mut name), function)), 0);
    assert_eq!(c!(CStr::from_ptr(name)), c"fill_u32");
    let places: Vec<_> = (0..4)
        .map(|at| {
            let (mut offset, mut size) = (0, 0);
            let code =
                c!(cuFuncGetParamInfo(function, at, Out::to(&mut offset), Out::to(&mut size)));
            (code, offset, size)
        })
        .collect();
    assert_eq!(places, [(0, 0, 8), (0, 8, 4), (0, 16, 8), (1, 0, 0)]);
}

#[test]
fn a_name_that_a_module_has_not_is_not_found_and_one_it_has_is_the_same_each_time() {
    let module = module();
    assert_eq!(function(module, c"no_such_kernel"), Err(500));
    assert_eq!(function(module, c"copy"), function(module, c"copy"));
    assert!(function(module, c"copy").is_ok());
}

/// Text that even the mock refuses.
const BROKEN: &CStr = c".version 8.0
.target sm_90
.address_size 64
.visible .entry broken(.param .f99 x)
{
    ret;
}
";

#[test]
fn the_compiler_gets_its_options_and_says_why_it_refuses_a_text() {
    module();
    let mut log = [1_u8; 256];
    // CU_JIT_ERROR_LOG_BUFFER, its size, CU_JIT_MAX_REGISTERS, CU_JIT_WALL_TIME.
    let options = [5_u32, 6, 0, 2];
    let values = |log: &mut [u8]| [log.as_mut_ptr().expose_provenance(), log.len(), 32, 77];
    let mut given = values(&mut log);
    let mut loaded = CUmodule::NULL;
    let load = |loaded: &mut CUmodule, text: &CStr, options: &[u32; 4], given: &mut [usize; 4]| {
        let (options, values) =
            (In::at_address(options.as_ptr()), Out::at_address(given.as_mut_ptr()));
        c!(cuModuleLoadDataEx(Out::to(loaded), text.as_ptr().cast(), 4, options, values))
    };
    assert_eq!(load(&mut loaded, PTX, &options, &mut given), 0);
    assert_eq!((log[0], given[1], given[3]), (0, 0, 0), "nothing to say, and no time");
    function(loaded, c"copy").expect("its kernels");
    given = values(&mut log);
    let code = load(&mut loaded, BROKEN, &options, &mut given);
    let text = CStr::from_bytes_until_nul(&log).expect("it ends").to_bytes();
    assert!(code != 0 && !text.is_empty() && text.len() == given[1], "{code} {text:?}");
    let mut library = ringbar_shim_cuda::types::CUlibrary::NULL;
    log.fill(1);
    given = values(&mut log);
    let (jit, jit_values) = (In::at_address(options.as_ptr()), Out::at_address(given.as_mut_ptr()));
    let (no, none) = (In::null(), In::null());
    let image = BROKEN.as_ptr().cast();
    let again =
        c!(cuLibraryLoadData(Out::to(&mut library), image, jit, jit_values, 4, no, none, 0));
    assert_eq!((again, log[0] > 1), (0, true), "it is compiled now, and fails when it is used");
    let mut made = CUmodule::NULL;
    assert_eq!(c!(cuLibraryGetModule(Out::to(&mut made), library)), code);
}

/// A kernel that needs a function, and the text that defines it.
const CALLER: &CStr = c".version 7.0\n.target sm_75\n.address_size 64\n.extern .func helper();\n\
.visible .entry copy(.param .u64 to, .param .u64 from, .param .u64 bytes)\n{\ncall helper;\nret;\n}\n";
const HELPER: &CStr =
    c".version 7.0\n.target sm_75\n.address_size 64\n.visible .func helper()\n{\nret;\n}\n";

#[test]
fn texts_that_need_each_other_are_linked_and_what_is_lacking_or_there_twice_is_told() {
    module();
    let create = || {
        let mut state = CUlinkState::NULL;
        assert_eq!(c!(cuLinkCreate_v2(0, In::null(), Out::null(), Out::to(&mut state))), 0);
        state
    };
    let add = |state, text: &'static CStr| {
        let (at, bytes) = (text.as_ptr().expose_provenance(), text.to_bytes_with_nul().len());
        let name = Text::from(c"a text");
        c!(cuLinkAddData_v2(state, 1, at, bytes, name, 0, In::null(), Out::null()))
    };
    let complete =
        |state, image: &mut *mut c_void| c!(cuLinkComplete(state, Out::to(image), Out::null()));
    let (mut image, mut loaded) = (std::ptr::null_mut(), CUmodule::NULL);
    let state = create();
    assert_eq!((add(state, CALLER), add(state, c"nonsense")), (0, 200));
    assert_eq!(complete(state, &mut image), 300, "its helper is missing");
    assert_eq!(c!(cuLinkDestroy(state)), 0);
    let state = create();
    assert_eq!((add(state, CALLER), add(state, HELPER)), (0, 0));
    assert_eq!(complete(state, &mut image), 0);
    assert_eq!(c!(cuModuleLoadData(Out::to(&mut loaded), image)), 0);
    function(loaded, c"copy").expect("the kernel");
    assert_eq!((complete(state, &mut image), add(state, HELPER)), (400, 1), "it is done");
    assert_eq!((c!(cuLinkDestroy(state)), c!(cuLinkDestroy(state))), (0, 400));
    let state = create();
    assert_eq!((add(state, HELPER), add(state, HELPER)), (0, 300));
    assert_eq!(complete(state, &mut image), 300);
    assert_eq!((c!(cuLinkDestroy(state)), add(state, HELPER)), (0, 400));
}

#[test]
fn handles_of_an_unloaded_module_name_nothing() {
    let module = module();
    let filler = function(module, c"fill_u32").expect("the mock has it");
    assert_eq!(c!(cuModuleUnload(module)), 0);
    assert_eq!(c!(cuModuleUnload(module)), 400);
    assert_eq!(fill(filler, 1, DevicePtr(0), 1, 1), 400);
}

#[test]
fn a_thread_begins_without_a_context() {
    module();
    let of_new_thread = std::thread::spawn(|| {
        let mut context = CUcontext::new(Kind::Context, 0);
        let code = c!(cuCtxGetCurrent(Out::to(&mut context)));
        (code, context.is_null())
    });
    assert_eq!(of_new_thread.join().expect("no panic"), (0, true));
}

//! What programs ask about functions.

use super::{Function, resolve_here};
use crate::arg::Out;
use crate::failure::{Failure, Outcome};
use crate::module::resolve_kernel;
use crate::tls;
use crate::types::{CUfunction, CUkernel, CUmodule};
use ringbar_vocabulary::{Param, Status};
use std::ffi::c_char;

fn param(function: &Function, index: usize) -> Outcome<Param> {
    function.params.get(index).copied().ok_or(Failure(Status::INVALID_VALUE))
}

fn set_param(param: Param, offset: Out<usize>, size: Out<usize>) -> Outcome {
    offset.set(usize::from(param.offset))?;
    size.set_if_wanted(usize::from(param.size));
    Ok(())
}

entry! {
    /// A function's name.
    local fn cuFuncGetName(name: Out<*const c_char>, function: CUfunction) {
        let name = name.required()?;
        name.set(resolve_here(function)?.name.as_ptr())
    }

    /// A function's module.
    local fn cuFuncGetModule(module: Out<CUmodule>, function: CUfunction) {
        let module = module.required()?;
        module.set(resolve_here(function)?.module.handle)
    }

    /// Where a parameter of a function lies in its parameter block.
    local fn cuFuncGetParamInfo(function: CUfunction, index: usize, offset: Out<usize>, size: Out<usize>) {
        if function.is_null() {
            return Err(Status::INVALID_VALUE.into());
        }
        set_param(param(resolve_here(function)?, index)?, offset, size)
    }

    /// Where a parameter of a kernel lies in its parameter block.
    local fn cuKernelGetParamInfo(kernel: CUkernel, index: usize, offset: Out<usize>, size: Out<usize>) {
        let function = resolve_kernel(kernel)?.function_in(tls::current()?)?;
        set_param(param(function, index)?, offset, size)
    }

    /// Whether a function is loaded: one that can be named is.
    local fn cuFuncIsLoaded(state: Out<u32>, function: CUfunction) {
        let state = state.required()?;
        resolve_here(function)?;
        state.set(1)
    }

    /// Loads a function: one that can be named is loaded.
    local fn cuFuncLoad(function: CUfunction) {
        resolve_here(function).map(drop)
    }
}

//! Functions: kernels in a context, with all that a launch needs to know about them.

pub mod attributes;
pub mod calls;
pub mod launch;
pub mod launch_ex;
pub mod occupancy;
pub mod pack;

pub use attributes::*;
pub use calls::*;
pub use launch::*;
pub use launch_ex::*;
pub use occupancy::*;
pub(crate) use pack::*;

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::handles::{Handle, Kind, Table};
use crate::module::{KERNELS, Module};
use ringbar::sync::AtomicU32;
use ringbar_vocabulary::{FunctionId, Param, Status};
use std::ffi::CString;
use std::sync::OnceLock;

/// A kernel of a module. Never freed.
#[derive(Debug)]
pub struct Function {
    /// Its handle.
    pub handle: Handle,
    /// Its number for the executor.
    pub id: FunctionId,
    /// The module it is of.
    pub module: &'static Module,
    /// Its name.
    pub name: CString,
    /// Where its parameters lie in a parameter block.
    pub params: Box<[Param]>,
    /// Bytes of a parameter block.
    pub param_bytes: u32,
    /// What a launch may ask of it, once one did.
    limits: OnceLock<FunctionLimits>,
}

/// What a launch may ask of a function.
#[derive(Debug)]
struct FunctionLimits {
    /// Threads of a block.
    threads: u32,
    /// Dynamic shared memory in bytes; the program can raise it.
    shared_bytes: AtomicU32,
}

/// All functions by handle.
pub static FUNCTIONS: Table<Function> = Table::new(Kind::Function);

impl Function {
    pub(crate) fn new(
        handle: Handle,
        id: FunctionId,
        module: &'static Module,
        name: CString,
        params: Box<[Param]>,
        param_bytes: u32,
    ) -> Self {
        Self { handle, id, module, name, params, param_bytes, limits: OnceLock::new() }
    }
}

/// The function that a handle names: its own, or a kernel's in the given context. INVALID_HANDLE if it names none.
#[inline]
pub fn resolve(function: Handle, context: &'static Context) -> Outcome<&'static Function> {
    if let Some(function) = FUNCTIONS.get(function) {
        return Ok(function);
    }
    KERNELS.get(function).ok_or(Failure(Status::INVALID_HANDLE))?.function_in(context)
}

/// The same in the thread's current context; a function's own context does where none is current.
pub fn resolve_here(function: Handle) -> Outcome<&'static Function> {
    match FUNCTIONS.get(function) {
        Some(function) => Ok(function),
        None => resolve(function, crate::tls::current()?),
    }
}

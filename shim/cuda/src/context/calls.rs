//! `cuCtx*`: creating and destroying contexts, and each thread's stack of them.

use super::{create, destroy, resolve, resolve_or_current};
use crate::arg::{In, Out};
use crate::failure::Outcome;
use crate::tls;
use crate::types::{CUcontext, CUdevice};
use ringbar::sync::Ordering::*;
use ringbar_vocabulary::Status;
use std::ffi::c_void;

/// `CU_CTX_MAP_HOST`.
const MAP_HOST: u32 = 8;

/// `CUctxCreateParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUctxCreateParams {
    /// `CUexecAffinityParam` array.
    pub exec_affinity: *const c_void,
    /// How many.
    pub exec_affinity_count: i32,
    /// `CUctxCigParam`.
    pub graphics: *const c_void,
}

fn create_with(
    place: Out<CUcontext>,
    params: In<CUctxCreateParams>,
    flags: u32,
    device: CUdevice,
) -> Outcome {
    let place = place.required()?;
    if !params.is_null() {
        let params = params.get()?;
        if params.exec_affinity_count != 0 || !params.graphics.is_null() {
            return Err(Status::NOT_SUPPORTED.into());
        }
    }
    place.set(create(device, flags)?.handle)
}

entry! {
    /// Creates a context and makes it current.
    sync fn cuCtxCreate_v2(context: Out<CUcontext>, flags: u32, device: CUdevice) {
        create_with(context, In::null(), flags, device)
    }

    /// Creates a context; affinities are not supported.
    sync fn cuCtxCreate_v3(context: Out<CUcontext>, affinities[count]: *const c_void, count: i32, flags: u32, device: CUdevice) {
        if count != 0 || !affinities.is_null() {
            return Err(Status::NOT_SUPPORTED.into());
        }
        create_with(context, In::null(), flags, device)
    }

    /// Creates a context; affinities and sharing with graphics are not supported.
    sync fn cuCtxCreate_v4(context: Out<CUcontext>, params: In<CUctxCreateParams>, flags: u32, device: CUdevice) {
        create_with(context, params, flags, device)
    }

    /// Destroys a created context.
    sync fn cuCtxDestroy_v2(context: CUcontext) {
        destroy(resolve(context)?)
    }

    /// Puts a context on the thread's stack.
    local fn cuCtxPushCurrent_v2(context: CUcontext) {
        tls::push(resolve(context)?);
        Ok(())
    }

    /// Takes the thread's current context off its stack.
    local fn cuCtxPopCurrent_v2(context: Out<CUcontext>) {
        let popped = tls::pop()?;
        context.set_if_wanted(popped.handle);
        Ok(())
    }

    /// Replaces the thread's current context; null takes it off.
    local fn cuCtxSetCurrent(context: CUcontext) {
        if !context.is_null() {
            tls::set_top(Some(resolve(context)?));
        } else if tls::top().is_some() {
            tls::pop()?;
        }
        Ok(())
    }

    /// The thread's current context; null if there is none.
    local fn cuCtxGetCurrent(context: Out<CUcontext>) {
        context.set(tls::top().map_or(CUcontext::NULL, |top| top.handle))
    }

    /// The current context's device.
    local fn cuCtxGetDevice(device: Out<CUdevice>) {
        let device = device.required()?;
        device.set(tls::current()?.visible)
    }

    /// A context's device; null means the current context.
    local fn cuCtxGetDevice_v2(device: Out<CUdevice>, context: CUcontext) {
        let device = device.required()?;
        device.set(resolve_or_current(context)?.visible)
    }

    /// The current context's flags.
    local fn cuCtxGetFlags(flags: Out<u32>) {
        let flags = flags.required()?;
        flags.set(tls::current()?.flags.load(Relaxed))
    }

    /// Sets the current context's flags. Core dumps are not supported.
    sync fn cuCtxSetFlags(flags: u32) {
        super::check_flags(flags)?;
        // Mapped host memory cannot be switched off any more.
        tls::current()?.set_flags(flags | MAP_HOST)
    }

    /// A context's number, which no other context of the process ever has; null means the current context.
    local fn cuCtxGetId(context: CUcontext, id: Out<u64>) {
        let id = id.required()?;
        let number = resolve_or_current(context)?.handle.number(crate::handles::Kind::Context);
        id.set(number.map_or(0, |number| number as u64 + 1))
    }

    /// The version of the interface that a context was made with: every one that can be made here is of 3.2 or later.
    local fn cuCtxGetApiVersion(context: CUcontext, version: Out<u32>) {
        let version = version.required()?;
        resolve_or_current(context)?;
        version.set(3020)
    }
}

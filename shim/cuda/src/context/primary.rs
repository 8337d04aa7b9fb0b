//! Primary contexts: one a device, shared by all users of the process, alive while somebody retains it.

use super::{CONTEXTS, Context, check_flags};
use crate::arg::Out;
use crate::device::{Device, resolve as resolve_device};
use crate::failure::Outcome;
use crate::session::live;
use crate::types::{CUcontext, CUdevice};
use ringbar::sync::Ordering::*;
use ringbar_vocabulary::{ContextId, PrimaryContextReset, PrimaryContextRetain, Status};
use std::sync::{MutexGuard, PoisonError};

/// `CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE`.
const PRIMARY_CONTEXT_ACTIVE: Status = Status(708);

impl Device {
    /// The device's primary context, live or not.
    pub(crate) fn primary(&'static self) -> Outcome<&'static Context> {
        if let Some(context) = self.primary.get() {
            return Ok(context);
        }
        let id = ContextId(self.ordinal);
        let (_, context) = CONTEXTS.insert(|handle| Context::new(handle, id, self, 0))?;
        Ok(self.primary.get_or_init(|| context))
    }

    fn retained(&self) -> MutexGuard<'_, u32> {
        self.retained.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a device's primary context live for one more user.
pub fn retain(device: &'static Device) -> Outcome<&'static Context> {
    let context = device.primary()?;
    let mut retained = device.retained();
    if *retained == 0 {
        let flags = context.flags.load(Relaxed);
        live()?.call(&PrimaryContextRetain { device: device.ordinal, flags })?;
        context.set_alive(true);
    }
    *retained += 1;
    Ok(context)
}

fn release(device: CUdevice) -> Outcome {
    let device = resolve_device(device)?;
    let mut retained = device.retained();
    match *retained {
        0 => Err(Status::INVALID_CONTEXT.into()),
        1 => end(device, &mut retained),
        _ => {
            *retained -= 1;
            Ok(())
        }
    }
}

fn reset(device: CUdevice) -> Outcome {
    let device = resolve_device(device)?;
    let mut retained = device.retained();
    if *retained == 0 { Ok(()) } else { end(device, &mut retained) }
}

fn end(device: &'static Device, retained: &mut u32) -> Outcome {
    *retained = 0;
    let context = device.primary()?;
    context.set_alive(false);
    live()?.call(&PrimaryContextReset { device: device.ordinal })?;
    context.forget_contents();
    Ok(())
}

fn set_flags(device: CUdevice, flags: u32) -> Outcome {
    let device = resolve_device(device)?;
    check_flags(flags)?;
    device.primary()?.set_flags(flags)
}

entry! {
    /// Makes a device's primary context live for one more user.
    sync fn cuDevicePrimaryCtxRetain(context: Out<CUcontext>, device: CUdevice) {
        let context = context.required()?;
        context.set(retain(resolve_device(device)?)?.handle)
    }

    /// One user less; the last one's release destroys it.
    sync fn cuDevicePrimaryCtxRelease_v2(device: CUdevice) {
        release(device)
    }

    /// As `cuDevicePrimaryCtxRelease_v2`, under its first name.
    sync fn cuDevicePrimaryCtxRelease(device: CUdevice) {
        release(device)
    }

    /// Destroys a primary context with everything in it, whoever uses it.
    sync fn cuDevicePrimaryCtxReset_v2(device: CUdevice) {
        reset(device)
    }

    /// As `cuDevicePrimaryCtxReset_v2`, under its first name.
    sync fn cuDevicePrimaryCtxReset(device: CUdevice) {
        reset(device)
    }

    /// Sets the flags of a primary context. Core dumps are not supported.
    sync fn cuDevicePrimaryCtxSetFlags_v2(device: CUdevice, flags: u32) {
        set_flags(device, flags)
    }

    /// The same under its first name: only while the primary context is not live.
    local fn cuDevicePrimaryCtxSetFlags(device: CUdevice, flags: u32) {
        if *resolve_device(device)?.retained() > 0 {
            return Err(PRIMARY_CONTEXT_ACTIVE.into());
        }
        set_flags(device, flags)
    }

    /// Flags of a primary context, and whether it is live.
    local fn cuDevicePrimaryCtxGetState(device: CUdevice, flags: Out<u32>, active: Out<i32>) {
        let device = resolve_device(device)?;
        flags.set(device.primary()?.flags.load(Relaxed))?;
        active.set(i32::from(*device.retained() > 0))
    }
}

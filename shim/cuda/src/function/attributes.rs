//! Attributes of functions, and what follows from them for launches.

use super::{Function, FunctionLimits, resolve_here};
use crate::arg::Out;
use crate::device;
use crate::failure::{Failure, Outcome};
use crate::module::resolve_kernel;
use crate::session::live;
use crate::types::{CUdevice, CUfunction, CUkernel};
use ringbar::sync::{AtomicU32, Ordering::*};
use ringbar_vocabulary::{
    FunctionGetAttribute, FunctionSetAttribute, FunctionSetCacheConfig, Status,
};

/// `CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK`.
const MAX_THREADS: u32 = 0;
/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
const MAX_DYNAMIC_SHARED: u32 = 8;
/// `CU_FUNC_ATTRIBUTE_MAX` of CUDA 13.0.
const ATTRIBUTES: u32 = 16;

impl Function {
    /// An attribute, as the executor has it.
    pub fn attribute(&self, attribute: u32) -> Outcome<i32> {
        if attribute >= ATTRIBUTES {
            return Err(Status::INVALID_VALUE.into());
        }
        Ok(live()?.call(&FunctionGetAttribute { function: self.id, attribute })?.value)
    }

    /// Sets an attribute.
    pub fn set_attribute(&self, attribute: u32, value: i32) -> Outcome {
        if attribute >= ATTRIBUTES {
            return Err(Status::INVALID_VALUE.into());
        }
        live()?.call(&FunctionSetAttribute { function: self.id, attribute, value })?;
        if let (MAX_DYNAMIC_SHARED, Some(limits)) = (attribute, self.limits.get()) {
            limits.shared_bytes.store(value.max(0) as u32, Relaxed);
        }
        Ok(())
    }

    /// What a launch may ask of it: threads of a block, bytes of dynamic shared memory. Asked for once.
    #[inline]
    pub(super) fn limits(&self) -> Outcome<(u32, u32)> {
        match self.limits.get() {
            Some(limits) => Ok((limits.threads, limits.shared_bytes.load(Relaxed))),
            None => self.learn_limits(),
        }
    }

    #[cold]
    fn learn_limits(&self) -> Outcome<(u32, u32)> {
        // A backend that does not say is asked by the launch itself.
        let known = |attribute| match self.attribute(attribute) {
            Err(Failure(Status::NOT_SUPPORTED)) => Ok(u32::MAX),
            other => other.map(|value| value.max(0) as u32),
        };
        let (threads, shared) = (known(MAX_THREADS)?, known(MAX_DYNAMIC_SHARED)?);
        let limits = self
            .limits
            .get_or_init(|| FunctionLimits { threads, shared_bytes: AtomicU32::new(shared) });
        Ok((limits.threads, limits.shared_bytes.load(Relaxed)))
    }

    fn set_cache_config(&self, config: u32) -> Outcome {
        if config > 3 {
            return Err(Status::INVALID_VALUE.into());
        }
        live()?.post(&FunctionSetCacheConfig { function: self.id, config })?;
        Ok(())
    }
}

/// The function that a kernel is in a device's primary context.
fn on_device(kernel: CUkernel, device: CUdevice) -> Outcome<&'static Function> {
    let kernel = resolve_kernel(kernel)?;
    let context = device::resolve(device)?.primary()?;
    context.usable()?;
    kernel.function_in(context)
}

entry! {
    /// An attribute of a function.
    sync fn cuFuncGetAttribute(value: Out<i32>, attribute: u32, function: CUfunction) {
        let value = value.required()?;
        value.set(resolve_here(function)?.attribute(attribute)?)
    }

    /// Sets an attribute of a function.
    sync fn cuFuncSetAttribute(function: CUfunction, attribute: u32, value: i32) {
        resolve_here(function)?.set_attribute(attribute, value)
    }

    /// Prefers shared memory or the first-level cache for a function: a hint.
    post fn cuFuncSetCacheConfig(function: CUfunction, config: u32) {
        resolve_here(function)?.set_cache_config(config)
    }

    /// Has no effect on any device that CUDA 13 supports.
    local fn cuFuncSetSharedMemConfig(function: CUfunction, config: u32) {
        resolve_here(function)?;
        if config > 2 { Err(Status::INVALID_VALUE.into()) } else { Ok(()) }
    }

    /// An attribute of a kernel on a device.
    sync fn cuKernelGetAttribute(value: Out<i32>, attribute: u32, kernel: CUkernel, device: CUdevice) {
        let value = value.required()?;
        value.set(on_device(kernel, device)?.attribute(attribute)?)
    }

    /// Sets an attribute of a kernel on a device.
    sync fn cuKernelSetAttribute(attribute: u32, value: i32, kernel: CUkernel, device: CUdevice) {
        on_device(kernel, device)?.set_attribute(attribute, value)
    }

    /// Prefers shared memory or the first-level cache for a kernel on a device: a hint.
    post fn cuKernelSetCacheConfig(kernel: CUkernel, config: u32, device: CUdevice) {
        on_device(kernel, device)?.set_cache_config(config)
    }
}

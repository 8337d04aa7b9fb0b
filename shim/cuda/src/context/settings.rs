//! What can be set about the current context.

use super::resolve;
use crate::arg::Out;
use crate::capturing;
use crate::device;
use crate::failure::Outcome;
use crate::session::live;
use crate::tls;
use crate::types::CUcontext;
use ringbar::sync::Ordering::*;
use ringbar_vocabulary::{
    ContextGetLimit, ContextPeerAccess, ContextResetL2, ContextSetLimit, Status,
};

/// `CU_LIMIT_MAX` of CUDA 13.0.
const LIMITS: u32 = 0xb;

fn peer_access(peer: CUcontext, enable: u32) -> Outcome {
    let context = tls::current()?.id;
    let peer = resolve(peer)?.id;
    live()?.call(&ContextPeerAccess { context, peer, enable })?;
    Ok(())
}

entry! {
    /// A limit of the current context.
    sync fn cuCtxGetLimit(value: Out<usize>, limit: u32) {
        let value = value.required()?;
        if limit >= LIMITS {
            return Err(Status::INVALID_VALUE.into());
        }
        let context = tls::current()?.id;
        value.set(live()?.call(&ContextGetLimit { context, limit })?.value as usize)
    }

    /// Sets a limit of the current context.
    sync fn cuCtxSetLimit(limit: u32, value: usize) {
        if limit >= LIMITS {
            return Err(Status::INVALID_VALUE.into());
        }
        let context = tls::current()?.id;
        capturing::unsafe_call()?;
        live()?.call(&ContextSetLimit { context, limit, value: value as u64 })?;
        Ok(())
    }

    /// Whether the current context prefers shared memory or the first-level cache.
    local fn cuCtxGetCacheConfig(config: Out<u32>) {
        let config = config.required()?;
        config.set(tls::current()?.cache_config.load(Relaxed))
    }

    /// Prefers shared memory or the first-level cache: a hint, which is kept and no more.
    local fn cuCtxSetCacheConfig(config: u32) {
        let context = tls::current()?;
        if config > 3 {
            return Err(Status::INVALID_VALUE.into());
        }
        context.cache_config.store(config, Relaxed);
        Ok(())
    }

    /// The width of shared memory's banks: 4 bytes on every device that CUDA 13 supports.
    local fn cuCtxGetSharedMemConfig(config: Out<u32>) {
        let config = config.required()?;
        tls::current()?;
        config.set(1)
    }

    /// Has no effect on any device that CUDA 13 supports.
    local fn cuCtxSetSharedMemConfig(config: u32) {
        tls::current()?;
        if config > 2 { Err(Status::INVALID_VALUE.into()) } else { Ok(()) }
    }

    /// The least and the greatest stream priority; lower numbers are more urgent.
    local fn cuCtxGetStreamPriorityRange(least: Out<i32>, greatest: Out<i32>) {
        let priorities = device::resolve(tls::current()?.visible)?.priorities();
        least.set_if_wanted(priorities.0);
        greatest.set_if_wanted(priorities.1);
        Ok(())
    }

    /// Makes lines of the second-level cache that persist normal ones again.
    sync fn cuCtxResetPersistingL2Cache() {
        let context = tls::current()?.id;
        live()?.call(&ContextResetL2 { context })?;
        Ok(())
    }

    /// Lets the current context reach the memory of another.
    sync fn cuCtxEnablePeerAccess(peer: CUcontext, flags: u32) {
        if flags != 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        peer_access(peer, 1)
    }

    /// Takes that back.
    sync fn cuCtxDisablePeerAccess(peer: CUcontext) {
        peer_access(peer, 0)
    }
}

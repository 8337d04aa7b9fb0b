//! Devices: which there are, which one a thread uses, what their contexts may.

use crate::driver;
use crate::error::{Error, Outcome};
use crate::pointer::{In, Out, Text};
use crate::properties::{self, Properties};
use crate::{exports, thread};
use std::ffi::c_char;

/// The device of the thread's context, or else the one that the thread chose.
fn current() -> Outcome<i32> {
    let Ok(driver) = driver::started() else { return Ok(thread::device()) };
    let (mut context, mut device) = (0, thread::device());
    driver.cuCtxGetCurrent(Out::to(&mut context))?;
    if context != 0 {
        driver.cuCtxGetDevice(Out::to(&mut device))?;
    }
    Ok(device)
}

fn choose(device: i32) -> Outcome {
    let context = driver::primary(device)?;
    driver::started()?.cuCtxSetCurrent(context)?;
    thread::set_device(device);
    thread::set_bound(true);
    Ok(())
}

fn reset() -> Outcome {
    let device = current()?;
    let driver = driver::started()?;
    driver.cuDevicePrimaryCtxReset_v2(device)?;
    driver::forget_primary(device);
    thread::set_bound(false);
    driver.cuCtxSetCurrent(0)
}

/// A thread's device is the first of a list of all devices until it chooses another. Lists that leave devices out are not
/// supported.
fn set_valid(devices: In<'_, i32>, count: i32) -> Outcome {
    let known = driver::device_count()?;
    let length = usize::try_from(count).map_err(|_| Error::INVALID_VALUE)?;
    if count > known {
        return Err(Error::INVALID_VALUE);
    }
    let list = devices.all(length)?;
    list.iter().try_for_each(|&device| driver::check_device(device))?;
    let Some(&first) = list.first() else { return Ok(()) };
    if (0..known).any(|device| !list.contains(&device)) {
        return Err(exports::unsupported("cudaSetValidDevices\0"));
    }
    thread::set_device(first);
    Ok(())
}

/// `cudaDeviceMapHost`: always on, and always told.
const MAP_HOST: u32 = 8;
/// The highest number of a limit (`cudaLimitPersistingL2CacheSize`).
const LIMIT_MAX: u32 = 6;

fn check_limit(limit: u32) -> Outcome {
    if limit <= LIMIT_MAX { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

/// The context flags that `cudaSetDeviceFlags` knows: how to wait, and two that are always on.
const FLAGS: u32 = 0x07 | 0x08 | 0x10 | 0x80;

entries! {
    local fn cudaGetDeviceCount(count: Out<'_, i32>) {
        count.set(0)?;
        count.set(driver::device_count()?)
    }

    local fn cudaSetDevice(device: i32) {
        choose(device)
    }

    local fn cudaGetDevice(device: Out<'_, i32>) {
        device.present()?.set(current()?)
    }

    sync fn cudaInitDevice(device: i32, device_flags: u32, flags: u32) {
        // `cudaInitDeviceFlagsAreValid`: only then the device's flags mean something.
        if flags & 1 != 0 {
            driver::check_device(device)?;
            driver::started()?.cuDevicePrimaryCtxSetFlags_v2(device, device_flags & FLAGS)?;
        }
        driver::primary(device).map(|_| ())
    }

    local fn cudaSetValidDevices(devices[count]: In<'_, i32>, count: i32) {
        set_valid(devices, count)
    }

    sync fn cudaSetDeviceFlags(flags: u32) {
        if flags & !FLAGS != 0 {
            return Err(Error::INVALID_VALUE);
        }
        driver::started()?.cuDevicePrimaryCtxSetFlags_v2(current()?, flags)
    }

    local fn cudaGetDeviceFlags(flags: Out<'_, u32>) {
        let (flags, mut found, mut active) = (flags.present()?, 0, 0);
        let (found_out, active_out) = (Out::to(&mut found), Out::to(&mut active));
        driver::started()?.cuDevicePrimaryCtxGetState(current()?, found_out, active_out)?;
        flags.set(found | MAP_HOST)
    }

    local fn cudaChooseDevice(device: Out<'_, i32>, wanted: In<'_, Properties>) {
        let device = device.present()?;
        device.set(properties::best_match(wanted.get()?)?)
    }

    sync fn cudaDeviceReset() {
        reset()
    }

    sync fn cudaDeviceSynchronize() {
        driver::bind()?.cuCtxSynchronize()
    }

    local fn cudaDeviceGetAttribute(value: Out<'_, i32>, attribute: i32, device: i32) {
        driver::check_device(device)?;
        driver::started()?.cuDeviceGetAttribute(value.present()?, attribute, device)
    }

    local fn cudaDeviceGetPCIBusId(text[bytes]: Out<'_, c_char>, bytes: i32, device: i32) {
        driver::check_device(device)?;
        driver::started()?.cuDeviceGetPCIBusId(text.present()?, bytes, device)
    }

    local fn cudaDeviceGetByPCIBusId(device: Out<'_, i32>, text: Text) {
        if text == 0 {
            return Err(Error::INVALID_VALUE);
        }
        driver::started()?.cuDeviceGetByPCIBusId(device.present()?, text)
    }

    sync fn cudaDeviceCanAccessPeer(can: Out<'_, i32>, device: i32, peer: i32) {
        driver::check_device(device)?;
        driver::check_device(peer)?;
        driver::started()?.cuDeviceCanAccessPeer(can.present()?, device, peer)
    }

    sync fn cudaDeviceEnablePeerAccess(peer: i32, flags: u32) {
        let driver = driver::bind()?;
        driver.cuCtxEnablePeerAccess(driver::primary(peer)?, flags)
    }

    sync fn cudaDeviceDisablePeerAccess(peer: i32) {
        let driver = driver::bind()?;
        driver.cuCtxDisablePeerAccess(driver::primary(peer)?)
    }

    sync fn cudaDeviceGetP2PAttribute(value: Out<'_, i32>, attribute: i32, device: i32, peer: i32) {
        driver::check_device(device)?;
        driver::check_device(peer)?;
        if device == peer {
            return Err(Error::INVALID_DEVICE);
        }
        driver::started()?.cuDeviceGetP2PAttribute(value.present()?, attribute, device, peer)
    }

    sync fn cudaDeviceGetLimit(value: Out<'_, usize>, limit: u32) {
        check_limit(limit)?;
        driver::bind()?.cuCtxGetLimit(value.present()?, limit)
    }

    sync fn cudaDeviceSetLimit(limit: u32, value: usize) {
        check_limit(limit)?;
        driver::bind()?.cuCtxSetLimit(limit, value)
    }

    local fn cudaGetDeviceProperties(out: Out<'_, Properties>, device: i32) {
        let out = out.present()?;
        out.set(properties::of(device)?)
    }
}

passed! {
    local fn cudaDeviceGetCacheConfig(config: Out<'_, u32>) = cuCtxGetCacheConfig;
    local fn cudaDeviceSetCacheConfig(config: u32) = cuCtxSetCacheConfig;
    local fn cudaDeviceGetSharedMemConfig(config: Out<'_, u32>) = cuCtxGetSharedMemConfig;
    local fn cudaDeviceSetSharedMemConfig(config: u32) = cuCtxSetSharedMemConfig;
    local fn cudaDeviceGetStreamPriorityRange(least: Out<'_, i32>, greatest: Out<'_, i32>) = cuCtxGetStreamPriorityRange;
    sync fn cudaCtxResetPersistingL2Cache() = cuCtxResetPersistingL2Cache;
}

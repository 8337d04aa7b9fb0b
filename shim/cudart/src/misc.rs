//! Versions, entry points of the driver, the profiler, memory of other processes, formats.

use crate::driver;
use crate::error::{Error, Outcome};
use crate::pointer::{Out, Text};
use crate::types::{ChannelFormat, IpcHandle};

/// CUDA 13.0, as CUDA numbers it.
const VERSION: i32 = 13_000;
/// `cudaEnablePerThreadDefaultStream`.
const PREFER_OWN_STREAM: u64 = 2;

fn entry_point(
    name: Text,
    function: Out<'_, usize>,
    version: i32,
    flags: u64,
    status: Out<'_, u32>,
) -> Outcome {
    if name == 0 || function.is_null() || flags > PREFER_OWN_STREAM {
        return Err(Error::INVALID_VALUE);
    }
    function.set(0)?;
    let mut found = 0;
    let driver = driver::started()?;
    let outcome = driver.cuGetProcAddress_v2(name, function, version, flags, Out::to(&mut found));
    status.set_if_wanted(found);
    match outcome {
        // The status tells it.
        Err(Error::NOT_FOUND) if !status.is_null() => Ok(()),
        Ok(()) if found != 0 && status.is_null() => Err(Error::NOT_FOUND),
        outcome => outcome,
    }
}

entries! {
    free fn cudaRuntimeGetVersion(version: Out<'_, i32>) {
        version.set(VERSION)
    }

    local fn cudaDriverGetVersion(version: Out<'_, i32>) {
        match driver::loaded() {
            Ok(driver) => driver.cuDriverGetVersion(version.present()?),
            // Without a driver there is no version.
            Err(_) => version.set(0),
        }
    }

    local fn cudaGetDriverEntryPoint(name: Text, function: Out<'_, usize>, flags: u64, status: Out<'_, u32>) {
        entry_point(name, function, VERSION, flags, status)
    }

    local fn cudaGetDriverEntryPoint_ptsz(name: Text, function: Out<'_, usize>, flags: u64, status: Out<'_, u32>) {
        entry_point(name, function, VERSION, prefer_own(flags), status)
    }

    local fn cudaGetDriverEntryPointByVersion(name: Text, function: Out<'_, usize>, version: u32, flags: u64, status: Out<'_, u32>) {
        entry_point(name, function, version.cast_signed(), flags, status)
    }

    local fn cudaGetDriverEntryPointByVersion_ptsz(name: Text, function: Out<'_, usize>, version: u32, flags: u64, status: Out<'_, u32>) {
        entry_point(name, function, version.cast_signed(), prefer_own(flags), status)
    }

    sync fn cudaIpcOpenMemHandle(at: Out<'_, u64>, handle: IpcHandle, flags: u32) {
        driver::bind()?.cuIpcOpenMemHandle_v2(at.present()?, handle, flags)
    }
}

/// What a program means that was compiled for a default stream a thread and says nothing else.
fn prefer_own(flags: u64) -> u64 {
    if flags == 0 { PREFER_OWN_STREAM } else { flags }
}

passed! {
    local fn cudaProfilerStart() = cuProfilerStart;
    local fn cudaProfilerStop() = cuProfilerStop;
    sync fn cudaIpcGetMemHandle(handle: Out<'_, IpcHandle>, at: u64) = cuIpcGetMemHandle;
    sync fn cudaIpcCloseMemHandle(at: u64) = cuIpcCloseMemHandle;
    sync fn cudaIpcGetEventHandle(handle: Out<'_, IpcHandle>, event: usize) = cuIpcGetEventHandle;
    sync fn cudaIpcOpenEventHandle(event: Out<'_, usize>, handle: IpcHandle) = cuIpcOpenEventHandle;
}

raw! {
    free fn cudaCreateChannelDesc(x: i32, y: i32, z: i32, w: i32, kind: u32) -> ChannelFormat {
        ChannelFormat { bits: [x, y, z, w], kind }
    }
}

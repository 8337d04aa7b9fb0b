//! Pinned host memory, which lies in the arena, and memory that the program registered, which is staged.

use super::map::{Entry, What};
use crate::arg::Out;
use crate::failure::Outcome;
use crate::types::CUdeviceptr;
use crate::{capturing, session, tls};
use ringbar_vocabulary::Status;

/// `CU_MEMHOSTALLOC_PORTABLE`, `DEVICEMAP`, `WRITECOMBINED`.
const ALLOC_FLAGS: u32 = 7;
/// `CU_MEMHOSTALLOC_DEVICEMAP` and `CU_MEMHOSTREGISTER_DEVICEMAP`.
const DEVICEMAP: u32 = 2;
/// `CU_MEMHOSTREGISTER_IOMEMORY`.
const IOMEMORY: u32 = 4;
/// `CU_MEMHOSTREGISTER_*`.
const REGISTER_FLAGS: u32 = 15;
/// `CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED`.
const ALREADY_REGISTERED: Status = Status(712);
/// `CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED`.
const NOT_REGISTERED: Status = Status(713);

fn alloc(place: Out<usize>, bytes: usize, flags: u32) -> Outcome {
    let place = place.required()?;
    let context = tls::current()?;
    if flags & !ALLOC_FLAGS != 0 {
        return Err(Status::INVALID_VALUE.into());
    }
    if bytes == 0 {
        return place.set(0);
    }
    capturing::unsafe_call()?;
    let block = session::live()?.session.pin_shared(bytes as u64, flags)?;
    let what = What::Pinned { block, flags };
    super::remember(block.pointer as u64, bytes as u64, what, context);
    place.set(block.pointer)
}

/// Registering changes nothing but what is known of the memory: copies from and to it are staged.
fn register(at: usize, bytes: usize, flags: u32) -> Outcome {
    let context = tls::current()?;
    let (start, len) = (at as u64, bytes as u64);
    if at == 0 || bytes == 0 || flags & !REGISTER_FLAGS != 0 || start.checked_add(len).is_none() {
        return Err(Status::INVALID_VALUE.into());
    }
    capturing::unsafe_call()?;
    let mut map = super::write();
    if map.overlapping(start, len).is_some() {
        return Err(ALREADY_REGISTERED.into());
    }
    if flags & (DEVICEMAP | IOMEMORY) != 0 {
        tracing::warn!(
            "memory of the program's own cannot be mapped for the device; try cuMemHostAlloc, or cudaHostAlloc"
        );
        return Err(Status::NOT_SUPPORTED.into());
    }
    let (what, context, device) = (What::Registered { flags }, context.handle, context.visible);
    map.insert(Entry { start, len, what, context, device, id: 0, sync_memops: false });
    Ok(())
}

entry! {
    /// Allocates pinned host memory, which the device reaches at the same address.
    post fn cuMemHostAlloc(place: Out<usize>, bytes: usize, flags: u32) {
        alloc(place, bytes, flags)
    }

    /// The same without flags.
    post fn cuMemAllocHost_v2(place: Out<usize>, bytes: usize) {
        alloc(place, bytes, 0)
    }

    /// Frees pinned host memory once all work before is done, and waits for that.
    sync fn cuMemFreeHost(at: usize) {
        if at == 0 {
            return Ok(());
        }
        tls::current()?;
        capturing::unsafe_call()?;
        let live = session::live()?;
        let pinned = |entry: &Entry| matches!(entry.what, What::Pinned { .. });
        let entry = super::write().remove_if(at as u64, pinned).ok_or(Status::INVALID_VALUE)?;
        if let Some(block) = entry.block() {
            live.session.unpin(&block)?;
        }
        super::await_work(&entry)
    }

    /// The device's address of pinned host memory, which is the same.
    local fn cuMemHostGetDevicePointer_v2(device: Out<CUdeviceptr>, at: usize, flags: u32) {
        let device = device.required()?;
        tls::current()?;
        let known = super::find(at as u64).is_some_and(|entry| entry.block().is_some());
        match known && flags == 0 {
            true => device.set(at as u64),
            false => Err(Status::INVALID_VALUE.into()),
        }
    }

    /// The flags that pinned host memory was allocated with. The device reaches all of it.
    local fn cuMemHostGetFlags(flags: Out<u32>, at: usize) {
        let place = flags.required()?;
        tls::current()?;
        match super::find(at as u64).map(|entry| entry.what) {
            Some(What::Pinned { flags, .. }) => place.set(flags | DEVICEMAP),
            Some(What::Registered { flags }) => place.set(flags),
            _ => Err(Status::INVALID_VALUE.into()),
        }
    }

    /// Registers memory of the program's own. Mapping it for the device is not supported.
    local fn cuMemHostRegister_v2(at: usize, bytes: usize, flags: u32) {
        register(at, bytes, flags)
    }

    /// The same, as CUDA 4 spelled it.
    local fn cuMemHostRegister(at: usize, bytes: usize, flags: u32) {
        register(at, bytes, flags)
    }

    /// Takes back a registration once all work before is done, and waits for that.
    sync fn cuMemHostUnregister(at: usize) {
        tls::current()?;
        capturing::unsafe_call()?;
        let registered = |entry: &Entry| matches!(entry.what, What::Registered { .. });
        let entry = super::write().remove_if(at as u64, registered).ok_or(NOT_REGISTERED)?;
        super::await_work(&entry)
    }
}

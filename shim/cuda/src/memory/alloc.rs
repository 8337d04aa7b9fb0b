//! Device memory, managed memory, and what is known about either.

use super::map::{Entry, What};
use super::reserve;
use crate::arg::Out;

use crate::failure::Outcome;
use crate::types::CUdeviceptr;
use crate::{capturing, session, tls};
use ringbar_vocabulary::{DevicePtr, MemAlloc, MemAllocPitch, MemFree, MemGetInfo, Status};

/// `CU_MEM_ATTACH_GLOBAL` and `CU_MEM_ATTACH_HOST`.
const ATTACH: [u32; 2] = [1, 2];

/// Frees what `cuMemFree` may free. As the driver does it returns once the device is done with what was posted before, and
/// programs use what that wrote; but not for memory of a pool. Nothing at address 0.
fn free(at: CUdeviceptr) -> Outcome {
    if at == 0 {
        return Ok(());
    }
    capturing::unsafe_call()?;
    let live = session::live()?;
    // Whether a graph's memory is there now, between the graph's launches, the device alone knows.
    if !super::is_of_graph(at) {
        let freed =
            |entry: &Entry| matches!(entry.what, What::Device | What::Pool(_) | What::Managed(_));
        let entry = super::write().remove_if(at, freed).ok_or(Status::INVALID_VALUE)?;
        if let Some(block) = entry.block() {
            live.session.unpin(&block)?;
            return super::await_work(&entry);
        }
        if matches!(entry.what, What::Pool(_)) {
            live.post(&MemFree { at: DevicePtr(at) })?;
            return Ok(());
        }
    }
    let position = live.post(&MemFree { at: DevicePtr(at) })?;
    Ok(live.session.wait_executed(position)?)
}

/// Frees an allocation that the program never saw.
fn give_back(at: u64, _bytes: u64) -> Outcome {
    session::live()?.post(&MemFree { at: DevicePtr(at) })?;
    Ok(())
}

entry! {
    /// Allocates device memory in the current context.
    sync fn cuMemAlloc_v2(place: Out<CUdeviceptr>, bytes: usize) {
        let place = place.required()?;
        let context = tls::current()?;
        if bytes == 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        capturing::unsafe_call()?;
        let bytes = bytes as u64;
        let live = session::live()?;
        let allocate = || -> Outcome<_> {
            Ok((live.call(&MemAlloc { context: context.id, bytes })?.at.0, bytes, ()))
        };
        let (at, ()) = reserve::apart(allocate, give_back)?;
        super::remember(at, bytes, What::Device, context);
        place.set(at)
    }

    /// Frees device or managed memory once all work before is done, and waits for that; memory of a pool without a wait.
    sync fn cuMemFree_v2(at: CUdeviceptr) {
        free(at)
    }

    /// Allocates rows of device memory at an aligned distance.
    sync fn cuMemAllocPitch_v2(place: Out<CUdeviceptr>, pitch: Out<usize>, width_bytes: usize, height: usize, element_bytes: u32) {
        let (place, pitch) = (place.required()?, pitch.required()?);
        let context = tls::current()?;
        if width_bytes == 0 || height == 0 || !matches!(element_bytes, 4 | 8 | 16) {
            return Err(Status::INVALID_VALUE.into());
        }
        capturing::unsafe_call()?;
        let (width_bytes, height) = (width_bytes as u64, height as u64);
        let live = session::live()?;
        let command = MemAllocPitch { context: context.id, width_bytes, height, element_bytes };
        let allocate = || -> Outcome<_> {
            let reply = live.call(&command)?;
            Ok((reply.at.0, reply.pitch.saturating_mul(height), reply.pitch))
        };
        let (at, row_bytes) = reserve::apart(allocate, give_back)?;
        super::remember(at, row_bytes.saturating_mul(height), What::Device, context);
        pitch.set(row_bytes as usize)?;
        place.set(at)
    }

    /// Allocates managed memory: pinned memory, which host and device reach at the same address.
    post fn cuMemAllocManaged(place: Out<CUdeviceptr>, bytes: usize, flags: u32) {
        let place = place.required()?;
        let context = tls::current()?;
        if bytes == 0 || !ATTACH.contains(&flags) {
            return Err(Status::INVALID_VALUE.into());
        }
        capturing::unsafe_call()?;
        let block = session::live()?.session.pin_shared(bytes as u64, 0)?;
        let at = block.pointer as u64;
        super::remember(at, bytes as u64, What::Managed(block), context);
        place.set(at)
    }

    /// Free and total device memory.
    sync fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) {
        let context = tls::current()?;
        let reply = session::live()?.call(&MemGetInfo { context: context.id })?;
        free.set_if_wanted(reply.free_bytes as usize);
        total.set_if_wanted(reply.total_bytes as usize);
        Ok(())
    }

    /// First address and size of the allocation that holds an address. NOT_FOUND if none does.
    local fn cuMemGetAddressRange_v2(base: Out<CUdeviceptr>, bytes: Out<usize>, at: CUdeviceptr) {
        tls::current()?;
        let known = super::find(at).filter(|entry| !matches!(entry.what, What::Registered { .. }));
        let entry = known.ok_or(Status::NOT_FOUND)?;
        base.set_if_wanted(entry.start);
        bytes.set_if_wanted(entry.len as usize);
        Ok(())
    }
}

//! Device memory, host memory, managed memory; fills; what a pointer is.

use crate::driver;
use crate::error::{Error, Outcome};
use crate::pointer::{In, Out, OutBytes};
use crate::types::{Extent, Location, PitchedPtr, PointerAttributes};

/// Allocates into `at`, which is null if that fails. Nothing is needed for no bytes.
pub(crate) fn allocate<T: Default>(
    at: Out<'_, T>,
    bytes: usize,
    allocate: impl FnOnce(&driver::Driver) -> Outcome,
) -> Outcome {
    at.set(T::default())?;
    let driver = driver::bind()?;
    if bytes == 0 {
        return Ok(());
    }
    allocate(driver).inspect_err(|_| at.set_if_wanted(T::default()))
}

/// What `cudaMallocPitch` aligns rows for.
const PITCH_ELEMENT_BYTES: u32 = 4;

fn allocate_pitched(at: Out<'_, u64>, pitch: Out<'_, usize>, width: usize, rows: usize) -> Outcome {
    pitch.set(0)?;
    let bytes = width.checked_mul(rows).ok_or(Error::INVALID_VALUE)?;
    allocate(at, bytes, |driver| {
        driver.cuMemAllocPitch_v2(at, pitch, width, rows, PITCH_ELEMENT_BYTES)
    })
}

fn allocate_box(out: Out<'_, PitchedPtr>, extent: Extent) -> Outcome {
    let (mut at, mut pitch) = (0, 0);
    let out = out.present()?;
    let rows = extent.height.checked_mul(extent.depth).ok_or(Error::INVALID_VALUE)?;
    let outcome = allocate_pitched(Out::to(&mut at), Out::to(&mut pitch), extent.width, rows);
    let ptr = usize::try_from(at).unwrap_or(0);
    out.set(PitchedPtr { ptr, pitch, xsize: extent.width, ysize: extent.height })?;
    outcome
}

entries! {
    sync fn cudaMalloc(at: Out<'_, u64>, bytes: usize) {
        allocate(at, bytes, |driver| driver.cuMemAlloc_v2(at, bytes))
    }

    sync fn cudaMallocPitch(at: Out<'_, u64>, pitch: Out<'_, usize>, width: usize, height: usize) {
        allocate_pitched(at, pitch, width, height)
    }

    sync fn cudaMalloc3D(out: Out<'_, PitchedPtr>, extent: Extent) {
        allocate_box(out, extent)
    }

    sync fn cudaFree(at: u64) {
        let driver = driver::bind()?;
        if at == 0 { Ok(()) } else { driver.cuMemFree_v2(at) }
    }

    post fn cudaMallocHost(at: Out<'_, usize>, bytes: usize) {
        allocate(at, bytes, |driver| driver.cuMemHostAlloc(at, bytes, 0))
    }

    post fn cudaHostAlloc(at: Out<'_, usize>, bytes: usize, flags: u32) {
        allocate(at, bytes, |driver| driver.cuMemHostAlloc(at, bytes, flags))
    }

    sync fn cudaFreeHost(at: usize) {
        let driver = driver::bind()?;
        if at == 0 { Ok(()) } else { driver.cuMemFreeHost(at) }
    }

    post fn cudaMallocManaged(at: Out<'_, u64>, bytes: usize, flags: u32) {
        if bytes == 0 {
            return Err(Error::INVALID_VALUE);
        }
        allocate(at, bytes, |driver| driver.cuMemAllocManaged(at, bytes, flags))
    }

    local fn cudaHostGetDevicePointer(device: Out<'_, u64>, host: usize, flags: u32) {
        driver::bind()?.cuMemHostGetDevicePointer_v2(device.present()?, host, flags)
    }

    sync fn cudaMemGetInfo(free: Out<'_, usize>, total: Out<'_, usize>) {
        driver::bind()?.cuMemGetInfo_v2(free.present()?, total.present()?)
    }

    local fn cudaPointerGetAttributes(out: Out<'_, PointerAttributes>, at: u64) {
        let out = out.present()?;
        out.set(pointer_attributes(at)?)
    }
}

passed! {
    local fn cudaHostRegister(at: usize, bytes: usize, flags: u32) = cuMemHostRegister_v2;
    sync fn cudaHostUnregister(at: usize) = cuMemHostUnregister;
    local fn cudaHostGetFlags(flags: Out<'_, u32>, host: usize) = cuMemHostGetFlags;
    local fn cudaMemRangeGetAttribute(data[data_bytes]: OutBytes, data_bytes: usize, attribute: u32, at: u64, bytes: usize) = cuMemRangeGetAttribute;
    local fn cudaMemRangeGetAttributes(data[count]: In<'_, OutBytes>, sizes[count]: In<'_, usize>, attributes[count]: In<'_, u32>, count: usize, at: u64, bytes: usize) = cuMemRangeGetAttributes;
    local fn cudaMemAdvise(at: u64, bytes: usize, advice: u32, location: Location) = cuMemAdvise_v2;
}

passed_streamed! {
    local fn cudaMemPrefetchAsync | cudaMemPrefetchAsync_ptsz [stream](at: u64, bytes: usize, location: Location, flags: u32, stream: usize) = cuMemPrefetchAsync_v2;
}

/// `cudaInvalidDeviceId`: the device of memory that CUDA does not know.
const NO_DEVICE: i32 = -2;
/// `cudaMemoryTypeManaged`.
const MANAGED: u32 = 3;

/// `CU_POINTER_ATTRIBUTE_*`: memory type, device pointer, host pointer, whether it is managed, device.
const ATTRIBUTES: [u32; 5] = [2, 3, 4, 8, 9];

fn pointer_attributes(at: u64) -> Outcome<PointerAttributes> {
    let driver = driver::bind()?;
    let (mut kind, mut device_pointer, mut host_pointer) = (0u32, 0u64, 0u64);
    // Wide enough for either form that a driver may write the flag in.
    let (mut managed, mut device) = (0u32, NO_DEVICE);
    let data = [
        &raw mut kind as usize,
        &raw mut device_pointer as usize,
        &raw mut host_pointer as usize,
        &raw mut managed as usize,
        &raw mut device as usize,
    ];
    let count = ATTRIBUTES.len() as u32;
    driver.cuPointerGetAttributes(count, In::to(&ATTRIBUTES[0]), In::to(&data[0]), at)?;
    let mut found = PointerAttributes { device, device_pointer, ..Default::default() };
    found.host_pointer = host_pointer;
    match kind {
        0 => (found.device, found.host_pointer) = (NO_DEVICE, at),
        _ if managed & 0xff != 0 => found.kind = MANAGED,
        kind => found.kind = kind,
    }
    Ok(found)
}

fn fill(at: u64, value: i32, bytes: usize, stream: usize) -> Outcome {
    let driver = driver::bind()?;
    if bytes == 0 { Ok(()) } else { driver.cuMemsetD8Async(at, value as u8, bytes, stream) }
}

fn fill_rows(
    at: u64,
    pitch: usize,
    value: i32,
    width: usize,
    rows: usize,
    stream: usize,
) -> Outcome {
    let driver = driver::bind()?;
    if width == 0 || rows == 0 {
        return Ok(());
    }
    driver.cuMemsetD2D8Async(at, pitch, value as u8, width, rows, stream)
}

fn fill_box(to: PitchedPtr, value: i32, extent: Extent, stream: usize) -> Outcome {
    let at = to.ptr as u64;
    // Whole slices follow each other like rows.
    if to.ysize == extent.height || extent.depth == 1 {
        let rows = extent.height.checked_mul(extent.depth).ok_or(Error::INVALID_VALUE)?;
        return fill_rows(at, to.pitch, value, extent.width, rows, stream);
    }
    let slice = to.pitch.checked_mul(to.ysize).ok_or(Error::INVALID_VALUE)? as u64;
    for z in 0..extent.depth as u64 {
        let at = at.wrapping_add(slice.wrapping_mul(z));
        fill_rows(at, to.pitch, value, extent.width, extent.height, stream)?;
    }
    Ok(())
}

streamed! {
    post fn cudaMemsetAsync | cudaMemsetAsync_ptsz [stream](at: u64, value: i32, bytes: usize, stream: usize) {
        fill(at, value, bytes, stream)
    }

    post fn cudaMemset2DAsync | cudaMemset2DAsync_ptsz [stream](at: u64, pitch: usize, value: i32, width: usize, height: usize, stream: usize) {
        fill_rows(at, pitch, value, width, height, stream)
    }

    post fn cudaMemset3DAsync | cudaMemset3DAsync_ptsz [stream](to: PitchedPtr, value: i32, extent: Extent, stream: usize) {
        fill_box(to, value, extent, stream)
    }
}

on_default! {
    post fn cudaMemset | cudaMemset_ptds [stream](at: u64, value: i32, bytes: usize) {
        if stream == crate::stream::DEFAULT && bytes != 0 {
            return driver::bind()?.cuMemsetD8_v2(at, value as u8, bytes);
        }
        fill(at, value, bytes, stream)
    }

    post fn cudaMemset2D | cudaMemset2D_ptds [stream](at: u64, pitch: usize, value: i32, width: usize, height: usize) {
        if stream == crate::stream::DEFAULT && width != 0 && height != 0 {
            return driver::bind()?.cuMemsetD2D8_v2(at, pitch, value as u8, width, height);
        }
        fill_rows(at, pitch, value, width, height, stream)
    }

    post fn cudaMemset3D | cudaMemset3D_ptds [stream](to: PitchedPtr, value: i32, extent: Extent) {
        fill_box(to, value, extent, stream)
    }
}

//! Copies of boxes.

use crate::array::{self, ARRAY};
use crate::copy::{DEVICE, HOST, Kind};
use crate::driver::{self, Driver};
use crate::error::{Error, Outcome};
use crate::pointer::In;
use crate::stream;
use crate::types::{
    Copy3D, Copy3DParameters, Extent, PeerCopy3DParameters, PitchedPtr, Position, Side3D,
};

fn side(at: PitchedPtr, position: Position, kind: u32, context: usize) -> Side3D {
    Side3D {
        x_bytes: position.x,
        y: position.y,
        z: position.z,
        kind,
        // A host address is read where the type is host, a device address elsewhere.
        host: at.ptr,
        device: at.ptr as u64,
        context,
        pitch: at.pitch,
        height: at.ysize,
        ..Side3D::default()
    }
}

fn whole(src: Side3D, dst: Side3D, extent: Extent) -> Outcome<Copy3D> {
    if extent.width > src.pitch || extent.width > dst.pitch {
        return Err(Error::INVALID_PITCH);
    }
    let Extent { width, height, depth } = extent;
    Ok(Copy3D { src, dst, width_bytes: width, height, depth })
}

/// One end of a copy with an array: that, or memory.
#[derive(Clone, Copy)]
struct End {
    array: usize,
    memory: PitchedPtr,
    position: Position,
    context: usize,
}

impl End {
    /// INVALID_VALUE if it is an array and memory at once, or neither.
    fn check(&self) -> Outcome {
        let one = (self.array != 0) != (self.memory.ptr != 0);
        if one { Ok(()) } else { Err(Error::INVALID_VALUE) }
    }

    /// The driver's form, where an element of the arrays of the copy has so many bytes: positions count elements, in memory
    /// too.
    fn side(&self, element_bytes: usize, kind: u32) -> Outcome<Side3D> {
        let x = self.position.x.checked_mul(element_bytes).ok_or(Error::INVALID_VALUE)?;
        let position = Position { x, ..self.position };
        let mut side = side(self.memory, position, kind, self.context);
        if self.array != 0 {
            (side.kind, side.array, side.host, side.device) = (ARRAY, self.array, 0, 0);
        }
        Ok(side)
    }
}

/// A copy of which an end is an array: sizes count its elements.
fn of_arrays(src: End, dst: End, extent: Extent, kind: Kind) -> Outcome<Option<Copy3D>> {
    src.check()?;
    dst.check()?;
    let (from, to) = kind.memory_types();
    // Arrays are of the device.
    let host = |end: End, kind: u32| end.array != 0 && kind == HOST;
    if host(src, from) || host(dst, to) {
        return Err(Error::INVALID_VALUE);
    }
    let mut element_bytes = None;
    for array in [src.array, dst.array].into_iter().filter(|array| *array != 0) {
        let bytes = array::element_bytes(&array::descriptor(array)?);
        if element_bytes.is_some_and(|other| other != bytes) {
            return Err(Error::INVALID_VALUE);
        }
        element_bytes = Some(bytes);
    }
    let bytes = element_bytes.unwrap_or(1);
    if [extent.width, extent.height, extent.depth].contains(&0) {
        return Ok(None);
    }
    let width = extent.width.checked_mul(bytes).ok_or(Error::INVALID_VALUE)?;
    let Extent { height, depth, .. } = extent;
    let (src, dst) = (src.side(bytes, from)?, dst.side(bytes, to)?);
    Ok(Some(Copy3D { src, dst, width_bytes: width, height, depth }))
}

/// The driver's form of a copy; none if there is nothing to copy.
pub(crate) fn description(copy: Copy3DParameters) -> Outcome<Option<Copy3D>> {
    let kind = Kind::new(copy.kind)?;
    if [copy.src_array, copy.dst_array] != [0, 0] {
        let end = |array, memory, position| End { array, memory, position, context: 0 };
        let src = end(copy.src_array, copy.src, copy.src_position);
        let dst = end(copy.dst_array, copy.dst, copy.dst_position);
        return of_arrays(src, dst, copy.extent, kind);
    }
    let (from, to) = kind.memory_types();
    if [copy.extent.width, copy.extent.height, copy.extent.depth].contains(&0) {
        return Ok(None);
    }
    if copy.src.ptr == 0 || copy.dst.ptr == 0 {
        return Err(Error::INVALID_VALUE);
    }
    let src = side(copy.src, copy.src_position, from, 0);
    let dst = side(copy.dst, copy.dst_position, to, 0);
    whole(src, dst, copy.extent).map(Some)
}

fn peer_description(copy: PeerCopy3DParameters) -> Outcome<Option<Copy3D>> {
    let (from, to) = (driver::primary(copy.src_device)?, driver::primary(copy.dst_device)?);
    if [copy.src_array, copy.dst_array] != [0, 0] {
        let end = |array, memory, position, context| End { array, memory, position, context };
        let src = end(copy.src_array, copy.src, copy.src_position, from);
        let dst = end(copy.dst_array, copy.dst, copy.dst_position, to);
        return of_arrays(src, dst, copy.extent, Kind::DeviceToDevice);
    }
    if [copy.extent.width, copy.extent.height, copy.extent.depth].contains(&0) {
        return Ok(None);
    }
    let src = side(copy.src, copy.src_position, DEVICE, from);
    let dst = side(copy.dst, copy.dst_position, DEVICE, to);
    whole(src, dst, copy.extent).map(Some)
}

fn run(
    description: Option<Copy3D>,
    call: impl FnOnce(&Driver, In<'_, Copy3D>) -> Outcome,
) -> Outcome {
    let driver = driver::bind()?;
    match description {
        Some(description) => call(driver, In::to(&description)),
        None => Ok(()),
    }
}

on_default! {
    sync fn cudaMemcpy3D | cudaMemcpy3D_ptds [stream](copy: In<'_, Copy3DParameters>) {
        run(description(copy.get()?)?, |driver, copy| {
            if stream == stream::DEFAULT {
                return driver.cuMemcpy3D_v2(copy);
            }
            driver.cuMemcpy3DAsync_v2(copy, stream)?;
            driver.cuStreamSynchronize(stream)
        })
    }

    sync fn cudaMemcpy3DPeer | cudaMemcpy3DPeer_ptds [stream](copy: In<'_, PeerCopy3DParameters>) {
        run(peer_description(copy.get()?)?, |driver, copy| {
            if stream == stream::DEFAULT {
                return driver.cuMemcpy3DPeer(copy);
            }
            driver.cuMemcpy3DPeerAsync(copy, stream)?;
            driver.cuStreamSynchronize(stream)
        })
    }
}

streamed! {
    post fn cudaMemcpy3DAsync | cudaMemcpy3DAsync_ptsz [stream](copy: In<'_, Copy3DParameters>, stream: usize) {
        run(description(copy.get()?)?, |driver, copy| driver.cuMemcpy3DAsync_v2(copy, stream))
    }

    post fn cudaMemcpy3DPeerAsync | cudaMemcpy3DPeerAsync_ptsz [stream](copy: In<'_, PeerCopy3DParameters>, stream: usize) {
        run(peer_description(copy.get()?)?, |driver, copy| driver.cuMemcpy3DPeerAsync(copy, stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_described_with_its_places_pitches_and_heights() {
        let parameters = Copy3DParameters {
            src_position: Position { x: 4, y: 1, z: 2 },
            src: PitchedPtr { ptr: 4096, pitch: 64, xsize: 60, ysize: 9 },
            dst: PitchedPtr { ptr: 8192, pitch: 512, xsize: 60, ysize: 7 },
            extent: Extent { width: 10, height: 3, depth: 2 },
            kind: 1,
            ..Copy3DParameters::default()
        };
        let copy = description(parameters).unwrap().unwrap();
        assert_eq!((copy.src.x_bytes, copy.src.y, copy.src.z), (4, 1, 2));
        assert_eq!((copy.src.pitch, copy.src.height, copy.src.kind), (64, 9, 1));
        assert_eq!((copy.dst.device, copy.dst.pitch, copy.dst.kind), (8192, 512, 2));
        assert_eq!((copy.width_bytes, copy.height, copy.depth), (10, 3, 2));
    }

    #[test]
    fn an_empty_box_is_nothing_and_a_too_narrow_pitch_is_refused() {
        let mut parameters = Copy3DParameters { kind: 3, ..Copy3DParameters::default() };
        assert!(description(parameters).unwrap().is_none());
        parameters.extent = Extent { width: 1, height: 1, depth: 1 };
        assert_eq!(description(parameters).err(), Some(Error::INVALID_VALUE), "from nowhere");
        (parameters.src.ptr, parameters.dst.ptr) = (4096, 8192);
        assert_eq!(description(parameters).err(), Some(Error::INVALID_PITCH));
    }
}

//! Copies of boxes.

use crate::copy::{DEVICE, Kind};
use crate::driver::{self, Driver};
use crate::error::{Error, Outcome};
use crate::exports;
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

/// Nothing here has CUDA arrays.
fn refuse_arrays(arrays: [usize; 2]) -> Outcome {
    if arrays == [0, 0] { Ok(()) } else { Err(exports::unsupported("cudaArray in a 3D copy\0")) }
}

/// The driver's form of a copy; none if there is nothing to copy.
pub(crate) fn description(copy: Copy3DParameters) -> Outcome<Option<Copy3D>> {
    refuse_arrays([copy.src_array, copy.dst_array])?;
    let (from, to) = Kind::new(copy.kind)?.memory_types();
    if [copy.extent.width, copy.extent.height, copy.extent.depth].contains(&0) {
        return Ok(None);
    }
    let src = side(copy.src, copy.src_position, from, 0);
    let dst = side(copy.dst, copy.dst_position, to, 0);
    whole(src, dst, copy.extent).map(Some)
}

fn peer_description(copy: PeerCopy3DParameters) -> Outcome<Option<Copy3D>> {
    refuse_arrays([copy.src_array, copy.dst_array])?;
    let (from, to) = (driver::primary(copy.src_device)?, driver::primary(copy.dst_device)?);
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
        assert_eq!(description(parameters).err(), Some(Error::INVALID_PITCH));
    }
}

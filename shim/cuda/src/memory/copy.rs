//! Copies of bytes in a row.

use super::attributes::waits_for;
use super::captured;
use super::host;
use super::place::{Declared, Place, classify};
use crate::arg::{InBytes, OutBytes};
use crate::failure::Outcome;
use crate::record::{self, Direction};
use crate::session::{self, Live};
use crate::stream::{Working, working};
use crate::types::{CUcontext, CUdeviceptr, CUstream, DefaultStream};
use crate::{capturing, output};
use ringbar_vocabulary::{DevicePtr, MemcpyDtoD, Status};

/// Whether the function returns before the copy is done, where CUDA says that it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Return {
    /// As soon as it is posted.
    Early,
    /// When host memory on either end has its final bytes.
    Done,
}

/// One copy as a function was called for it.
#[derive(Clone, Copy, Debug)]
struct Copy {
    dst: (u64, Declared),
    src: (u64, Declared),
    bytes: u64,
}

impl Copy {
    fn run(self, stream: &Working, when: Return) -> Outcome {
        if self.bytes == 0 {
            return Ok(());
        }
        let map = super::read();
        let dst = classify(&map, self.dst.0, self.bytes, self.dst.1)?;
        let src = classify(&map, self.src.0, self.bytes, self.src.1)?;
        drop(map);
        run(session::live()?, dst, src, self.bytes, stream, when)
    }
}

/// Copies between classified ends.
pub(crate) fn run(
    live: &'static Live,
    dst: Place,
    src: Place,
    bytes: u64,
    stream: &Working,
    when: Return,
) -> Outcome {
    let session = &live.session;
    let id = stream.id;
    recorded(dst.is_host(), src.is_host(), bytes);
    if (dst.is_pageable() || src.is_pageable()) && capturing::is_capturing(stream)? {
        return match (dst, src, when) {
            (Place::Device(dst), Place::Pageable(src), Return::Early) => {
                captured::to_device(live, dst, src, bytes, stream)
            }
            (Place::Pageable(dst), Place::Device(src), Return::Early) => {
                captured::to_host(live, dst, src, bytes, stream)
            }
            _ => refuse_captured(stream),
        };
    }
    match (dst, src) {
        (Place::Device(dst), Place::Pageable(src)) => {
            // The source may be reused: CUDA promises no more.
            return Ok(session.memcpy_htod(DevicePtr(dst), host::bytes(src, bytes), id)?);
        }
        (Place::Pageable(dst), Place::Device(src)) => {
            session.memcpy_dtoh(host::bytes_mut(dst, bytes), DevicePtr(src), id)?;
            output::flush(stream.context)?;
            return Ok(());
        }
        (Place::Device(dst), Place::Pinned(at, block)) => {
            let part = (&block, at - block.pointer as u64, bytes);
            session.memcpy_htod_pinned(DevicePtr(dst), part, id)?;
        }
        (Place::Pinned(at, block), Place::Device(src)) => {
            let part = (&block, at - block.pointer as u64, bytes);
            session.memcpy_dtoh_pinned(part, DevicePtr(src), id)?;
        }
        (Place::Device(dst), Place::Device(src))
        | (Place::Pinned(dst, _), Place::Pinned(src, _)) => {
            let (dst, src) = (DevicePtr(dst), DevicePtr(src));
            live.post(&MemcpyDtoD { dst, src, bytes, stream: id })?;
        }
        _ => {
            session.synchronise(id)?;
            host::move_bytes(dst.address(), src.address(), bytes);
            return Ok(());
        }
    }
    live.settle_capture()?;
    if when == Return::Done && must_wait(dst, src, stream) {
        session.synchronise(id)?;
        output::flush(stream.context)?;
    }
    Ok(())
}

/// Whether a copy that does not say that it is asynchronous is done when its function returns.
pub(crate) fn must_wait(dst: Place, src: Place, stream: &Working) -> bool {
    let host = dst.is_host() || src.is_host();
    host || waits_for(stream.context, &[dst.address(), src.address()])
}

/// Adds the copy to the recording of the call.
pub(crate) fn recorded(dst_is_host: bool, src_is_host: bool, bytes: u64) {
    let direction = match (dst_is_host, src_is_host) {
        (false, true) => Direction::ToDevice,
        (true, false) => Direction::ToHost,
        _ => Direction::OnDevice,
    };
    record::bulk(direction, bytes);
}

/// Boxes of the program's own memory, and copies between two places of the host, are not captured.
pub(crate) fn refuse_captured(stream: &Working) -> Outcome {
    if capturing::is_capturing(stream)? {
        tracing::warn!(
            "a copy of pageable memory that is a box, or goes to the host, cannot be captured; try pinned memory \
             (cuMemHostAlloc)"
        );
        return Err(capturing::UNSUPPORTED.into());
    }
    Ok(())
}

/// What a function says of its destination and its source.
type Ends = (Declared, Declared);

const TO_DEVICE: Ends = (Declared::Device, Declared::Host);
const TO_HOST: Ends = (Declared::Host, Declared::Device);
const ON_DEVICE: Ends = (Declared::Device, Declared::Device);
const ANYWHERE: Ends = (Declared::Any, Declared::Any);

/// Copies `bytes` from `src` to `dst`, which are addresses of what `ends` says.
fn copy(
    ends: Ends,
    (dst, src, bytes): (u64, u64, usize),
    stream: CUstream,
    flavour: DefaultStream,
    when: Return,
) -> Outcome {
    let stream = working(stream, flavour)?;
    Copy { dst: (dst, ends.0), src: (src, ends.1), bytes: bytes as u64 }.run(&stream, when)
}

/// Between two contexts: addresses of all devices are apart, so the contexts say nothing that the addresses do not.
fn peer(
    ends: [(u64, CUcontext); 2],
    bytes: usize,
    stream: CUstream,
    flavour: DefaultStream,
    when: Return,
) -> Outcome {
    let [(dst, dst_context), (src, src_context)] = ends;
    for context in [dst_context, src_context] {
        let found = crate::context::CONTEXTS.get(context).ok_or(Status::INVALID_CONTEXT)?;
        found.usable()?;
    }
    copy(ON_DEVICE, (dst, src, bytes), stream, flavour, when)
}

/// No stream handle: the default stream.
const NONE: CUstream = CUstream::NULL;

stream_entry! {
    /// Copies between any two places.
    sync fn cuMemcpy | cuMemcpy_ptds[flavour](dst: CUdeviceptr, src: CUdeviceptr, bytes: usize) {
        copy(ANYWHERE, (dst, src, bytes), NONE, flavour, Return::Done)
    }

    /// Copies between any two places, in stream order.
    post fn cuMemcpyAsync | cuMemcpyAsync_ptsz[flavour](dst: CUdeviceptr, src: CUdeviceptr, bytes: usize, stream: CUstream) {
        copy(ANYWHERE, (dst, src, bytes), stream, flavour, Return::Early)
    }

    /// Copies to the device.
    post fn cuMemcpyHtoD_v2 | cuMemcpyHtoD_v2_ptds[flavour](dst: CUdeviceptr, src[bytes]: InBytes, bytes: usize) {
        copy(TO_DEVICE, (dst, src as u64, bytes), NONE, flavour, Return::Done)
    }

    /// Copies to the device, in stream order.
    post fn cuMemcpyHtoDAsync_v2 | cuMemcpyHtoDAsync_v2_ptsz[flavour](dst: CUdeviceptr, src[bytes]: InBytes, bytes: usize, stream: CUstream) {
        copy(TO_DEVICE, (dst, src as u64, bytes), stream, flavour, Return::Early)
    }

    /// Copies to the host.
    sync fn cuMemcpyDtoH_v2 | cuMemcpyDtoH_v2_ptds[flavour](dst[bytes]: OutBytes, src: CUdeviceptr, bytes: usize) {
        copy(TO_HOST, (dst as u64, src, bytes), NONE, flavour, Return::Done)
    }

    /// Copies to the host, in stream order; waits where the memory is not pinned.
    post fn cuMemcpyDtoHAsync_v2 | cuMemcpyDtoHAsync_v2_ptsz[flavour](dst[bytes]: OutBytes, src: CUdeviceptr, bytes: usize, stream: CUstream) {
        copy(TO_HOST, (dst as u64, src, bytes), stream, flavour, Return::Early)
    }

    /// Copies within the device.
    post fn cuMemcpyDtoD_v2 | cuMemcpyDtoD_v2_ptds[flavour](dst: CUdeviceptr, src: CUdeviceptr, bytes: usize) {
        copy(ON_DEVICE, (dst, src, bytes), NONE, flavour, Return::Done)
    }

    /// Copies within the device, in stream order.
    post fn cuMemcpyDtoDAsync_v2 | cuMemcpyDtoDAsync_v2_ptsz[flavour](dst: CUdeviceptr, src: CUdeviceptr, bytes: usize, stream: CUstream) {
        copy(ON_DEVICE, (dst, src, bytes), stream, flavour, Return::Early)
    }

    /// Copies between the memory of two contexts.
    post fn cuMemcpyPeer | cuMemcpyPeer_ptds[flavour](dst: CUdeviceptr, dst_context: CUcontext, src: CUdeviceptr, src_context: CUcontext, bytes: usize) {
        peer([(dst, dst_context), (src, src_context)], bytes, NONE, flavour, Return::Done)
    }

    /// Copies between the memory of two contexts, in stream order.
    post fn cuMemcpyPeerAsync | cuMemcpyPeerAsync_ptsz[flavour](dst: CUdeviceptr, dst_context: CUcontext, src: CUdeviceptr, src_context: CUcontext, bytes: usize, stream: CUstream) {
        peer([(dst, dst_context), (src, src_context)], bytes, stream, flavour, Return::Early)
    }
}

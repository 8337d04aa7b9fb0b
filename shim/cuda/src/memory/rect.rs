//! Copies of boxes.

use super::array;
use super::copy::{self, Return, refuse_captured};
use super::host;
use super::place::{Place, classify};
use super::plan::{CUDA_MEMCPY2D, CUDA_MEMCPY3D, Plan, Side};
use crate::arg::In;
use crate::failure::Outcome;
use crate::output;
use crate::session::{self, Live};
use crate::stream::{Working, working};
use crate::types::{CUstream, DefaultStream};
use ringbar_session::DeviceBox;
use ringbar_vocabulary::{Corner, MemcpyRect};

/// No stream handle: the default stream.
const NONE: CUstream = CUstream::NULL;

/// A copy that was checked: what it means in addresses, its destination and its source.
pub(super) type Checked = (Plan, Place, Place);

/// Checks a copy; none if it copies nothing.
pub(super) fn check(copy: &CUDA_MEMCPY3D) -> Outcome<Option<Checked>> {
    let Some(plan) = copy.plan()? else { return Ok(None) };
    let map = super::read();
    let place = |side: &Side| classify(&map, side.at, plan.span(side), side.declared);
    let (dst, src) = (place(&plan.dst)?, place(&plan.src)?);
    Ok(Some((plan, dst, src)))
}

fn run(copy: &CUDA_MEMCPY3D, stream: &Working, when: Return) -> Outcome {
    if copy.dst.is_array() || copy.src.is_array() {
        return array::run(copy, stream, when);
    }
    match check(copy)? {
        Some(checked) => run_checked(checked, stream, when),
        None => Ok(()),
    }
}

/// Makes a copy that was checked.
pub(super) fn run_checked((plan, dst, src): Checked, stream: &Working, when: Return) -> Outcome {
    let live = session::live()?;
    match plan.in_a_row() {
        Some(bytes) => copy::run(live, dst, src, bytes, stream, when),
        None => rows(live, &plan, (dst, src), stream, when),
    }
}

fn rows(
    live: &Live,
    plan: &Plan,
    (dst, src): (Place, Place),
    stream: &Working,
    when: Return,
) -> Outcome {
    let session = &live.session;
    copy::recorded(dst.is_host(), src.is_host(), plan.extent.bytes());
    if dst.is_pageable() || src.is_pageable() {
        refuse_captured(stream)?;
    }
    match (dst, src) {
        (Place::Device(_), Place::Pageable(at)) => {
            let from = (host::bytes(at, plan.span(&plan.src)), plan.src.pitch);
            session.memcpy_rect_htod(
                DeviceBox::Memory(corner(dst, &plan.dst)),
                from,
                plan.extent,
                stream.id,
            )?;
            return Ok(());
        }
        (Place::Pageable(at), Place::Device(_)) => {
            let into = (host::bytes_mut(at, plan.span(&plan.dst)), plan.dst.pitch);
            session.memcpy_rect_dtoh(
                into,
                DeviceBox::Memory(corner(src, &plan.src)),
                plan.extent,
                stream.id,
            )?;
            output::flush(stream.context)?;
            return Ok(());
        }
        (Place::Pageable(_), _) | (_, Place::Pageable(_)) => {
            session.synchronise(stream.id)?;
            on_host(plan);
            return Ok(());
        }
        _ => {}
    }
    let both = dst.is_pinned() && src.is_pinned();
    let bit = |place: Place, bit: u32| if place.is_pinned() && !both { bit } else { 0 };
    let side = |place: Place, side: &Side| match both {
        true => Corner { at: side.at, pitch: side.pitch.row, slice: side.pitch.slice },
        false => corner(place, side),
    };
    live.post(&MemcpyRect {
        dst: side(dst, &plan.dst),
        src: side(src, &plan.src),
        width_bytes: plan.extent.width_bytes,
        height: plan.extent.height,
        depth: plan.extent.depth,
        stream: stream.id,
        host: bit(dst, 1) | bit(src, 2),
    })?;
    if when == Return::Done && copy::must_wait(dst, src, stream) {
        session.synchronise(stream.id)?;
        output::flush(stream.context)?;
    }
    Ok(())
}

fn corner(place: Place, side: &Side) -> Corner {
    Corner { at: place.wire(), pitch: side.pitch.row, slice: side.pitch.slice }
}

/// Both ends are host memory: row by row.
fn on_host(plan: &Plan) {
    for slice in 0..plan.extent.depth {
        for row in 0..plan.extent.height {
            let at = |side: &Side| side.at + slice * side.pitch.slice + row * side.pitch.row;
            host::move_bytes(at(&plan.dst), at(&plan.src), plan.extent.width_bytes);
        }
    }
}

fn box2d(
    copy: In<CUDA_MEMCPY2D>,
    stream: CUstream,
    flavour: DefaultStream,
    when: Return,
) -> Outcome {
    let copy = copy.get()?.into();
    run(&copy, &working(stream, flavour)?, when)
}

fn box3d(
    copy: In<CUDA_MEMCPY3D>,
    stream: CUstream,
    flavour: DefaultStream,
    when: Return,
) -> Outcome {
    let copy = copy.get()?;
    run(&copy, &working(stream, flavour)?, when)
}

stream_entry! {
    /// Copies a box of rows.
    sync fn cuMemcpy2D_v2 | cuMemcpy2D_v2_ptds[flavour](copy: In<CUDA_MEMCPY2D>) {
        box2d(copy, NONE, flavour, Return::Done)
    }

    /// The same for pitches of any alignment.
    sync fn cuMemcpy2DUnaligned_v2 | cuMemcpy2DUnaligned_v2_ptds[flavour](copy: In<CUDA_MEMCPY2D>) {
        box2d(copy, NONE, flavour, Return::Done)
    }

    /// Copies a box of rows, in stream order.
    post fn cuMemcpy2DAsync_v2 | cuMemcpy2DAsync_v2_ptsz[flavour](copy: In<CUDA_MEMCPY2D>, stream: CUstream) {
        box2d(copy, stream, flavour, Return::Early)
    }

    /// Copies a box of slices.
    sync fn cuMemcpy3D_v2 | cuMemcpy3D_v2_ptds[flavour](copy: In<CUDA_MEMCPY3D>) {
        box3d(copy, NONE, flavour, Return::Done)
    }

    /// Copies a box of slices, in stream order.
    post fn cuMemcpy3DAsync_v2 | cuMemcpy3DAsync_v2_ptsz[flavour](copy: In<CUDA_MEMCPY3D>, stream: CUstream) {
        box3d(copy, stream, flavour, Return::Early)
    }

    /// Copies a box between the memory of two contexts: addresses of all devices are apart, so they say it all.
    sync fn cuMemcpy3DPeer | cuMemcpy3DPeer_ptds[flavour](copy: In<CUDA_MEMCPY3D>) {
        box3d(copy, NONE, flavour, Return::Done)
    }

    /// The same in stream order.
    post fn cuMemcpy3DPeerAsync | cuMemcpy3DPeerAsync_ptsz[flavour](copy: In<CUDA_MEMCPY3D>, stream: CUstream) {
        box3d(copy, stream, flavour, Return::Early)
    }
}

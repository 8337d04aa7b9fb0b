//! `cuLaunchKernel`: the path that every other is measured by.

use super::{Function, Params, resolve};
use crate::context::Context;
use crate::failure::Outcome;
use crate::record;
use crate::session::live;
use crate::stream;
use crate::tls;
use crate::types::{CUfunction, CUstream, DefaultStream};
use ringbar_vocabulary::{LaunchKernel, LaunchKernelEx, Status, StreamId, Tail};
use std::ffi::c_void;

/// Bytes of a launch beside its parameters.
const HEAD_BYTES: usize = 48;

/// What a launch asks for, whichever function it came through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) shared_bytes: u32,
}

impl Shape {
    /// Whether the function can be launched so. If not, the device has the right code for it: one for what no kernel can have
    /// and for what the function was compiled for, others for what it has too few registers for.
    #[inline(always)]
    pub(super) fn fits(&self, function: &Function, context: &Context) -> Outcome<bool> {
        let (threads, shared_bytes) = function.limits()?;
        let [x, y, z] = self.block.map(u64::from);
        let limits = &context.limits;
        let inside = |wanted: [u32; 3], limit: [u32; 3]| {
            (0..3).all(|i| wanted[i].wrapping_sub(1) < limit[i])
        };
        Ok(inside(self.grid, limits.grid)
            && inside(self.block, limits.block)
            && x * y * z <= u64::from(threads.min(limits.threads))
            && self.shared_bytes <= shared_bytes)
    }
}

/// A function that belongs to the context; INVALID_HANDLE if it belongs to another.
#[inline(always)]
pub(crate) fn function_in(
    function: CUfunction,
    context: &'static Context,
) -> Outcome<&'static Function> {
    let function = resolve(function, context)?;
    if !std::ptr::eq(function.module.context, context) {
        return Err(Status::INVALID_HANDLE.into());
    }
    Ok(function)
}

#[inline(always)]
fn launch(
    function: CUfunction,
    shape: Shape,
    (stream, default): (CUstream, DefaultStream),
    params: Params,
) -> Outcome {
    let context = tls::current()?;
    let function = function_in(function, context)?;
    let fits = shape.fits(function, context)?;
    let stream = stream::working(stream, default)?;
    params.with_block(function, |block| {
        let position = post(function, shape, stream.id, block)?;
        if fits { Ok(()) } else { refused(position) }
    })
}

/// What the device says to a launch that does not fit.
#[cold]
pub(super) fn refused(position: u64) -> Outcome {
    Ok(live()?.session.wait_executed(position)?)
}

/// Posts a launch; answers with its position.
#[inline(always)]
fn post(function: &Function, shape: Shape, stream: StreamId, block: &[u8]) -> Outcome<u64> {
    let Shape { grid, block: threads, shared_bytes } = shape;
    record::inline(HEAD_BYTES + block.len());
    let params = Tail::Inline(block);
    live()?.post(&LaunchKernel {
        function: function.id,
        grid,
        block: threads,
        shared_bytes,
        stream,
        params,
    })
}

/// Posts a launch with attributes and answers with its position; `body` holds them and then the parameter block.
pub(super) fn post_with_attributes(
    function: &Function,
    shape: Shape,
    stream: StreamId,
    attributes: u32,
    body: &[u8],
) -> Outcome<u64> {
    let Shape { grid, block, shared_bytes } = shape;
    let body = Tail::Inline(body);
    live()?.post(&LaunchKernelEx {
        function: function.id,
        grid,
        block,
        shared_bytes,
        stream,
        attributes,
        body,
    })
}

stream_entry! {
    /// Launches a kernel, in stream order.
    post fn cuLaunchKernel | cuLaunchKernel_ptsz[default](function: CUfunction, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared_bytes: u32, stream: CUstream, params[function]: *const *const c_void, extra: *const *const c_void) {
        let shape = Shape { grid: [gx, gy, gz], block: [bx, by, bz], shared_bytes };
        launch(function, shape, (stream, default), Params { each: params, extra })
    }
}

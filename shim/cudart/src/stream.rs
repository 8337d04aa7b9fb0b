//! Streams, their capture, and host functions.

use crate::driver;
use crate::error::Error;
use crate::pointer::{HostFunction, In, InOut, Opaque, Out};
use crate::types::{AttributeValue, EdgeData};

/// The default stream of the context.
pub(crate) const DEFAULT: usize = 0;
/// The default stream of the thread, as the driver calls it.
pub(crate) const OWN: usize = 2;

/// The stream that a program means which was compiled for a default stream a thread.
#[inline]
pub(crate) fn own(stream: usize) -> usize {
    if stream == DEFAULT { OWN } else { stream }
}

entries! {
    post fn cudaStreamCreate(stream: Out<'_, usize>) {
        driver::bind()?.cuStreamCreate(stream.present()?, 0)
    }

    post fn cudaStreamCreateWithFlags(stream: Out<'_, usize>, flags: u32) {
        driver::bind()?.cuStreamCreate(stream.present()?, flags)
    }

    post fn cudaStreamCreateWithPriority(stream: Out<'_, usize>, flags: u32, priority: i32) {
        driver::bind()?.cuStreamCreateWithPriority(stream.present()?, flags, priority)
    }

    post fn cudaStreamDestroy(stream: usize) {
        // The default streams are nobody's to destroy.
        if stream <= OWN {
            return Err(Error::INVALID_HANDLE);
        }
        driver::bind()?.cuStreamDestroy_v2(stream)
    }

    local fn cudaThreadExchangeStreamCaptureMode(mode: InOut<'_, u32>) {
        driver::bind()?.cuThreadExchangeStreamCaptureMode(mode.present()?)
    }
}

passed_streamed! {
    local fn cudaStreamQuery | cudaStreamQuery_ptsz [stream](stream: usize) = cuStreamQuery;
    sync fn cudaStreamSynchronize | cudaStreamSynchronize_ptsz [stream](stream: usize) = cuStreamSynchronize;
    post fn cudaStreamWaitEvent | cudaStreamWaitEvent_ptsz [stream](stream: usize, event: usize, flags: u32) = cuStreamWaitEvent;
    post fn cudaStreamAddCallback | cudaStreamAddCallback_ptsz [stream](stream: usize, callback: HostFunction, data: Opaque, flags: u32) = cuStreamAddCallback;
    local fn cudaStreamGetPriority | cudaStreamGetPriority_ptsz [stream](stream: usize, priority: Out<'_, i32>) = cuStreamGetPriority;
    local fn cudaStreamGetFlags | cudaStreamGetFlags_ptsz [stream](stream: usize, flags: Out<'_, u32>) = cuStreamGetFlags;
    local fn cudaStreamGetId | cudaStreamGetId_ptsz [stream](stream: usize, id: Out<'_, u64>) = cuStreamGetId;
    local fn cudaStreamGetDevice | cudaStreamGetDevice_ptsz [stream](stream: usize, device: Out<'_, i32>) = cuStreamGetDevice;
    sync fn cudaStreamGetAttribute | cudaStreamGetAttribute_ptsz [stream](stream: usize, attribute: u32, value: Out<'_, AttributeValue>) = cuStreamGetAttribute;
    post fn cudaStreamSetAttribute | cudaStreamSetAttribute_ptsz [stream](stream: usize, attribute: u32, value: In<'_, AttributeValue>) = cuStreamSetAttribute;
    local fn cudaStreamAttachMemAsync | cudaStreamAttachMemAsync_ptsz [stream](stream: usize, at: u64, bytes: usize, flags: u32) = cuStreamAttachMemAsync;
    sync fn cudaStreamBeginCapture | cudaStreamBeginCapture_ptsz [stream](stream: usize, mode: u32) = cuStreamBeginCapture_v2;
    sync fn cudaStreamBeginCaptureToGraph | cudaStreamBeginCaptureToGraph_ptsz [stream](stream: usize, graph: usize, dependencies[count]: In<'_, usize>, edges[count]: In<'_, EdgeData>, count: usize, mode: u32) = cuStreamBeginCaptureToGraph;
    sync fn cudaStreamEndCapture | cudaStreamEndCapture_ptsz [stream](stream: usize, graph: Out<'_, usize>) = cuStreamEndCapture;
    sync fn cudaStreamIsCapturing | cudaStreamIsCapturing_ptsz [stream](stream: usize, status: Out<'_, u32>) = cuStreamIsCapturing;
    sync fn cudaStreamGetCaptureInfo | cudaStreamGetCaptureInfo_ptsz [stream](stream: usize, status: Out<'_, u32>, id: Out<'_, u64>, graph: Out<'_, usize>, dependencies: Out<'_, usize>, edges: Out<'_, usize>, count: Out<'_, usize>) = cuStreamGetCaptureInfo_v3;
    sync fn cudaStreamUpdateCaptureDependencies | cudaStreamUpdateCaptureDependencies_ptsz [stream](stream: usize, dependencies[count]: In<'_, usize>, edges[count]: In<'_, EdgeData>, count: usize, flags: u32) = cuStreamUpdateCaptureDependencies_v2;
    post fn cudaLaunchHostFunc | cudaLaunchHostFunc_ptsz [stream](stream: usize, function: HostFunction, data: Opaque) = cuLaunchHostFunc;
}

streamed! {
    post fn cudaStreamCopyAttributes | cudaStreamCopyAttributes_ptsz [dst](dst: usize, src: usize) {
        driver::bind()?.cuStreamCopyAttributes(dst, src)
    }
}

//! Streams, their capture, and host functions.

use crate::driver;
use crate::error::Error;
use crate::pointer::Out;

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
    fn cudaStreamCreate(stream: Out<'_, usize>) {
        driver::bind()?.cuStreamCreate(stream.present()?, 0)
    }

    fn cudaStreamCreateWithFlags(stream: Out<'_, usize>, flags: u32) {
        driver::bind()?.cuStreamCreate(stream.present()?, flags)
    }

    fn cudaStreamCreateWithPriority(stream: Out<'_, usize>, flags: u32, priority: i32) {
        driver::bind()?.cuStreamCreateWithPriority(stream.present()?, flags, priority)
    }

    fn cudaStreamDestroy(stream: usize) {
        // The default streams are nobody's to destroy.
        if stream <= OWN {
            return Err(Error::INVALID_HANDLE);
        }
        driver::bind()?.cuStreamDestroy_v2(stream)
    }

    fn cudaThreadExchangeStreamCaptureMode(mode: Out<'_, u32>) {
        driver::bind()?.cuThreadExchangeStreamCaptureMode(mode.present()?)
    }
}

passed_streamed! {
    fn cudaStreamQuery | cudaStreamQuery_ptsz [stream](stream: usize) = cuStreamQuery;
    fn cudaStreamSynchronize | cudaStreamSynchronize_ptsz [stream](stream: usize) = cuStreamSynchronize;
    fn cudaStreamWaitEvent | cudaStreamWaitEvent_ptsz [stream](stream: usize, event: usize, flags: u32) = cuStreamWaitEvent;
    fn cudaStreamAddCallback | cudaStreamAddCallback_ptsz [stream](stream: usize, callback: usize, data: usize, flags: u32) = cuStreamAddCallback;
    fn cudaStreamGetPriority | cudaStreamGetPriority_ptsz [stream](stream: usize, priority: Out<'_, i32>) = cuStreamGetPriority;
    fn cudaStreamGetFlags | cudaStreamGetFlags_ptsz [stream](stream: usize, flags: Out<'_, u32>) = cuStreamGetFlags;
    fn cudaStreamGetId | cudaStreamGetId_ptsz [stream](stream: usize, id: Out<'_, u64>) = cuStreamGetId;
    fn cudaStreamGetDevice | cudaStreamGetDevice_ptsz [stream](stream: usize, device: Out<'_, i32>) = cuStreamGetDevice;
    fn cudaStreamGetAttribute | cudaStreamGetAttribute_ptsz [stream](stream: usize, attribute: u32, value: usize) = cuStreamGetAttribute;
    fn cudaStreamSetAttribute | cudaStreamSetAttribute_ptsz [stream](stream: usize, attribute: u32, value: usize) = cuStreamSetAttribute;
    fn cudaStreamAttachMemAsync | cudaStreamAttachMemAsync_ptsz [stream](stream: usize, at: u64, bytes: usize, flags: u32) = cuStreamAttachMemAsync;
    fn cudaStreamBeginCapture | cudaStreamBeginCapture_ptsz [stream](stream: usize, mode: u32) = cuStreamBeginCapture_v2;
    fn cudaStreamBeginCaptureToGraph | cudaStreamBeginCaptureToGraph_ptsz [stream](stream: usize, graph: usize, dependencies: usize, edges: usize, count: usize, mode: u32) = cuStreamBeginCaptureToGraph;
    fn cudaStreamEndCapture | cudaStreamEndCapture_ptsz [stream](stream: usize, graph: Out<'_, usize>) = cuStreamEndCapture;
    fn cudaStreamIsCapturing | cudaStreamIsCapturing_ptsz [stream](stream: usize, status: Out<'_, u32>) = cuStreamIsCapturing;
    fn cudaStreamGetCaptureInfo | cudaStreamGetCaptureInfo_ptsz [stream](stream: usize, status: Out<'_, u32>, id: Out<'_, u64>, graph: Out<'_, usize>, dependencies: Out<'_, usize>, edges: Out<'_, usize>, count: Out<'_, usize>) = cuStreamGetCaptureInfo_v3;
    fn cudaStreamUpdateCaptureDependencies | cudaStreamUpdateCaptureDependencies_ptsz [stream](stream: usize, dependencies: usize, edges: usize, count: usize, flags: u32) = cuStreamUpdateCaptureDependencies_v2;
    fn cudaLaunchHostFunc | cudaLaunchHostFunc_ptsz [stream](stream: usize, function: usize, data: usize) = cuLaunchHostFunc;
}

streamed! {
    fn cudaStreamCopyAttributes | cudaStreamCopyAttributes_ptsz [dst](dst: usize, src: usize) {
        driver::bind()?.cuStreamCopyAttributes(dst, src)
    }
}

//! Events.

use crate::driver;
use crate::pointer::Out;

entries! {
    post fn cudaEventCreate(event: Out<'_, usize>) {
        driver::bind()?.cuEventCreate(event.present()?, 0)
    }

    post fn cudaEventCreateWithFlags(event: Out<'_, usize>, flags: u32) {
        driver::bind()?.cuEventCreate(event.present()?, flags)
    }

    sync fn cudaEventElapsedTime(milliseconds: Out<'_, f32>, start: usize, end: usize) {
        driver::bind()?.cuEventElapsedTime(milliseconds.present()?, start, end)
    }
}

passed! {
    local fn cudaEventQuery(event: usize) = cuEventQuery;
    sync fn cudaEventSynchronize(event: usize) = cuEventSynchronize;
    post fn cudaEventDestroy(event: usize) = cuEventDestroy_v2;
}

passed_streamed! {
    post fn cudaEventRecord | cudaEventRecord_ptsz [stream](event: usize, stream: usize) = cuEventRecord;
    post fn cudaEventRecordWithFlags | cudaEventRecordWithFlags_ptsz [stream](event: usize, stream: usize, flags: u32) = cuEventRecordWithFlags;
}

//! Events.

use crate::driver;
use crate::pointer::Out;

entries! {
    fn cudaEventCreate(event: Out<'_, usize>) {
        driver::bind()?.cuEventCreate(event.present()?, 0)
    }

    fn cudaEventCreateWithFlags(event: Out<'_, usize>, flags: u32) {
        driver::bind()?.cuEventCreate(event.present()?, flags)
    }

    fn cudaEventElapsedTime(milliseconds: Out<'_, f32>, start: usize, end: usize) {
        driver::bind()?.cuEventElapsedTime(milliseconds.present()?, start, end)
    }
}

passed! {
    fn cudaEventQuery(event: usize) = cuEventQuery;
    fn cudaEventSynchronize(event: usize) = cuEventSynchronize;
    fn cudaEventDestroy(event: usize) = cuEventDestroy_v2;
}

passed_streamed! {
    fn cudaEventRecord | cudaEventRecord_ptsz [stream](event: usize, stream: usize) = cuEventRecord;
    fn cudaEventRecordWithFlags | cudaEventRecordWithFlags_ptsz [stream](event: usize, stream: usize, flags: u32) = cuEventRecordWithFlags;
}

//! Streams that record into graphs.

use crate::gpu::MockGpu;
use crate::work::Work;
use ringbar_vocabulary::*;

impl MockGpu {
    #[inline]
    pub(crate) fn is_capturing(&self, _stream: StreamId) -> Result<bool, Status> {
        Ok(false)
    }

    pub(crate) fn capture(&mut self, _stream: StreamId, _work: Work) -> Result<(), Status> {
        Err(Status::NOT_SUPPORTED)
    }

    pub(crate) fn refuse_in_capture(&mut self, _stream: StreamId) -> Result<(), Status> {
        Ok(())
    }

    pub(crate) fn record_in_capture(
        &mut self,
        _s: StreamId,
        _e: EventId,
        _f: u32,
    ) -> Result<bool, Status> {
        Ok(false)
    }

    pub(crate) fn wait_in_capture(
        &mut self,
        _s: StreamId,
        _e: EventId,
        _f: u32,
    ) -> Result<bool, Status> {
        Ok(false)
    }

    pub(crate) fn forget_capture(&mut self, _stream: StreamId) {}

    pub(crate) fn forget_event(&mut self, _event: EventId) {}
}

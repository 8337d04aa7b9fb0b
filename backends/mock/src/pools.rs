//! Memory pools.

use crate::gpu::MockGpu;
use ringbar_vocabulary::DevicePtr;

impl MockGpu {
    pub(crate) fn pool_gives_back(&mut self, _pool: u32, _at: DevicePtr) {}

    pub(crate) fn pools_settle(&mut self) {}
}

//! What the mock says about itself: the numbers of an H100.

use crate::config::MockConfig;
use ringbar_vocabulary::{DeviceFactsBlock, Draw};

/// The name of every device of this backend.
pub const DEVICE_NAME: &str = "ringbar mock GPU";

/// The CUDA version that the mock stands for.
pub(crate) const DRIVER_VERSION: u32 = 13_000;
/// Threads of a block at most.
pub(crate) const BLOCK_THREADS_MAX: u32 = 1024;
/// Blocks of a grid in y and z at most.
pub(crate) const GRID_YZ_MAX: u32 = 65_535;
/// Dynamic shared memory of a block at most, in bytes, for a kernel that asked for it.
pub(crate) const SHARED_BYTES_MAX: u32 = 232_448;
/// The same for one that did not ask.
pub(crate) const SHARED_BYTES: u32 = 49_152;
/// Shared memory of a multiprocessor in bytes, and what of it each block costs beyond its own.
pub(crate) const SHARED_BYTES_PROCESSOR: u32 = 233_472;
pub(crate) const SHARED_BYTES_RESERVED: u32 = 1024;
/// Registers of a block and of a multiprocessor at most.
pub(crate) const REGISTERS_MAX: u32 = 65_536;
/// Threads and blocks of a multiprocessor at most.
pub(crate) const THREADS_PROCESSOR: u32 = 2048;
pub(crate) const BLOCKS_PROCESSOR: u32 = 32;
/// Multiprocessors.
pub(crate) const PROCESSORS: u32 = 132;
/// Threads of a warp.
pub(crate) const WARP: u32 = 32;
/// Blocks of a cluster at most; with the kernel's consent.
pub(crate) const CLUSTER_MAX: u32 = 8;
pub(crate) const CLUSTER_MAX_ASKED: u32 = 16;
/// Stream priorities: the least and the greatest.
pub(crate) const PRIORITIES: (i32, i32) = (0, -5);
/// Rows of pitched memory begin at multiples of this many bytes.
pub(crate) const PITCH_BYTES: u64 = 512;
/// Compute capability, major times 10 plus minor.
pub(crate) const CAPABILITY: u32 = 90;

/// Pseudo attributes: the least and the greatest stream priority.
const LEAST_PRIORITY: u32 = 0x1_0000;
const GREATEST_PRIORITY: u32 = 0x1_0001;
const PCI_BUS: u32 = 33;

/// Attributes by the numbers of `CUdevice_attribute` in the public `cuda.h`, sorted.
const ATTRIBUTES: &[(u32, i32)] = &[
    (1, BLOCK_THREADS_MAX as i32), // threads a block
    (2, 1024),                     // block x, y, z
    (3, 1024),
    (4, 64),
    (5, i32::MAX), // grid x, y, z
    (6, GRID_YZ_MAX as i32),
    (7, GRID_YZ_MAX as i32),
    (8, SHARED_BYTES as i32), // shared memory a block
    (9, 65_536),              // constant memory
    (10, WARP as i32),
    (11, i32::MAX), // pitch
    (12, REGISTERS_MAX as i32),
    (13, 1_980_000), // clock in kHz
    (14, 512),       // texture alignment
    (15, 1),         // copies beside kernels
    (16, PROCESSORS as i32),
    (17, 0),       // limit on a kernel's time
    (18, 0),       // integrated
    (19, 1),       // can map host memory
    (20, 0),       // compute mode
    (21, 131_072), // sizes of textures, up to 29
    (22, 131_072),
    (23, 65_536),
    (24, 16_384),
    (25, 16_384),
    (26, 16_384),
    (27, 32_768),
    (28, 32_768),
    (29, 2048),
    (30, 512),        // surface alignment
    (31, 1),          // concurrent kernels
    (32, 1),          // ECC
    (PCI_BUS, 1),     // PCI bus
    (34, 0),          // PCI device
    (35, 0),          // TCC driver
    (36, 2_619_000),  // memory clock in kHz
    (37, 5120),       // memory bus in bits
    (38, 52_428_800), // second-level cache
    (39, THREADS_PROCESSOR as i32),
    (40, 3),      // asynchronous copy engines
    (41, 1),      // unified addressing
    (42, 32_768), // layered textures, gathers
    (43, 2048),
    (45, 32_768),
    (46, 32_768),
    (47, 8192),
    (48, 8192),
    (49, 32_768),
    (50, 0),      // PCI domain
    (51, 32),     // texture pitch alignment
    (52, 32_768), // cube maps, surfaces, linear textures, up to 77
    (53, 32_768),
    (54, 2046),
    (55, 32_768),
    (56, 131_072),
    (57, 65_536),
    (58, 16_384),
    (59, 16_384),
    (60, 16_384),
    (61, 32_768),
    (62, 2048),
    (63, 32_768),
    (64, 32_768),
    (65, 2048),
    (66, 32_768),
    (67, 32_768),
    (68, 2046),
    (69, 268_435_456),
    (70, 131_072),
    (71, 65_000),
    (72, 2_097_120),
    (73, 32_768),
    (74, 32_768),
    (75, (CAPABILITY / 10) as i32),
    (76, (CAPABILITY % 10) as i32),
    (77, 32_768),
    (78, 1), // stream priorities
    (79, 1), // first-level cache for globals and locals
    (80, 1),
    (81, SHARED_BYTES_PROCESSOR as i32),
    (82, REGISTERS_MAX as i32),
    (83, 1), // managed memory
    (84, 0), // several GPUs on a board
    (85, 0),
    (86, 0), // native atomics to the host
    (87, 2), // single to double rate
    (88, 0), // pageable memory access
    (89, 0), // concurrent managed access
    (90, 1), // preemption
    (91, 0), // host pointer of registered memory
    (92, 0), // old memory operations of streams
    (93, 0),
    (94, 0),
    (95, 1), // cooperative launch
    (96, 0),
    (97, SHARED_BYTES_MAX as i32),
    (98, 0),  // remote writes flushed
    (99, 1),  // host memory can be registered
    (100, 0), // host page tables
    (101, 0), // direct access from the host
    (102, 1), // virtual memory management
    (103, 0), // handles that can be exported
    (104, 0),
    (105, 0),
    (106, BLOCKS_PROCESSOR as i32),
    (107, 0),           // compression
    (108, 32_768_000),  // persisting second-level cache
    (109, 134_217_728), // access policy window
    (110, 0),           // RDMA
    (111, SHARED_BYTES_RESERVED as i32),
    (112, 0), // sparse arrays
    (113, 0), // read-only registered memory
    (114, 0), // timeline semaphores
    (115, 1), // memory pools
    (116, 0), // RDMA, up to 118
    (117, 0),
    (118, 0),
    (119, 0), // pool handles that can be exported
    (120, 1), // clusters
    (121, 0), // deferred mapping
    (122, 1), // 64-bit memory operations of streams
    (123, 1), // waiting by NOR
    (124, 0), // dma-buf
    (125, 0), // events between processes
    (126, 4), // memory synchronisation domains
    (127, 1), // tensor maps
    (128, 0), // fabric handles
    (129, 0), // unified function pointers
    (130, 0), // NUMA
    (131, -1),
    (132, 0), // multicast
    (133, 0), // MPS
    (134, -1),
    (LEAST_PRIORITY, PRIORITIES.0),
    (GREATEST_PRIORITY, PRIORITIES.1),
];

pub(crate) fn facts(config: &MockConfig, device: u32, total_memory_bytes: u64) -> DeviceFactsBlock {
    let mut draw = Draw::new(config.seed.wrapping_add(u64::from(device)));
    let mut attributes = ATTRIBUTES.to_vec();
    for entry in &mut attributes {
        if entry.0 == PCI_BUS {
            entry.1 += device as i32;
        }
    }
    DeviceFactsBlock {
        name: DEVICE_NAME.into(),
        total_memory_bytes,
        compute_capability: (CAPABILITY / 10, CAPABILITY % 10),
        uuid: std::array::from_fn(|_| draw.next() as u8),
        attributes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_is_listed_once_in_order() {
        assert!(ATTRIBUTES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn devices_differ_in_uuid_and_bus() {
        let config = MockConfig::default();
        let [first, second] = [0, 1].map(|device| facts(&config, device, 1));
        assert_ne!(first.uuid, second.uuid);
        assert_ne!(first.attribute(PCI_BUS), second.attribute(PCI_BUS));
    }
}

//! What the mock says about itself.

use crate::config::MockConfig;
use ringbar_vocabulary::{DeviceFactsBlock, Draw};

/// The CUDA version that the mock stands for.
pub(crate) const DRIVER_VERSION: u32 = 13_000;
/// Threads of a block at most.
pub(crate) const BLOCK_THREADS_MAX: u64 = 1024;
/// Blocks of a grid in y and z at most.
pub(crate) const GRID_YZ_MAX: u32 = 65_535;
/// Dynamic shared memory of a block at most, in bytes.
pub(crate) const SHARED_BYTES_MAX: u32 = 232_448;

/// Attributes by the numbers of `CUdevice_attribute` in the public `cuda.h`.
const ATTRIBUTES: &[(u32, i32)] = &[
    (1, BLOCK_THREADS_MAX as i32), // threads a block
    (2, 1024),                     // block x, y, z
    (3, 1024),
    (4, 64),
    (5, i32::MAX), // grid x, y, z
    (6, GRID_YZ_MAX as i32),
    (7, GRID_YZ_MAX as i32),
    (8, 49_152),     // shared memory a block
    (9, 65_536),     // constant memory
    (10, 32),        // threads a warp
    (12, 65_536),    // registers a block
    (13, 1_000_000), // clock in kHz
    (14, 512),       // texture alignment
    (16, 16),        // multiprocessors
    (18, 0),         // integrated
    (19, 1),         // can map host memory
    (31, 1),         // concurrent kernels
    (33, 1),         // PCI bus
    (34, 0),         // PCI device
    (39, 2048),      // threads a multiprocessor
    (40, 1),         // asynchronous copy engines
    (41, 1),         // unified addressing
    (50, 0),         // PCI domain
    (75, COMPUTE_CAPABILITY.0 as i32),
    (76, COMPUTE_CAPABILITY.1 as i32),
    (78, 1),                       // stream priorities
    (81, 233_472),                 // shared memory a multiprocessor
    (82, 65_536),                  // registers a multiprocessor
    (83, 0),                       // managed memory
    (88, 0),                       // pageable memory access
    (89, 0),                       // concurrent managed access
    (97, SHARED_BYTES_MAX as i32), // shared memory a block, opted in
];
const COMPUTE_CAPABILITY: (u32, u32) = (9, 0);

pub(crate) fn facts(config: &MockConfig, total_memory_bytes: u64) -> DeviceFactsBlock {
    let mut draw = Draw::new(config.seed);
    DeviceFactsBlock {
        name: "ringbar mock GPU".into(),
        total_memory_bytes,
        compute_capability: COMPUTE_CAPABILITY,
        uuid: std::array::from_fn(|_| draw.next() as u8),
        attributes: ATTRIBUTES.to_vec(),
    }
}

//! What a mock GPU is like.

use crate::KernelSpec;
use thiserror::Error;

/// The properties of a mock GPU.
#[derive(Clone, Debug)]
pub struct MockConfig {
    /// Decides kernel layouts and the UUID.
    pub seed: u64,
    /// How many devices there are, all alike.
    pub devices: u32,
    /// Size of each device's memory, in bytes. Committed lazily, page by page.
    pub device_memory_bytes: u64,
    /// How much of the memory, from its start, is committed at once and not at first use.
    pub prefault_bytes: u64,
    /// What a launch or library call takes, in nanoseconds.
    pub latency_ns: u64,
    /// What copies and fills reach, in bytes a second; 0 means no limit.
    pub bandwidth_bytes_per_s: u64,
    /// How many operations of different streams the device works on at once.
    pub device_threads: usize,
    /// Whether kernel layouts have an arbitrary order and arbitrary gaps.
    pub random_layouts: bool,
    /// Whether freed memory is filled with zeros.
    pub scrub_on_free: bool,
    /// Whether it says that kernels reach all memory of its process, as with HMM; they cannot.
    pub pageable_memory_access: bool,
    /// Faults to inject.
    pub faults: Faults,
    /// Kernels beside the built-in ones.
    pub kernels: Vec<KernelSpec>,
}

impl Default for MockConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            devices: 1,
            device_memory_bytes: 16 << 30,
            prefault_bytes: 0,
            latency_ns: 0,
            bandwidth_bytes_per_s: 0,
            device_threads: 4,
            random_layouts: true,
            scrub_on_free: false,
            pageable_memory_access: false,
            faults: Faults::default(),
            kernels: Vec::new(),
        }
    }
}

impl MockConfig {
    /// Whether commands are executed where they are taken.
    pub(crate) fn is_inline(&self) -> bool {
        let timed = self.latency_ns != 0 || self.bandwidth_bytes_per_s != 0;
        !timed && self.faults.slow_at_launch.is_none() && self.faults.hang_at_launch.is_none()
    }
}

/// Faults that a mock GPU injects. All numbers count from 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The allocation that answers OUT_OF_MEMORY.
    pub out_of_memory_at_alloc: Option<u64>,
    /// The launch that fails with LAUNCH_FAILED and makes the device unusable.
    pub fail_at_launch: Option<u64>,
    /// The launch that takes this many nanoseconds more: (launch, ns).
    pub slow_at_launch: Option<(u64, u64)>,
    /// The launch that never ends. It ends only with the process (or with the `MockGpu`).
    pub hang_at_launch: Option<u64>,
    /// The command at which the process aborts, before it is executed.
    pub abort_at_command: Option<u64>,
}

/// Why there is no mock GPU.
#[derive(Debug, Error)]
pub enum MockError {
    /// The memory could not be mapped.
    #[error(
        "no {bytes} bytes of device memory: {source}; likely cause: a limit on address space (ulimit -v, a container), try a smaller device_memory_bytes"
    )]
    Memory {
        /// Bytes asked for.
        bytes: u64,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("no device thread: {source}; likely cause: a limit on processes (ulimit -u)")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
    /// A kernel's parameters do not fit into a parameter block.
    #[error(
        "kernel {name} takes {found} bytes of parameters: expected at most {expected}, each parameter at least 1"
    )]
    Parameters {
        /// The kernel's name.
        name: String,
        /// Bytes of its parameters.
        found: usize,
        /// The limit.
        expected: usize,
    },
}

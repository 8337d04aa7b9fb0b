//! A deterministic software GPU.
//!
//! [`MockGpu`] is a [`ringbar_backend::Backend`] with real bytes for device memory, streams in
//! order, events, fences, and kernels registered by name as Rust functions ([`KernelSpec`]) that
//! read their parameters through the function's layout. The same seed and the same commands give
//! the same memory, whatever the timing.
//!
//! # Time
//! With no latency and no bandwidth limit (the default) each command is executed where it is
//! taken, on the worker's thread. Otherwise, or when a fault makes a launch slow or hang, work is
//! queued and executed by device threads, each operation after its cost in time has passed.
//!
//! # Where it differs from CUDA
//! - A copy or fill is checked when it is taken, in the order of the commands: an address outside
//!   a live allocation is INVALID_VALUE, latched, and does not stick. A kernel's address is
//!   checked when the kernel uses it: ILLEGAL_ADDRESS, which sticks.
//! - The default stream waits for all work of the streams that were not created non-blocking, and
//!   their later work waits for it (CUDA's legacy default stream).
//! - Freed memory is given back when all work posted before is done; an allocation waits for such
//!   pending frees, so that addresses do not depend on timing.
//! - Freed memory is not scrubbed before it is handed out again unless the configuration asks
//!   for it: the pool belongs to one worker process and thus to one client, starts as zeros, and
//!   ends with its process, so no other client ever sees it. Zeroing would halve the rate of a
//!   weight load.
//! - Memory of another process is reached through a file in memory: each process has bytes of its own, and makes them one
//!   with the others' before each operation. There are no events between processes (`IPC_EVENT_SUPPORTED` is 0).
//!
//! # Module images
//! An image is the 8 bytes `RBMOCK1\0`, then kernel names in UTF-8, one a line (see [`image`]).
//! The name `mix` stands for the whole family `mix_<bytes>`. A name that is not registered is
//! refused with NOT_FOUND.

#![forbid(unsafe_code)]

mod arrays;
mod builtin;
mod config;
mod contexts;
mod device;
mod engine;
mod facts;
mod functions;
mod gpu;
mod graphs;
mod handler;
mod heap;
mod ipc;
mod kernel;
mod launch;
mod link;
mod mapping;
mod memory;
mod mixing;
mod module;
mod objects;
mod op;
mod pool;
mod pools;
mod programs;
mod schedule;
mod space;
mod streams;
mod texture;
mod vmm;
mod work;

pub use config::{Faults, MockConfig, MockError};
pub use facts::DEVICE_NAME;
pub use gpu::MockGpu;
pub use kernel::{KernelArgs, KernelFault, KernelFn, KernelSpec};
pub use module::{IMAGE_MAGIC, image};
pub use pool::DEVICE_BASE;

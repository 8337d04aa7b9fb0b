//! The backend that executes on a real GPU, through the CUDA driver.
//!
//! [`CudaGpu`] is a [`ringbar_backend::Backend`] for one client: the worker's thread owns it, makes its contexts current
//! and calls the driver. The driver's library is the real one, by absolute path ([`driver_library`]), never ringbar's shim.
//!
//! # Copies, fences, marks
//! Fence words and the arena are registered with the driver, exactly their pages, the arena in runs of chunks at first use; nothing
//! else of a region ever is. Copies from and to the arena are asynchronous. A fence is written by the device itself
//! (`cuStreamWriteValue64`); arena bytes of copies are held until the next fence of their stream, or a private mark behind
//! a mebibyte of them, has landed. A watcher thread notices what has landed, gives arena bytes back and wakes a client
//! that sleeps. Blocks below 64 KiB are copied out at once and never held.
//!
//! # What can block the worker's thread
//! [`BLOCKING`] lists the calls in which the driver may wait, what for, and what bounds it; `shim/BLOCKING.md` is the same
//! as a page. Nothing else here waits for the device on behalf of a client.
//!
//! # Failures
//! Codes of which CUDA says that the process must end (illegal address, assert, uncorrectable memory errors, ...) are
//! sticky: the first one is latched for the client, every later command answers it, and the worker ends. The next worker
//! is a new process with a new context.
//!
//! # What one client can see of another
//! Each client has a worker process, so device memory of another is in another address space. Memory that a process gives
//! back by ending is cleared by the driver before another process gets it: that is what NVIDIA's driver does on Linux and
//! what this relies on; memory that a client frees and allocates again holds its own old bytes, as it does natively.
//! A GPU that can reach pageable memory of its process (HMM, attribute 88) lets kernels reach the worker's own memory. Nothing of
//! another client is in it; but a kernel that writes it runs code as the executor's user, and so may read other workers.
//! Programs in virtual machines are therefore refused such a GPU, unless the executor was told to trust them. Memory and events that a client gives out by IPC handles the
//! driver opens for any process of this user that presents the 64 bytes; so programs in virtual machines, which are not this
//! user's, can neither give out nor open any.
//!
//! # Where it differs from the driver in a client's own process
//! All threads of a client are one thread here, with relaxed capture mode: what a capture forbids which thread is the
//! client's to know and refuse. Handles that are file descriptors and mappings of pageable memory
//! are withheld, and the device's facts say so.

mod api;
mod arena;
mod array;
mod blocking;
mod compile;
mod context;
mod copy;
mod gpu;
mod graph;
mod handler;
mod host_function;
mod ipc;
mod launch;
mod launches;
mod library;
mod link;
mod live;
mod memory;
mod module;
mod output;
mod start;
mod stream;
mod texture;
mod watch;

pub use blocking::{BLOCKING, Blocking, blocking_markdown};
pub use gpu::CudaGpu;
pub use library::{DRIVER_VARIABLE, DriverError, SHIM_MARKER, driver_library};
pub use start::{CudaConfig, CudaError};

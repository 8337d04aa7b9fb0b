//! `libcuda.so.1` for programs whose GPU is elsewhere: every driver call becomes a command in a ring.
//!
//! Each C function is a row of `entry!`, in the module of its subject: its name, its spelling for a default stream a thread,
//! its class, its arguments with direction and size, and its behaviour. What no source of ours decides is a row of
//! `functions.tsv`: all names that the library exports, which function each is in which version of CUDA. From the two the
//! build script makes [`exports::EXPORTS`] by `ringbar-shim-table`, as for the runtime; from that come the symbols, a stub
//! for every name without an entry (it answers `CUDA_ERROR_NOT_SUPPORTED`, is logged once by name, and is counted),
//! `cuGetProcAddress`, the names and classes in statistics and recordings, and the coverage page. What a function sends is a
//! row of the vocabulary, which names the functions that use it; a test holds the two to the same names, classes and versions.
//!
//! # What a program can rely on
//!
//! - Functions answer the codes that CUDA documents. Work that was posted and failed later surfaces at the next call
//!   that synchronises, as CUDA says of asynchronous errors; with `RINGBAR_STRICT=1` each call answers for itself.
//! - After the executor is lost every call but the pure ones answers one code at once: the error that ended the device
//!   if there was one (an illegal address, say), else `CUDA_ERROR_SYSTEM_NOT_READY`.
//! - Calls that end what the device may be using wait for the work before, as NVIDIA's do: `cuMemFree` (but for memory of a
//!   pool), `cuMemFreeHost`, `cuMemHostUnregister`, `cuModuleUnload`.
//! - A launch that does not fit is refused by the call, with the device's own code.
//! - Captures forbid the calls that NVIDIA's driver forbids, by mode and thread, with its codes. A
//!   copy in a row from or to memory of the program that is not pinned is captured as two nodes, a host function and a
//!   copy, since the device does not reach that memory. Boxes (2D, 3D) with such an end, and copies between two of them,
//!   answer `CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED`; a node of a graph with such an end is refused too.
//! - Managed memory is used by host and device by turns (`CONCURRENT_MANAGED_ACCESS` 0), at the same addresses. What
//!   CUDA documents for such devices holds: it cannot be prefetched to them. A managed variable of one library belongs to
//!   one context, and is reached through the runtime or `cuLibraryGetManaged`.
//! - Arrays have elements of one, two or four numbers of 8, 16 or 32 bits; texture objects are of arrays and of memory.
//!   Copies of arrays are captured, but a node of a graph cannot be made of one. Mipmapped and sparse arrays, other formats
//!   and texture references are not supported.
//! - A handle of memory or of an event opens what it names for whoever has it on the executor's host: it is the driver's own.
//! - After `fork` the child's copy answers `CUDA_ERROR_NOT_INITIALIZED`; a child that never saw `cuInit` starts afresh.
//!
//! # Environment
//!
//! | variable | what |
//! |---|---|
//! | `RINGBAR_SOCKET` | path of the executor's socket; without it the way out of a virtual machine is taken |
//! | `RINGBAR_VM` | in a virtual machine: `[ADDRESS or PATH or auto][,memory=PATH][,bulk=wc\|uc][,interrupts=yes\|alone\|no][,patience=TIME][,silence=TIME]`; without it the only PCI function with a region |
//! | `RINGBAR_STRICT` | `1`: every call waits for its execution and answers with its own failure |
//! | `RINGBAR_LOG` | what is logged to standard error, as `tracing` filters are written; default `warn` |
//! | `RINGBAR_STATS` | a file to which a line of JSON is appended at exit: what was called, and what crossed |
//! | `RINGBAR_RECORD` | a new file for every call, as `ringbar replay` reads it; FILE.PID where FILE exists |
//! | `CUDA_VISIBLE_DEVICES` | as CUDA reads it: ordinals or UUIDs, up to the first that is none |

#![allow(non_snake_case, non_upper_case_globals, reason = "CUDA's names")]

#[macro_use]
mod entry;

pub mod arg;
pub mod array;
pub mod capturing;
pub mod context;
pub mod device;
pub mod error_text;
pub mod event;
pub mod export_table;
pub mod exports;
pub mod failure;
pub mod fork;
pub mod function;
pub mod graph;
pub mod handles;
pub mod host_function;
pub mod image;
pub mod init;
pub mod ipc;
pub mod memop;
pub mod memory;
pub mod module;
pub mod output;
pub mod proc_address;
pub mod record;
pub mod session;
pub mod stats;
pub mod stream;
pub mod tensor_map;
pub mod texture;
pub mod tls;
pub mod types;
mod unsupported;
mod watch;

pub use failure::{Failure, Outcome};

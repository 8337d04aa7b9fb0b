//! `libcudart.so.13` over the driver API, for programs whose GPU is elsewhere.
//!
//! Each function of the runtime is a thin layer over the functions of `libcuda.so.1`, which it finds by name when it is
//! first needed: the two libraries are objects of their own, and a process has one driver, whoever calls it.
//! `functions.tsv` has all names that the library exports; each that is implemented has a row in the module of its subject
//! (`entry`): class, arguments with direction and size, behaviour. From the two the build script makes [`EXPORTS`] and a stub
//! of every name without a row, which answers `cudaErrorNotSupported` and is reported once by name; it also reads from the
//! sources which functions of the driver a row calls. Calls are counted by function, and told by the driver's library where
//! `RINGBAR_STATS` asks for it.
//!
//! # What a program can rely on
//!
//! - What the compiler's code registers at start (fat binaries, kernels, variables) is only noted; an image reaches the
//!   driver when one of its kernels or variables is first used.
//!   Registering what PyTorch registers (454 fat binaries, 21,569 kernels, 13,219 variables) takes 3.6 ms and 4.9 MB,
//!   median of 7, 0.1 us each; a look-up 5 ns (2-core virtual machine, Intel Xeon, 2026-11-30, release build):
//!   `cc -O2 shim/programs/registration.c -o registration -ldl && ./registration target/release/libringbar_shim_cudart.so`.
//! - The last error is each thread's own. An error that ends the device is answered by every later call.
//! - A failed allocation leaves its pointer null.

#![allow(non_snake_case, non_upper_case_globals, reason = "CUDA's names")]

#[macro_use]
mod entry;

mod array;
mod copy;
mod copy3d;
mod device;
mod driver;
mod error;
mod error_text;
mod event;
mod exports;
mod function;
mod graph;
mod graph_nodes;
mod launch;
mod library;
mod memory;
mod misc;
mod module;
mod pointer;
mod pool;
mod properties;
mod registration;
mod stream;
mod symbol;
mod table;
mod texture;
mod thread;
mod types;

pub use exports::{Argument, Class, EXPORTS, Export};

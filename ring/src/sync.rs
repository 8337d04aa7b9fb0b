//! The one place where atomics come from.
//!
//! Everything in this workspace takes its atomics from here (`.clippy.toml` bans the others), so that building with
//! `--cfg ringbar_loom` puts every one of them under loom's model checker.

#![allow(clippy::disallowed_types)]

#[cfg(not(ringbar_loom))]
mod imp {
    pub use core::sync::atomic::{
        AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence, fence,
    };
    pub use std::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub use std::thread;

    /// One step of a spin loop.
    #[inline(always)]
    pub fn spin_loop() {
        core::hint::spin_loop();
    }
}

#[cfg(ringbar_loom)]
mod imp {
    pub use loom::sync::atomic::{
        AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub use loom::thread;

    /// loom has no compiler fence: a model explores reorderings at run time only.
    pub fn compiler_fence(_: Ordering) {}

    /// One step of a spin loop: lets loom run another thread.
    pub fn spin_loop() {
        loom::thread::yield_now();
    }
}

pub use imp::*;

//! The one place where atomics come from, and the register of every ordering the protocol relies on.
//!
//! Everything in this workspace takes its atomics from here (`.clippy.toml` bans the others), so that building with
//! `--cfg ringbar_loom` puts every one of them under loom's model checker.
//!
//! An ordering that the protocol needs is written `order!(T1, Release)`: the site has the name it has in
//! `PROTOCOL.md`. In a normal build that is just `Ordering::Release`. In a loom build the environment variable
//! `RINGBAR_MUTANT=T1` weakens that one site to `Relaxed` (a fence vanishes), and a model must then fail. Likewise
//! `swapped!(C1)` names two steps whose order a crash between them would show.

#![allow(clippy::disallowed_types)]

#[cfg(not(ringbar_loom))]
mod imp {
    pub use core::sync::atomic::{Ordering, compiler_fence, fence};

    // Aliases and not re-exports: clippy's ban sees through a re-export, so it would forbid these here and everywhere.
    /// [`core::sync::atomic::AtomicBool`].
    pub type AtomicBool = core::sync::atomic::AtomicBool;
    /// [`core::sync::atomic::AtomicU16`].
    pub type AtomicU16 = core::sync::atomic::AtomicU16;
    /// [`core::sync::atomic::AtomicU32`].
    pub type AtomicU32 = core::sync::atomic::AtomicU32;
    /// [`core::sync::atomic::AtomicU64`].
    pub type AtomicU64 = core::sync::atomic::AtomicU64;
    /// [`core::sync::atomic::AtomicUsize`].
    pub type AtomicUsize = core::sync::atomic::AtomicUsize;
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

    /// One step of a spin loop: lets loom run another thread.
    pub fn spin_loop() {
        loom::thread::yield_now();
    }

    /// True if the environment asks for this site to be weakened.
    pub fn is_mutant(site: &str) -> bool {
        static ACTIVE: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        ACTIVE.get_or_init(|| std::env::var("RINGBAR_MUTANT").ok()).as_deref() == Some(site)
    }
}

pub use imp::*;

/// The ordering of a named site of the protocol; a loom build may weaken it to `Relaxed`.
#[cfg(not(ringbar_loom))]
macro_rules! order {
    ($site:ident, $strong:ident) => {
        $crate::sync::Ordering::$strong
    };
}

/// The ordering of a named site of the protocol; a loom build may weaken it to `Relaxed`.
#[cfg(ringbar_loom)]
macro_rules! order {
    ($site:ident, $strong:ident) => {
        if $crate::sync::is_mutant(stringify!($site)) {
            $crate::sync::Ordering::Relaxed
        } else {
            $crate::sync::Ordering::$strong
        }
    };
}

/// A sequentially consistent fence at a named site of the protocol; a loom build may drop it.
#[cfg(not(ringbar_loom))]
macro_rules! full_fence {
    ($site:ident) => {
        $crate::sync::fence($crate::sync::Ordering::SeqCst)
    };
}

/// A sequentially consistent fence at a named site of the protocol; a loom build may drop it.
#[cfg(ringbar_loom)]
macro_rules! full_fence {
    ($site:ident) => {
        if !$crate::sync::is_mutant(stringify!($site)) {
            $crate::sync::fence($crate::sync::Ordering::SeqCst)
        }
    };
}

/// Whether two steps that must follow each other are swapped at a named site, which only a loom build may ask for: what
/// is then seen after a crash between the two is what a model must find.
#[cfg(not(ringbar_loom))]
macro_rules! swapped {
    ($site:ident) => {
        false
    };
}

/// Whether two steps that must follow each other are swapped at a named site.
#[cfg(ringbar_loom)]
macro_rules! swapped {
    ($site:ident) => {
        $crate::sync::is_mutant(stringify!($site))
    };
}

pub(crate) use {full_fence, order, swapped};

/// The light side of the asymmetric barrier (site A1): orders the compiler only, the peer's `membarrier` orders the
/// processor. loom cannot interrupt a thread, so its model puts the fence here that `membarrier` would cause.
#[inline(always)]
pub fn light_barrier() {
    #[cfg(not(ringbar_loom))]
    compiler_fence(Ordering::SeqCst);
    #[cfg(ringbar_loom)]
    full_fence!(A1);
}

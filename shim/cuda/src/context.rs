//! Contexts: a primary one a device, and those that a program creates.

use crate::failure::Outcome;
use crate::handles::{Handle, Kind, Table};
use ringbar::sync::{AtomicBool, AtomicU32, Ordering::*};
use ringbar_vocabulary::{ContextId, Status};

/// A context, primary or created. Never freed.
#[derive(Debug)]
pub struct Context {
    /// Its handle.
    pub handle: Handle,
    /// Its number for the executor.
    pub id: ContextId,
    /// The executor's ordinal of its device.
    pub device: u32,
    /// `CU_CTX_*`.
    pub flags: AtomicU32,
    /// False before it is live, and after its destruction.
    alive: AtomicBool,
}

/// All contexts by handle.
pub static CONTEXTS: Table<Context> = Table::new(Kind::Context);

/// `CUDA_ERROR_CONTEXT_IS_DESTROYED`.
pub const CONTEXT_IS_DESTROYED: Status = Status(709);

impl Context {
    /// A context that is live.
    pub(crate) fn new(handle: Handle, id: ContextId, device: u32, flags: u32) -> Self {
        Self { handle, id, device, flags: AtomicU32::new(flags), alive: AtomicBool::new(true) }
    }

    /// CONTEXT_IS_DESTROYED if it was.
    #[inline]
    pub fn usable(&self) -> Outcome {
        if self.alive.load(Acquire) { Ok(()) } else { Err(CONTEXT_IS_DESTROYED.into()) }
    }

    pub(crate) fn set_alive(&self, alive: bool) {
        self.alive.store(alive, Release);
    }
}

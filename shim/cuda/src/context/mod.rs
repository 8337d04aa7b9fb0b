//! Contexts: a primary one a device, and those that a program creates.

pub mod calls;
pub mod primary;
pub mod settings;

pub use calls::*;
pub use primary::*;
pub use settings::*;

use crate::device::{Device, Limits, resolve as resolve_device};
use crate::failure::Outcome;
use crate::handles::{Handle, Kind, Table};
use crate::session::live;
use crate::tls;
use ringbar::sync::{AtomicBool, AtomicU32, Ordering::*};
use ringbar_vocabulary::{ContextCreate, ContextDestroy, ContextId, ContextSetFlags, Status};

/// A context, primary or created. Never freed.
#[derive(Debug)]
pub struct Context {
    /// Its handle.
    pub handle: Handle,
    /// Its number for the executor.
    pub id: ContextId,
    /// The executor's ordinal of its device.
    pub device: u32,
    /// The program's number of its device.
    pub visible: i32,
    /// What a launch in it may ask for.
    pub limits: Limits,
    /// `CU_CTX_*`.
    pub flags: AtomicU32,
    /// `CUfunc_cache`, a hint.
    pub(crate) cache_config: AtomicU32,
    /// False before it is live, and after its destruction.
    alive: AtomicBool,
}

/// All contexts by handle.
pub static CONTEXTS: Table<Context> = Table::new(Kind::Context);

/// `CUDA_ERROR_CONTEXT_IS_DESTROYED`.
pub const CONTEXT_IS_DESTROYED: Status = Status(709);

/// Flags that a context can have: how to wait, mapped host memory, keeping local memory, core dumps, synchronous memory
/// operations.
const CONTEXT_FLAGS: u32 = 0xff;

/// `CU_CTX_SCHED_MASK`, `CU_CTX_SCHED_BLOCKING_SYNC`.
const SCHED: (u32, u32) = (7, 4);
/// `CU_CTX_COREDUMP_ENABLE`, `CU_CTX_USER_COREDUMP_ENABLE`.
const CORE_DUMPS: u32 = 0x60;
/// `CU_CTX_SYNC_MEMOPS`.
const SYNC_MEMOPS: u32 = 0x80;
/// `CU_CTX_LMEM_RESIZE_TO_MAX`: of the flags that can be set later the one that is the driver's business. How to wait, and
/// for which operations, is decided here.
const OF_DRIVER: u32 = 0x10;

impl Context {
    /// Whether a thread that waits for its work is to sleep and not to poll.
    pub fn waits_asleep(&self) -> bool {
        self.flags.load(Relaxed) & SCHED.0 == SCHED.1
    }

    /// Whether copies and fills that do not say that they are asynchronous wait until they are done.
    #[inline]
    pub fn waits_for_memory(&self) -> bool {
        self.flags.load(Relaxed) & SYNC_MEMOPS != 0
    }

    /// Replaces its flags; tells the executor's driver of those that it must know, if the context is live.
    pub(crate) fn set_flags(&self, flags: u32) -> Outcome {
        let before = self.flags.load(Relaxed);
        if (before ^ flags) & OF_DRIVER != 0 && self.alive.load(Acquire) {
            live()?.call(&ContextSetFlags { context: self.id, flags: flags & OF_DRIVER })?;
        }
        self.flags.store(flags, Relaxed);
        Ok(())
    }

    fn new(handle: Handle, id: ContextId, device: &Device, flags: u32) -> Self {
        Self {
            handle,
            id,
            device: device.ordinal,
            visible: device.visible,
            limits: device.limits,
            flags: AtomicU32::new(flags),
            cache_config: AtomicU32::new(0),
            alive: AtomicBool::new(false),
        }
    }

    /// It is destroyed with everything in it.
    pub(crate) fn forget_contents(&self) {
        crate::stream::forget_context(self);
        crate::event::forget_context(self);
        crate::module::forget_context(self);
        crate::texture::forget_context(self);
        crate::array::forget_context(self);
        crate::memory::forget_context(self);
    }

    /// CONTEXT_IS_DESTROYED if it was.
    #[inline]
    pub fn usable(&self) -> Outcome {
        if self.alive.load(Acquire) { Ok(()) } else { Err(CONTEXT_IS_DESTROYED.into()) }
    }

    pub(crate) fn set_alive(&self, alive: bool) {
        self.alive.store(alive, Release);
    }

    /// Whether it is the primary context of its device.
    pub fn is_primary(&self) -> bool {
        self.id < ContextId::FIRST_CREATED
    }
}

/// The context that a handle names: INVALID_VALUE for null, INVALID_CONTEXT for what names none, CONTEXT_IS_DESTROYED for one that was destroyed.
pub fn resolve(context: Handle) -> Outcome<&'static Context> {
    if context.is_null() {
        return Err(Status::INVALID_VALUE.into());
    }
    match CONTEXTS.get_even_removed(context) {
        Some(context) => context.usable().map(|()| context),
        None => Err(Status::INVALID_CONTEXT.into()),
    }
}

/// The same; null means the current context.
pub fn resolve_or_current(context: Handle) -> Outcome<&'static Context> {
    if context.is_null() { tls::current() } else { resolve(context) }
}

/// Creates a context on a device and makes it the thread's current one.
fn create(device: i32, flags: u32) -> Outcome<&'static Context> {
    let device = resolve_device(device)?;
    check_flags(flags)?;
    let id = next_id();
    live()?.call(&ContextCreate { context: id, device: device.ordinal, flags })?;
    let (_, context) = CONTEXTS.insert(|handle| Context::new(handle, id, device, flags))?;
    context.set_alive(true);
    tls::push(context);
    Ok(context)
}

fn check_flags(flags: u32) -> Outcome {
    // Of the ways to wait at most one.
    if flags & !CONTEXT_FLAGS != 0 || (flags & 7).count_ones() > 1 {
        return Err(Status::INVALID_VALUE.into());
    }
    if flags & CORE_DUMPS != 0 {
        tracing::warn!(
            "CU_CTX_COREDUMP_ENABLE and CU_CTX_USER_COREDUMP_ENABLE are not supported: the dump would be the executor's, in its \
             folder; try: CUDA_ENABLE_COREDUMP_ON_EXCEPTION in the environment of `ringbar serve`"
        );
        return Err(Status::NOT_SUPPORTED.into());
    }
    Ok(())
}

fn next_id() -> ContextId {
    static NEXT: AtomicU32 = AtomicU32::new(ContextId::FIRST_CREATED.0);
    ContextId(NEXT.fetch_add(1, Relaxed))
}

/// Destroys a created context with everything in it.
fn destroy(context: &'static Context) -> Outcome {
    if context.is_primary() {
        return Err(Status::INVALID_CONTEXT.into());
    }
    context.set_alive(false);
    if tls::top().is_some_and(|top| std::ptr::eq(top, context)) {
        tls::pop()?;
    }
    live()?.call(&ContextDestroy { context: context.id })?;
    context.forget_contents();
    Ok(())
}

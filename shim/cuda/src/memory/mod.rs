//! Memory: allocations, pinned host memory, copies, fills, pools, mapped physical memory, questions about pointers.

pub mod advice;
pub mod alloc;
pub mod array;
pub mod attributes;
pub mod batch;
pub mod batch3d;
pub(crate) mod captured;
pub mod copy;
pub mod host;
pub mod managed;
pub mod map;
pub mod memset;
pub mod pinned;
pub mod place;
pub mod plan;
pub mod pool;
pub mod range;
pub mod rect;
mod reserve;
pub mod vmm;

use crate::context::{CONTEXTS, Context};
use crate::failure::Outcome;
use crate::handles::Handle;
use crate::{capturing, ipc, session, stream};
use map::{Entry, Map, What};
pub(crate) use reserve::{GRAPH_MEMORY, claim_where_it_is};
use ringbar_vocabulary::Status;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Everything that is allocated.
static MAP: RwLock<Map> = RwLock::new(Map::new());

pub(crate) fn read() -> RwLockReadGuard<'static, Map> {
    MAP.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn write() -> RwLockWriteGuard<'static, Map> {
    MAP.write().unwrap_or_else(PoisonError::into_inner)
}

/// The allocation that holds an address.
pub fn find(address: u64) -> Option<Entry> {
    read().find(address).copied()
}

/// Whether memory of a graph begins there: it is there again at the graph's next launch, whoever freed it.
pub(crate) fn is_of_graph(address: u64) -> bool {
    read().at(address).is_some_and(|entry| entry.what == What::Graph)
}

/// Waits for the work of an allocation's context. While a stream captures, the next use of what is freed waits alone.
pub(crate) fn await_work(entry: &Entry) -> Outcome {
    match CONTEXTS.get(entry.context) {
        Some(context) if !capturing::any() => stream::synchronise_context(context),
        _ => Ok(()),
    }
}

/// Remembers an allocation that belongs to a context.
pub(crate) fn remember(start: u64, len: u64, what: What, context: &Context) -> u64 {
    remember_as(start, len, what, context.handle, context.visible)
}

/// Remembers an allocation; the handle is null if it belongs to no context.
pub(crate) fn remember_as(start: u64, len: u64, what: What, context: Handle, device: i32) -> u64 {
    let entry = Entry { start, len, what, context, device, id: 0, sync_memops: false };
    if entry.is_managed() {
        range::forget(start, len);
    }
    write().insert(entry)
}

/// A variable of a module lies there. NOT_SUPPORTED if this process has memory of its own there: nobody could tell the two
/// apart.
pub fn remember_global(start: u64, len: u64, module: Handle, context: &Context) -> Outcome {
    let kinds = [What::Global(module), What::ManagedVariable(module)];
    let known = |entry: &Entry| entry.len == len && kinds.contains(&entry.what);
    if len > 0 && !read().at(start).is_some_and(known) {
        reserve::claim_where_it_is(start, len, "a variable of a module")?;
        remember(start, len, What::Global(module), context);
    }
    Ok(())
}

/// A module is unloaded with its variables.
pub fn forget_module(module: Handle) {
    managed::forget_module(module);
    let gone = [What::Global(module), What::ManagedVariable(module)];
    write().take(|entry| gone.contains(&entry.what));
}

/// A context is destroyed with everything in it. What was registered stays so until the program says otherwise.
pub fn forget_context(context: &Context) {
    managed::forget_context(context);
    let gone = |entry: &Entry| {
        entry.context == context.handle && !matches!(entry.what, What::Registered { .. })
    };
    let blocks = write().take(gone);
    let imported = blocks.iter().filter(|entry| entry.what == What::Imported);
    imported.for_each(|entry| ipc::forget(entry.start));
    let Ok(live) = session::live() else { return };
    for block in blocks.iter().filter_map(Entry::block) {
        // Fails only if the channel is over, and the block with it.
        let _ = live.session.unpin(&block);
    }
}

/// An address that the device reaches for `bytes` bytes: device memory or pinned memory. INVALID_VALUE for others.
pub(crate) fn reachable(at: u64, bytes: u64) -> Outcome<u64> {
    let map = read();
    let reached = |entry: &Entry| entry.is_device() || entry.block().is_some();
    match bytes == 0 || map.find(at).is_some_and(reached) && map.holds(at, bytes) {
        true => Ok(at),
        false => Err(Status::INVALID_VALUE.into()),
    }
}

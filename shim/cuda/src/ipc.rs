//! Memory and events of other processes, by handles that the executor's driver makes. A handle opens what it names for
//! whoever presents it, as CUDA's own do; so in a virtual machine the executor answers all of these NOT_SUPPORTED.

use crate::arg::Out;
use crate::event;
use crate::failure::Outcome;
use crate::memory;
use crate::memory::map::What;
use crate::session::{self, Live};
use crate::tls;
use crate::types::{CUdeviceptr, CUevent};
use ringbar_vocabulary::{
    ArenaRef, DevicePtr, IpcEventHandle, IpcEventOpen, IpcMemoryClose, IpcMemoryHandle,
    IpcMemoryOpen,
};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `CUipcMemHandle` and `CUipcEventHandle`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUipcHandle {
    bytes: [u8; 64],
}

impl CUipcHandle {
    /// As commands carry it.
    fn words(&self) -> [u64; 8] {
        let words = self.bytes.as_chunks::<8>().0;
        std::array::from_fn(|at| u64::from_le_bytes(words[at]))
    }
}

/// Memory of another process that is open here.
struct Opened {
    /// The first byte of what is mapped.
    base: u64,
    /// How often it was opened and not closed.
    times: u64,
}

/// By the address that opening answered.
static OPENED: Mutex<BTreeMap<u64, Opened>> = Mutex::new(BTreeMap::new());

fn opened() -> MutexGuard<'static, BTreeMap<u64, Opened>> {
    OPENED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handle that the executor writes to where `ask` is told.
fn handle(live: &Live, ask: impl FnOnce(ArenaRef) -> Outcome) -> Outcome<CUipcHandle> {
    let mut handle = CUipcHandle { bytes: [0; 64] };
    let block = live.session.answer_block(handle.bytes.len() as u64)?;
    ask(block.place())?;
    block.read(&mut handle.bytes)?;
    Ok(handle)
}

fn open(place: Out<CUdeviceptr>, handle: &CUipcHandle, flags: u32) -> Outcome {
    let place = place.required()?;
    let context = tls::current()?;
    let command = IpcMemoryOpen { context: context.id, flags, handle: handle.words() };
    // Held while it is opened: who closes it meanwhile must find it.
    let mut opened = opened();
    let reply = session::live()?.call(&command)?;
    let (at, base) = (reply.at.0, reply.base.0);
    let known = opened.values().any(|opened| opened.base == base);
    if !known && let Err(failure) = memory::claim_where_it_is(base, reply.bytes, "another's memory")
    {
        session::live()?.call(&IpcMemoryClose { at: reply.at })?;
        return Err(failure);
    }
    opened.entry(at).or_insert(Opened { base, times: 0 }).times += 1;
    if !known {
        memory::remember(base, reply.bytes, What::Imported, context);
    }
    place.set(at)
}

fn close(at: CUdeviceptr) -> Outcome {
    let mut opened = opened();
    session::live()?.call(&IpcMemoryClose { at: DevicePtr(at) })?;
    let Some(found) = opened.get_mut(&at) else { return Ok(()) };
    found.times -= 1;
    let (base, times) = (found.base, found.times);
    if times == 0 {
        opened.remove(&at);
    }
    if !opened.values().any(|opened| opened.base == base) {
        memory::write().remove_if(base, |entry| entry.what == What::Imported);
    }
    Ok(())
}

/// What was mapped from that address on is gone with its context.
pub(crate) fn forget(base: u64) {
    opened().retain(|_, opened| opened.base != base);
}

entry! {
    /// A handle by which other processes reach device memory of this one.
    sync fn cuIpcGetMemHandle(place: Out<CUipcHandle>, at: CUdeviceptr) {
        let place = place.required()?;
        tls::current()?;
        let live = session::live()?;
        let at = DevicePtr(at);
        place.set(handle(live, |to| live.call(&IpcMemoryHandle { at, handle: to }).map(drop))?)
    }

    /// Maps memory of another process. What is open already is given out again at the same address.
    sync fn cuIpcOpenMemHandle_v2(place: Out<CUdeviceptr>, handle: CUipcHandle, flags: u32) {
        open(place, &handle, flags)
    }

    /// The same, as CUDA 4 spelled it.
    sync fn cuIpcOpenMemHandle(place: Out<CUdeviceptr>, handle: CUipcHandle, flags: u32) {
        open(place, &handle, flags)
    }

    /// Ends one use of memory of another process; the last one's end unmaps it.
    sync fn cuIpcCloseMemHandle(at: CUdeviceptr) {
        tls::current()?;
        close(at)
    }

    /// A handle by which other processes reach an event that was created for it.
    sync fn cuIpcGetEventHandle(place: Out<CUipcHandle>, event: CUevent) {
        let (place, event) = (place.required()?, event::get(event)?);
        let (live, id) = (session::live()?, event.id);
        place.set(handle(live, |to| live.call(&IpcEventHandle { event: id, handle: to }).map(drop))?)?;
        event.goes_out();
        Ok(())
    }

    /// Opens an event of another process.
    sync fn cuIpcOpenEventHandle(place: Out<CUevent>, handle: CUipcHandle) {
        let place = place.required()?;
        let context = tls::current()?;
        let live = session::live()?;
        let event = live.session.event_id()?;
        live.call(&IpcEventOpen { context: context.id, event, handle: handle.words() })?;
        place.set(event::opened(event, context)?)
    }
}

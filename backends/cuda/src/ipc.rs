//! Memory and events of other processes. Each client has a worker process of its own, so the driver's own handles do: what
//! one worker exports another one opens.

use crate::api::IpcHandle;
use crate::live::{Live, Owned};
use ringbar_backend::Context;
use ringbar_vocabulary::*;
use std::collections::btree_map::Entry;

/// A handle as commands carry it.
fn handle_of(words: [u64; 8]) -> IpcHandle {
    let mut bytes = [0; 64];
    for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
    IpcHandle(bytes)
}

/// Writes a handle to where the client wants it.
fn answer(cx: &mut Context<'_>, to: ArenaRef, handle: &IpcHandle) -> Result<(), Status> {
    let place = to.part(0, handle.0.len() as u64).ok_or(Status::INVALID_VALUE)?;
    cx.write_arena(place, &handle.0)
}

impl Live {
    pub fn ipc_memory_handle(
        &mut self,
        cx: &mut Context<'_>,
        c: IpcMemoryHandle,
    ) -> Result<IpcMemoryHandleReply, Status> {
        cx.check_arena(c.handle)?;
        let owner = self.allocations.get(&c.at.0).map(|allocation| allocation.context);
        self.enter(owner.unwrap_or(ContextId::FIRST))?;
        let mut handle = IpcHandle([0; 64]);
        self.api.cuIpcGetMemHandle(&mut handle, c.at.0)?;
        answer(cx, c.handle, &handle)?;
        Ok(IpcMemoryHandleReply {})
    }

    pub fn ipc_memory_open(
        &mut self,
        _cx: &mut Context<'_>,
        c: IpcMemoryOpen,
    ) -> Result<IpcMemoryOpenReply, Status> {
        self.enter(c.context)?;
        let mut at = 0;
        self.api.cuIpcOpenMemHandle_v2(&mut at, handle_of(c.handle), c.flags)?;
        let (mut base, mut bytes) = (0, 0);
        if let Err(status) = self.api.cuMemGetAddressRange_v2(&mut base, &mut bytes, at) {
            self.api.cuIpcCloseMemHandle(at)?;
            return Err(status);
        }
        // Opened once more it has the same address, in the context of the first time.
        self.opened.entry(at).or_insert((c.context, 0)).1 += 1;
        Ok(IpcMemoryOpenReply { at: DevicePtr(at), base: DevicePtr(base), bytes: bytes as u64 })
    }

    pub fn ipc_memory_close(
        &mut self,
        _cx: &mut Context<'_>,
        c: IpcMemoryClose,
    ) -> Result<IpcMemoryCloseReply, Status> {
        // The driver knows what is not open.
        let context = self.opened.get(&c.at.0).map_or(ContextId::FIRST, |(context, _)| *context);
        self.enter(context)?;
        self.api.cuIpcCloseMemHandle(c.at.0)?;
        if let Entry::Occupied(mut opened) = self.opened.entry(c.at.0) {
            opened.get_mut().1 -= 1;
            if opened.get().1 == 0 {
                opened.remove();
            }
        }
        Ok(IpcMemoryCloseReply {})
    }

    pub fn ipc_event_handle(
        &mut self,
        cx: &mut Context<'_>,
        c: IpcEventHandle,
    ) -> Result<IpcEventHandleReply, Status> {
        cx.check_arena(c.handle)?;
        let Owned { raw, context } = *self.events.get(c.event.0)?;
        self.enter(context)?;
        let mut handle = IpcHandle([0; 64]);
        self.api.cuIpcGetEventHandle(&mut handle, raw)?;
        answer(cx, c.handle, &handle)?;
        Ok(IpcEventHandleReply {})
    }

    pub fn ipc_event_open(
        &mut self,
        _cx: &mut Context<'_>,
        c: IpcEventOpen,
    ) -> Result<IpcEventOpenReply, Status> {
        self.events.check_new(c.event.0)?;
        self.enter(c.context)?;
        let mut raw = 0;
        self.api.cuIpcOpenEventHandle(&mut raw, handle_of(c.handle))?;
        self.events.insert(c.event.0, Owned { raw, context: c.context });
        Ok(IpcEventOpenReply {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_keeps_the_order_of_its_bytes() {
        let bytes: [u8; 64] = std::array::from_fn(|at| at as u8);
        let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let words: Vec<u64> = words.collect();
        assert_eq!(handle_of(words.try_into().unwrap()).0, bytes);
    }
}

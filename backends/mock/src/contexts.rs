//! Contexts: what they own, their limits, and what devices can do with each other.

use crate::gpu::MockGpu;
use crate::heap::Owner;
use crate::schedule::{Kind, Lane};
use crate::streams::Stream;
use ringbar_backend::Context;
use ringbar_vocabulary::*;
use std::collections::BTreeSet;

/// `CU_CTX_*` flags that exist.
const FLAGS: u32 = 0xff;
/// `CUlimit`: stack, print buffer, heap, two of the device runtime, second-level fetch,
/// persisting cache.
const LIMITS: [u64; 7] = [1024, 1 << 20, 8 << 20, 2, 2048, 128, 0];
/// Elements and bytes of a texture over memory in a row, as on an H200.
const TEXTURE_ELEMENTS: u64 = 1 << 30;
const TEXTURE_BYTES: u64 = 1 << 32;
const PEER_ACCESS_ALREADY_ENABLED: Status = Status(704);
const PEER_ACCESS_NOT_ENABLED: Status = Status(705);
const PEER_ACCESS_UNSUPPORTED: Status = Status(217);

/// A context.
pub(crate) struct ContextState {
    pub(crate) device: u32,
    limits: [u64; LIMITS.len()],
    /// Contexts whose memory it may reach.
    peers: BTreeSet<u32>,
}

impl MockGpu {
    /// Adds a context with its default stream.
    pub(crate) fn add_context(&mut self, context: u32, device: u32) {
        let state = ContextState { device, limits: LIMITS, peers: BTreeSet::new() };
        // Who calls this has checked that the number is free.
        let _ = self.contexts.add(context, state);
        let lane = Lane { serial: self.next_serial, kind: Kind::Default, context };
        self.next_serial += 1;
        let stream = ContextId(context).default_stream();
        let _ = self.streams.add(stream.0, Stream::new(lane, 0));
        self.engine.add_stream(lane);
    }

    /// The context of that number.
    pub(crate) fn context(&self, context: ContextId) -> Result<&ContextState, Status> {
        self.ready()?;
        self.contexts.get(context.0).map_err(|_| Status::INVALID_CONTEXT)
    }

    /// Ends everything that belongs to a context, and the context.
    fn remove_context(&mut self, context: u32) -> Result<(), Status> {
        for module in self.modules.which(|module| module.context == context) {
            self.remove_module(module)?;
        }
        for stream in self.streams.which(|stream| stream.lane.context == context) {
            let stream = self.streams.remove(stream)?;
            self.engine.remove_stream(stream.lane.serial);
        }
        for event in self.events.which(|event| event.context == context) {
            self.events.remove(event)?;
        }
        self.close_all_of(context)?;
        self.destroy_objects_of(context)?;
        self.destroy_arrays_of(context)?;
        let device = self.contexts.remove(context)?.device;
        let owned = self.engine.with_space_now(|space| {
            space.heap(device).map(|heap| heap.owned_by(Owner::Context(context)))
        })?;
        owned.into_iter().try_for_each(|at| self.engine.free(at))
    }

    pub(crate) fn primary_context_retain(
        &mut self,
        _cx: &mut Context<'_>,
        command: PrimaryContextRetain,
    ) -> Result<PrimaryContextRetainReply, Status> {
        self.check_device(command.device)?;
        if command.flags & !FLAGS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        Ok(PrimaryContextRetainReply {})
    }

    pub(crate) fn primary_context_reset(
        &mut self,
        _cx: &mut Context<'_>,
        command: PrimaryContextReset,
    ) -> Result<PrimaryContextResetReply, Status> {
        self.check_device(command.device)?;
        self.remove_context(command.device)?;
        self.add_context(command.device, command.device);
        Ok(PrimaryContextResetReply {})
    }

    pub(crate) fn context_create(
        &mut self,
        _cx: &mut Context<'_>,
        command: ContextCreate,
    ) -> Result<ContextCreateReply, Status> {
        self.check_device(command.device)?;
        if command.flags & !FLAGS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        let ContextId(context) = command.context;
        // From the numbers of default streams on there are none for contexts.
        if !(ContextId::FIRST_CREATED.0..StreamId::DEFAULTS).contains(&context) {
            return Err(Status::INVALID_HANDLE);
        }
        self.contexts.check_new(context)?;
        self.add_context(context, command.device);
        Ok(ContextCreateReply {})
    }

    pub(crate) fn context_set_flags(
        &mut self,
        _cx: &mut Context<'_>,
        command: ContextSetFlags,
    ) -> Result<ContextSetFlagsReply, Status> {
        self.context(command.context)?;
        // None of them changes what a mock does.
        if command.flags & !FLAGS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        Ok(ContextSetFlagsReply {})
    }

    pub(crate) fn context_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        command: ContextDestroy,
    ) -> Result<ContextDestroyReply, Status> {
        self.context(command.context)?;
        if command.context < ContextId::FIRST_CREATED {
            return Err(Status::INVALID_CONTEXT);
        }
        self.remove_context(command.context.0)?;
        Ok(ContextDestroyReply {})
    }

    pub(crate) fn context_get_limit(
        &mut self,
        _cx: &mut Context<'_>,
        command: ContextGetLimit,
    ) -> Result<ContextGetLimitReply, Status> {
        let limits = &self.context(command.context)?.limits;
        let value = limits.get(command.limit as usize).copied();
        Ok(ContextGetLimitReply { value: value.ok_or(Status::INVALID_VALUE)? })
    }

    pub(crate) fn context_set_limit(
        &mut self,
        _cx: &mut Context<'_>,
        command: ContextSetLimit,
    ) -> Result<ContextSetLimitReply, Status> {
        self.context(command.context)?;
        let state = self.contexts.get_mut(command.context.0)?;
        let limit = state.limits.get_mut(command.limit as usize).ok_or(Status::INVALID_VALUE)?;
        *limit = command.value;
        Ok(ContextSetLimitReply {})
    }

    /// No line of the mock's cache persists.
    pub(crate) fn context_reset_l2(
        &mut self,
        _cx: &mut Context<'_>,
        command: ContextResetL2,
    ) -> Result<ContextResetL2Reply, Status> {
        self.context(command.context)?;
        Ok(ContextResetL2Reply {})
    }

    pub(crate) fn device_texture_width(
        &mut self,
        _cx: &mut Context<'_>,
        command: DeviceTextureWidth,
    ) -> Result<DeviceTextureWidthReply, Status> {
        self.check_device(command.device)?;
        let bytes = match command.format {
            1 | 8 => 1,
            2 | 9 | 0x10 => 2,
            3 | 10 | 0x20 => 4,
            _ => return Err(Status::INVALID_VALUE),
        };
        if !matches!(command.channels, 1 | 2 | 4) {
            return Err(Status::INVALID_VALUE);
        }
        let fit = TEXTURE_BYTES / (bytes * u64::from(command.channels));
        Ok(DeviceTextureWidthReply { elements: fit.min(TEXTURE_ELEMENTS) })
    }

    pub(crate) fn context_peer_access(
        &mut self,
        _cx: &mut Context<'_>,
        command: ContextPeerAccess,
    ) -> Result<ContextPeerAccessReply, Status> {
        let ContextPeerAccess { context, peer, enable } = command;
        let device = self.context(context)?.device;
        if self.context(peer)?.device == device {
            return Err(if context == peer {
                Status::INVALID_DEVICE
            } else {
                PEER_ACCESS_UNSUPPORTED
            });
        }
        let peers = &mut self.contexts.get_mut(context.0)?.peers;
        match enable {
            0 if peers.remove(&peer.0) => Ok(ContextPeerAccessReply {}),
            0 => Err(PEER_ACCESS_NOT_ENABLED),
            _ if peers.insert(peer.0) => Ok(ContextPeerAccessReply {}),
            _ => Err(PEER_ACCESS_ALREADY_ENABLED),
        }
    }

    pub(crate) fn device_peer_query(
        &mut self,
        _cx: &mut Context<'_>,
        command: DevicePeerQuery,
    ) -> Result<DevicePeerQueryReply, Status> {
        let DevicePeerQuery { device, peer, attribute } = command;
        self.check_device(device)?;
        self.check_device(peer)?;
        let others = i32::from(device != peer);
        let value = match attribute {
            CAN_ACCESS_PEER => others,
            _ if device == peer => return Err(Status::INVALID_DEVICE),
            // Rank; whether access, native atomics, arrays are supported.
            1 => 0,
            2 => others,
            3 => others,
            4 => 0,
            _ => return Err(Status::INVALID_VALUE),
        };
        Ok(DevicePeerQueryReply { value })
    }
}

//! Contexts, devices and their facts, what kernels print.

use crate::live::Live;
use cudarc::driver::sys::CUdevice_attribute as Attribute;
use ringbar_backend::Context;
use ringbar_vocabulary::*;
use std::ffi::c_char;
use std::time::{Duration, Instant};

/// Attributes up to this number are asked for; newer drivers have more than the table that this was built with.
const ATTRIBUTES_MAX: u32 = 256;
/// `CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS`.
const PAGEABLE_MEMORY_ACCESS: u32 = 88;
/// A fence that a client waited for is written a moment before its stream counts as done: so long that is waited for.
const SETTLES: Duration = Duration::from_micros(500);
/// `CU_CTX_COREDUMP_ENABLE`, `CU_CTX_USER_COREDUMP_ENABLE`: files and pipes of the worker's own folder.
const CORE_DUMPS: u32 = 0x60;
/// In the facts under these numbers, which are no attributes: the least and the greatest priority of streams.
const PRIORITIES: [u32; 2] = [0x1_0000, 0x1_0001];

fn no_core_dumps(flags: u32) -> Result<(), Status> {
    if flags & CORE_DUMPS == 0 { Ok(()) } else { Err(Status::NOT_SUPPORTED) }
}

impl Live {
    pub fn device_facts(
        &mut self,
        cx: &mut Context<'_>,
        c: DeviceFacts,
    ) -> Result<DeviceFactsReply, Status> {
        let device = self.device(c.device)?;
        cx.check_arena(c.facts)?;
        let facts = self.facts_of(device, ContextId(c.device), cx.services().origin)?.to_bytes();
        let bytes = facts.len() as u64;
        if let Some(place) = c.facts.part(0, bytes) {
            cx.write_arena(place, &facts)?;
        }
        Ok(DeviceFactsReply { bytes })
    }

    /// Refuses a client that may not have one of the devices.
    pub(crate) fn check_pageable(&mut self, cx: &Context<'_>) -> Result<(), Status> {
        for (device, raw) in (0..).zip(self.devices.clone()) {
            let mut value = 0;
            self.api.cuDeviceGetAttribute(&mut value, PAGEABLE_MEMORY_ACCESS, raw)?;
            cx.check_pageable(device, value)?;
        }
        Ok(())
    }

    fn facts_of(
        &mut self,
        device: i32,
        primary: ContextId,
        asked_by: ClientOrigin,
    ) -> Result<DeviceFactsBlock, Status> {
        let mut attributes = Vec::new();
        for number in 1..ATTRIBUTES_MAX {
            let mut value = 0;
            if self.api.cuDeviceGetAttribute(&mut value, number, device).is_ok() {
                attributes.push((number, asked_by.offered(number, value)));
            }
        }
        let (mut least, mut greatest) = (0, 0);
        // Another device's context is made only when it is used.
        if self.contexts.get(primary.0).is_err() {
            self.enter(ContextId::FIRST)?;
        } else {
            self.enter(primary)?;
        }
        self.api.cuCtxGetStreamPriorityRange(&mut least, &mut greatest)?;
        attributes.extend([(PRIORITIES[0], least), (PRIORITIES[1], greatest)]);
        let (mut total, mut uuid) = (0, [0; 16]);
        self.api.cuDeviceTotalMem_v2(&mut total, device)?;
        self.api.cuDeviceGetUuid_v2(&mut uuid, device)?;
        let mut block = DeviceFactsBlock {
            name: self.name_of_device(device)?,
            total_memory_bytes: total as u64,
            compute_capability: (0, 0),
            uuid,
            attributes,
        };
        let major = Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as u32;
        let minor = Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as u32;
        let found = |number| block.attribute(number).unwrap_or(0) as u32;
        block.compute_capability = (found(major), found(minor));
        Ok(block)
    }

    fn name_of_device(&self, device: i32) -> Result<String, Status> {
        let mut name = [0_u8; 256];
        let (at, len) = (name.as_mut_ptr().cast::<c_char>(), name.len() as i32);
        // SAFETY: room for as many bytes as are named.
        unsafe { self.api.cuDeviceGetName(at, len, device) }?;
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        Ok(String::from_utf8_lossy(&name[..end]).into_owned())
    }

    pub fn device_peer_query(
        &mut self,
        _cx: &mut Context<'_>,
        c: DevicePeerQuery,
    ) -> Result<DevicePeerQueryReply, Status> {
        let (device, peer) = (self.device(c.device)?, self.device(c.peer)?);
        let mut value = 0;
        match c.attribute {
            CAN_ACCESS_PEER => self.api.cuDeviceCanAccessPeer(&mut value, device, peer)?,
            other => self.api.cuDeviceGetP2PAttribute(&mut value, other, device, peer)?,
        }
        Ok(DevicePeerQueryReply { value })
    }

    pub fn primary_context_retain(
        &mut self,
        _cx: &mut Context<'_>,
        c: PrimaryContextRetain,
    ) -> Result<PrimaryContextRetainReply, Status> {
        let device = self.device(c.device)?;
        no_core_dumps(c.flags)?;
        if c.flags != 0 {
            self.api.cuDevicePrimaryCtxSetFlags_v2(device, c.flags)?;
        }
        self.enter(ContextId(c.device))?;
        Ok(PrimaryContextRetainReply {})
    }

    pub fn primary_context_reset(
        &mut self,
        _cx: &mut Context<'_>,
        c: PrimaryContextReset,
    ) -> Result<PrimaryContextResetReply, Status> {
        let device = self.device(c.device)?;
        let context = ContextId(c.device);
        if self.contexts.get(context.0).is_err() {
            return Ok(PrimaryContextResetReply {});
        }
        self.drain_context(context)?;
        self.forget_context(context);
        self.leave()?;
        self.contexts.remove(context.0)?;
        self.api.cuDevicePrimaryCtxReset_v2(device)?;
        Ok(PrimaryContextResetReply {})
    }

    pub fn context_create(
        &mut self,
        _cx: &mut Context<'_>,
        c: ContextCreate,
    ) -> Result<ContextCreateReply, Status> {
        if c.context.0 < ContextId::FIRST_CREATED.0 || c.context.0 & StreamId::DEFAULTS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        self.contexts.check_new(c.context.0)?;
        no_core_dumps(c.flags)?;
        let device = self.device(c.device)?;
        let mut raw = 0;
        // SAFETY: a place for a handle, and no parameters.
        let made =
            unsafe { self.api.cuCtxCreate_v4(&mut raw, std::ptr::null_mut(), c.flags, device) };
        match made {
            Err(Status::NOT_SUPPORTED) => {
                // SAFETY: a place for a handle.
                unsafe { self.api.cuCtxCreate_v2(&mut raw, c.flags, device) }?;
            }
            other => other?,
        }
        // Creating makes it current.
        self.current = raw;
        self.contexts.insert(c.context.0, raw);
        Ok(ContextCreateReply {})
    }

    pub fn context_set_flags(
        &mut self,
        _cx: &mut Context<'_>,
        c: ContextSetFlags,
    ) -> Result<ContextSetFlagsReply, Status> {
        no_core_dumps(c.flags)?;
        self.enter(c.context)?;
        if c.context < ContextId::FIRST_CREATED {
            self.api.cuDevicePrimaryCtxSetFlags_v2(self.device(c.context.0)?, c.flags)?;
        } else {
            self.api.cuCtxSetFlags(c.flags)?;
        }
        Ok(ContextSetFlagsReply {})
    }

    pub fn context_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        c: ContextDestroy,
    ) -> Result<ContextDestroyReply, Status> {
        if c.context.0 < ContextId::FIRST_CREATED.0 {
            return Err(Status::INVALID_CONTEXT);
        }
        let raw = *self.contexts.get(c.context.0).map_err(|_| Status::INVALID_CONTEXT)?;
        self.drain_context(c.context)?;
        self.forget_context(c.context);
        self.leave()?;
        self.contexts.remove(c.context.0)?;
        self.api.cuCtxDestroy_v2(raw)?;
        Ok(ContextDestroyReply {})
    }

    /// No context is current.
    fn leave(&mut self) -> Result<(), Status> {
        self.current = 0;
        self.api.cuCtxSetCurrent(0)
    }

    pub fn context_get_limit(
        &mut self,
        _cx: &mut Context<'_>,
        c: ContextGetLimit,
    ) -> Result<ContextGetLimitReply, Status> {
        self.enter(c.context)?;
        let mut value = 0;
        self.api.cuCtxGetLimit(&mut value, c.limit)?;
        Ok(ContextGetLimitReply { value: value as u64 })
    }

    pub fn context_set_limit(
        &mut self,
        _cx: &mut Context<'_>,
        c: ContextSetLimit,
    ) -> Result<ContextSetLimitReply, Status> {
        self.enter(c.context)?;
        self.api.cuCtxSetLimit(c.limit, c.value as usize)?;
        Ok(ContextSetLimitReply {})
    }

    pub fn context_reset_l2(
        &mut self,
        _cx: &mut Context<'_>,
        c: ContextResetL2,
    ) -> Result<ContextResetL2Reply, Status> {
        self.enter(c.context)?;
        self.api.cuCtxResetPersistingL2Cache()?;
        Ok(ContextResetL2Reply {})
    }

    pub fn device_texture_width(
        &mut self,
        _cx: &mut Context<'_>,
        c: DeviceTextureWidth,
    ) -> Result<DeviceTextureWidthReply, Status> {
        let device = self.device(c.device)?;
        let mut elements = 0;
        let (format, channels) = (c.format, c.channels);
        self.api.cuDeviceGetTexture1DLinearMaxWidth(&mut elements, format, channels, device)?;
        Ok(DeviceTextureWidthReply { elements: elements as u64 })
    }

    pub fn context_peer_access(
        &mut self,
        _cx: &mut Context<'_>,
        c: ContextPeerAccess,
    ) -> Result<ContextPeerAccessReply, Status> {
        let peer = self.context(c.peer)?;
        self.enter(c.context)?;
        match c.enable {
            0 => self.api.cuCtxDisablePeerAccess(peer)?,
            _ => self.api.cuCtxEnablePeerAccess(peer, 0)?,
        }
        Ok(ContextPeerAccessReply {})
    }

    /// Has the driver write out what kernels printed, which it does whenever it synchronises, and waits for nothing: other
    /// streams than the one that the client synchronised may be busy, or wait for what the client posts next.
    fn write_out(&self, context: ContextId) -> Result<(), Status> {
        if self.captures > 0 {
            // To ask a stream that captures would break its capture.
            return Ok(());
        }
        let until = Instant::now() + SETTLES;
        let (idle, all_idle) = loop {
            let found = self.idle_streams(context)?;
            if found.1 || Instant::now() >= until {
                break found;
            }
            std::hint::spin_loop();
        };
        match idle {
            Some(_) if all_idle => self.api.cuCtxSynchronize(),
            Some(stream) => self.api.cuStreamSynchronize(stream),
            None => Ok(()),
        }
    }

    /// A stream of the context that has nothing to do, and whether that is so of all.
    fn idle_streams(&self, context: ContextId) -> Result<(Option<usize>, bool), Status> {
        let own = self.streams.iter().filter(|(_, stream)| stream.context == context);
        let (mut idle, mut all_idle) = (None, true);
        for stream in own.map(|(_, stream)| stream.raw).chain([0]) {
            match self.api.cuStreamQuery(stream) {
                Ok(()) => idle = idle.or(Some(stream)),
                Err(Status::NOT_READY) => all_idle = false,
                Err(other) => return Err(other),
            }
        }
        Ok((idle, all_idle))
    }

    /// What kernels printed, as far as the driver has written it out.
    pub fn output_take(
        &mut self,
        cx: &mut Context<'_>,
        c: OutputTake,
    ) -> Result<OutputTakeReply, Status> {
        cx.check_arena(c.text)?;
        self.enter(c.context)?;
        if self.output.is_some() {
            self.write_out(c.context)?;
        }
        let output = self.output.as_mut().ok_or(Status::NOT_SUPPORTED)?;
        let mut text = vec![0; c.text.len.min(1 << 20) as usize];
        let taken = output.take(&mut text).map_err(|error| {
            tracing::warn!(%error, "what kernels printed cannot be read");
            Status::OPERATING_SYSTEM
        })?;
        let place = c.text.part(0, taken as u64).ok_or(Status::INVALID_VALUE)?;
        cx.write_arena(place, &text[..taken])?;
        Ok(OutputTakeReply { bytes: taken as u32 })
    }
}

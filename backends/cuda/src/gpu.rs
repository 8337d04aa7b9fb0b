//! The backend: the driver while it starts, then everything that one client has on it.

use crate::live::Live;
use crate::output::Output;
use crate::start::{self, CudaConfig, CudaError, Starting};
use ringbar_backend::{Backend, Context};
use ringbar_vocabulary::{Init, InitReply, LaunchKernel, Status};
use std::cell::Cell;

/// A GPU that executes for one client.
pub struct CudaGpu {
    starting: Option<Starting>,
    live: Option<Box<Live>>,
    output: Option<Output>,
    /// Why the driver did not start.
    failed: Option<Status>,
    initialised: bool,
    lost: Cell<Option<Status>>,
    /// Another command follows the next one, or this one.
    announced: bool,
    followed: bool,
    pub(crate) commands: u64,
    pub(crate) unsupported: u64,
    pub(crate) unsupported_seen: std::collections::BTreeSet<u16>,
}

impl CudaGpu {
    /// Begins to start the driver and the primary context of device 0, and does not wait for it: the client's `init` does,
    /// and gets the driver's own error if it fails.
    ///
    /// # Errors
    /// [`CudaError::System`] if there is no thread or file for it.
    pub fn new(config: &CudaConfig) -> Result<Self, CudaError> {
        let capture = || Output::capture();
        let output = config.captures_output.then(capture).transpose();
        let failed = |source| CudaError::System { what: "capturing what kernels print", source };
        Ok(Self {
            starting: Some(start::begin(config)?),
            live: None,
            output: output.map_err(failed)?,
            failed: None,
            initialised: false,
            lost: Cell::new(None),
            announced: false,
            followed: false,
            commands: 0,
            unsupported: 0,
            unsupported_seen: std::collections::BTreeSet::new(),
        })
    }

    /// Waits until the driver has started.
    ///
    /// # Errors
    /// Why it did not.
    pub fn wait_started(&mut self) -> Result<(), Status> {
        if let Some(starting) = self.starting.take() {
            let started = starting.join().unwrap_or_else(|_| {
                Err(CudaError::Call {
                    call: "starting",
                    status: Status::UNKNOWN,
                    cause: "a defect",
                })
            });
            match started {
                Ok(started) => self.live = Some(Box::new(Live::new(started, self.output.take()))),
                Err(error) => {
                    tracing::error!(%error, "the GPU cannot be used");
                    self.failed = Some(error.status());
                }
            }
        }
        self.failed.map_or(Ok(()), Err)
    }

    /// The driver's own call, so many times: what launches through the backend are measured against.
    ///
    /// # Errors
    /// The driver's.
    #[doc(hidden)]
    pub fn bare_launches(
        &mut self,
        function: ringbar_vocabulary::FunctionId,
        stream: ringbar_vocabulary::StreamId,
        params: &[u8],
        count: u32,
    ) -> Result<(), Status> {
        let live = self.live.as_deref_mut().ok_or(Status::NOT_INITIALIZED)?;
        live.bare_launches(function, stream, params, count)
    }

    pub(crate) fn initialise(
        &mut self,
        cx: &Context<'_>,
        command: Init,
    ) -> Result<InitReply, Status> {
        if command.flags != 0 {
            return Err(Status::INVALID_VALUE);
        }
        self.wait_started()?;
        let live = self.live.as_deref_mut().ok_or(Status::NOT_INITIALIZED)?;
        live.check_pageable(cx)?;
        self.initialised = true;
        Ok(InitReply { driver_version: live.version, device_count: live.devices.len() as u32 })
    }

    /// Everything of the client's, once it has initialised, with no launch waiting.
    #[inline(always)]
    pub(crate) fn live(&mut self, cx: &mut Context<'_>) -> Result<&mut Live, Status> {
        if self.live.as_deref().is_some_and(|live| !live.launches.is_empty()) {
            self.launch_waiting();
            self.lost.get().map_or(Ok(()), Err)?;
        }
        self.attached(cx)
    }

    /// Launches, now or together with launches that follow.
    #[inline]
    pub(crate) fn launch(
        &mut self,
        cx: &mut Context<'_>,
        command: &LaunchKernel<'_>,
    ) -> Result<(), Status> {
        if !self.attached(cx)?.launches.takes(command) {
            self.live(cx)?;
        }
        let live = self.live.as_deref_mut().ok_or(Status::NOT_INITIALIZED)?;
        let added = live.add_launch(cx, command);
        // While something captures, clients wait for the answer to each launch: there nothing is put off.
        let waits = self.followed && live.captures == 0 && !live.launches.is_full();
        if added.is_err() || !waits {
            self.launch_waiting();
        }
        self.noted(cx, added)
    }

    /// Gives the launches that wait to the driver.
    pub(crate) fn launch_waiting(&mut self) {
        if let Some(live) = self.live.as_deref_mut()
            && let Err(status) = live.launch_waiting()
        {
            tracing::warn!(%status, "the device failed: nothing more can be done in this process");
            self.lost.set(Some(status));
        }
    }

    #[inline(always)]
    fn attached(&mut self, cx: &mut Context<'_>) -> Result<&mut Live, Status> {
        let live = self.live.as_deref_mut().filter(|_| self.initialised);
        let live = live.ok_or(Status::NOT_INITIALIZED)?;
        live.attach(cx)?;
        Ok(live)
    }

    /// Remembers a failure that made the device unusable.
    #[inline(always)]
    pub(crate) fn noted<T>(
        &self,
        cx: &Context<'_>,
        result: Result<T, Status>,
    ) -> Result<T, Status> {
        if let Err(status) = result {
            self.failed_with(cx, status);
        }
        result
    }

    #[cold]
    fn failed_with(&self, cx: &Context<'_>, status: Status) {
        if status.is_sticky() && self.lost.get().is_none() {
            tracing::warn!(%status, "the device failed: nothing more can be done in this process");
            self.lost.set(Some(status));
            // Also where a client asks only now and then: it finds the number with its first error.
            cx.latch(status);
        }
    }
}

impl Backend for CudaGpu {
    fn name(&self) -> &'static str {
        "cuda"
    }

    #[inline]
    fn begin(&mut self, _cx: &mut Context<'_>) -> Result<(), Status> {
        self.commands += 1;
        self.followed = std::mem::take(&mut self.announced);
        self.lost.get().map_or(Ok(()), Err)
    }

    fn more_follows(&mut self) {
        self.announced = true;
    }

    fn lost(&self) -> Option<Status> {
        self.lost.get()
    }

    fn is_idle(&self) -> bool {
        let Some(live) = self.live.as_deref().filter(|_| self.lost.get().is_none()) else {
            return true;
        };
        match live.is_idle() {
            Ok(idle) => idle,
            Err(status) => {
                if status.is_sticky() {
                    tracing::warn!(%status, "the device failed");
                    live.latch(status);
                    self.lost.set(Some(status));
                }
                true
            }
        }
    }

    fn is_waited_for(&self) -> bool {
        self.live.as_deref().is_some_and(Live::is_waited_for)
    }

    fn rest(&mut self) {
        self.launch_waiting();
        if let Some(live) = self.live.as_deref_mut().filter(|_| self.lost.get().is_none()) {
            live.rest();
        }
    }

    fn drain(&mut self) {
        self.launch_waiting();
        if let Some(live) = self.live.as_deref_mut().filter(|_| self.lost.get().is_none())
            && let Err(status) = live.drain()
            && status.is_sticky()
        {
            live.latch(status);
            self.lost.set(Some(status));
        }
    }
}

impl Drop for CudaGpu {
    fn drop(&mut self) {
        if let Some(starting) = self.starting.take() {
            // A process that ends while the driver starts may crash in it.
            let _ = starting.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_driver_init_answers_that_there_is_no_device_and_the_rest_that_it_was_not_called() {
        let library = Some("/nowhere/libcuda.so.1".into());
        let mut gpu = CudaGpu::new(&CudaConfig { library, captures_output: false }).unwrap();
        let mut worker = ringbar_backend::testing::FakeWorker::new(64, 8);
        let init = worker.call(&mut gpu, Init { flags: 0 }).unwrap();
        assert_eq!(init.unwrap_err(), Status::NO_DEVICE);
        let alloc = ringbar_vocabulary::MemAlloc {
            context: ringbar_vocabulary::ContextId::FIRST,
            bytes: 8,
        };
        assert_eq!(worker.call(&mut gpu, alloc).unwrap().unwrap_err(), Status::NOT_INITIALIZED);
        assert!(gpu.is_idle());
    }
}

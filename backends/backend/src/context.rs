//! What a backend may do on behalf of one command.

use crate::{ArenaFault, Hold, HostMemory, Services, Violation};
use ringbar_vocabulary::{
    ArenaRef, ClientOrigin, FailureStatus, FailureStatusReply, Row, Status, Tail,
};
use std::sync::Arc;

/// What the worker hands to a backend with each command.
///
/// Arena and fence access is checked here. A block or fence that is not the client's is a breach
/// of the protocol: it is noted, the method gets an error status to return with, and [`crate::execute`]
/// ends the session whatever the method then returns.
pub struct Context<'a> {
    services: &'a Arc<Services>,
    position: u64,
    pub(crate) violation: Option<Violation>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(services: &'a Arc<Services>, position: u64) -> Self {
        Self { services, position, violation: None }
    }

    /// The command's position in its ring, by which errors are latched.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What the worker offers, for threads of a backend that outlive this command.
    pub fn services(&self) -> &Arc<Services> {
        self.services
    }

    /// Why a row is not supported, as the log says it.
    pub fn why_unsupported(&self, row: &Row) -> &'static str {
        let withheld = self.services.origin.refusal(row.opcode);
        withheld.unwrap_or("this backend does not have it")
    }

    /// Asked when a client initialises, for each device and what that says of its attribute 88: a device that reaches pageable
    /// memory of its process lets kernels write the worker's own, and so act as the executor's user on the host. A program in
    /// a virtual machine may not have it unless whoever runs the executor accepts that.
    ///
    /// # Errors
    /// [`Status::NOT_PERMITTED`].
    pub fn check_pageable(&self, device: i32, attribute: i32) -> Result<(), Status> {
        if attribute == 0 || self.services.origin != ClientOrigin::Guest {
            return Ok(());
        }
        tracing::error!(
            device,
            "a program in a virtual machine was refused: this GPU reaches all memory of its worker (HMM or ATS, device attribute 88), \
             and so would kernels out of the virtual machine; try: the option uvm_disable_hmm=1 of the kernel module nvidia_uvm, or \
             `ringbar serve --allow-hmm` where every virtual machine is trusted with the executor's user"
        );
        Err(Status::NOT_PERMITTED)
    }

    /// A handle for work that goes on after the command was executed.
    pub fn ticket(&self) -> Ticket {
        Ticket { services: self.services.clone(), position: self.position }
    }

    /// Checks a block without touching it: do so for every block that is used later.
    ///
    /// # Errors
    /// A status to return with, if the block is not inside the arena.
    pub fn check_arena(&mut self, at: ArenaRef) -> Result<(), Status> {
        let result = self.services.arena.check(at);
        self.checked(result.map_err(Violation::Arena))
    }

    /// Copies a block out of the arena; `into` is exactly as long as the block.
    ///
    /// # Errors
    /// As [`Context::check_arena`].
    pub fn read_arena(&mut self, at: ArenaRef, into: &mut [u8]) -> Result<(), Status> {
        let result = self.services.arena.read(at, into);
        self.checked(result.map_err(Violation::Arena))
    }

    /// Copies a block into the arena; `from` is exactly as long as the block.
    ///
    /// # Errors
    /// As [`Context::check_arena`].
    pub fn write_arena(&mut self, at: ArenaRef, from: &[u8]) -> Result<(), Status> {
        let result = self.services.arena.write(at, from);
        self.checked(result.map_err(Violation::Arena))
    }

    /// The bytes of a tail in private memory: the command's own, or copied from the arena into
    /// `scratch`, which is reused and never grows beyond `max_bytes`.
    ///
    /// # Errors
    /// INVALID_VALUE if the tail is longer than `max_bytes`; else as [`Context::check_arena`].
    pub fn tail<'b>(
        &mut self,
        tail: Tail<'b>,
        scratch: &'b mut Vec<u8>,
        max_bytes: usize,
    ) -> Result<&'b [u8], Status> {
        if tail.byte_len() > max_bytes as u64 {
            return Err(Status::INVALID_VALUE);
        }
        match tail {
            Tail::Inline(bytes) => Ok(bytes),
            Tail::Arena(at) => {
                self.check_arena(at)?;
                scratch.resize(at.len as usize, 0);
                self.read_arena(at, scratch)?;
                Ok(scratch)
            }
        }
    }

    /// Checks that a fence exists: do so when its command is taken, not when it is written.
    ///
    /// # Errors
    /// A status to return with, if there is no such fence.
    pub fn check_fence(&mut self, index: u32) -> Result<(), Status> {
        let expected = self.services.fences.count();
        if index < expected {
            return Ok(());
        }
        self.checked(Err(Violation::Fence(crate::FenceFault { found: index, expected })))
    }

    /// Writes a fence now.
    ///
    /// # Errors
    /// As [`Context::check_fence`].
    pub fn write_fence(&mut self, index: u32, value: u64) -> Result<(), Status> {
        let result = self.services.fences.write(index, value);
        self.checked(result.map_err(Violation::Fence))
    }

    /// Keeps the command's arena bytes from being reused until the guard is dropped.
    pub fn hold(&self) -> Hold {
        Hold::new(self.services.clone(), self.position)
    }

    /// Latches a failure of this command now: for work that failed after it was taken.
    pub fn latch(&self, status: Status) {
        self.services.errors.latch(self.position, status);
    }

    /// The failure of a number, as far as it is remembered.
    pub fn failure(&self, command: FailureStatus) -> FailureStatusReply {
        let found = self.services.errors.failure(command.number);
        let (position, status) = found.unwrap_or((0, Status::SUCCESS));
        FailureStatusReply { position, status: status.0 }
    }

    #[inline]
    fn checked(&mut self, result: Result<(), Violation>) -> Result<(), Status> {
        result.map_err(|violation| {
            self.violation.get_or_insert(violation);
            Status::INVALID_VALUE
        })
    }
}

/// A command's services for work on a backend's own threads.
#[derive(Clone)]
pub struct Ticket {
    services: Arc<Services>,
    position: u64,
}

impl Ticket {
    /// The client's arena, checked at each access.
    pub fn arena(&self) -> &dyn HostMemory {
        &*self.services.arena
    }

    /// Latches a failure of the command.
    pub fn latch(&self, status: Status) {
        self.services.errors.latch(self.position, status);
    }

    /// Copies a block out of the arena, checked again.
    ///
    /// # Errors
    /// [`ArenaFault`] if the block is not inside the arena.
    pub fn read_arena(&self, at: ArenaRef, into: &mut [u8]) -> Result<(), ArenaFault> {
        self.services.arena.read(at, into)
    }

    /// Copies a block into the arena, checked again.
    ///
    /// # Errors
    /// [`ArenaFault`] if the block is not inside the arena.
    pub fn write_arena(&self, at: ArenaRef, from: &[u8]) -> Result<(), ArenaFault> {
        self.services.arena.write(at, from)
    }

    /// Writes a fence that was checked when its command was taken.
    ///
    /// # Errors
    /// [`crate::FenceFault`] if it does not exist after all.
    pub fn write_fence(&self, index: u32, value: u64) -> Result<(), crate::FenceFault> {
        self.services.fences.write(index, value)
    }
}

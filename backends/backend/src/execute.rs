//! The one road from a command's bytes to a backend.

use crate::{ArenaFault, Context, FenceFault, Services};
use ringbar_vocabulary::{ClientOrigin, DecodeError, Done, Handler, Reply, Row, Status, dispatch};
use std::sync::Arc;
use thiserror::Error;

/// A device that executes commands for one client.
pub trait Backend: Send + for<'c> Handler<Context<'c>> {
    /// The backend's short name, as the command line spells it.
    fn name(&self) -> &'static str;

    /// Called before each command; counts it.
    ///
    /// # Errors
    /// The status with which every command is answered from now on, once a failure has made the
    /// device unusable (a kernel that failed). The worker should then end.
    fn begin(&mut self, cx: &mut Context<'_>) -> Result<(), Status>;

    /// Called before a command behind which another one waits already, whatever that is: what the first one does may be put off
    /// until the second one comes, or [`rest`](Self::rest). It counts as executed meanwhile, so what a client waits for by that
    /// alone must not be put off.
    #[inline]
    fn more_follows(&mut self) {}

    /// The failure that made the device unusable, if one did. It may have happened on a thread
    /// of the backend's own, after its command was executed.
    fn lost(&self) -> Option<Status>;

    /// Whether no device work is outstanding.
    fn is_idle(&self) -> bool;

    /// Whether a fence is outstanding that the device will write by itself: somebody waits for it, and may post more right
    /// after it. Asked often.
    fn is_waited_for(&self) -> bool {
        false
    }

    /// Called when the ring was found empty: the time for what is to be done once a burst.
    fn rest(&mut self) {}

    /// Waits until no device work is outstanding. For an orderly end and for tests; a worker
    /// never waits on behalf of one caller.
    fn drain(&mut self);
}

/// What became of a command that was executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Executed {
    /// A posted command; if it failed, the failure is latched.
    Posted,
    /// A synchronous command and its reply.
    Replied(Reply),
}

/// A breach of the protocol: the session ends, nothing more of this client is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Violation {
    /// The bytes are not a command.
    #[error("malformed command: {0}")]
    Malformed(#[from] DecodeError),
    /// A command names a block that is not in the client's arena.
    #[error("{0}")]
    Arena(#[from] ArenaFault),
    /// A command names a fence that does not exist.
    #[error("{0}")]
    Fence(#[from] FenceFault),
}

/// Decodes one command and executes it. `position` is the command's in its ring.
///
/// A posted command that fails is latched; a synchronous one answers with its status. After a
/// failure that made the device unusable every command is still decoded, and answered with that
/// failure.
///
/// # Errors
/// A [`Violation`], after which the client must not be served any further.
pub fn execute<B: Backend + ?Sized>(
    backend: &mut B,
    services: &Arc<Services>,
    position: u64,
    bytes: &[u8],
) -> Result<Executed, Violation> {
    let mut cx = Context::new(services, position);
    let done = match backend.begin(&mut cx) {
        Ok(()) if is_withheld(services, bytes) => dispatch(&mut Withhold(backend), &mut cx, bytes)?,
        Ok(()) => dispatch(backend, &mut cx, bytes)?,
        Err(status) => dispatch(&mut Refuse(status), &mut cx, bytes)?,
    };
    if let Some(violation) = cx.violation {
        return Err(violation);
    }
    match done {
        Done::Posted(Ok(())) => Ok(Executed::Posted),
        Done::Posted(Err(status)) => {
            services.errors.latch(position, status);
            Ok(Executed::Posted)
        }
        Done::Replied(reply) => Ok(Executed::Replied(reply)),
    }
}

/// Whether the client may not use the command, whatever the backend can do.
#[inline(always)]
fn is_withheld(services: &Services, bytes: &[u8]) -> bool {
    let opcode = || bytes.first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes));
    services.origin != ClientOrigin::Host && services.origin.refusal(opcode()).is_some()
}

/// Has every command refused as one that the backend does not support.
struct Withhold<'b, B: ?Sized>(&'b mut B);

impl<'c, B: Backend + ?Sized> Handler<Context<'c>> for Withhold<'_, B> {
    fn unsupported(&mut self, cx: &mut Context<'c>, row: &'static Row) -> Status {
        self.0.unsupported(cx, row)
    }
}

/// Answers every command with one status.
struct Refuse(Status);

impl Handler<Context<'_>> for Refuse {
    fn unsupported(&mut self, _cx: &mut Context<'_>, _row: &'static Row) -> Status {
        self.0
    }
}

//! One client's session with an executor: typed commands, bulk copies, fences, ids and counts over one ringbar channel.
//!
//! A [`Session`] is shared by all threads of a program; each thread that makes synchronous calls has a [`SessionCaller`].
//!
//! ```no_run
//! use ringbar_session::{Session, SessionConfig};
//! use ringbar_vocabulary::{ContextId, Init, MemAlloc, StreamId};
//!
//! let session = Session::connect("/run/ringbar.sock", SessionConfig::default())?;
//! let mut caller = session.caller()?;
//! caller.call(&Init { flags: 0 })?;
//! let at = caller.call(&MemAlloc { context: ContextId::FIRST, bytes: 1 << 20 })?.at;
//! session.memcpy_htod(at, &[7; 4096], StreamId::DEFAULT)?; // returns when the source may be reused
//! let mut back = [0; 4096];
//! session.memcpy_dtoh(&mut back, at, StreamId::DEFAULT)?; // returns when the bytes are there
//! assert_eq!(back, [7; 4096]);
//! # Ok::<(), ringbar_session::SessionError>(())
//! ```
//!
//! # The contract
//!
//! - [`Session::post`] writes the command straight into the ring: no allocation, no copy in between, no system call while
//!   the worker is awake. A tail that is too long for the ring goes to the arena by itself.
//! - A posted command that fails is latched. The first failure surfaces, with its position, at the next call that
//!   synchronises ([`Session::wait`], [`Session::synchronise`], [`Session::memcpy_dtoh`], [`Session::check`]), once; later
//!   ones surface as a count, since the channel keeps only the first. In strict mode every post waits for its execution
//!   and answers with its own failure.
//! - When the worker is gone every call answers [`SessionError::Lost`] with the same cause. Nothing is replayed:
//!   [`Session::reattach`] gives a new session on a new generation, with an empty device.
//! - A fence that will never be reached, because its stream failed for good, ends its waiters with that failure.

#![forbid(unsafe_code)]

mod answers;
mod bulk;
mod caller;
mod counts;
mod error;
mod fences;
mod grow;
mod host_functions;
mod ids;
mod rect;
mod session;
mod signals;
mod sink;
mod strict;
mod windows;

pub use answers::AnswerBlock;
pub use caller::SessionCaller;
pub use counts::{Counts, FunctionCount};
pub use error::SessionError;
pub use fences::FenceTicket;
pub use host_functions::{HostFunction, HostFunctionToken};
pub use rect::{DeviceBox, Extent, Pitch};
pub use session::{Session, SessionConfig};
pub use signals::without_signals;
pub use sink::RingSink;

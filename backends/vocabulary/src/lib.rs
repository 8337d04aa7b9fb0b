//! The commands that cross a ringbar ring, as one table: one row a function.
//!
//! # What derives from what
//! From the table in `rows/` come a struct a row ([`LaunchKernel`] and so on), its encoder and
//! decoder, the [`Handler`] trait with one method a row, [`dispatch`], the rows as data
//! ([`ROWS`]) with a fingerprint ([`VOCABULARY_HASH`]), this crate's coverage page, the fuzz
//! dictionary, seeds of all fuzz targets ([`samples`]), the names in the worker's traces, status
//! and metrics, and the list of what the conformance suite has to check. Adding a command is
//! adding a row.
//!
//! A row is what crosses the ring. What a program calls is a C function, of which several may
//! send one command and some send none; each is one row of `entry!` in the shim (name, spellings,
//! class, arguments with direction and size) and one of the library's `functions.tsv` (version,
//! variants), from which `ringbar-shim-table` makes the symbols, stubs, `cuGetProcAddress`, the
//! names and classes in statistics, and the coverage pages, for driver and runtime alike. The
//! runtime's functions send nothing themselves: they call the driver's, as its page
//! says. A row names the functions that send it; a test of the shim holds name, class and version
//! of the two to each other. What devices can do and clients are not told is [`WITHHELD`], for
//! backend and shim alike.
//!
//! # Wire form
//! Little-endian, in whole 8-byte words. First a header `opcode: u16, flags: u16, tail_len: u32`,
//! then the fixed fields in table order, naturally aligned, padded with zeros to a multiple of 8,
//! then the tail, padded the same way. With flag bit 0 the tail is not inline but a 16-byte
//! [`ArenaRef`]. A reply is `status: u32`, 4 zero bytes, then its fields (at most 48 bytes).
//! Unknown opcodes, wrong lengths and non-zero reserved bits are a [`DecodeError`].
//!
//! ```
//! use ringbar_vocabulary::*;
//!
//! struct Backend;
//! impl Handler<()> for Backend {
//!     fn unsupported(&mut self, _: &mut (), _: &'static Row) -> Status {
//!         Status::NOT_SUPPORTED
//!     }
//!     fn ping(&mut self, _: &mut (), command: Ping) -> Result<PingReply, Status> {
//!         Ok(PingReply { token: command.token })
//!     }
//! }
//!
//! let mut bytes = Vec::new(); // in a session, the ring itself is the sink
//! Ping { token: 7 }.encode(&mut bytes);
//! let Done::Replied(reply) = dispatch(&mut Backend, &mut (), &bytes)? else { panic!() };
//! let (bytes, len) = reply.to_bytes();
//! assert_eq!(PingReply::decode(&bytes[..len])?, Ok(PingReply { token: 7 }));
//! # Ok::<(), DecodeError>(())
//! ```

#![forbid(unsafe_code)]

mod codes;
mod command;
mod coverage;
mod derive;
mod facts;
mod link;
mod params;
mod reply;
pub mod resource;
mod row;
mod rows;
mod samples;
mod status;
mod types;
mod wire;
mod withheld;

#[cfg(test)]
mod tests;

pub use codes::{CODES, Code};
pub use command::{Command, Decode, Done, PostCommand, SyncCommand};
pub use coverage::coverage_markdown;
pub use facts::{DeviceFactsBlock, FactsError};
pub use link::{LINK_INPUTS_MAX, LINK_NAME_MAX_BYTES, LinkInput};
pub use params::{INLINE_PARAMS, PARAM_BLOCK_MAX_BYTES, Param};
pub use reply::{Reply, ReplyBody};
pub use row::{FieldRow, Row, VOCABULARY_HASH, hash_rows};
pub use rows::*;
pub use samples::{Sample, fuzz_dictionary, samples};
pub use status::{DeviceLost, Status};
pub use types::{
    ArenaRef, ArrayId, CAN_ACCESS_PEER, Class, ContextId, Corner, DevicePtr, Direction, EventId,
    FunctionId, GraphExecId, GraphId, JIT_LOG_MAX_BYTES, JIT_OPTIONS, JIT_OPTIONS_MAX,
    JIT_THREADS_PER_BLOCK, JIT_WALL_TIME, LAUNCH_ATTRIBUTE_BYTES, LAUNCH_ATTRIBUTES_MAX, MemoryId,
    ModuleId, NO_FENCE, NodeId, PoolId, StreamId, Tail,
};
pub use wire::{
    DecodeError, Draw, FLAG_TAIL_IN_ARENA, Field, HEADER_BYTES, INLINE_MAX_BYTES, Packer,
    REPLY_BODY_MAX_BYTES, REPLY_MAX_BYTES, Sink, Unpacker,
};
pub use withheld::{ClientOrigin, WITHHELD, WITHHELD_FROM_GUESTS, Withheld};

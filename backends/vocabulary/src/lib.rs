//! The commands that cross a ringbar ring, as one table: one row a function.
//!
//! From the table in `rows/` come a struct a row ([`LaunchKernel`] and so on), its encoder and
//! decoder, the [`Handler`] trait with one method a row, [`dispatch`], the rows as data
//! ([`ROWS`]) with a fingerprint ([`VOCABULARY_HASH`]), the coverage page and fuzz seeds.
//! Adding a function is adding a row.
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
mod params;
mod reply;
mod row;
mod rows;
mod samples;
mod status;
mod types;
mod wire;

#[cfg(test)]
mod tests;

pub use codes::{CODES, Code};
pub use command::{Command, Decode, Done, PostCommand, SyncCommand};
pub use coverage::coverage_markdown;
pub use facts::{DeviceFactsBlock, FactsError};
pub use params::{INLINE_PARAMS, PARAM_BLOCK_MAX_BYTES, Param};
pub use reply::{Reply, ReplyBody};
pub use row::{FieldRow, Row, VOCABULARY_HASH, hash_rows};
pub use rows::*;
pub use samples::{Sample, fuzz_dictionary, samples};
pub use status::Status;
pub use types::{
    ArenaRef, CAN_ACCESS_PEER, Class, ContextId, Corner, DevicePtr, Direction, EventId, FunctionId,
    GraphExecId, GraphId, LAUNCH_ATTRIBUTE_BYTES, LAUNCH_ATTRIBUTES_MAX, MemoryId, ModuleId,
    NO_FENCE, NodeId, PoolId, StreamId, Tail,
};
pub use wire::{
    DecodeError, Draw, FLAG_TAIL_IN_ARENA, Field, HEADER_BYTES, INLINE_MAX_BYTES, Packer,
    REPLY_BODY_MAX_BYTES, REPLY_MAX_BYTES, Sink, Unpacker,
};

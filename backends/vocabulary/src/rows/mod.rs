//! The table: one row a function. Adding a function is adding a row at the end of `later.rs`.
//!
//! A row reads: what it does; opcode, class, type and method; the CUDA names it carries and the
//! version that brought the first; the fixed fields; then a tail and a reply where it has them.
//! Opcodes count up without gaps and are never changed or reused. A field marked `out` names a
//! place that the executor writes.

mod base;
mod contexts;
mod graphs;
mod later;
mod memory;
mod streams;

use crate::derive::{self, vocabulary};
use crate::row::row_of;
use crate::wire::{
    self, DecodeError, Draw, Field, HEADER_BYTES, Header, Packer, Sink, Unpacker, align_up,
};
use crate::{
    ArenaRef, ArrayId, Class, Command, ContextId, Corner, Decode, DevicePtr, Direction, Done,
    EventId, FieldRow, FunctionId, GraphExecId, GraphId, MemoryId, ModuleId, NodeId, PoolId,
    PostCommand, Reply, ReplyBody, Row, Status, StreamId, SyncCommand, Tail,
};
use base::base;
use contexts::contexts;
use graphs::graphs;
use later::later;
use memory::memory;
use streams::streams;

base! { {} contexts memory streams graphs later vocabulary }

#[cold]
fn unknown_opcode(found: u16) -> DecodeError {
    DecodeError::UnknownOpcode { found, expected_max: ROWS.len() as u16 }
}

#[cold]
fn local_opcode(row: &'static Row) -> DecodeError {
    DecodeError::LocalOpcode { function: row.name, found: row.opcode }
}

//! What the fuzz targets do, as plain functions of bytes: `fuzz_targets/` hands them libFuzzer's input, `tests/corpus.rs`
//! the committed seeds.
//!
//! Everything runs the production code. Where that code is generic over [`ringbar::lines::Lines`], it runs over memory
//! that behaves as a hostile peer would: [`memory::FreshLines`] gives other bytes at each load and counts the loads.
//! Each target compares what it sees with a naive model of its own, written from `ring/PROTOCOL.md`.

pub mod arena;
pub mod attach;
pub mod commands;
pub mod consume;
pub mod handshake;
pub mod images;
pub mod input;
pub mod memory;
pub mod produce;
pub mod reply;
pub mod seeds;

/// What is done with an input.
pub type Target = fn(&[u8]);

/// The names of all targets with their functions.
pub const TARGETS: [(&str, Target); 8] = [
    ("attach", attach::run),
    ("consume", consume::run),
    ("produce", produce::run),
    ("reply", reply::run),
    ("arena", arena::run),
    ("handshake", handshake::run),
    ("commands", commands::run),
    ("images", images::run),
];

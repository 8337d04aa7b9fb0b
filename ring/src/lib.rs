//! ringbar
#![allow(missing_docs)]

#[cfg(not(ringbar_loom))]
pub mod arena;
#[cfg(not(ringbar_loom))]
pub mod client;
#[cfg(not(ringbar_loom))]
pub mod counters;
#[cfg(not(ringbar_loom))]
pub mod error;
#[cfg(not(ringbar_loom))]
pub mod handshake;
#[cfg(not(ringbar_loom))]
mod heart;
pub mod hub;
pub mod layout;
pub mod lines;
#[cfg(not(ringbar_loom))]
pub mod link;
#[cfg(not(ringbar_loom))]
pub mod os;
#[cfg(not(ringbar_loom))]
pub mod park;
pub mod progress;
#[cfg(not(ringbar_loom))]
pub mod region;
pub mod reply;
pub mod spin;
pub mod spsc;
pub mod sync;
pub mod tag;
#[cfg(all(test, not(ringbar_loom)))]
mod testing;
pub mod wake;
#[cfg(not(ringbar_loom))]
pub mod worker;

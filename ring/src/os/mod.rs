//! What the ring needs of the operating system: memory that two processes share, ways to wake each other, ways to
//! wait, and ways to learn that the other side is gone.
//!
//! Linux only. The ring itself (`lines`, `spsc`, `reply`) never calls in here on its hot path: everything in this
//! module happens when a channel is set up, when a side goes to sleep, or when it is woken.
//!
//! | module | answers |
//! |---|---|
//! | [`mapping`] | where the bytes live: heap, sealed memfd, file, DAX device, PCI BAR |
//! | [`doorbell`] | how a sleeping peer is woken: eventfd, MMIO store, not at all |
//! | [`waiter`] | how a side sleeps on many doorbells and sockets at once: `poll(2)` or io_uring |
//! | [`membarrier`] | the asymmetric barrier, which moves the cost of a fence from the producer to the sleeper |
//! | [`vfio`] | how a program of a virtual machine gets interrupts of a PCI function |
//! | [`liveness`] | whether the peer still lives, told by file descriptors that cannot lie |
//!
//! # Trust
//!
//! A file descriptor that was passed to a peer is shared with it: the peer can change the flags of the open file
//! description (`O_NONBLOCK`), drain an eventfd or saturate it, and punch holes in a memfd. Each type says what that
//! can do to its user. The bytes of a mapping are never lent out as references, because the peer writes them at will.

#![cfg(not(ringbar_loom))]

#[cfg(test)]
pub(crate) mod counting_allocator;
pub mod doorbell;
mod fault;
pub mod liveness;
pub mod map_error;
pub mod mapping;
mod mapping_file;
pub mod membarrier;
pub mod vfio;
pub mod waiter;

#[doc(inline)]
pub use doorbell::{Doorbell, DoorbellKind, EventFd, EventFdDoorbell, MmioDoorbell, NoDoorbell};
#[doc(inline)]
pub use liveness::{PeerCredentials, PeerWatch};
#[doc(inline)]
pub use map_error::MapError;
#[doc(inline)]
pub use mapping::{Mapping, MappingKind, PeerTrust, SubMapping};
#[doc(inline)]
pub use waiter::{
    AnyWaiter, Interest, PollWaiter, Ready, ReadySet, UringWaiter, Waiter, WaiterKind,
};

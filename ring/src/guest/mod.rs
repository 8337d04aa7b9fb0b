//! The side of a program in a virtual machine: finds the PCI function that shares a region with the host, asks for a
//! channel of it, and attaches (PROTOCOL.md, section 2).
//!
//! ```no_run
//! use ringbar::guest::{self, GuestConfig};
//! use ringbar::{link::Options, region::Expect};
//!
//! let config = GuestConfig::from_env()?;
//! let (client, attached) = guest::connect(&config, Expect::default(), Options::default())?;
//! println!("channel {} of {}, arena {}", attached.channel, attached.device.name, attached.bulk);
//! client.post(b"a command")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - The function is QEMU's unmodified `ivshmem-doorbell` (1af4:1110). Its BAR 2 is the region; a DAX device or a file over
//!   the same memory can take its place, and works alone too, without doorbells.
//! - The worker is rung by a store into BAR 0, only while it sleeps. This side polls, with naps that grow from 50 us to 1 ms,
//!   or waits for MSI-X where the function is bound to vfio-pci and [`hold`], the one owner of its VFIO group, hands interrupts
//!   to all programs. A program that says so ([`Waiting::Alone`]) is that owner itself, and alone.
//! - No file descriptor tells of a death here. The host marks a channel whose worker died; where host and worker are both
//!   gone, their hearts rest, and after 2 s ([`GuestConfig::silence`]) that is an error. A function that is unplugged is [`Unplugged`], never a signal.
//! - Each program maps its own channel only. That is no isolation: whoever may open the BAR can map all of it.
//!
//! [`Unplugged`]: crate::error::ChannelError::Unplugged

mod attach;
mod claim;
mod config;
mod device;
mod discovery;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod hold;
mod look;
mod memory;
mod park;
mod source;
#[cfg(test)]
mod tests;
mod vfio;

pub use attach::{Attached, attach, connect};
pub use config::{Bulk, GuestConfig, VARIABLE, Waiting};
pub use device::{Bells, Device, NoInterrupts};
pub use discovery::{DEVICE_NAME, Function, functions};
pub use error::GuestError;
pub use hold::hold;
pub use memory::{Machine, Memory, MemoryType, measure};
pub use source::Source;
pub use vfio::Interrupts;

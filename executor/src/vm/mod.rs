//! Virtual machines: how a daemon serves programs inside a guest through an ivshmem-doorbell device.
//!
//! | module | is |
//! |---|---|
//! | [`holder`] | a tiny process a VM: it holds the device's socket, memory and doorbells, and outlives daemon and workers |
//! | [`device_socket`] | that socket, and who may connect to it |
//! | [`ivshmem`] | what the device's socket says to a VM's monitor |
//! | [`link`] | what a holder and a daemon say to each other |
//! | [`host`] | the daemon's side: claims, channels, workers |
//! | [`options`], [`command`] | the command line |
//! | [`check`] | inside a guest: whether the way to the host works |
//!
//! A monitor (QEMU) connects once, when the device appears, and cannot do so again: whoever holds the other end must not
//! die. So the holder does next to nothing. A daemon that starts finds the holder of an earlier one by the path of the
//! device's socket, takes region, doorbells and live workers over from it, and goes on.
//!
//! # Trust
//!
//! Whoever may open the device inside the guest sees all its channels: there is no isolation between programs of one VM.
//! Between VMs there is: each has a region, a holder and workers of its own. What a daemon must know about a region (sizes,
//! generations, who has which channel) it keeps in its own memory and in the holder's, never in the region.

pub mod check;
pub mod command;
pub mod device_socket;
mod end;
pub mod holder;
pub mod host;
pub mod ivshmem;
pub mod link;
pub mod options;

use device_socket::Access;
use ringbar::directory::Constants;
use ringbar::layout::{PAGE_BYTES, Sizes};
use ringbar::region::{self, Terms};
use ringbar_vocabulary::VOCABULARY_HASH;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// Doorbell vectors of a device, in each direction: vector 0 tells of claims, the others belong to channels.
pub const VECTORS: usize = 4;
/// Memory of a device, unless told otherwise.
pub const BYTES_DEFAULT: u64 = 256 << 20;
/// Channels of a device, unless told otherwise: as many as have a vector of their own.
pub const CHANNELS_DEFAULT: usize = VECTORS - 1;
/// Silence of a guest program after which it counts as dead, unless told otherwise.
pub const HEART_LIMIT_DEFAULT: Duration = Duration::from_secs(5);
/// The least arena that makes a channel worth having, in bytes.
const ARENA_BYTES_MIN: u64 = 256 << 10;
/// Where arenas of guests are mapped, on both sides: high up, where no loader or allocator puts anything.
const ARENA_ADDRESS: u64 = 0x6f00_0000_0000;

/// One VM's device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmConfig {
    /// The VM's name, for people and status.
    pub name: String,
    /// Where its monitor connects.
    pub socket: PathBuf,
    /// Bytes of the device's memory: a power of two.
    pub bytes: u64,
    /// Programs that the guest may run at once.
    pub channels: usize,
    /// Its monitor maps the memory as a file and never connects: both sides poll, and the device stays until it is ended.
    pub polled: bool,
    /// Who may connect to the socket.
    pub access: Access,
}

/// A device that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VmConfigError {
    /// A PCI BAR has another size.
    #[error(
        "VM {name}: found a size of {found} bytes, expected a power of two; try: --size 256MiB"
    )]
    Size {
        /// The VM.
        name: String,
        /// Bytes asked for.
        found: u64,
    },
    /// Too little for so many channels, or too many of them.
    #[error(
        "VM {name}: found {channels} channels in {bytes} bytes, expected 1 to 31 channels of at least {least} bytes each; \
         try: a greater --size, or fewer --channels"
    )]
    Channels {
        /// The VM.
        name: String,
        /// Channels asked for.
        channels: usize,
        /// Bytes asked for.
        bytes: u64,
        /// Bytes that a channel needs.
        least: u64,
    },
    /// A name that cannot be shown.
    #[error(
        "found the VM name {found:?}, expected 1 to 64 letters, digits, dots, dashes or underscores"
    )]
    Name {
        /// The name.
        found: String,
    },
}

impl VmConfig {
    /// Sizes of each channel: the same for all, with all the memory that is left as arena.
    ///
    /// # Errors
    /// [`VmConfigError`] if there is no such device.
    pub fn sizes(&self) -> Result<Vec<Sizes>, VmConfigError> {
        let name = || self.name.clone();
        let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !(1..=64).contains(&self.name.len()) || !self.name.chars().all(good) {
            return Err(VmConfigError::Name { found: name() });
        }
        if !self.bytes.is_power_of_two() {
            return Err(VmConfigError::Size { name: name(), found: self.bytes });
        }
        let base =
            Sizes { reply_slots: 256, fence_words: 8192, arena_bytes: 0, ..Sizes::default() };
        let (channels, bytes, page) = (self.channels, self.bytes, PAGE_BYTES as u64);
        let least = base.channel_bytes() + ARENA_BYTES_MIN;
        let wrong = VmConfigError::Channels { name: name(), channels, bytes, least };
        if !(1..=ringbar::layout::CHANNELS_MAX).contains(&channels) {
            return Err(wrong);
        }
        let each = bytes.saturating_sub(page) / channels as u64 / page * page;
        if each < least {
            return Err(wrong);
        }
        let arena_bytes = each - base.channel_bytes();
        let sizes = |channel: u64| {
            let arena_address = ARENA_ADDRESS + channel * bytes;
            Sizes { arena_bytes, arena_address, ..base }
        };
        Ok((0..channels as u64).map(sizes).collect())
    }

    /// Where this build lays out what in the device's memory.
    ///
    /// # Errors
    /// As [`sizes`](Self::sizes).
    pub fn layout(&self) -> Result<Constants, VmConfigError> {
        let places = region::places(&self.sizes()?, Self::terms());
        // Nobody rings for who never connects.
        let vectors = if self.polled { 0 } else { VECTORS as u16 };
        Ok(Constants::new(self.bytes, &places, vectors))
    }

    /// What every channel of a VM is made with: no barrier reaches across two kernels, so both sides wake by fences.
    pub fn terms() -> Terms {
        Terms { vocabulary_hash: VOCABULARY_HASH, features: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(bytes: u64, channels: usize) -> VmConfig {
        VmConfig {
            name: "vm-1".into(),
            socket: "/s".into(),
            bytes,
            channels,
            ..VmConfig::default()
        }
    }

    #[test]
    fn channels_share_the_memory_evenly_and_fit_into_it() {
        for (bytes, channels) in [(BYTES_DEFAULT, CHANNELS_DEFAULT), (32 << 20, 31), (1 << 20, 1)] {
            let sizes = vm(bytes, channels).sizes().unwrap();
            assert_eq!(sizes.len(), channels);
            sizes.iter().for_each(|sizes| sizes.check().unwrap());
            let needed = ringbar::region::region_bytes(&sizes);
            assert!(needed <= bytes && needed > bytes - bytes / 8, "{needed} of {bytes}");
        }
    }

    #[test]
    fn a_device_that_cannot_be_is_refused_with_what_to_try() {
        let cases = [
            (vm(100 << 20, 1), "power of two"),
            (vm(1 << 20, 31), "fewer --channels"),
            (vm(1 << 20, 0), "1 to 31 channels"),
            (VmConfig { name: "a b".into(), ..vm(1 << 20, 1) }, "name"),
        ];
        for (config, part) in cases {
            let error = config.sizes().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}

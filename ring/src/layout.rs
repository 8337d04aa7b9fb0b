//! Offsets and sizes of a region (PROTOCOL.md, sections 2 and 3): the one place where they are numbers.

use bytemuck::{Pod, Zeroable};
use core::mem::{offset_of, size_of};

/// First word of a region's directory: "RINGBAR1" in memory.
pub const DIRECTORY_MAGIC: u64 = u64::from_le_bytes(*b"RINGBAR1");
/// First word of a channel's header: "RBRCHNL1" in memory.
pub const CHANNEL_MAGIC: u64 = u64::from_le_bytes(*b"RBRCHNL1");
/// Major version: another one cannot be spoken with.
pub const VERSION_MAJOR: u16 = 1;
/// Minor version: a newer one only adds.
pub const VERSION_MINOR: u16 = 0;
/// Bytes in a page: the unit of offsets in a region.
pub const PAGE_BYTES: usize = 4096;
/// Lines in a header or directory page.
pub const HEADER_LINES: usize = 64;
/// Most channels in a region.
pub const CHANNELS_MAX: usize = 31;
/// Most bytes of arena in a channel.
pub const ARENA_BYTES_MAX: u64 = 1 << 40;

/// Lines of a channel header.
pub mod line {
    /// Constant identity.
    pub const IDENTITY: usize = 0;
    /// Constant geometry.
    pub const GEOMETRY: usize = 1;
    /// State, heartbeat, error and wake abilities of the host side.
    pub const HOST_STATUS: usize = 2;
    /// The same of the client side.
    pub const CLIENT_STATUS: usize = 4;
    /// Command lines released by the worker.
    pub const COMMAND_HEAD: usize = 8;
    /// The worker's sleep epoch.
    pub const WORKER_SLEEP: usize = 10;
    /// The client's sleep epoch.
    pub const CLIENT_SLEEP: usize = 12;
    /// Event lines released by the client.
    pub const EVENT_HEAD: usize = 14;
    /// Executed, retired, first posted error and its status.
    pub const PROGRESS: usize = 16;
    /// Counters of the client side.
    pub const CLIENT_COUNTERS: usize = 20;
    /// Counters of the worker side.
    pub const WORKER_COUNTERS: usize = 22;
}

/// Lines of the directory.
pub mod directory_line {
    /// First channel entry.
    pub const ENTRIES: usize = 1;
    /// First claim.
    pub const CLAIMS: usize = 32;
}

/// Line 0 of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct DirectoryHead {
    /// [`DIRECTORY_MAGIC`].
    pub magic: u64,
    /// Major version.
    pub major: u16,
    /// Minor version.
    pub minor: u16,
    /// Bytes a line: 64.
    pub line_bytes: u16,
    /// log2 of the page size: 12.
    pub page_shift: u16,
    /// Bytes of the region.
    pub region_bytes: u64,
    /// Channels, 1 to 31.
    pub channels: u64,
    /// Zero.
    pub reserved: [u64; 4],
}

/// Lines 0 and 1 of a channel header: all that is constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Identity {
    /// [`CHANNEL_MAGIC`].
    pub magic: u64,
    /// Major version.
    pub major: u16,
    /// Minor version.
    pub minor: u16,
    /// Bytes of the header: 4,096.
    pub header_bytes: u32,
    /// Feature bits.
    pub features: u64,
    /// Hash of the command vocabulary that the worker speaks.
    pub vocabulary_hash: u64,
    /// Bytes of the channel.
    pub channel_bytes: u64,
    /// log2 of the command lines.
    pub command_shift: u8,
    /// log2 of the reply slots.
    pub reply_shift: u8,
    /// log2 of the event lines.
    pub event_shift: u8,
    /// Zero.
    pub reserved0: u8,
    /// Fence words.
    pub fence_words: u32,
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// Address at which both sides map the arena, 0 = anywhere.
    pub arena_address: u64,
    /// Offset of the command ring in the channel.
    pub command_offset: u64,
    /// Offset of the reply slots.
    pub reply_offset: u64,
    /// Offset of the event ring.
    pub event_offset: u64,
    /// Offset of the fence words.
    pub fence_offset: u64,
    /// Offset of the arena.
    pub arena_offset: u64,
    /// Zero.
    pub reserved1: [u64; 3],
}

const _: () = {
    assert!(size_of::<DirectoryHead>() == 64);
    assert!(offset_of!(DirectoryHead, region_bytes) == 16);
    assert!(offset_of!(DirectoryHead, channels) == 24);
    assert!(size_of::<Identity>() == 128);
    assert!(offset_of!(Identity, major) == 8);
    assert!(offset_of!(Identity, features) == 16);
    assert!(offset_of!(Identity, vocabulary_hash) == 24);
    assert!(offset_of!(Identity, channel_bytes) == 32);
    assert!(offset_of!(Identity, command_shift) == 40);
    assert!(offset_of!(Identity, fence_words) == 44);
    assert!(offset_of!(Identity, arena_bytes) == 48);
    assert!(offset_of!(Identity, arena_address) == 56);
    assert!(offset_of!(Identity, command_offset) == 64);
    assert!(offset_of!(Identity, arena_offset) == 96);
    assert!(line::WORKER_COUNTERS < HEADER_LINES);
    assert!(directory_line::ENTRIES + CHANNELS_MAX <= directory_line::CLAIMS);
    assert!(directory_line::CLAIMS + CHANNELS_MAX <= HEADER_LINES);
};

/// Sizes of a channel, as its creator wishes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Lines in the command ring: a power of two, 2 to 65,536.
    pub command_lines: u32,
    /// Reply slots: a power of two, 1 to 1,024.
    pub reply_slots: u32,
    /// Lines in the event ring: a power of two, 2 to 65,536.
    pub event_lines: u32,
    /// Fence words: a power of two, 8 to 65,536.
    pub fence_words: u32,
    /// Bytes of arena: whole pages, up to 1 TiB.
    pub arena_bytes: u64,
    /// Address at which both sides map the arena, 0 = anywhere; page aligned.
    pub arena_address: u64,
}

impl Default for Sizes {
    /// 4,096 command lines, 64 reply slots, 256 event lines, 512 fences, 64 MiB of arena, anywhere.
    fn default() -> Self {
        Self {
            command_lines: 4096,
            reply_slots: 64,
            event_lines: 256,
            fence_words: 512,
            arena_bytes: 64 << 20,
            arena_address: 0,
        }
    }
}

/// A size of a channel that is out of its limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {found}, expected {expected}")]
pub struct SizeError {
    /// Which size.
    pub field: &'static str,
    /// What was found.
    pub found: u64,
    /// What is allowed, in words.
    pub expected: &'static str,
}

fn check(
    ok: bool,
    field: &'static str,
    found: u64,
    expected: &'static str,
) -> Result<(), SizeError> {
    if ok { Ok(()) } else { Err(SizeError { field, found, expected }) }
}

impl Sizes {
    /// Checks every limit of PROTOCOL.md, section 9.
    pub fn check(&self) -> Result<(), SizeError> {
        let ring = |n: u32| n.is_power_of_two() && (2..=65_536).contains(&n);
        let lines = "a power of two from 2 to 65,536";
        let page = PAGE_BYTES as u64;
        check(ring(self.command_lines), "command lines", self.command_lines.into(), lines)?;
        check(ring(self.event_lines), "event lines", self.event_lines.into(), lines)?;
        let slots = self.reply_slots;
        let ok = slots.is_power_of_two() && slots <= 1024;
        check(ok, "reply slots", slots.into(), "a power of two from 1 to 1,024")?;
        let ok = self.fence_words.is_power_of_two() && (8..=65_536).contains(&self.fence_words);
        check(ok, "fence words", self.fence_words.into(), "a power of two from 8 to 65,536")?;
        let ok = self.arena_bytes <= ARENA_BYTES_MAX && self.arena_bytes.is_multiple_of(page);
        check(ok, "arena bytes", self.arena_bytes, "whole pages, at most 1 TiB")?;
        let ok = self.arena_address.is_multiple_of(page);
        check(ok, "arena address", self.arena_address, "a page-aligned address, or 0")
    }

    /// The constant part of a channel header with these sizes. Sizes must have passed [`check`](Self::check).
    pub fn identity(&self, vocabulary_hash: u64, features: u64) -> Identity {
        let page = PAGE_BYTES as u64;
        let pages = |bytes: u64| bytes.next_multiple_of(page);
        let line = crate::lines::LINE_BYTES as u64;
        let command_offset = page;
        let reply_offset = command_offset + pages(u64::from(self.command_lines) * line);
        let event_offset = reply_offset + pages(u64::from(self.reply_slots) * line);
        let fence_offset = event_offset + pages(u64::from(self.event_lines) * line);
        let arena_offset = fence_offset + pages(u64::from(self.fence_words) * 8);
        Identity {
            magic: CHANNEL_MAGIC,
            major: VERSION_MAJOR,
            minor: VERSION_MINOR,
            header_bytes: PAGE_BYTES as u32,
            features,
            vocabulary_hash,
            channel_bytes: arena_offset + self.arena_bytes,
            command_shift: self.command_lines.trailing_zeros() as u8,
            reply_shift: self.reply_slots.trailing_zeros() as u8,
            event_shift: self.event_lines.trailing_zeros() as u8,
            reserved0: 0,
            fence_words: self.fence_words,
            arena_bytes: self.arena_bytes,
            arena_address: self.arena_address,
            command_offset,
            reply_offset,
            event_offset,
            fence_offset,
            arena_offset,
            reserved1: [0; 3],
        }
    }

    /// Bytes of a channel with these sizes.
    pub fn channel_bytes(&self) -> u64 {
        self.identity(0, 0).channel_bytes
    }
}

impl DirectoryHead {
    /// Of a region of so many bytes with so many channels.
    pub const fn new(region_bytes: u64, channels: usize) -> Self {
        Self {
            magic: DIRECTORY_MAGIC,
            major: VERSION_MAJOR,
            minor: VERSION_MINOR,
            line_bytes: crate::lines::LINE_BYTES as u16,
            page_shift: PAGE_BYTES.trailing_zeros() as u16,
            region_bytes,
            channels: channels as u64,
            reserved: [0; 4],
        }
    }

    /// The same with each number as it lies in shared memory: little-endian. Its own inverse.
    pub fn to_le(self) -> Self {
        Self {
            magic: self.magic.to_le(),
            major: self.major.to_le(),
            minor: self.minor.to_le(),
            line_bytes: self.line_bytes.to_le(),
            page_shift: self.page_shift.to_le(),
            region_bytes: self.region_bytes.to_le(),
            channels: self.channels.to_le(),
            reserved: self.reserved.map(u64::to_le),
        }
    }
}

impl Identity {
    /// The same with each number as it lies in shared memory: little-endian. Its own inverse.
    pub fn to_le(self) -> Self {
        Self {
            magic: self.magic.to_le(),
            major: self.major.to_le(),
            minor: self.minor.to_le(),
            header_bytes: self.header_bytes.to_le(),
            features: self.features.to_le(),
            vocabulary_hash: self.vocabulary_hash.to_le(),
            channel_bytes: self.channel_bytes.to_le(),
            fence_words: self.fence_words.to_le(),
            arena_bytes: self.arena_bytes.to_le(),
            arena_address: self.arena_address.to_le(),
            command_offset: self.command_offset.to_le(),
            reply_offset: self.reply_offset.to_le(),
            event_offset: self.event_offset.to_le(),
            fence_offset: self.fence_offset.to_le(),
            arena_offset: self.arena_offset.to_le(),
            reserved1: self.reserved1.map(u64::to_le),
            ..self
        }
    }

    /// The sizes that this identity claims; not yet checked.
    pub fn sizes(&self) -> Sizes {
        let shift = |s: u8| 1_u32.checked_shl(s.into()).unwrap_or(0);
        Sizes {
            command_lines: shift(self.command_shift),
            reply_slots: shift(self.reply_shift),
            event_lines: shift(self.event_shift),
            fence_words: self.fence_words,
            arena_bytes: self.arena_bytes,
            arena_address: self.arena_address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_pages_lie_apart_from_fences_and_arena() {
        let id = Sizes::default().identity(1, 0);
        for offset in [id.command_offset, id.reply_offset, id.event_offset, id.fence_offset] {
            assert!(offset.is_multiple_of(PAGE_BYTES as u64));
        }
        assert!(id.fence_offset >= id.event_offset + 256 * 64);
        assert_eq!(id.arena_offset, id.fence_offset + 4096);
        assert_eq!(id.channel_bytes, id.arena_offset + (64 << 20));
    }

    #[test]
    fn every_size_out_of_its_limits_is_named() {
        let good = Sizes::default();
        good.check().expect("the default is valid");
        let wrong = [
            ("command lines", Sizes { command_lines: 3, ..good }),
            ("command lines", Sizes { command_lines: 1, ..good }),
            ("event lines", Sizes { event_lines: 1 << 17, ..good }),
            ("reply slots", Sizes { reply_slots: 2048, ..good }),
            ("fence words", Sizes { fence_words: 7, ..good }),
            ("arena bytes", Sizes { arena_bytes: 5, ..good }),
            ("arena address", Sizes { arena_address: 4097, ..good }),
        ];
        for (field, sizes) in wrong {
            assert_eq!(sizes.check().expect_err(field).field, field);
        }
    }

    #[test]
    fn an_identity_gives_its_sizes_back() {
        let sizes = Sizes { command_lines: 64, arena_address: 1 << 32, ..Sizes::default() };
        assert_eq!(sizes.identity(5, 0).sizes(), sizes);
    }
}

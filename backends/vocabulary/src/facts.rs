//! The snapshot of a device that a client takes once, when it connects.

use crate::wire::Sink;
use thiserror::Error;

/// Everything that can be asked about a device, answered locally afterwards.
///
/// On the wire, little-endian: total memory u64, compute capability major u32 and minor u32,
/// UUID 16 bytes, attribute count u32, name length u32; then each attribute as number u32 and
/// value i32, then the name, zero-padded to a multiple of 8 bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceFactsBlock {
    /// The device's name.
    pub name: String,
    /// Its memory in bytes.
    pub total_memory_bytes: u64,
    /// Its compute capability, major and minor.
    pub compute_capability: (u32, u32),
    /// Its UUID.
    pub uuid: [u8; 16],
    /// Attributes as (`CUdevice_attribute`, value), sorted by number.
    pub attributes: Vec<(u32, i32)>,
}

/// Why bytes are not device facts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "device facts of {found} bytes: expected {expected} or more; likely cause: the block was truncated or overwritten, ask for the facts again"
)]
pub struct FactsError {
    /// Bytes found.
    pub found: usize,
    /// Bytes that the facts say they take.
    pub expected: u64,
}

const HEAD_BYTES: usize = 40;

impl DeviceFactsBlock {
    /// Bytes on the wire.
    pub fn encoded_len(&self) -> usize {
        HEAD_BYTES + 8 * self.attributes.len() + self.name.len().next_multiple_of(8)
    }

    /// The facts as they travel.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        let (major, minor) = self.compute_capability;
        out.word(self.total_memory_bytes);
        out.word(u64::from(major) | u64::from(minor) << 32);
        out.bytes(&self.uuid);
        out.word(self.attributes.len() as u64 | (self.name.len() as u64) << 32);
        for &(number, value) in &self.attributes {
            out.word(u64::from(number) | u64::from(value as u32) << 32);
        }
        out.extend_from_slice(self.name.as_bytes());
        out.resize(self.encoded_len(), 0);
        out
    }

    /// Reads facts; bytes behind them are ignored, a name that is not UTF-8 is made so.
    ///
    /// # Errors
    /// If the bytes end before the facts do.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FactsError> {
        let short = |expected| FactsError { found: bytes.len(), expected };
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES).ok_or(short(HEAD_BYTES as u64))?;
        let u32_at = |at: usize| head[at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
        let (attributes, name) = (u64::from(u32_at(32)), u64::from(u32_at(36)));
        let expected = HEAD_BYTES as u64 + 8 * attributes + name;
        if expected > bytes.len() as u64 {
            return Err(short(expected));
        }
        let (table, rest) = rest.split_at(8 * attributes as usize);
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&head[16..32]);
        Ok(Self {
            name: String::from_utf8_lossy(&rest[..name as usize]).into_owned(),
            total_memory_bytes: u64::from(u32_at(0)) | u64::from(u32_at(4)) << 32,
            compute_capability: (u32_at(8), u32_at(12)),
            uuid,
            attributes: table.chunks_exact(8).map(attribute).collect(),
        })
    }

    /// The value of an attribute; `None` if the device did not say.
    pub fn attribute(&self, number: u32) -> Option<i32> {
        let at = self.attributes.binary_search_by_key(&number, |entry| entry.0).ok()?;
        Some(self.attributes[at].1)
    }
}

fn attribute(entry: &[u8]) -> (u32, i32) {
    let word = entry.iter().rev().fold(0u64, |word, &byte| (word << 8) | u64::from(byte));
    (word as u32, (word >> 32) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> DeviceFactsBlock {
        DeviceFactsBlock {
            name: "Mock GPU".into(),
            total_memory_bytes: 8 << 30,
            compute_capability: (9, 0),
            uuid: *b"0123456789abcdef",
            attributes: vec![(1, 1024), (16, 132), (75, 9), (200, -1)],
        }
    }

    #[test]
    fn facts_survive_the_wire() {
        let bytes = facts().to_bytes();
        assert_eq!(bytes.len(), facts().encoded_len());
        assert_eq!(DeviceFactsBlock::from_bytes(&bytes), Ok(facts()));
    }

    #[test]
    fn an_attribute_is_found_by_number() {
        assert_eq!(facts().attribute(200), Some(-1));
        assert_eq!(facts().attribute(2), None);
    }

    #[test]
    fn every_truncation_of_the_facts_is_refused() {
        let bytes = facts().to_bytes();
        for len in 0..bytes.len() {
            assert!(DeviceFactsBlock::from_bytes(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn counts_that_reach_beyond_the_block_are_refused() {
        let mut bytes = facts().to_bytes();
        bytes[32..40].fill(0xff);
        assert!(DeviceFactsBlock::from_bytes(&bytes).is_err());
    }
}

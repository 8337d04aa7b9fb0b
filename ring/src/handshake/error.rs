//! What can be wrong with a message: found, expected, likely cause.

use super::message::{Refusal, RefusalCode, Version};
use super::text::TextError;
use super::wire::{FRAME_VERSION, HEADER_BYTES, MAGIC};
use crate::layout::SizeError;

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Shorter than a header.
    #[error(
        "found a message of {found} bytes, expected at least {HEADER_BYTES}; likely cause: not a ringbar peer"
    )]
    Short {
        /// Bytes found.
        found: usize,
    },
    /// Another first word.
    #[error(
        "found the magic {found:#010x}, expected {MAGIC:#010x}; likely cause: not a ringbar peer"
    )]
    Magic {
        /// The word found.
        found: u32,
    },
    /// Frames of another version.
    #[error(
        "found frame version {found}, expected {FRAME_VERSION}; likely cause: the peer is newer; try: the same release"
    )]
    FrameVersion {
        /// The version found.
        found: u16,
    },
    /// A kind of message that does not exist.
    #[error(
        "found message kind {found}, expected 1 to 6; likely cause: the peer is newer; try: the same release"
    )]
    Kind {
        /// The kind found.
        found: u16,
    },
    /// A length that its kind does not have, or that differs from the datagram's.
    #[error("{kind}: found {found} bytes (announced {announced}), expected {expected}")]
    Length {
        /// Which message.
        kind: &'static str,
        /// Bytes received.
        found: usize,
        /// Bytes announced in the header.
        announced: u32,
        /// Bytes of this kind.
        expected: usize,
    },
    /// A message that came with the wrong number of descriptors.
    #[error("{kind}: found {found} file descriptors, expected {expected}")]
    Descriptors {
        /// Which message.
        kind: &'static str,
        /// Descriptors received.
        found: usize,
        /// Descriptors of this kind.
        expected: usize,
    },
    /// Bytes that have to be zero in this version.
    #[error(
        "{kind}: found {found:#x} in reserved bytes, expected zero; likely cause: the peer is newer"
    )]
    Reserved {
        /// Which message.
        kind: &'static str,
        /// What was found.
        found: u64,
    },
    /// Another protocol: a Hello that cannot be read further, or a Welcome beyond what was offered.
    #[error("found protocol {found}, expected {expected}; try: update the older side")]
    Protocol {
        /// The version found.
        found: Version,
        /// The version expected, or the newest one acceptable.
        expected: Version,
    },
    /// The executor chose features that were not offered.
    #[error("found the chosen features {found:#x}, expected a part of the offered {offered:#x}")]
    FeaturesNotOffered {
        /// Bits chosen.
        found: u64,
        /// Bits offered.
        offered: u64,
    },
    /// The executor lacks features that the client needs.
    #[error("found the features {found:#x}, expected also {missing:#x}; try: update the executor")]
    FeaturesMissing {
        /// Bits chosen.
        found: u64,
        /// Bits that are missing.
        missing: u64,
    },
    /// A channel size out of its limits.
    #[error("Hello: {0}")]
    Sizes(#[from] SizeError),
    /// A number out of its limits.
    #[error("{field}: found {found}, expected {expected}")]
    Value {
        /// Which field.
        field: &'static str,
        /// The value found.
        found: u64,
        /// The values allowed, in words.
        expected: &'static str,
    },
    /// A text that is none.
    #[error("{field}: {source}")]
    Text {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        source: TextError,
    },
    /// A refusal code that does not exist.
    #[error("Refused: found code {found}, expected 1 to 10; likely cause: the peer is newer")]
    RefusalCode {
        /// The code found.
        found: u16,
    },
}

impl HandshakeError {
    /// What to answer to the peer that sent such a message.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Protocol { found, expected } => {
                super::negotiate::version_refusal(*found, *expected)
            }
            Self::Sizes(_) => Refusal::new(RefusalCode::Limits, &self.to_string()),
            _ => Refusal::new(RefusalCode::Malformed, &self.to_string()),
        }
    }
}

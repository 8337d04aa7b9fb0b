//! What keeps a region from being created or attached to.

use super::State;
use crate::layout::SizeError;
use thiserror::Error;

/// Why a region could not be created or attached to. Each says what was found and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegionError {
    /// The mapping cannot hold what was asked for or announced.
    #[error(
        "the mapping has {found} bytes, expected at least {expected}; map more, or ask for less"
    )]
    TooSmall {
        /// Bytes of the mapping.
        found: u64,
        /// Bytes needed.
        expected: u64,
    },
    /// A word that identifies a region or channel is another.
    #[error(
        "{what}: found {found:#x}, expected {expected:#x}; \
         likely cause: this is no ringbar region, or its host has not finished creating it"
    )]
    Identity {
        /// Which word.
        what: &'static str,
        /// What was found.
        found: u64,
        /// What was expected.
        expected: u64,
    },
    /// Another major version.
    #[error(
        "the region speaks version {found_major}.{found_minor}, this program {ours_major}.{ours_minor}; update the older side"
    )]
    Version {
        /// Major version found.
        found_major: u16,
        /// Minor version found.
        found_minor: u16,
        /// Our major version.
        ours_major: u16,
        /// Our minor version.
        ours_minor: u16,
    },
    /// Another command vocabulary.
    #[error(
        "the channel's command vocabulary is {found:#018x}, this program's {expected:#018x}; \
         likely cause: client and executor come from different builds"
    )]
    Vocabulary {
        /// Hash found.
        found: u64,
        /// Our hash.
        expected: u64,
    },
    /// A feature that this program needs is missing, or one that it does not know is required.
    #[error("the channel has features {found:#x}, this program needs {expected:#x}")]
    Features {
        /// Feature bits found.
        found: u64,
        /// Feature bits needed.
        expected: u64,
    },
    /// A size out of its limits.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// A channel that does not exist.
    #[error("channel {found} was asked for, the region has {channels}")]
    NoChannel {
        /// Channel asked for.
        found: usize,
        /// Channels there are.
        channels: usize,
    },
    /// The channel is not one to attach to now.
    #[error("the channel is {found:?} in generation {generation}, expected {expected}")]
    State {
        /// State found.
        found: State,
        /// Generation found.
        generation: u32,
        /// What was expected, in words.
        expected: String,
    },
}

//! Why bytes are no image.

use thiserror::Error;

/// Why an image cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImageError {
    /// The bytes begin like no image.
    #[error(
        "bytes that begin with {found:#010x} are no fat binary, cubin or PTX; likely cause: a wrong pointer, or an image for another driver (NVVM, HSACO)"
    )]
    Unknown {
        /// The first four bytes as a little-endian number.
        found: u32,
    },
    /// The image says that it is longer than what is accepted.
    #[error(
        "an image of {found} bytes: expected at most {expected}; likely cause: a damaged header, or a pointer into the middle of something"
    )]
    TooLong {
        /// Its length in bytes, as far as it can be told.
        found: u64,
        /// The limit.
        expected: u64,
    },
    /// The image ends before what its headers speak of.
    #[error("{part} reaches outside the image; likely cause: a truncated or damaged image")]
    Truncated {
        /// What is missing.
        part: &'static str,
    },
    /// The image contradicts itself.
    #[error("{part} is malformed: {detail}; likely cause: a damaged image, or a newer format")]
    Malformed {
        /// What is wrong.
        part: &'static str,
        /// How.
        detail: String,
    },
    /// A fat binary has nothing that the device could run.
    #[error(
        "no code for sm_{wanted} among [{found}]; likely cause: compiled for other devices, try nvcc -arch=sm_{wanted}"
    )]
    NoCode {
        /// The device's compute capability, major times 10 plus minor.
        wanted: u32,
        /// What there is.
        found: String,
    },
}

impl ImageError {
    pub(crate) fn malformed(part: &'static str, detail: impl ToString) -> Self {
        Self::Malformed { part, detail: detail.to_string() }
    }
}

//! Kernel images as CUDA programs carry them.
//!
//! A program hands the driver a bare pointer to a fat binary, a cubin or PTX text. [`measure`]
//! says, step by step, how many bytes behind that pointer must be read to know the image's
//! length; [`Image::parse`] looks inside: kernels with their parameter layouts, and variables.
//!
//! Everything here works on slices and treats them as hostile: no bytes make it panic, and what
//! it allocates is bounded by [`IMAGE_MAX_BYTES`].

#![forbid(unsafe_code)]

mod cache;
mod cubin;
mod error;
mod fat_binary;
mod image;
mod info;
mod link;
mod measure;
mod ptx;
#[cfg(test)]
mod tests;

pub use cache::{ImageCache, ImageHash, KEPT_BYTES_MAX, hash};
pub use error::ImageError;
pub use fat_binary::{Entry, EntryKind, entries};
pub use image::{Image, Kernel, Variable, VariableKind};
pub use link::{LinkError, link_texts};
pub use measure::{HEAD_BYTES, Need, measure};

/// The longest image that is accepted, and the longest that one is unpacked to, in bytes.
pub const IMAGE_MAX_BYTES: u64 = 1 << 30;

/// The little-endian number of `N` bytes at an offset.
pub(crate) fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let found = bytes.get(at..at.checked_add(N)?)?;
    Some(found.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte)))
}

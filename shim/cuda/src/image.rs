//! Images in the program's memory: CUDA gives an address and no length, so the image itself says how long it is.

use crate::failure::{Failure, Outcome};
use ringbar_images::{HEAD_BYTES, IMAGE_MAX_BYTES, Need, measure};
use ringbar_vocabulary::Status;
use std::ffi::{CStr, c_char, c_void};

/// The image at an address: a fat binary, a cubin, PTX, or nvcc's wrapper around one.
///
/// # Safety
/// A whole image lies there, and stays there unchanged for as long as the answer is used.
pub unsafe fn at<'a>(address: *const c_void) -> Outcome<&'a [u8]> {
    let mut start = address.cast::<u8>();
    let mut known = HEAD_BYTES;
    // A wrapper leads to an image once; an image asks for more a few times.
    for _ in 0..16 {
        if start.is_null() {
            return Err(Status::INVALID_VALUE.into());
        }
        // SAFETY: the image itself said that it has that many bytes; no image has fewer than the first few.
        let head = unsafe { std::slice::from_raw_parts(start, known) };
        match measure(head).map_err(no_image)? {
            Need::More(bytes) => known = bytes,
            Need::Whole(bytes) => {
                // SAFETY: the image itself said that it has that many bytes.
                return Ok(unsafe { std::slice::from_raw_parts(start, bytes) });
            }
            Need::Elsewhere(address) => {
                start = std::ptr::with_exposed_provenance(address as usize);
                known = HEAD_BYTES;
            }
            Need::Text => {
                // SAFETY: PTX ends with a zero byte, as the driver wants it.
                let text = unsafe { CStr::from_ptr(start.cast::<c_char>()) }.to_bytes_with_nul();
                return if text.len() as u64 > IMAGE_MAX_BYTES {
                    Err(INVALID_IMAGE)
                } else {
                    Ok(text)
                };
            }
        }
    }
    Err(INVALID_IMAGE)
}

const INVALID_IMAGE: Failure = Failure(Status::INVALID_IMAGE);

#[cold]
fn no_image(error: ringbar_images::ImageError) -> Failure {
    tracing::warn!(%error, "a module's image cannot be read");
    INVALID_IMAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(image: &[u8]) -> Outcome<&[u8]> {
        // SAFETY: the image is whole and outlives the answer.
        unsafe { at(image.as_ptr().cast()) }
    }

    #[test]
    fn text_is_an_image_with_its_zero_byte() {
        let ptx = b".version 8.0\n.target sm_90\n\0 and what follows";
        assert_eq!(found(ptx), Ok(&ptx[..28]));
    }

    #[test]
    fn a_fat_binary_says_its_own_length() {
        let mut bytes = vec![0; 100];
        bytes[..4].copy_from_slice(&0xba55_ed50_u32.to_le_bytes());
        bytes[6..8].copy_from_slice(&16_u16.to_le_bytes());
        bytes[8..16].copy_from_slice(&48_u64.to_le_bytes());
        assert_eq!(found(&bytes).map(<[u8]>::len), Ok(64));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert_eq!(found(&[0xff; 64]), Err(INVALID_IMAGE));
        // SAFETY: null is checked.
        assert!(unsafe { at(std::ptr::null()) }.is_err());
    }
}

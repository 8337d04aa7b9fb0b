//! Images that a client has sent before, by what is in them.
//!
//! Programs load the same image again and again: into another context, after a reset, a library and its module. A client
//! that has sent an image once names it by [`ImageHash`] from then on, and the worker has it still.
//!
//! # What one client can do to another
//! Nothing: a cache belongs to one worker, which serves one client, so a hash that is guessed finds only the client's own
//! images, and whether another client has loaded an image shows nowhere. A worker hashes what it received by itself and
//! never believes a hash that came with an image, so an image cannot be kept under another's name either. Sharing images
//! between the workers of a host would save copies of what many programs load, at the price of telling one client by time
//! what others have loaded; it is not done.

use std::collections::HashMap;
use std::sync::Arc;

/// What is in an image: BLAKE3 of its bytes, as little-endian numbers.
pub type ImageHash = [u64; 4];

/// The most bytes of images that a worker keeps.
pub const KEPT_BYTES_MAX: u64 = 256 << 20;

/// The hash of an image.
pub fn hash(image: &[u8]) -> ImageHash {
    let digest = blake3::hash(image);
    let (words, _) = digest.as_bytes().as_chunks::<8>();
    std::array::from_fn(|at| words.get(at).map_or(0, |word| u64::from_le_bytes(*word)))
}

struct Kept {
    image: Arc<[u8]>,
    used: u64,
}

/// The images of one client, up to a number of bytes: those used longest ago go first.
pub struct ImageCache {
    images: HashMap<ImageHash, Kept>,
    bytes: u64,
    limit: u64,
    uses: u64,
}

impl Default for ImageCache {
    /// Of [`KEPT_BYTES_MAX`].
    fn default() -> Self {
        Self::new(KEPT_BYTES_MAX)
    }
}

impl ImageCache {
    /// Keeps at most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { images: HashMap::new(), bytes: 0, limit, uses: 0 }
    }

    /// Keeps an image, unless it alone is too large. `hash` must be of its bytes; `image` may be longer, by padding.
    pub fn keep(&mut self, hash: ImageHash, image: Arc<[u8]>) {
        let bytes = image.len() as u64;
        if bytes > self.limit || self.images.contains_key(&hash) {
            return;
        }
        while self.bytes + bytes > self.limit {
            let oldest = self.images.iter().min_by_key(|(_, kept)| kept.used);
            let Some(oldest) = oldest.map(|(hash, _)| *hash) else { return };
            self.bytes -= self.images.remove(&oldest).map_or(0, |kept| kept.image.len() as u64);
        }
        self.uses += 1;
        self.bytes += bytes;
        self.images.insert(hash, Kept { image, used: self.uses });
    }

    /// The image of that hash, if it is kept.
    pub fn get(&mut self, hash: &ImageHash) -> Option<Arc<[u8]>> {
        let kept = self.images.get_mut(hash)?;
        self.uses += 1;
        kept.used = self.uses;
        Some(kept.image.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(byte: u8, bytes: usize) -> (ImageHash, Arc<[u8]>) {
        let image = vec![byte; bytes];
        (hash(&image), image.into())
    }

    #[test]
    fn an_image_is_found_by_its_bytes_alone() {
        let mut cache = ImageCache::default();
        let (name, bytes) = image(1, 100);
        assert_eq!(cache.get(&name), None);
        cache.keep(name, bytes.clone());
        assert_eq!(cache.get(&name), Some(bytes));
        assert_eq!(cache.get(&hash(&[1; 101])), None);
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let mut cache = ImageCache::new(250);
        let [(a, first), (b, second), (c, third)] = [1, 2, 3].map(|byte| image(byte, 100));
        cache.keep(a, first.clone());
        cache.keep(b, second);
        assert_eq!(cache.get(&a), Some(first.clone()));
        cache.keep(c, third);
        assert_eq!((cache.get(&a), cache.get(&b)), (Some(first), None));
        assert!(cache.get(&c).is_some() && cache.bytes <= cache.limit);
    }

    #[test]
    fn an_image_larger_than_all_that_is_kept_drives_nothing_out() {
        let mut cache = ImageCache::new(150);
        let ((a, small), (b, large)) = (image(1, 100), image(2, 151));
        cache.keep(a, small);
        cache.keep(b, large);
        assert!(cache.get(&a).is_some() && cache.get(&b).is_none());
    }
}

//! Tables of objects by the numbers that clients choose.

use ringbar_vocabulary::Status;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// How many objects of a kind a client may have.
pub(crate) const OBJECTS_MAX: usize = 1 << 20;

/// One multiplication: a client that makes its own numbers collide slows only its own worker.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        let mixed = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// Objects of one kind.
pub(crate) struct Table<T>(HashMap<u32, T, BuildHasherDefault<IdHasher>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<T> Table<T> {
    /// Adds an object under a number that is not in use.
    pub(crate) fn insert(&mut self, id: u32, object: T) -> Result<(), Status> {
        self.check_new(id)?;
        self.0.insert(id, object);
        Ok(())
    }

    /// Whether an object could be added under the number.
    pub(crate) fn check_new(&self, id: u32) -> Result<(), Status> {
        if self.0.contains_key(&id) {
            return Err(Status::INVALID_HANDLE);
        }
        if self.0.len() >= OBJECTS_MAX {
            return Err(Status::OUT_OF_MEMORY);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn get(&self, id: u32) -> Result<&T, Status> {
        self.0.get(&id).ok_or(Status::INVALID_HANDLE)
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Result<&mut T, Status> {
        self.0.get_mut(&id).ok_or(Status::INVALID_HANDLE)
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        self.0.contains_key(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.0.iter().map(|(&id, object)| (id, object))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.values_mut()
    }

    /// The numbers of the objects that fit, in order.
    pub(crate) fn which(&self, fits: impl Fn(&T) -> bool) -> Vec<u32> {
        let mut ids: Vec<u32> =
            self.iter().filter(|(_, object)| fits(object)).map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn remove(&mut self, id: u32) -> Result<T, Status> {
        self.0.remove(&id).ok_or(Status::INVALID_HANDLE)
    }
}

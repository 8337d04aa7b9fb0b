//! Tables of objects by the numbers that clients choose: one table a kind.

use ringbar_vocabulary::Status;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// How many objects of a kind a client may have.
pub const OBJECTS_MAX: usize = 1 << 20;

/// One multiplication: a client that makes its own numbers collide slows only its own worker.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// A map with that hash.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Objects of one kind.
pub struct Table<T>(IdMap<u32, T>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(IdMap::default())
    }
}

impl<T> Table<T> {
    /// Adds an object under a number that is not in use.
    ///
    /// # Errors
    /// As [`Table::check_new`].
    pub fn add(&mut self, id: u32, object: T) -> Result<(), Status> {
        self.check_new(id)?;
        self.insert(id, object);
        Ok(())
    }

    /// Adds an object under a number that [`Table::check_new`] found free.
    pub fn insert(&mut self, id: u32, object: T) {
        self.0.insert(id, object);
    }

    /// Whether an object could be added under the number.
    ///
    /// # Errors
    /// INVALID_HANDLE if it is in use, OUT_OF_MEMORY if there are too many objects.
    pub fn check_new(&self, id: u32) -> Result<(), Status> {
        if self.0.contains_key(&id) {
            return Err(Status::INVALID_HANDLE);
        }
        if self.0.len() >= OBJECTS_MAX {
            return Err(Status::OUT_OF_MEMORY);
        }
        Ok(())
    }

    /// The object of that number.
    ///
    /// # Errors
    /// INVALID_HANDLE if there is none.
    #[inline]
    pub fn get(&self, id: u32) -> Result<&T, Status> {
        self.0.get(&id).ok_or(Status::INVALID_HANDLE)
    }

    /// The object of that number.
    ///
    /// # Errors
    /// INVALID_HANDLE if there is none.
    pub fn get_mut(&mut self, id: u32) -> Result<&mut T, Status> {
        self.0.get_mut(&id).ok_or(Status::INVALID_HANDLE)
    }

    /// Whether there is an object of that number.
    pub fn contains(&self, id: u32) -> bool {
        self.0.contains_key(&id)
    }

    /// Takes the object out.
    ///
    /// # Errors
    /// INVALID_HANDLE if there is none.
    pub fn remove(&mut self, id: u32) -> Result<T, Status> {
        self.0.remove(&id).ok_or(Status::INVALID_HANDLE)
    }

    /// All objects with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.0.iter().map(|(&id, object)| (id, object))
    }

    /// All objects.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.values_mut()
    }

    /// The numbers of the objects that fit, in order.
    pub fn which(&self, fits: impl Fn(&T) -> bool) -> Vec<u32> {
        let mut ids: Vec<u32> =
            self.iter().filter(|(_, object)| fits(object)).map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// Forgets all objects that `keep` refuses.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.0.retain(|_, object| keep(object));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_once_and_is_free_again_after_its_object() {
        let mut table = Table::default();
        assert_eq!(table.add(7, "a"), Ok(()));
        assert_eq!(table.add(7, "b"), Err(Status::INVALID_HANDLE));
        assert_eq!((table.get(7), table.get(8)), (Ok(&"a"), Err(Status::INVALID_HANDLE)));
        assert_eq!(table.remove(7), Ok("a"));
        assert_eq!((table.remove(7), table.check_new(7)), (Err(Status::INVALID_HANDLE), Ok(())));
    }
}

//! Things found by an address of the program: kernels by their host functions, variables by their host copies.
//!
//! Reading takes no lock: one multiplication and, nearly always, one comparison. Programs register tens of thousands of
//! addresses before they begin, and look one up for every launch.

use ringbar::sync::{AtomicUsize, Mutex, Ordering};
use std::ptr;

/// A map from addresses to things that live for ever. At most half of its places are in use.
pub(crate) struct Table<T: 'static> {
    /// The address of a leaked `Places`, 0 before the first insertion.
    places: AtomicUsize,
    /// How many places have a key; whoever changes the table holds it.
    used: Mutex<usize>,
    thing: std::marker::PhantomData<fn() -> &'static T>,
}

struct Place {
    /// The address, 0 in a free place; never changes to another one.
    key: AtomicUsize,
    /// The address of the thing; 0 if it was removed.
    thing: AtomicUsize,
}

struct Places {
    /// How far a hash is shifted to be an index.
    shift: u32,
    all: Box<[Place]>,
}

const FIRST_PLACES: usize = 1024;

impl Places {
    fn new(count: usize) -> &'static Self {
        let place = || Place { key: AtomicUsize::new(0), thing: AtomicUsize::new(0) };
        let all = std::iter::repeat_with(place).take(count).collect();
        Box::leak(Box::new(Self { shift: usize::BITS - count.trailing_zeros(), all }))
    }

    /// The place of a key, or the free one where it would go: there always is a free one. Also the key that was seen there.
    #[inline]
    fn find(&self, key: usize) -> (&Place, usize) {
        let mut index = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift;
        loop {
            let place = &self.all[index];
            let found = place.key.load(Ordering::Acquire);
            if found == key || found == 0 {
                return (place, found);
            }
            index = (index + 1) & (self.all.len() - 1);
        }
    }
}

impl<T: Sync + 'static> Table<T> {
    pub(crate) const fn new() -> Self {
        let places = AtomicUsize::new(0);
        Self { places, used: Mutex::new(0), thing: std::marker::PhantomData }
    }

    #[inline]
    fn places(&self) -> Option<&'static Places> {
        let at = ptr::with_exposed_provenance::<Places>(self.places.load(Ordering::Acquire));
        // SAFETY: null, or leaked places, whole before their address was stored.
        unsafe { at.as_ref() }
    }

    /// What is known by an address.
    #[inline]
    pub(crate) fn get(&self, key: usize) -> Option<&'static T> {
        let (place, found) = self.places()?.find(key);
        // A free place may be about to become another key's, whose thing is there first.
        if found != key {
            return None;
        }
        let at = ptr::with_exposed_provenance::<T>(place.thing.load(Ordering::Acquire));
        // SAFETY: null, or what `insert` got: a thing that lives for ever and that threads may share.
        unsafe { at.as_ref() }
    }

    /// Makes a thing known by an address, instead of what was known by it. 0 is no address.
    pub(crate) fn insert(&self, key: usize, thing: &'static T) {
        let Ok(mut used) = self.used.lock() else { return };
        if key == 0 {
            return;
        }
        let places = match self.places() {
            Some(places) if *used * 2 < places.all.len() => places,
            old => self.grow(old, &mut used),
        };
        let (place, found) = places.find(key);
        place.thing.store(ptr::from_ref(thing).expose_provenance(), Ordering::Release);
        if found == 0 {
            place.key.store(key, Ordering::Release);
            *used += 1;
        }
    }

    /// Twice the places. The old ones stay where they are: somebody may be reading them.
    fn grow(&self, old: Option<&'static Places>, used: &mut usize) -> &'static Places {
        let places = Places::new(old.map_or(FIRST_PLACES, |old| old.all.len() * 2));
        *used = 0;
        for place in old.iter().flat_map(|old| old.all.iter()) {
            let (key, thing) = (&place.key, &place.thing);
            let (key, thing) = (key.load(Ordering::Relaxed), thing.load(Ordering::Relaxed));
            if thing != 0 {
                let (new, _) = places.find(key);
                new.thing.store(thing, Ordering::Relaxed);
                new.key.store(key, Ordering::Relaxed);
                *used += 1;
            }
        }
        self.places.store(ptr::from_ref(places).expose_provenance(), Ordering::Release);
        places
    }

    /// Forgets an address.
    pub(crate) fn remove(&self, key: usize) {
        let Ok(_used) = self.used.lock() else { return };
        if let Some(places) = self.places() {
            let (place, found) = places.find(key);
            if found == key {
                place.thing.store(0, Ordering::Release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(value: usize) -> &'static usize {
        Box::leak(Box::new(value))
    }

    #[test]
    fn every_address_is_found_while_the_table_grows_and_no_other() {
        let table = Table::new();
        assert_eq!(table.get(64), None);
        for i in 1..5000 {
            table.insert(i * 16, thing(i));
        }
        for i in 1..5000 {
            assert_eq!(table.get(i * 16), Some(&i));
            assert_eq!(table.get(i * 16 + 8), None);
        }
    }

    #[test]
    fn a_removed_address_is_unknown_until_it_is_inserted_again() {
        let table = Table::new();
        table.insert(16, thing(1));
        table.remove(16);
        table.remove(32);
        assert_eq!(table.get(16), None);
        table.insert(16, thing(2));
        assert_eq!(table.get(16), Some(&2));
    }

    #[test]
    fn a_thing_whose_address_is_not_stored_yet_is_not_anothers() {
        let table = Table::new();
        table.insert(16, thing(1));
        // As far as an insertion has come between its two stores.
        let (place, _) = table.places().unwrap().find(32);
        place.thing.store(ptr::from_ref(thing(2)).expose_provenance(), Ordering::Release);
        assert_eq!(table.get(32), None);
        place.key.store(32, Ordering::Release);
        assert_eq!(table.get(32), Some(&2));
    }

    #[test]
    fn readers_find_what_was_there_before_they_began_while_others_insert() {
        static TABLE: Table<usize> = Table::new();
        TABLE.insert(8, thing(7));
        std::thread::scope(|scope| {
            scope.spawn(|| (1..20_000).for_each(|i| TABLE.insert(i * 32, thing(i))));
            scope.spawn(|| (0..200_000).for_each(|_| assert_eq!(TABLE.get(8), Some(&7))));
        });
        assert_eq!(TABLE.get(19_999 * 32), Some(&19_999));
    }
}

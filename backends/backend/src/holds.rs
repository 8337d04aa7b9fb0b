//! Holds on arena bytes: an asynchronous copy keeps the command's bytes from being reused.

use crate::{Holds, Services};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// While it lives, the arena bytes of one command are not reported as reusable.
pub struct Hold {
    services: Arc<Services>,
    position: u64,
}

impl Hold {
    pub(crate) fn new(services: Arc<Services>, position: u64) -> Self {
        services.holds.begin(position);
        Self { services, position }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.services.holds.end(self.position);
    }
}

/// A ready-made [`Holds`] for workers: which positions are held, and up to where all is released.
pub struct HoldSet {
    /// Holds by position, none with a count of 0.
    held: Mutex<BTreeMap<u64, u32>>,
    on_end: Box<dyn Fn() + Send + Sync>,
}

impl HoldSet {
    /// An empty set. `on_end` is called after each released hold, on the thread that released it:
    /// a worker that sleeps wakes itself with it to publish its progress.
    pub fn new(on_end: impl Fn() + Send + Sync + 'static) -> Self {
        Self { held: Mutex::default(), on_end: Box::new(on_end) }
    }

    /// The position before which no command uses its arena bytes any more, given that commands
    /// before `executed` were executed.
    pub fn retired(&self, executed: u64) -> u64 {
        self.lock().first_key_value().map_or(executed, |(&first, _)| first.min(executed))
    }

    /// How many holds there are.
    pub fn len(&self) -> usize {
        self.lock().values().map(|&count| count as usize).sum()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, u32>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holds for HoldSet {
    fn begin(&self, position: u64) {
        *self.lock().entry(position).or_default() += 1;
    }

    fn end(&self, position: u64) {
        let mut held = self.lock();
        match held.get_mut(&position) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(held.remove(&position)),
        }
        drop(held);
        (self.on_end)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_behind_the_first_hold_is_retired() {
        let set = HoldSet::new(|| ());
        assert_eq!(set.retired(10), 10);
        set.begin(7);
        set.begin(3);
        set.begin(3);
        assert_eq!((set.retired(10), set.retired(2), set.len()), (3, 2, 3));
        set.end(3);
        assert_eq!(set.retired(10), 3);
        set.end(3);
        assert_eq!(set.retired(10), 7);
        set.end(7);
        assert!(set.is_empty());
        assert_eq!(set.retired(10), 10);
    }

    #[test]
    fn each_release_is_announced() {
        let announced = Arc::new(Mutex::new(0));
        let counter = announced.clone();
        let set = HoldSet::new(move || *counter.lock().unwrap() += 1);
        set.begin(1);
        set.end(1);
        assert_eq!(*announced.lock().unwrap(), 1);
    }
}

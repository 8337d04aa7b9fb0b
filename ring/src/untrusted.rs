//! Values that a peer wrote.

use crate::spsc::Violation;

/// A value copied out of shared memory, of which nothing is known.
///
/// There is no way to the value but a check, which consumes it: so it is loaded once, checked, and the checked copy used.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Untrusted<T>(T);

impl<T> Untrusted<T> {
    /// Marks a value that was just loaded from shared memory.
    #[inline(always)]
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for showing it to a person: nothing may be decided by it.
    pub fn to_show(self) -> T {
        self.0
    }
}

impl Untrusted<u64> {
    /// The position, if it lies within `least..=most`.
    #[inline(always)]
    pub fn position(self, least: u64, most: u64) -> Result<u64, Violation> {
        if self.0 < least || self.0 > most {
            return Err(Violation::Position { found: self.0, least, most });
        }
        Ok(self.0)
    }

    /// Whether the position has reached `target`; a lie here only ends a wait early, after which it is checked.
    #[inline(always)]
    pub fn seems_to_reach(self, target: u64) -> bool {
        self.0 >= target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_accepted_only_within_its_bounds() {
        assert_eq!(Untrusted::new(5).position(5, 9), Ok(5));
        assert_eq!(Untrusted::new(9).position(5, 9), Ok(9));
        for found in [4, 10, u64::MAX] {
            let error = Violation::Position { found, least: 5, most: 9 };
            assert_eq!(Untrusted::new(found).position(5, 9), Err(error));
        }
    }
}

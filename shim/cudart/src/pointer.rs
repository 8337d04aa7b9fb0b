//! Pointers that programs pass in.
//!
//! A value of these types comes from a C caller, who vouches for it as CUDA's documentation asks: it is null, or it may be
//! read (written) as the type says until the call returns. Or it was made of a Rust reference here. Nothing else makes one,
//! so their methods are safe.

use crate::error::{Error, Outcome};
use std::marker::PhantomData;
use std::ptr;

/// Where a function puts one value, perhaps null.
#[repr(transparent)]
pub(crate) struct Out<'a, T>(*mut T, PhantomData<&'a mut T>);

/// One value, or the first of several, that a function reads; perhaps null.
#[repr(transparent)]
pub(crate) struct In<'a, T>(*const T, PhantomData<&'a T>);

/// Where a function reads a value and puts another.
pub(crate) type InOut<'a, T> = Out<'a, T>;
/// The address of a text that ends in zero.
pub(crate) type Text = usize;
/// The address of an image, which says by itself how long it is.
pub(crate) type Image = usize;
/// The address of bytes that are read.
pub(crate) type InBytes = usize;
/// The address of bytes that are written.
pub(crate) type OutBytes = usize;
/// A pointer of the program's that is handed back to it and never followed.
pub(crate) type Opaque = usize;
/// A function of the program's.
pub(crate) type HostFunction = usize;

impl<T> Clone for Out<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Out<'_, T> {}

impl<T> Clone for In<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for In<'_, T> {}

impl<'a, T> Out<'a, T> {
    /// A place of one's own.
    #[inline]
    pub(crate) fn to(place: &'a mut T) -> Self {
        Self(place, PhantomData)
    }

    /// No place: the value is not wanted.
    pub(crate) fn none() -> Self {
        Self(ptr::null_mut(), PhantomData)
    }

    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Itself, if there is a place.
    #[inline]
    pub(crate) fn present(self) -> Outcome<Self> {
        if self.is_null() { Err(Error::INVALID_VALUE) } else { Ok(self) }
    }

    /// Writes the value.
    #[inline]
    pub(crate) fn set(self, value: T) -> Outcome {
        let place = self.present()?.0;
        // SAFETY: not null, and vouched for as the module says.
        unsafe { place.write(value) };
        Ok(())
    }

    /// Writes the value if there is a place for it.
    pub(crate) fn set_if_wanted(self, value: T) {
        let _ = self.set(value);
    }
}

impl<'a, T> In<'a, T> {
    /// A value of one's own.
    #[inline]
    pub(crate) fn to(value: &'a T) -> Self {
        Self(value, PhantomData)
    }

    /// Nothing.
    pub(crate) fn none() -> Self {
        Self(ptr::null(), PhantomData)
    }

    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Where it is.
    pub(crate) fn address(self) -> usize {
        self.0 as usize
    }
}

impl<T: Copy> In<'_, T> {
    /// The value.
    #[inline]
    pub(crate) fn get(self) -> Outcome<T> {
        if self.0.is_null() {
            return Err(Error::INVALID_VALUE);
        }
        // SAFETY: not null, and vouched for as the module says.
        Ok(unsafe { self.0.read() })
    }

    /// The values of an array; none from no array is fine.
    pub(crate) fn all(self, count: usize) -> Outcome<Vec<T>> {
        (0..count).map(|index| Self(self.0.wrapping_add(index), PhantomData).get()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_null_pointer_is_an_invalid_value() {
        let none = Out::<u32>::none();
        assert_eq!(none.set(3), Err(Error::INVALID_VALUE));
        assert_eq!(In::<u32>(ptr::null(), PhantomData).get(), Err(Error::INVALID_VALUE));
    }

    #[test]
    fn a_value_arrives_where_it_shall() {
        let mut place = 1u32;
        Out::to(&mut place).set(7).unwrap();
        assert_eq!(In::to(&place).get(), Ok(7));
    }
}

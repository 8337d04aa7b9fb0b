//! Arguments of C functions: pointers that the caller vouches for.
//!
//! CUDA's functions promise to read or write what their pointers refer to. These wrappers have the pointer's own layout,
//! so they stand in a C function's signature; only C code makes them, and CUDA's documentation is their contract.

use crate::failure::Outcome;
use ringbar_vocabulary::Status;
use std::ffi::{CStr, c_char, c_void};

/// A place that the function writes: null or valid.
#[repr(transparent)]
#[derive(Debug)]
pub struct Out<T>(*mut T);

/// A place that the function reads and writes: null or valid.
pub type InOut<T> = Out<T>;
/// The address of bytes that the function reads.
pub type InBytes = usize;
/// The address of bytes that the function writes.
pub type OutBytes = usize;
/// A module's image, which says by itself how long it is.
pub type Image = *const c_void;
/// A pointer of the program's that is handed back to it and never followed.
pub type Opaque = *mut c_void;

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Out<T> {}

impl<T> Out<T> {
    /// A place of this process's own.
    pub fn to(place: &mut T) -> Self {
        Self(place)
    }

    /// A place that C code named in some other way than by an argument.
    pub fn at_address(place: *mut T) -> Self {
        Self(place)
    }

    /// A place of an array.
    #[must_use]
    pub fn at(self, index: usize) -> Self {
        Self(self.0.wrapping_add(index))
    }

    /// No place.
    pub const fn null() -> Self {
        Self(std::ptr::null_mut())
    }

    /// Whether no place was given.
    #[inline]
    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The pointer itself.
    pub fn as_ptr(self) -> *mut T {
        self.0
    }

    /// Answers INVALID_VALUE if no place was given.
    #[inline]
    pub fn required(self) -> Outcome<Self> {
        if self.is_null() { Err(Status::INVALID_VALUE.into()) } else { Ok(self) }
    }

    /// Writes the value; INVALID_VALUE if no place was given.
    #[inline]
    pub fn set(self, value: T) -> Outcome {
        self.required()?.set_if_wanted(value);
        Ok(())
    }

    /// Writes the value if a place was given.
    #[inline]
    pub fn set_if_wanted(self, value: T) {
        if !self.is_null() {
            // SAFETY: the caller of the C function vouches for a pointer that is not null.
            unsafe { self.0.write(value) };
        }
    }

    /// Writes values one behind the other; the caller gave room for all.
    pub fn set_all(self, values: impl IntoIterator<Item = T>) -> Outcome {
        for (at, value) in values.into_iter().enumerate() {
            let place = self.required()?.0.wrapping_add(at);
            // SAFETY: the caller of the C function vouches for as many places as it said.
            unsafe { place.write(value) };
        }
        Ok(())
    }
}

impl<T: Copy> Out<T> {
    /// What the place holds now, for arguments that go in and out; INVALID_VALUE if none was given.
    #[inline]
    pub fn get(self) -> Outcome<T> {
        let place = self.required()?.0;
        // SAFETY: the caller of the C function vouches for a pointer that is not null.
        Ok(unsafe { place.read() })
    }
}

impl Out<c_char> {
    /// Writes text with a terminating zero, cut to `room` bytes in all.
    pub fn set_text(self, text: &str, room: i32) -> Outcome {
        let room = usize::try_from(room).unwrap_or(0);
        let Some(last) = room.checked_sub(1) else { return Err(Status::INVALID_VALUE.into()) };
        let bytes = text.bytes().take(last).chain(Some(0));
        self.set_all(bytes.map(|byte| byte as c_char))
    }
}

/// Something that the function reads: null or valid.
#[repr(transparent)]
#[derive(Debug)]
pub struct In<T>(*const T);

impl<T> Clone for In<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for In<T> {}

impl<T: Copy> In<T> {
    /// A value of this process's own.
    pub fn from(value: &T) -> Self {
        Self(value)
    }

    /// A place that C code named in some other way than by an argument.
    pub fn at_address(place: *const T) -> Self {
        Self(place)
    }

    /// The pointer itself.
    #[inline]
    pub fn as_ptr(self) -> *const T {
        self.0
    }

    /// Nothing.
    pub const fn null() -> Self {
        Self(std::ptr::null())
    }

    /// Whether nothing was given.
    #[inline]
    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The value; INVALID_VALUE if none was given.
    #[inline]
    pub fn get(self) -> Outcome<T> {
        self.at(0)
    }

    /// The value at a place of an array; INVALID_VALUE if no array was given.
    #[inline]
    pub fn at(self, index: usize) -> Outcome<T> {
        if self.is_null() {
            return Err(Status::INVALID_VALUE.into());
        }
        // SAFETY: the caller of the C function vouches for as many values as it said; some programs align badly.
        Ok(unsafe { self.0.wrapping_add(index).read_unaligned() })
    }

    /// `count` values; none from no array is fine.
    pub fn all(self, count: usize) -> Outcome<Vec<T>> {
        (0..count).map(|index| self.at(index)).collect()
    }
}

/// Text that ends with a zero byte, or null.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Text(*const c_char);

impl Text {
    /// Text of this process's own.
    pub fn from(text: &'static CStr) -> Self {
        Self(text.as_ptr())
    }

    /// Its bytes without the zero; INVALID_VALUE if there is none.
    pub fn bytes(&self) -> Outcome<&[u8]> {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE.into());
        }
        // SAFETY: the caller of the C function vouches for text that ends with a zero byte.
        Ok(unsafe { CStr::from_ptr(self.0) }.to_bytes())
    }

    /// The text; INVALID_VALUE if there is none or it is no UTF-8.
    pub fn str(&self) -> Outcome<&str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Status::INVALID_VALUE.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_to_its_room_and_always_ends() {
        let mut room = [1; 4];
        Out(room.as_mut_ptr()).set_text("Mock", 4).expect("room");
        assert_eq!(room, [b'M' as c_char, b'o' as c_char, b'c' as c_char, 0]);
        assert_eq!(Out(room.as_mut_ptr()).set_text("x", 0), Err(Status::INVALID_VALUE.into()));
    }

    #[test]
    fn a_null_pointer_is_an_invalid_value() {
        assert_eq!(Out::<u32>::null().set(1), Err(Status::INVALID_VALUE.into()));
        assert_eq!(In::<u32>::null().get(), Err(Status::INVALID_VALUE.into()));
        assert_eq!(Text(std::ptr::null()).bytes(), Err(Status::INVALID_VALUE.into()));
    }
}

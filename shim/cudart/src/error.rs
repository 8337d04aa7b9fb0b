//! The runtime's status codes. Where the driver has the same condition it has the same number.

/// What a call ends with.
pub(crate) type Outcome<T = ()> = Result<T, Error>;

/// A `cudaError_t` other than success.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Error(pub(crate) i32);

impl Error {
    pub(crate) const INVALID_VALUE: Error = Error(1);
    pub(crate) const NOT_INITIALIZED: Error = Error(3);
    pub(crate) const INVALID_PITCH: Error = Error(12);
    pub(crate) const INVALID_SYMBOL: Error = Error(13);
    pub(crate) const INVALID_CHANNEL_DESCRIPTOR: Error = Error(20);
    pub(crate) const INVALID_MEMCPY_DIRECTION: Error = Error(21);
    pub(crate) const INVALID_FILTER_SETTING: Error = Error(26);
    pub(crate) const INVALID_NORM_SETTING: Error = Error(27);
    pub(crate) const INSUFFICIENT_DRIVER: Error = Error(35);
    pub(crate) const MISSING_CONFIGURATION: Error = Error(52);
    pub(crate) const INVALID_DEVICE_FUNCTION: Error = Error(98);
    pub(crate) const NO_DEVICE: Error = Error(100);
    pub(crate) const INVALID_DEVICE: Error = Error(101);
    pub(crate) const INVALID_CONTEXT: Error = Error(201);
    pub(crate) const INVALID_HANDLE: Error = Error(400);
    pub(crate) const NOT_FOUND: Error = Error(500);
    pub(crate) const NOT_READY: Error = Error(600);
    pub(crate) const NOT_SUPPORTED: Error = Error(801);
    pub(crate) const UNKNOWN: Error = Error(999);

    /// The outcome that a status code stands for.
    #[inline]
    pub(crate) const fn check(code: i32) -> Outcome {
        match code {
            0 => Ok(()),
            code => Err(Error(code)),
        }
    }

    /// The other code where the driver's own is this one.
    #[must_use]
    pub(crate) fn becomes(self, from: Error, to: Error) -> Error {
        if self == from { to } else { self }
    }
}

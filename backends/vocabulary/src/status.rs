//! Result codes: the numbers of `CUresult` in the public `cuda.h`.

use std::ffi::CStr;

/// A result code as CUDA numbers it. Numbers without a name here are carried unchanged.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Status(pub u32);

/// The text of a table, which is ASCII.
const fn text(text: &'static CStr) -> &'static str {
    match text.to_str() {
        Ok(text) => text,
        Err(_) => "",
    }
}

macro_rules! statuses {
    ($($Name:ident = $number:literal, $cuda:literal, $text:literal;)+) => {
        impl Status {
            $(
                #[doc = concat!("`", $cuda, "`: ", $text, ".")]
                pub const $Name: Status = Status($number);
            )+

            /// Every code that has a name here.
            pub const NAMED: &'static [Status] = &[$(Status::$Name),+];

            /// CUDA's name of the code.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($number => $cuda,)+
                    _ => match self.code() {
                        Some(code) => text(code.name),
                        None => "CUDA_ERROR_(unnamed)",
                    },
                }
            }

            /// One plain clause that says what the code means.
            pub const fn text(self) -> &'static str {
                match self.0 {
                    $($number => $text,)+
                    _ => match self.code() {
                        Some(code) => text(code.text),
                        None => "a result code that this version has no text for",
                    },
                }
            }
        }
    };
}

statuses! {
    SUCCESS = 0, "CUDA_SUCCESS", "no error";
    INVALID_VALUE = 1, "CUDA_ERROR_INVALID_VALUE", "an argument is outside its range";
    OUT_OF_MEMORY = 2, "CUDA_ERROR_OUT_OF_MEMORY", "device memory or an object limit is used up";
    NOT_INITIALIZED = 3, "CUDA_ERROR_NOT_INITIALIZED", "init was not called in this process";
    DEINITIALIZED = 4, "CUDA_ERROR_DEINITIALIZED", "the driver is shutting down";
    NO_DEVICE = 100, "CUDA_ERROR_NO_DEVICE", "there is no usable device";
    INVALID_DEVICE = 101, "CUDA_ERROR_INVALID_DEVICE", "no device has that number";
    INVALID_IMAGE = 200, "CUDA_ERROR_INVALID_IMAGE", "the module image is not one the device can load";
    INVALID_CONTEXT = 201, "CUDA_ERROR_INVALID_CONTEXT", "no context is current, or it was destroyed";
    NO_BINARY_FOR_GPU = 209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "the image has no code for this device";
    INVALID_SOURCE = 300, "CUDA_ERROR_INVALID_SOURCE", "the kernel source is invalid";
    OPERATING_SYSTEM = 304, "CUDA_ERROR_OPERATING_SYSTEM", "the operating system refused a call";
    INVALID_HANDLE = 400, "CUDA_ERROR_INVALID_HANDLE", "no object of that kind has that handle";
    NOT_FOUND = 500, "CUDA_ERROR_NOT_FOUND", "nothing has that name";
    NOT_READY = 600, "CUDA_ERROR_NOT_READY", "the work has not finished yet";
    ILLEGAL_ADDRESS = 700, "CUDA_ERROR_ILLEGAL_ADDRESS", "a kernel touched memory that is not allocated";
    LAUNCH_OUT_OF_RESOURCES = 701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "a launch asked for more than a block may have";
    LAUNCH_TIMEOUT = 702, "CUDA_ERROR_LAUNCH_TIMEOUT", "a kernel ran longer than is allowed";
    MISALIGNED_ADDRESS = 716, "CUDA_ERROR_MISALIGNED_ADDRESS", "a kernel used an address that is not aligned";
    LAUNCH_FAILED = 719, "CUDA_ERROR_LAUNCH_FAILED", "a kernel failed while it ran";
    NOT_PERMITTED = 800, "CUDA_ERROR_NOT_PERMITTED", "the operation is not permitted here";
    NOT_SUPPORTED = 801, "CUDA_ERROR_NOT_SUPPORTED", "this function is not implemented by the backend";
    SYSTEM_NOT_READY = 802, "CUDA_ERROR_SYSTEM_NOT_READY", "the system's drivers are not ready";
    UNKNOWN = 999, "CUDA_ERROR_UNKNOWN", "an error that has no code of its own";
}

/// What a worker whose device became unusable tells its client last, as an event of the channel: the failure that ended it. The
/// channel's latch has the first failure of all, which may be another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceLost(pub Status);

impl DeviceLost {
    /// The event: the kind, then the status.
    pub fn to_bytes(self) -> [u8; 8] {
        let mut bytes = *b"lost\0\0\0\0";
        bytes[4..].copy_from_slice(&self.0.0.to_le_bytes());
        bytes
    }

    /// `None` if it is another event, or no failure that ends a device.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let status = <[u8; 4]>::try_from(bytes.strip_prefix(b"lost")?).ok()?;
        let status = Status(u32::from_le_bytes(status));
        status.is_sticky().then_some(Self(status))
    }
}

impl Status {
    /// Whether the code is [`Status::SUCCESS`].
    #[inline]
    pub const fn is_success(self) -> bool {
        self.0 == 0
    }

    /// Whether the code means that the device is unusable for this process: after a kernel's fault, an assertion, or an
    /// uncorrectable memory error every later call answers it too, and no fence is written any more. Other codes of the same
    /// range (a launch that asks for too much, access that is already enabled) end with their own call.
    pub const fn is_sticky(self) -> bool {
        matches!(self.0, 214 | 220 | 226 | 700 | 702 | 710 | 714..=719 | 721)
    }

    /// `Ok` for success, otherwise the code as an error.
    #[inline]
    pub const fn ok(self) -> Result<(), Status> {
        if self.is_success() { Ok(()) } else { Err(self) }
    }

    /// The code of a result: [`Status::SUCCESS`] for `Ok`.
    #[inline]
    pub fn of<T>(result: &Result<T, Status>) -> Status {
        result.as_ref().err().copied().unwrap_or(Status::SUCCESS)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.0, self.text())
    }
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_cuda_h() {
        let expected = [(0, "CUDA_SUCCESS"), (2, "CUDA_ERROR_OUT_OF_MEMORY")];
        let more = [(400, "CUDA_ERROR_INVALID_HANDLE"), (719, "CUDA_ERROR_LAUNCH_FAILED")];
        for (number, name) in expected.into_iter().chain(more) {
            assert_eq!(Status(number).name(), name);
        }
    }

    #[test]
    fn a_number_without_a_name_is_carried_and_shown() {
        assert!(Status(12_345).to_string().contains("12345"));
        assert_eq!(Status(12_345).ok(), Err(Status(12_345)));
    }

    #[test]
    fn no_two_codes_share_a_number() {
        let mut numbers: Vec<u32> = Status::NAMED.iter().map(|status| status.0).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), Status::NAMED.len());
        assert!(numbers.is_sorted());
    }

    #[test]
    fn failures_that_end_a_process_are_told_from_those_that_do_not() {
        for sticky in [Status::ILLEGAL_ADDRESS, Status::MISALIGNED_ADDRESS, Status::LAUNCH_FAILED] {
            assert!(sticky.is_sticky(), "{sticky}");
        }
        for other in [
            Status::INVALID_VALUE,
            Status::OUT_OF_MEMORY,
            Status::NOT_READY,
            Status::LAUNCH_OUT_OF_RESOURCES,
            Status(704),
            Status(709),
            Status(712),
            Status(720),
            Status::NOT_SUPPORTED,
        ] {
            assert!(!other.is_sticky(), "{other}");
        }
    }

    #[test]
    fn the_last_event_of_a_lost_device_says_its_failure_alone() {
        let bytes = DeviceLost(Status::ILLEGAL_ADDRESS).to_bytes();
        assert_eq!(DeviceLost::from_bytes(&bytes), Some(DeviceLost(Status::ILLEGAL_ADDRESS)));
        assert_eq!(DeviceLost::from_bytes(&DeviceLost(Status::INVALID_VALUE).to_bytes()), None);
        assert_eq!(DeviceLost::from_bytes(&bytes[..7]), None);
        assert_eq!(DeviceLost::from_bytes(b"last\0\0\0\0"), None);
    }
}

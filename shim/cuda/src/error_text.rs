//! Names and texts of result codes, and the profiler's switches.

use crate::arg::Out;
use crate::failure::Outcome;
use ringbar_vocabulary::{Code, Status};
use std::ffi::{CStr, c_char};

fn answer(code: u32, place: Out<*const c_char>, part: fn(&Code) -> &'static CStr) -> Outcome {
    let place = place.required()?;
    match Status(code).code() {
        Some(code) => place.set(part(code).as_ptr()),
        None => {
            place.set(std::ptr::null())?;
            Err(Status::INVALID_VALUE.into())
        }
    }
}

entry! {
    /// The driver's text for a result code.
    free fn cuGetErrorString(code: u32, text: Out<*const c_char>) {
        answer(code, text, |code| code.text)
    }

    /// The name of a result code.
    free fn cuGetErrorName(code: u32, name: Out<*const c_char>) {
        answer(code, name, |code| code.name)
    }

    /// Begins the range that a profiler looks at: there is no profiler in this process.
    local fn cuProfilerStart() {
        crate::tls::current().map(drop)
    }

    /// Ends that range.
    local fn cuProfilerStop() {
        crate::tls::current().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_a_name_and_a_text_and_an_unknown_one_has_neither() {
        let mut text: *const c_char = std::ptr::null();
        // SAFETY: the place lives through the call.
        assert_eq!(unsafe { cuGetErrorName(719, Out::to(&mut text)) }, 0);
        // SAFETY: the function answered a text of its own.
        assert_eq!(unsafe { CStr::from_ptr(text) }, c"CUDA_ERROR_LAUNCH_FAILED");
        // SAFETY: the place lives through the call.
        assert_eq!(unsafe { cuGetErrorString(12_345, Out::to(&mut text)) }, 1);
        assert!(text.is_null());
    }
}

//! Functions that nothing here implements, and the list of all exports.

use crate::driver;
use crate::error::Error;
use crate::thread;
use ringbar::sync::Mutex;
use std::ffi::{CStr, c_char};

/// One exported function.
#[derive(Clone, Copy, Debug)]
pub struct Export {
    /// Its symbol.
    pub name: &'static str,
    /// Whether the sources have a function for it, as opposed to a stub that answers `cudaErrorNotSupported` always.
    pub has_entry: bool,
    /// Its arguments as the sources have them, parted by commas: `In` is read, `Out` is written.
    pub arguments: &'static str,
    /// The driver's functions that it calls itself. Where one of them is not implemented, this is not either.
    pub driver: &'static [&'static str],
}

macro_rules! stub {
    ($name:ident) => {
        // C lets a function ignore its arguments.
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> i32 {
            thread::enter(|| Err(unsupported(concat!(stringify!($name), "\0"))))
        }
    };
}

include!(concat!(env!("OUT_DIR"), "/exports.rs"));

/// Reports a function by its name, which ends in zero, as not supported: to the driver, which counts it, or else once to
/// standard error.
#[cold]
pub(crate) fn unsupported(name: &'static str) -> Error {
    type Note = unsafe extern "C" fn(*const c_char);
    let note = driver::library().and_then(|library| library.find("ringbar_note_unsupported\0"));
    match (note, CStr::from_bytes_with_nul(name.as_bytes())) {
        // SAFETY: the shim's function takes a name that ends in zero.
        (Some::<Note>(note), Ok(name)) => unsafe { note(name.as_ptr()) },
        _ => say_once(name.trim_end_matches('\0')),
    }
    Error::NOT_SUPPORTED
}

fn say_once(name: &'static str) {
    static SAID: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let Ok(mut said) = SAID.lock() else { return };
    if !said.contains(&name) {
        said.push(name);
        eprintln!("ringbar: {name} is not supported; it answers cudaErrorNotSupported");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_programs_import_is_exported_and_most_are_implemented() {
        let find = |name: &str| {
            let at = EXPORTS.binary_search_by_key(&name, |export| export.name);
            at.map(|at| EXPORTS[at].has_entry).unwrap_or_else(|_| panic!("{name} is not exported"))
        };
        for name in ["cudaMalloc", "cudaLaunchKernel_ptsz", "__cudaRegisterFatBinary"] {
            assert!(find(name), "{name} is a stub");
        }
        assert!(!find("cudaGraphicsGLRegisterBuffer"));
    }

    #[test]
    fn a_stub_answers_not_supported_and_that_is_the_last_error() {
        assert_eq!(cudaGraphicsGLRegisterBuffer(), Error::NOT_SUPPORTED.0);
        assert_eq!(thread::take_last_error(), Error::NOT_SUPPORTED.0);
    }
}

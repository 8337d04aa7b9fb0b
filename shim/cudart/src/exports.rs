//! Every exported function: how often each was called, and what answers where nothing here implements it.

use crate::driver::{self, Library};
use crate::error::Error;
use crate::pointer::Out;
use ringbar::sync::{AtomicU64, Mutex, Ordering};
use std::ffi::{CStr, c_char};

use ringbar_shim_table::CallCount;
pub use ringbar_shim_table::{Argument, Class, Export};

macro_rules! stub {
    ($name:ident) => {
        // C lets a function ignore its arguments.
        #[unsafe(no_mangle)]
        pub(crate) extern "C" fn $name() -> i32 {
            $crate::exports::count($crate::exports::index::$name);
            $crate::thread::enter(|| {
                Err($crate::exports::unsupported(concat!(stringify!($name), "\0")))
            })
        }
    };
}

include!(concat!(env!("OUT_DIR"), "/exports.rs"));

static CALLS: [AtomicU64; EXPORTS.len()] = [const { AtomicU64::new(0) }; EXPORTS.len()];

/// Counts one call of the function of that index in [`EXPORTS`].
#[inline(always)]
pub(crate) fn count(index: usize) {
    if let Some(calls) = CALLS.get(index) {
        calls.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tells the calls of the function of that index in [`EXPORTS`]; answers 0 if there is none.
extern "C" fn tell_calls(index: usize, place: Out<'_, CallCount>) -> u32 {
    let (Some(export), Some(calls)) = (EXPORTS.get(index), CALLS.get(index)) else { return 0 };
    let (name, name_bytes) = (export.name.as_ptr(), export.name.len());
    let calls = calls.load(Ordering::Relaxed);
    place.set_if_wanted(CallCount { name, name_bytes, class: export.class as u8, calls });
    1
}

/// Lets the driver's library, if it is ours, ask for the calls when it sums up what the program did.
pub(crate) fn offer_calls(driver: &Library) {
    type Tell = extern "C" fn(usize, Out<'_, CallCount>) -> u32;
    type Offer = unsafe extern "C" fn(Tell);
    if let Some(offer) = driver.find::<Offer>("ringbar_offer_calls\0") {
        // SAFETY: the shim's function takes a function, which stays: this library is never unloaded.
        unsafe { offer(tell_calls) };
    }
}

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
    use crate::thread;

    #[test]
    fn every_name_that_programs_import_is_exported_and_most_are_implemented() {
        let find = |name: &str| {
            let at = EXPORTS.binary_search_by_key(&name, |export| export.name);
            at.map(|at| EXPORTS[at].implemented)
                .unwrap_or_else(|_| panic!("{name} is not exported"))
        };
        for name in ["cudaMalloc", "cudaLaunchKernel_ptsz", "__cudaRegisterFatBinary"] {
            assert!(find(name), "{name} is a stub");
        }
        assert!(!find("cudaGraphicsGLRegisterBuffer"));
    }

    #[test]
    fn calls_are_told_by_name_and_class_until_there_are_no_more() {
        let mut found = CallCount { name: std::ptr::null(), name_bytes: 0, class: 9, calls: 0 };
        count(index::cudaFree);
        assert_eq!(tell_calls(index::cudaFree, Out::to(&mut found)), 1);
        assert_eq!((found.name, found.name_bytes), (EXPORTS[index::cudaFree].name.as_ptr(), 8));
        assert!(found.class == Class::Sync as u8 && found.calls > 0);
        assert_eq!(tell_calls(EXPORTS.len(), Out::to(&mut found)), 0);
    }

    #[test]
    fn a_stub_answers_not_supported_and_that_is_the_last_error() {
        assert_eq!(stubs::cudaGraphicsGLRegisterBuffer(), Error::NOT_SUPPORTED.0);
        assert_eq!(thread::take_last_error(), Error::NOT_SUPPORTED.0);
    }
}

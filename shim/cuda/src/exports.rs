//! Every exported function: its name, whether it is implemented, and how often it was called.

use crate::{session, unsupported};
use ringbar::sync::{AtomicU64, Ordering::Relaxed};
use ringbar_vocabulary::Status;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::sync::{Mutex, OnceLock, PoisonError};

use ringbar_shim_table::CallCount;
pub use ringbar_shim_table::{Argument, Class, Export};

macro_rules! stub {
    ($name:ident) => {
        #[doc = "Answers `CUDA_ERROR_NOT_SUPPORTED`; arguments are not looked at."]
        #[unsafe(no_mangle)]
        pub extern "C" fn $name() -> u32 {
            $crate::exports::stubbed($crate::exports::index::$name)
        }
    };
}

include!(concat!(env!("OUT_DIR"), "/exports.rs"));

static CALLS: [AtomicU64; EXPORTS.len()] = [const { AtomicU64::new(0) }; EXPORTS.len()];
static UNSUPPORTED: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// Counts one call of an entry.
#[inline(always)]
pub(crate) fn count(index: usize) {
    if let Some(calls) = CALLS.get(index) {
        calls.fetch_add(1, Relaxed);
    }
}

#[cold]
fn stubbed(index: usize) -> u32 {
    count(index);
    if let Err(status) = session::gate() {
        return status.0;
    }
    note_unsupported(EXPORTS[index].name);
    Status::NOT_SUPPORTED.0
}

/// Counts a call that is not supported, and logs it the first time.
#[cold]
pub(crate) fn note_unsupported(name: &str) {
    let mut unsupported = UNSUPPORTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(calls) = unsupported.get_mut(name) {
        *calls += 1;
        return;
    }
    unsupported.insert(name.to_owned(), 1);
    drop(unsupported);
    let reason = unsupported::reason(name);
    tracing::warn!(function = name, reason, "not supported; further calls of it are only counted");
}

/// Where the function of that index in [`EXPORTS`] is.
pub fn pointer(index: usize) -> *const () {
    pointers()[index]
}

/// Calls so far by function, those that were made at least once.
pub fn calls() -> Vec<(&'static Export, u64)> {
    let counts = EXPORTS.iter().zip(&CALLS).map(|(export, calls)| (export, calls.load(Relaxed)));
    counts.filter(|(_, calls)| *calls > 0).collect()
}

/// Unsupported calls so far by name, those of `libcudart` included.
pub fn unsupported_calls() -> Vec<(String, u64)> {
    let unsupported = UNSUPPORTED.lock().unwrap_or_else(PoisonError::into_inner);
    unsupported.iter().map(|(name, calls)| (name.clone(), *calls)).collect()
}

/// By this symbol an executor knows that a library is this one and not a real driver. Always 1.
#[unsafe(no_mangle)]
pub static ringbar_shim_marker: u32 = 1;

/// Counts and logs a call that another library of ringbar does not support.
///
/// # Safety
/// `name` is null or ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringbar_note_unsupported(name: *const c_char) {
    if name.is_null() {
        return;
    }
    // SAFETY: it is not null, and the caller promises the rest.
    let name = unsafe { CStr::from_ptr(name) };
    note_unsupported(&name.to_string_lossy());
}

/// Tells the calls of the function of an index; answers 0 if there is none.
type TellCalls = extern "C" fn(usize, *mut CallCount) -> u32;

static RUNTIME: OnceLock<TellCalls> = OnceLock::new();

/// `libcudart` offers to tell how often each of its functions was called.
///
/// # Safety
/// `tell` stays as long as the process, writes what it says, and names texts that stay as long.
#[unsafe(no_mangle)]
unsafe extern "C" fn ringbar_offer_calls(tell: TellCalls) {
    // A second runtime of one process stays uncounted.
    let _ = RUNTIME.set(tell);
}

/// Calls of the runtime so far by function: name, class, count, those that were made at least once.
pub fn runtime_calls() -> Vec<(&'static str, Class, u64)> {
    let Some(tell) = RUNTIME.get() else { return Vec::new() };
    let mut found = CallCount { name: std::ptr::null(), name_bytes: 0, class: 0, calls: 0 };
    let each = (0..).map_while(|index| (tell(index, &mut found) != 0).then_some(found));
    let called = each.filter(|one| one.calls > 0);
    called.filter_map(|one| Some((name_of(one)?, Class::numbered(one.class)?, one.calls))).collect()
}

fn name_of(one: CallCount) -> Option<&'static str> {
    if one.name.is_null() {
        return None;
    }
    // SAFETY: whoever offered it promised that so many bytes are there and stay.
    let bytes = unsafe { std::slice::from_raw_parts(one.name, one.name_bytes) };
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_export_has_a_place_and_a_name_of_its_own() {
        assert!(EXPORTS.is_sorted_by(|a, b| a.name < b.name));
        assert!(pointers().iter().all(|place| !place.is_null()));
    }

    #[test]
    fn calls_of_the_runtime_are_those_that_it_tells() {
        extern "C" fn tell(index: usize, place: *mut CallCount) -> u32 {
            let rows = [("cudaMalloc", 2, 3), ("cudaFree", 2, 0), ("cudaOdd", 9, 1)];
            let Some((name, class, calls)) = rows.get(index).copied() else { return 0 };
            let count = CallCount { name: name.as_ptr(), name_bytes: name.len(), class, calls };
            // SAFETY: the caller's place.
            unsafe { place.write(count) };
            1
        }
        // SAFETY: the function and its texts stay.
        unsafe { ringbar_offer_calls(tell) };
        assert_eq!(runtime_calls(), [("cudaMalloc", Class::Post, 3)]);
    }

    #[test]
    fn no_two_entries_share_a_function() {
        let mut places: Vec<usize> = pointers().iter().map(|place| *place as usize).collect();
        let implemented = EXPORTS.iter().filter(|export| export.implemented).count();
        places.sort_unstable();
        places.dedup();
        assert!(places.len() >= implemented, "{} places for {implemented} entries", places.len());
    }
}

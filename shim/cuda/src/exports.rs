//! Every exported function: its name, whether it is implemented, and how often it was called.

use crate::record::Class;
use crate::{session, unsupported};
use ringbar::sync::{AtomicU64, Ordering::Relaxed};
use ringbar_vocabulary::Status;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::sync::{Mutex, PoisonError};

/// One exported function: a row of `functions.tsv`, and the row of `entry!` that implements it.
#[derive(Clone, Copy, Debug)]
pub struct Export {
    /// Its symbol.
    pub name: &'static str,
    /// What `cuGetProcAddress` finds it by; `None` for what no public header names.
    pub function: Option<&'static str>,
    /// The version of CUDA that brought this symbol: 12,040 is 12.4.
    pub since: i32,
    /// Whether a null stream is the thread's own in this spelling.
    pub per_thread: bool,
    /// Whether it does what CUDA documents, as opposed to answering `CUDA_ERROR_NOT_SUPPORTED` always.
    pub implemented: bool,
    /// What it costs; [`Class::Local`] for one that is not implemented.
    pub class: Class,
    /// Its arguments; none for one that is not implemented.
    pub arguments: &'static [Argument],
}

/// One argument of a C function, as the row of `entry!` has it.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// Its type, by which it is read, written, both, or a value: see [`crate::arg`].
    pub ty: &'static str,
    /// The argument that says how many of `T` there are; `None` for one.
    pub size: Option<&'static str>,
}

impl Argument {
    /// Direction, name, type and size in one: `out nodes: CUgraphNode[count]`.
    pub fn text(&self) -> String {
        let Self { name, ty, size } = self;
        let size = size.map_or_else(String::new, |size| format!("[{size}]"));
        let wrappers = [
            ("In<", "in "),
            ("Out<", "out "),
            ("InOut<", "in and out "),
            ("*const ", "in "),
            ("*mut ", "out "),
        ];
        let found = wrappers.iter().find_map(|(outer, direction)| {
            let inner = ty.strip_prefix(outer)?;
            Some((*direction, inner.strip_suffix('>').unwrap_or(inner)))
        });
        let (direction, ty) = found.unwrap_or(match *ty {
            "Text" => ("in ", "text"),
            "Image" => ("in ", "image"),
            "InBytes" => ("in ", "bytes"),
            "OutBytes" => ("out ", "bytes"),
            value => ("", value),
        });
        format!("{direction}{name}: {ty}{size}")
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_export_has_a_place_and_a_name_of_its_own() {
        assert!(EXPORTS.is_sorted_by(|a, b| a.name < b.name));
        assert!(pointers().iter().all(|place| !place.is_null()));
    }

    #[test]
    fn an_argument_says_its_direction_and_size() {
        let text = |name: &'static str, ty, size| Argument { name, ty, size }.text();
        assert_eq!(text("flags", "u32", None), "flags: u32");
        assert_eq!(text("name", "Text", None), "in name: text");
        assert_eq!(
            text("nodes", "Out<CUgraphNode>", Some("count")),
            "out nodes: CUgraphNode[count]"
        );
        assert_eq!(text("count", "InOut<usize>", None), "in and out count: usize");
        assert_eq!(text("src", "InBytes", Some("bytes")), "in src: bytes[bytes]");
        assert_eq!(text("place", "*mut c_void", Some("attribute")), "out place: c_void[attribute]");
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

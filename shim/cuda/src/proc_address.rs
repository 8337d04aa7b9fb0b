//! `cuGetProcAddress`: exact by version and spelling, from the versions in `functions.tsv`.

use crate::arg::{Out, Text};
use crate::exports;
use crate::failure::Outcome;
use ringbar_vocabulary::Status;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::LazyLock;

/// A symbol, by its index in the exports, and the CUDA version that brought it.
type Version = (i32, usize);

/// One function in all its versions, oldest first.
#[derive(Debug, Default)]
struct Versions {
    plain: Vec<Version>,
    per_thread: Vec<Version>,
}

static FUNCTIONS: LazyLock<HashMap<&'static str, Versions>> = LazyLock::new(collect);

fn collect() -> HashMap<&'static str, Versions> {
    let mut functions = HashMap::<_, Versions>::new();
    for (at, export) in exports::EXPORTS.iter().enumerate() {
        let Some(function) = export.function else { continue };
        let versions = functions.entry(function).or_default();
        let list = if export.per_thread { &mut versions.per_thread } else { &mut versions.plain };
        list.push((export.since, at));
    }
    for versions in functions.values_mut() {
        versions.plain.sort_unstable();
        versions.per_thread.sort_unstable();
    }
    functions
}

/// What a search for a function comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// The export of that index.
    Export(usize),
    /// No function has that name.
    Nothing,
    /// There is one, but not in so old a version.
    Newer,
}

/// The newest symbol of a function up to a version. With `per_thread` the spelling for the thread's own default stream,
/// where the function has one by then.
pub fn find(name: &str, version: i32, per_thread: bool) -> Found {
    let Some(versions) = FUNCTIONS.get(name) else { return Found::Nothing };
    let newest = |list: &[Version]| list.iter().rev().find(|one| one.0 <= version).map(|one| one.1);
    let own = if per_thread { newest(&versions.per_thread) } else { None };
    own.or_else(|| newest(&versions.plain)).map_or(Found::Newer, Found::Export)
}

/// `CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM`.
const PER_THREAD: u64 = 2;
/// `CUdriverProcAddressQueryResult`.
const SUCCESS: u32 = 0;
const SYMBOL_NOT_FOUND: u32 = 1;
const VERSION_NOT_SUFFICIENT: u32 = 2;

fn look_up(
    name: Text,
    place: Out<*const c_void>,
    version: i32,
    flags: u64,
    status: Out<u32>,
) -> Outcome<bool> {
    let place = place.required()?;
    let name = name.str()?;
    if flags > PER_THREAD {
        return Err(Status::INVALID_VALUE.into());
    }
    let (code, found) = match find(name, version, flags == PER_THREAD) {
        Found::Export(index) => (SUCCESS, exports::pointer(index).cast()),
        Found::Nothing => (SYMBOL_NOT_FOUND, std::ptr::null()),
        Found::Newer => (VERSION_NOT_SUFFICIENT, std::ptr::null()),
    };
    status.set_if_wanted(code);
    place.set(found)?;
    Ok(!found.is_null())
}

entry! {
    /// A function by name and version; NOT_FOUND if that version has none.
    free fn cuGetProcAddress(name: Text, place: Out<*const c_void>, version: i32, flags: u64) {
        match look_up(name, place, version, flags, Out::null())? {
            true => Ok(()),
            false => Err(Status::NOT_FOUND.into()),
        }
    }

    /// The same, but succeeds in any case: what was not found is null. Says also whether the name or only the version was
    /// unknown.
    free fn cuGetProcAddress_v2(name: Text, place: Out<*const c_void>, version: i32, flags: u64, status: Out<u32>) {
        look_up(name, place, version, flags, status).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(found: Found) -> &'static str {
        match found {
            Found::Export(index) => exports::EXPORTS[index].name,
            Found::Nothing => "nothing",
            Found::Newer => "newer",
        }
    }

    #[test]
    fn a_function_is_found_in_the_version_asked_for() {
        for (version, symbol) in [
            (1000, "newer"),
            (2000, "cuMemAlloc"),
            (3010, "cuMemAlloc"),
            (3020, "cuMemAlloc_v2"),
            (13_000, "cuMemAlloc_v2"),
        ] {
            assert_eq!(name_of(find("cuMemAlloc", version, false)), symbol);
        }
        assert_eq!(name_of(find("cuCtxGetDevice", 12_090, false)), "cuCtxGetDevice");
        assert_eq!(name_of(find("cuCtxGetDevice", 13_000, false)), "cuCtxGetDevice_v2");
        assert_eq!(find("cuNoSuchFunction", 13_000, false), Found::Nothing);
    }

    #[test]
    fn the_per_thread_spelling_is_preferred_only_if_asked_for_and_only_where_it_exists() {
        let find = |name, version, own| name_of(find(name, version, own));
        assert_eq!(find("cuMemcpyHtoDAsync", 12_000, true), "cuMemcpyHtoDAsync_v2_ptsz");
        assert_eq!(find("cuMemcpyHtoDAsync", 12_000, false), "cuMemcpyHtoDAsync_v2");
        assert_eq!(find("cuMemcpyHtoDAsync", 6050, true), "cuMemcpyHtoDAsync_v2");
        assert_eq!(find("cuMemAlloc", 12_000, true), "cuMemAlloc_v2");
    }

    #[test]
    fn every_version_of_a_function_is_newer_than_the_one_before() {
        for (name, found) in FUNCTIONS.iter() {
            assert!(!found.plain.is_empty(), "{name}");
            for list in [&found.plain, &found.per_thread] {
                assert!(list.is_sorted_by(|a, b| a.0 < b.0), "{name}");
                assert!(list.iter().all(|one| one.0 >= 1000), "{name}");
            }
        }
        assert!(FUNCTIONS.len() > 400, "{}", FUNCTIONS.len());
    }

    #[test]
    fn every_export_but_three_that_no_header_names_can_be_found() {
        let lists = FUNCTIONS.values().flat_map(|one| one.plain.iter().chain(&one.per_thread));
        let reachable: std::collections::HashSet<usize> = lists.map(|one| one.1).collect();
        let missing = exports::EXPORTS.iter().enumerate().filter(|(at, _)| !reachable.contains(at));
        // What a debugger looks for is found by its own names alone.
        let missing = missing.map(|(_, export)| export.name);
        let missing: Vec<&str> = missing.filter(|name| !name.starts_with("cudbg")).collect();
        assert_eq!(missing, ["cuEGLApiInit", "cuMemGetAttribute", "cuMemGetAttribute_v2"]);
    }
}

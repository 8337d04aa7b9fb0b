//! The page that says what of the driver interface is exported, implemented, and found equal beside NVIDIA's own
//! library.

use ringbar_shim_cuda::exports::{EXPORTS, Export};
use ringbar_shim_table::page::Page;
use ringbar_vocabulary::{Class, ROWS, WITHHELD};
use std::path::Path;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../COVERAGE.md");
/// Functions without an undeclared difference from NVIDIA's own, one a line: what `.ci/gpu run` found.
const DIFFERENTIAL: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/differential/equal.txt");
/// Lines of their output that may differ.
const DECLARED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/differential/declared.tsv");

/// The commands of the vocabulary that say that they carry it.
fn commands(export: &Export) -> Vec<&'static str> {
    // A spelling for the thread's own default stream sends what the other sends.
    let name = export.name.trim_end_matches("_ptsz").trim_end_matches("_ptds");
    ROWS.iter().filter(|row| row.cuda.contains(&name)).map(|row| row.method).collect()
}

#[test]
fn the_coverage_page_is_up_to_date() {
    let page = Page {
        title: "Coverage of the driver interface (libcuda.so.1, CUDA 13.0)",
        origin: "Written by `RINGBAR_WRITE_COVERAGE=1 cargo test -p ringbar-shim-cuda --test coverage` from the entries of the sources,\n\
                 `functions.tsv`, the rows of the vocabulary and the list of what was compared with NVIDIA's library.",
        notes: "What is exported and not implemented answers `CUDA_ERROR_NOT_SUPPORTED`, is logged once by name, and counted. A function\n\
                without a command is answered in the process, or by commands of other names.",
        exports: &EXPORTS,
        below_title: "commands",
        below: &commands,
        lacks: &|_| Vec::new(),
        oldest: 0,
        missing: "The `cudbg` names are what a debugger looks for in NVIDIA's driver; nothing documents them.",
        equal: &std::fs::read_to_string(DIFFERENTIAL).expect("the list is there"),
    };
    page.check(Path::new(PAGE));
}

/// A function of class local that a synchronous row names: it is answered before there is anything to count as a call.
const LOCAL: &str = "cuInit";

#[test]
fn every_function_that_a_row_names_is_an_entry_of_a_class_and_version_that_the_row_allows() {
    for row in ROWS.iter() {
        for name in row.cuda {
            let export = EXPORTS.iter().find(|export| export.name == *name);
            let export = export.unwrap_or_else(|| panic!("{name} is no export"));
            assert!(export.implemented, "{name} has a row and no entry");
            let (class, entry) = (row.class, export.class.name());
            // A function may wait for what its command does not answer; none may answer before its command does.
            let allowed = match class {
                Class::Local => ["local", "sync"].contains(&entry),
                Class::Post => ["post", "sync"].contains(&entry),
                Class::Sync if *name == LOCAL => entry == "local",
                Class::Sync => entry == "sync",
            };
            assert!(allowed, "{name}: an entry of class {entry} over a row of class {class:?}");
        }
        let since = row.cuda.iter().filter_map(|name| EXPORTS.iter().find(|one| one.name == *name));
        if let Some(first) = since.map(|export| export.since).min() {
            assert_eq!(
                i32::try_from(row.since),
                Ok(first),
                "{}: the version of the first of them",
                row.name
            );
        }
    }
}

#[test]
fn what_the_comparison_with_nvidias_library_declares_of_attributes_is_what_is_withheld() {
    let declared = std::fs::read_to_string(DECLARED).expect("the list of declared lines");
    let lines = declared.lines().filter_map(|line| line.strip_prefix("driver_device\tattribute "));
    for line in lines {
        let (number, why) = line.split_once('\t').expect("three columns");
        let one = WITHHELD.iter().find(|one| one.attribute.to_string() == number.trim());
        let one = one.unwrap_or_else(|| panic!("{line}: is not withheld"));
        assert_eq!(why, format!("{}: {}", one.name, one.reason));
    }
}

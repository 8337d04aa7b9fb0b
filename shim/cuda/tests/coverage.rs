//! The page that says what of the driver interface is exported, implemented, and found equal beside NVIDIA's own
//! library.

use ringbar_shim_cuda::exports::{EXPORTS, Export};
use ringbar_vocabulary::{Class, ROWS, WITHHELD};
use std::collections::BTreeSet;
use std::path::Path;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../COVERAGE.md");
/// Functions without an undeclared difference from NVIDIA's own, one a line: what `.ci/gpu run` found.
const DIFFERENTIAL: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/differential/equal.txt");
/// Lines of their output that may differ.
const DECLARED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/differential/declared.tsv");

fn differential() -> BTreeSet<String> {
    let text = std::fs::read_to_string(DIFFERENTIAL).unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.starts_with("cu")).map(str::to_owned).collect()
}

/// Lines of the page, each ended.
fn lines(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().map(|line| line + "\n").collect()
}

/// A version as people write it: 12.4.
fn version(since: i32) -> String {
    format!("{}.{}", since / 1000, since % 1000 / 10)
}

/// Which function this is a version or a spelling of, if its symbol is not the function's own name.
fn variant(export: &Export) -> String {
    let own = if export.per_thread { ", own default stream" } else { "" };
    match export.function {
        Some(function) if function != export.name => format!("{function}{own}"),
        _ => String::new(),
    }
}

/// The commands of the vocabulary that say that they carry it.
fn commands(export: &Export) -> String {
    // A spelling for the thread's own default stream sends what the other sends.
    let name = export.name.trim_end_matches("_ptsz").trim_end_matches("_ptds");
    let rows = ROWS.iter().filter(|row| row.cuda.contains(&name));
    rows.map(|row| row.method).collect::<Vec<_>>().join(", ")
}

fn row(export: &Export, equal: bool) -> String {
    let arguments: Vec<String> = export.arguments.iter().map(|one| one.text()).collect();
    let columns = [
        export.name.to_owned(),
        variant(export),
        version(export.since),
        export.class.name().to_owned(),
        arguments.join(", "),
        commands(export),
        if equal { "yes" } else { "" }.to_owned(),
    ];
    format!("| {} |", columns.join(" | "))
}

fn page() -> String {
    let equal = differential();
    let (implemented, missing): (Vec<&Export>, Vec<&Export>) =
        EXPORTS.iter().partition(|export| export.implemented);
    let tested = implemented.iter().filter(|export| equal.contains(export.name)).count();
    let mut page = lines([
        "# Coverage of the driver interface (libcuda.so.1, CUDA 13.0)\n".to_owned(),
        "Written by `RINGBAR_WRITE_COVERAGE=1 cargo test -p ringbar-shim-cuda --test coverage` from the entries of the sources,\n\
         `functions.tsv`, the rows of the vocabulary and the list of what was compared with NVIDIA's library.\n".to_owned(),
        "| exported | implemented | compared with NVIDIA's library, and equal |".to_owned(),
        format!("|---|---|---|\n| {} | {} | {tested} |\n", EXPORTS.len(), implemented.len()),
        "What is exported and not implemented answers `CUDA_ERROR_NOT_SUPPORTED`, is logged once by name, and counted.\n\
         Equal means: in the differential programs, run on NVIDIA's library and on this one on a machine with a GPU (`.ci/gpu run`),\n\
         no line about it differed but for those that `declared.tsv` gives a reason for.\n".to_owned(),
        "An argument is a value unless it says `in` or `out`; `T[count]` is as many of T as the argument `count` says, where `count` may\n\
         be what decides the size (an attribute, a function). `text` ends with a zero byte, an `image` says its own length. A function\n\
         without a command is answered in the process, or by commands of other names.\n".to_owned(),
        "| function | variant of | since | class | arguments | commands | equal |\n|---|---|---|---|---|---|---|".to_owned(),
    ]);
    page += &lines(implemented.iter().map(|export| row(export, equal.contains(export.name))));
    page += "\n## Exported, not implemented\n\n";
    page += "The `cudbg` names are what a debugger looks for in NVIDIA's driver; nothing documents them.\n\n";
    let missing: Vec<&str> = missing.iter().map(|export| export.name).collect();
    page + &missing.join(", ") + "\n"
}

#[test]
fn the_coverage_page_is_up_to_date() {
    let page = page();
    if std::env::var_os("RINGBAR_WRITE_COVERAGE").is_some() {
        std::fs::write(PAGE, &page).expect("the page can be written");
    }
    let found = std::fs::read_to_string(Path::new(PAGE)).unwrap_or_default();
    assert!(
        found == page,
        "COVERAGE.md is old: run this test with RINGBAR_WRITE_COVERAGE=1 and commit the page"
    );
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

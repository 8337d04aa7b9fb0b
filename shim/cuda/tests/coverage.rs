//! The page that says what of the driver interface is exported, implemented, and compared with NVIDIA's own.

use ringbar_shim_cuda::exports::EXPORTS;
use ringbar_vocabulary::{Class, ROWS};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../COVERAGE.md");
/// Names that the differential programs call, one a line.
const DIFFERENTIAL: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/differential/called.txt");

fn differential() -> BTreeSet<String> {
    let text = std::fs::read_to_string(DIFFERENTIAL).unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.starts_with("cu")).map(str::to_owned).collect()
}

fn page() -> String {
    let compared = differential();
    let is_compared = |name: &str| compared.contains(name);
    let count = |which: &dyn Fn(&str, bool) -> bool| {
        EXPORTS.iter().filter(|export| which(export.name, export.implemented)).count()
    };
    let (exported, implemented) = (EXPORTS.len(), count(&|_, implemented| implemented));
    let tested = count(&|name, implemented| implemented && is_compared(name));
    let mut page = String::new();
    writeln!(page, "# Coverage of the driver interface (libcuda.so.1, CUDA 13.0)\n").expect("text");
    writeln!(
        page,
        "Written by `RINGBAR_WRITE_COVERAGE=1 cargo test -p ringbar-shim-cuda --test coverage`.\n"
    )
    .expect("text");
    writeln!(
        page,
        "| exported | implemented | compared with NVIDIA's own in the differential programs |"
    )
    .expect("text");
    writeln!(page, "|---|---|---|\n| {exported} | {implemented} | {tested} |\n").expect("text");
    writeln!(page, "What is exported and not implemented answers `CUDA_ERROR_NOT_SUPPORTED`, is logged once by name, and counted.\n").expect("text");
    writeln!(page, "| function | class | compared |\n|---|---|---|").expect("text");
    for export in EXPORTS.iter().filter(|export| export.implemented) {
        let compared = if is_compared(export.name) { "yes" } else { "" };
        writeln!(page, "| {} | {} | {compared} |", export.name, export.class.name()).expect("text");
    }
    writeln!(page, "\n## Exported, not implemented\n").expect("text");
    writeln!(page, "The `cudbg` names are what a debugger looks for in NVIDIA's driver; nothing documents them.\n")
        .expect("text");
    let missing = EXPORTS.iter().filter(|export| !export.implemented);
    let missing: Vec<&str> = missing.map(|export| export.name).collect();
    writeln!(page, "{}", missing.join(", ")).expect("text");
    page
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

/// Functions of class local that a synchronous row names: two keep what they are told until a later function sends it, and
/// `cuInit` is answered before there is anything to count as a call.
const LOCAL: [&str; 3] = ["cuDevicePrimaryCtxSetFlags_v2", "cuInit", "cuLibraryLoadData"];

#[test]
fn every_function_that_a_row_names_is_an_entry_of_a_class_that_the_row_allows() {
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
                Class::Sync if LOCAL.contains(name) => entry == "local",
                Class::Sync => entry == "sync",
            };
            assert!(allowed, "{name}: an entry of class {entry} over a row of class {class:?}");
        }
    }
}

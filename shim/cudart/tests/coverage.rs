//! The page that says what of the runtime is exported, implemented, and found equal beside NVIDIA's own library.

use ringbar_shim_cuda::exports::EXPORTS as DRIVER;
use ringbar_shim_cudart::{EXPORTS, Export};
use std::collections::BTreeSet;
use std::path::Path;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/COVERAGE.md");
/// Functions without an undeclared difference from NVIDIA's own, one a line: what `.ci/gpu run` found.
const EQUAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/differential/equal.txt");

fn equal() -> BTreeSet<String> {
    let text = std::fs::read_to_string(EQUAL).expect("the list is there");
    text.lines().map(str::to_owned).collect()
}

/// The driver's functions that it calls and that answer "not supported" always.
fn lacking(export: &Export) -> Vec<&'static str> {
    let is_stub = |name: &&str| !DRIVER.iter().any(|one| one.name == *name && one.implemented);
    export.driver.iter().copied().filter(is_stub).collect()
}

fn is_implemented(export: &Export) -> bool {
    export.has_entry && lacking(export).is_empty()
}

fn row(export: &Export, equal: bool) -> String {
    let equal = if equal { "yes" } else { "" };
    let driver = export.driver.join(", ");
    format!("| {} | {} | {driver} | {equal} |", export.name, arguments(export))
}

/// Its arguments with their directions, as the driver's page has them.
fn arguments(export: &Export) -> String {
    let plain = export.arguments.replace("'_, ", "").replace("'static, ", "");
    let each = plain.split(", ").filter_map(|one| one.trim_end_matches(',').split_once(": "));
    let texts = each.map(|(name, ty)| {
        let pointed = |outer: &str| ty.strip_prefix(outer)?.strip_suffix('>');
        match (pointed("In<"), pointed("Out<")) {
            (Some(inner), _) => format!("in {name}: {inner}"),
            (_, Some(inner)) => format!("out {name}: {inner}"),
            _ => format!("{name}: {ty}"),
        }
    });
    texts.collect::<Vec<_>>().join(", ")
}

fn page() -> String {
    let equal = equal();
    let (implemented, missing): (Vec<&Export>, Vec<&Export>) =
        EXPORTS.iter().partition(|export| is_implemented(export));
    let tested = implemented.iter().filter(|export| equal.contains(export.name)).count();
    let rows = implemented.iter().map(|export| row(export, equal.contains(export.name)));
    let (passing, stubs): (Vec<&Export>, Vec<&Export>) =
        missing.into_iter().partition(|export| export.has_entry);
    let passing =
        passing.iter().map(|one| format!("| {} | {} |", one.name, lacking(one).join(", ")));
    let stubs: Vec<&str> = stubs.iter().map(|export| export.name).collect();
    let parts = [
        "# Coverage of the runtime (libcudart.so.13, CUDA 13.0)".to_owned(),
        "Written by `RINGBAR_WRITE_COVERAGE=1 cargo test -p ringbar-shim-cudart --test coverage` from the entries of the sources,\n\
         `exports.txt`, what the driver's library implements and the list of what was compared with NVIDIA's library."
            .to_owned(),
        format!(
            "| exported | implemented | compared with NVIDIA's library, and equal |\n|---|---|---|\n| {} | {} | {tested} |",
            EXPORTS.len(),
            implemented.len()
        ),
        "The library is that of CUDA 13 and has no older versions of its functions; `_ptsz` and `_ptds` are the spellings for the\n\
         thread's own default stream. A function is implemented if it has an entry, and the driver implements every function that\n\
         the entry calls; those that its helpers call are not listed. An argument is a value unless it says `in` or `out`; a\n\
         `usize` is a size, a handle, or an address that is handed to the driver as it is.\n\
         Equal means: in the differential programs, run on NVIDIA's library and on this one on a machine with a GPU (`.ci/gpu run`),\n\
         no line about it differed but for those that `declared.tsv` gives a reason for."
            .to_owned(),
        "| function | arguments | calls of the driver | equal |\n|---|---|---|---|\n".to_owned()
            + &rows.collect::<Vec<_>>().join("\n"),
        "## Exported, answered by a function of the driver that is not implemented".to_owned(),
        "| function | not implemented |\n|---|---|\n".to_owned()
            + &passing.collect::<Vec<_>>().join("\n"),
        "## Exported, not implemented".to_owned(),
        "Each answers `cudaErrorNotSupported` and is reported once by name.".to_owned(),
        stubs.join(", "),
    ];
    parts.join("\n\n") + "\n"
}

#[test]
fn the_coverage_page_of_the_runtime_is_up_to_date() {
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

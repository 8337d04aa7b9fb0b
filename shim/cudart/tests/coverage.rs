//! The page that says what of the runtime is exported, implemented, and compared with NVIDIA's own.

use ringbar_shim_cudart::EXPORTS;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/COVERAGE.md");
const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../programs");

/// Every word of the programs' sources, and what the differential programs call.
fn words_of_programs() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for file in std::fs::read_dir(PROGRAMS).expect("the programs are there") {
        let path = file.expect("the programs can be listed").path();
        if path.extension().is_some_and(|extension| extension == "cu" || extension == "h") {
            let text = std::fs::read_to_string(&path).expect("the programs can be read");
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            words.extend(text.split(|c| !is_word(c)).map(str::to_owned));
        }
    }
    let compared = std::fs::read_to_string(format!("{PROGRAMS}/differential/called.txt"));
    words.extend(compared.expect("the list is there").lines().map(str::to_owned));
    // What the compiler's own code calls in each of them.
    let compiler = "__cudaRegisterFatBinary __cudaRegisterFatBinaryEnd __cudaUnregisterFatBinary \
        __cudaRegisterFunction __cudaRegisterVar __cudaGetKernel __cudaLaunchKernel \
        __cudaPushCallConfiguration __cudaPopCallConfiguration";
    words.extend(compiler.split_whitespace().map(str::to_owned));
    words
}

fn list(page: &mut String, title: &str, names: &[&str]) {
    writeln!(page, "## {title}\n\n{}\n", names.join(", ")).expect("text");
}

/// Names that the differential programs call, on NVIDIA's library and on this one.
fn compared() -> BTreeSet<String> {
    let text = std::fs::read_to_string(Path::new(PROGRAMS).join("differential/called.txt"));
    text.expect("the list is there").lines().map(str::to_owned).collect()
}

fn page() -> String {
    let (compared, called) = (compared(), words_of_programs());
    let (implemented, missing): (Vec<_>, Vec<_>) = EXPORTS.into_iter().partition(|export| export.1);
    let implemented: Vec<&str> = implemented.iter().map(|export| export.0).collect();
    let missing: Vec<&str> = missing.iter().map(|export| export.0).collect();
    let (compared, rest): (Vec<_>, Vec<_>) =
        implemented.iter().copied().partition(|name| compared.contains(*name));
    let (called, other): (Vec<_>, Vec<_>) =
        rest.into_iter().partition(|name| called.contains(*name));
    let mut page = String::from("# Coverage of the runtime (libcudart.so.13, CUDA 13.0)\n\n");
    page.push_str("Written by `RINGBAR_WRITE_COVERAGE=1 cargo test -p ringbar-shim-cudart --test coverage`.\n\n");
    page.push_str(
        "| exported | implemented | compared with NVIDIA's own in the differential programs |\n|---|---|---|\n",
    );
    let counts = (EXPORTS.len(), implemented.len(), compared.len());
    writeln!(page, "| {} | {} | {} |\n", counts.0, counts.1, counts.2).expect("text");
    page.push_str("What is implemented calls the driver; where the driver does not support it, its error is answered. What is\nexported and not implemented answers `cudaErrorNotSupported` and is reported once by name.\n\n");
    list(&mut page, "Compared with NVIDIA's own", &compared);
    list(&mut page, "Called by the programs in `shim/programs` alone", &called);
    list(&mut page, "Implemented, called by neither", &other);
    list(&mut page, "Exported, not implemented", &missing);
    page.trim_end().to_owned() + "\n"
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

//! The page that says what of the runtime is exported, implemented, and found equal beside NVIDIA's own library; and
//! that its rows say of their functions what the driver's rows say.

use ringbar_shim_cuda::exports::EXPORTS as DRIVER;
use ringbar_shim_cudart::{Argument, Class, EXPORTS, Export};
use ringbar_shim_table::page::Page;
use std::path::Path;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/COVERAGE.md");
/// Functions without an undeclared difference from NVIDIA's own, one a line: what `.ci/gpu run` found.
const EQUAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/differential/equal.txt");

/// The driver's functions that it calls.
fn driver(export: &Export) -> impl Iterator<Item = &'static Export> {
    export.calls.iter().map(|name| {
        let found = DRIVER.iter().find(|one| one.name == *name);
        found.unwrap_or_else(|| panic!("{name} is no function of the driver"))
    })
}

#[test]
fn the_coverage_page_of_the_runtime_is_up_to_date() {
    let page = Page {
        title: "Coverage of the runtime (libcudart.so.13, CUDA 13.0)",
        origin: "Written by `RINGBAR_WRITE_COVERAGE=1 cargo test -p ringbar-shim-cudart --test coverage` from the entries of the sources,\n\
                 `functions.tsv`, what the driver's library implements and the list of what was compared with NVIDIA's library.",
        notes: "The library is that of CUDA 13 and has no older versions of its functions; `_ptsz` and `_ptds` are the spellings for the\n\
                thread's own default stream. `since` is the first version whose wheel on PyPI exports the name, of which 11.7 is the oldest.\n\
                A function is implemented if it has an entry, and the driver implements every function that the entry calls, itself or by\n\
                its helpers; the calls by which all of them find the driver and the thread's context are not listed. The class is that of\n\
                the dearest of these calls: what is done once in a process (to retain a context, to load an image) is left out. A `usize` is\n\
                a size, a handle, or an address that is handed to the driver as it is.",
        exports: &EXPORTS,
        below_title: "calls of the driver",
        below: &|export| export.calls.to_vec(),
        lacks: &|export| {
            driver(export).filter(|one| !one.implemented).map(|one| one.name).collect()
        },
        oldest: 11_070,
        missing: "Each answers `cudaErrorNotSupported` and is reported once by name.",
        equal: &std::fs::read_to_string(EQUAL).expect("the list is there"),
    };
    page.check(Path::new(PAGE));
}

#[test]
fn the_class_of_a_function_is_that_of_the_dearest_call_of_the_driver_that_it_makes() {
    let mut wrong = Vec::new();
    for export in EXPORTS.iter().filter(|export| export.implemented) {
        let dearest = driver(export).map(|one| one.class.max(Class::Local)).max();
        let right = match dearest {
            Some(dearest) => export.class == dearest,
            None => export.class <= Class::Local,
        };
        if !right {
            wrong.push(format!("{} is {:?}: calls are {dearest:?}", export.name, export.class));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Direction, and whether there may be several.
fn shape(argument: &Argument) -> (&'static str, bool) {
    (argument.direction().0, argument.size.is_some())
}

#[test]
fn where_a_function_has_the_arguments_of_the_drivers_their_directions_and_sizes_are_the_same() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for export in EXPORTS.iter().filter(|export| export.implemented) {
        for below in driver(export).filter(|one| one.implemented) {
            let pairs = || export.arguments.iter().zip(below.arguments);
            // The compiler's own functions have handles of their own.
            let other = export.name.starts_with("__") || export.calls.len() > 1;
            if other || export.arguments.len() != below.arguments.len() {
                continue;
            }
            compared += 1;
            for (own, other) in pairs().filter(|(own, other)| shape(own) != shape(other)) {
                wrong.push(format!(
                    "{}: {}; {}: {}",
                    export.name,
                    own.text(),
                    below.name,
                    other.text()
                ));
            }
        }
    }
    assert!(compared > 100, "only {compared} were compared");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

//! What a test does where this machine lacks what it needs: it says so by name, in its output and in the list that
//! `RINGBAR_NOT_RUN` names, which `.ci/run` prints and `.ci/test-list` takes off the tests that ran.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file to which a line is added for each test that did not run.
const LIST: &str = "RINGBAR_NOT_RUN";
/// `required` where the compiled programs must be there: a test that lacks one fails.
pub const PROGRAMS: &str = "RINGBAR_PROGRAMS";

/// Says that the asking test did not run, and why.
pub fn not_run(why: &str) {
    let test = this_test();
    println!("{test}: NOT RUN, {why}");
    let Some(list) = std::env::var_os(LIST) else { return };
    let program = std::env::current_exe().expect("this program");
    let program = program.file_stem().unwrap_or_default().to_string_lossy();
    let program = program.rsplit_once('-').map_or(&*program, |(name, _)| name);
    let file = File::options().create(true).append(true).open(list);
    let line = format!("({program}): {test}\t{why}\n");
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the list can be written");
}

/// The same for what must be there where the variable says `required`.
///
/// # Panics
/// If it must be there.
pub fn lacks(variable: &str, why: &str) {
    let required = std::env::var_os(variable).is_some_and(|word| word == "required");
    assert!(!required, "{}: {why}", this_test());
    not_run(why);
}

/// The test that asks, by the name of its thread.
fn this_test() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}

/// A program that NVIDIA's compiler made, in this target folder; without it the asking test did not run.
///
/// # Panics
/// If it must be there.
pub fn program(target: &Path, name: &str) -> Option<PathBuf> {
    let path = target.join("programs").join(name);
    if path.exists() {
        return Some(path);
    }
    lacks(PROGRAMS, &format!("{name} is not compiled; try: .ci/programs"));
    None
}

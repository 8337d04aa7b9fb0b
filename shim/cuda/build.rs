//! Gives the library the name that programs ask for, and makes the table of its exports: for every name of `exports.tsv`
//! either the entry that the sources define, or a stub that answers "not supported".

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=exports.tsv");
    println!("cargo:rerun-if-changed=src");
    // GNU ld is asked for by name: it alone makes a version of the library's name for every symbol (`--default-symver`).
    // `-Bsymbolic`: our table of functions must name our own, also where another library of this name is loaded.
    for argument in ["-Wl,-soname,libcuda.so.1", "-Wl,-z,nodelete", "-Wl,-Bsymbolic"] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
    let names = names();
    let entries = entries(Path::new("src"), "crate");
    for name in entries.keys() {
        assert!(
            names.contains(name),
            "{name} is implemented but is no export: add it to exports.tsv"
        );
    }
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("exports.rs");
    fs::write(&out, generate(&names, &entries)).expect("the output folder can be written");
}

/// All exported names, sorted.
fn names() -> Vec<String> {
    let text = fs::read_to_string("exports.tsv").expect("exports.tsv is there");
    let rows = text.lines().filter(|line| line.starts_with("cu"));
    let names: Vec<String> = rows.map(str::to_owned).collect();
    assert!(names.is_sorted(), "exports.tsv is sorted, so that a name is found by bisection");
    names
}

/// The entries of all source files below `folder`: name to module path and class. An entry is a line of `entry!` that begins with
/// a class and `fn cuName`, then perhaps `| cuOtherName`.
fn entries(folder: &Path, module: &str) -> BTreeMap<String, (String, String)> {
    let mut found = BTreeMap::new();
    for file in fs::read_dir(folder).expect("the sources are there") {
        let path = file.expect("the sources can be listed").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let inner = match stem {
            "mod" | "lib" => module.to_owned(),
            _ => format!("{module}::{stem}"),
        };
        if path.is_dir() {
            found.extend(entries(&path, &inner));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("the sources can be read");
            for (name, class) in text.lines().flat_map(entry_names) {
                let twice = found.insert(name.clone(), (inner.clone(), class));
                assert!(twice.is_none(), "{name} is implemented twice");
            }
        }
    }
    found
}

fn entry_names(line: &str) -> Vec<(String, String)> {
    let Some((class, row)) = line.trim_start().split_once(" fn ") else { return Vec::new() };
    if !["free", "local", "post", "sync"].contains(&class) {
        return Vec::new();
    }
    let head = row.split('(').next().unwrap_or_default();
    let names = head.split('|').map(|name| name.split('[').next().unwrap_or_default().trim());
    names.map(|name| (name.to_owned(), class.to_owned())).collect()
}

fn generate(names: &[String], entries: &BTreeMap<String, (String, String)>) -> String {
    let mut out = String::new();
    let mut stubs = String::new();
    let (mut list, mut pointers, mut index) = (String::new(), String::new(), String::new());
    for (number, name) in names.iter().enumerate() {
        let implemented = entries.get(name);
        let (path, class) =
            implemented.map_or(("stubs", "local"), |(path, class)| (path.as_str(), class.as_str()));
        let flag = implemented.is_some();
        writeln!(
            list,
            "    Export {{ name: {name:?}, implemented: {flag}, class: Class::of({class:?}) }},"
        )
        .expect("a string");
        writeln!(pointers, "    {path}::{name} as *const (),").expect("a string");
        writeln!(index, "    pub const {name}: usize = {number};").expect("a string");
        if !flag {
            writeln!(stubs, "    stub!({name});").expect("a string");
        }
    }
    let count = names.len();
    writeln!(out, "/// Every exported function, sorted by name.").expect("a string");
    writeln!(out, "pub static EXPORTS: [Export; {count}] = [\n{list}];").expect("a string");
    writeln!(out, "pub(crate) fn pointers() -> [*const (); {count}] {{\n[\n{pointers}]\n}}")
        .expect("a string");
    writeln!(out, "pub(crate) mod index {{\n{index}}}").expect("a string");
    writeln!(out, "pub(crate) mod stubs {{\n{stubs}}}").expect("a string");
    out
}

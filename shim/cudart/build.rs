//! Gives the library the name that programs ask for, and makes a stub of every name in `exports.txt` that no entry
//! implements.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    for changed in ["build.rs", "exports.txt", "src"] {
        println!("cargo:rerun-if-changed={changed}");
    }
    // GNU ld is asked for by name: it alone makes a version of the library's name for every symbol (`--default-symver`).
    for argument in
        ["-fuse-ld=bfd", "-Wl,-soname,libcudart.so.13", "-Wl,--default-symver", "-Wl,-z,nodelete"]
    {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
    let text = fs::read_to_string("exports.txt").expect("exports.txt is there");
    let names: Vec<&str> = text.lines().collect();
    assert!(names.is_sorted(), "exports.txt is sorted");
    let mut entries = BTreeSet::new();
    collect(Path::new("src"), &mut entries);
    for entry in &entries {
        assert!(names.contains(&entry.as_str()), "{entry} is implemented, but is no export");
    }
    let mut out = String::new();
    for name in names.iter().filter(|name| !entries.contains(**name)) {
        writeln!(out, "stub!({name});").expect("a string takes everything");
    }
    writeln!(out, "/// Every exported function and whether it is implemented, sorted by name.")
        .expect("a string takes everything");
    writeln!(out, "pub static EXPORTS: [(&str, bool); {}] = [", names.len())
        .expect("a string takes everything");
    for name in names {
        writeln!(out, "    ({name:?}, {}),", entries.contains(name))
            .expect("a string takes everything");
    }
    out.push_str("];\n");
    let path = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("exports.rs");
    fs::write(path, out).expect("the output folder can be written");
}

/// The entries of all source files below a folder: lines that begin with `fn cudaName`, then perhaps `| cudaOtherName`.
fn collect(folder: &Path, entries: &mut BTreeSet<String>) {
    for file in fs::read_dir(folder).expect("the sources are there") {
        let path = file.expect("the sources can be listed").path();
        if path.is_dir() {
            collect(&path, entries);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("the sources can be read");
            let heads = text.lines().filter_map(|line| {
                let line = line.trim_start();
                let line = line.trim_start_matches("unsafe ").trim_start_matches("extern \"C\" ");
                line.strip_prefix("fn ")
            });
            for head in heads.filter(|head| head.starts_with("cuda") || head.starts_with("__cuda"))
            {
                let names = head.split(['(', '[', '=', ' ', ',']).filter(|name| !name.is_empty());
                let names = names.take_while(|name| {
                    *name == "|" || name.starts_with("cuda") || name.starts_with("__cuda")
                });
                for name in names.filter(|name| *name != "|") {
                    let new = entries.insert(name.to_owned());
                    assert!(new, "{name} is implemented twice");
                }
            }
        }
    }
}

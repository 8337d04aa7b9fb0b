//! Gives the library the name that programs ask for, and makes the table of its functions from `exports.txt` and the
//! entries of the sources. A name that no entry implements becomes a stub that answers "not supported".

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// A function of the sources.
struct Entry {
    /// As they stand in its row: `name: Type`, parted by commas.
    arguments: String,
    /// The driver's functions that its row names.
    driver: Vec<String>,
}

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
    let mut entries = BTreeMap::new();
    collect(Path::new("src"), &mut entries);
    for entry in entries.keys() {
        assert!(names.contains(&entry.as_str()), "{entry} is implemented, but is no export");
    }
    let table = generate(&names, &entries).expect("a string takes everything");
    let path = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("exports.rs");
    fs::write(path, table).expect("the output folder can be written");
}

fn generate(names: &[&str], entries: &BTreeMap<String, Entry>) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    for name in names.iter().filter(|name| !entries.contains_key(**name)) {
        writeln!(out, "stub!({name});")?;
    }
    writeln!(out, "/// Every exported function, sorted by name.")?;
    writeln!(out, "pub static EXPORTS: [Export; {}] = [", names.len())?;
    for name in names {
        let entry = entries.get(*name);
        let arguments = entry.map_or("", |entry| &entry.arguments);
        let driver = entry.map_or(&[][..], |entry| &entry.driver);
        writeln!(
            out,
            "    Export {{ name: {name:?}, has_entry: {}, arguments: {arguments:?}, driver: &{driver:?} }},",
            entry.is_some()
        )?;
    }
    out.push_str("];\n");
    Ok(out)
}

/// The entries of all source files below a folder.
fn collect(folder: &Path, entries: &mut BTreeMap<String, Entry>) {
    for file in fs::read_dir(folder).expect("the sources are there") {
        let path = file.expect("the sources can be listed").path();
        if path.is_dir() {
            collect(&path, entries);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("the sources can be read");
            read(&text, entries);
        }
    }
}

/// The entries of a source: rows that begin with `fn cudaName`, then perhaps `| cudaOtherName`, up to the next row or the end
/// of the item.
fn read(text: &str, entries: &mut BTreeMap<String, Entry>) {
    let mut starts = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let row =
            line.trim_start().trim_start_matches("unsafe ").trim_start_matches("extern \"C\" ");
        if row.starts_with("fn cuda") || row.starts_with("fn __cuda") || line.starts_with('}') {
            starts.push(at + line.len() - row.len());
        }
        at += line.len();
    }
    starts.push(text.len());
    for row in starts.windows(2).map(|pair| &text[pair[0]..pair[1]]) {
        let Some((head, rest)) = row.strip_prefix("fn ").and_then(|row| row.split_once('(')) else {
            continue;
        };
        let arguments = rest.split_once(')').map_or("", |(arguments, _)| arguments);
        let arguments = arguments.split_whitespace().collect::<Vec<_>>().join(" ");
        for name in head.split('|').map(|name| name.split('[').next().unwrap_or_default().trim()) {
            let entry = Entry { arguments: arguments.clone(), driver: driver(rest) };
            let twice = entries.insert(name.to_owned(), entry);
            assert!(twice.is_none(), "{name} is implemented twice");
        }
    }
}

/// The driver's functions that a row calls (`.cuName(`) or stands for (`= cuName;`), each once.
fn driver(row: &str) -> Vec<String> {
    let starts = row.match_indices(".cu").map(|(at, _)| at + 1);
    let passed = row.match_indices("= cu").map(|(at, _)| at + 2);
    let names = starts.chain(passed).filter_map(|at| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = row[at..].find(|c| !is_name(c))?;
        let (name, behind) = (&row[at..at + end], row[at + end..].chars().next()?);
        let is_function = name[2..].starts_with(char::is_uppercase) && "(;".contains(behind);
        is_function.then(|| name.to_owned())
    });
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

//! Gives the library the name that programs ask for, and makes the table of its functions from `functions.tsv` and the
//! entries of the sources. A name that no entry implements becomes a stub that answers "not supported".

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// A row of `functions.tsv`.
struct Symbol {
    name: String,
    function: Option<String>,
    since: u32,
    per_thread: bool,
}

/// A row of `entry!`.
struct Entry {
    /// The module that it is in.
    path: String,
    class: String,
    /// As they stand in the row: `name[size]: Type`, parted by commas.
    arguments: String,
}

fn main() {
    for changed in ["build.rs", "functions.tsv", "src"] {
        println!("cargo:rerun-if-changed={changed}");
    }
    // GNU ld is asked for by name: it alone makes a version of the library's name for every symbol (`--default-symver`).
    // `-Bsymbolic`: our table of functions must name our own, also where another library of this name is loaded.
    for argument in ["-Wl,-soname,libcuda.so.1", "-Wl,-z,nodelete", "-Wl,-Bsymbolic"] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
    let symbols = symbols();
    let entries = entries(Path::new("src"), "crate");
    for name in entries.keys() {
        assert!(
            symbols.iter().any(|symbol| symbol.name == *name),
            "{name} is implemented but is no export: add it to functions.tsv"
        );
    }
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("exports.rs");
    let table = generate(&symbols, &entries).expect("a string takes everything");
    fs::write(&out, table).expect("the output folder can be written");
}

/// All exported names, sorted.
fn symbols() -> Vec<Symbol> {
    let text = fs::read_to_string("functions.tsv").expect("functions.tsv is there");
    let rows = text.lines().filter(|line| line.starts_with("cu"));
    let symbols: Vec<Symbol> = rows.map(symbol).collect();
    assert!(
        symbols.is_sorted_by(|a, b| a.name < b.name),
        "functions.tsv is sorted, so that a name is found by bisection"
    );
    symbols
}

fn symbol(row: &str) -> Symbol {
    let [name, function, since, default_stream] = row.split('\t').collect::<Vec<_>>()[..] else {
        panic!("{row}: a row of functions.tsv has four columns");
    };
    Symbol {
        name: name.to_owned(),
        function: (function != "-").then(|| function.to_owned()),
        since: since.parse().unwrap_or(0),
        per_thread: default_stream == "thread",
    }
}

/// The entries of all source files below `folder`, by name.
fn entries(folder: &Path, module: &str) -> BTreeMap<String, Entry> {
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
            for (name, class, arguments) in entries_of(&text) {
                let entry = Entry { path: inner.clone(), class, arguments };
                let twice = found.insert(name.clone(), entry);
                assert!(twice.is_none(), "{name} is implemented twice");
            }
        }
    }
    found
}

/// Name, class and arguments of each entry: a line that begins with a class and `fn cuName`, then perhaps `| cuOtherName`.
fn entries_of(text: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let rest = &text[at..];
        at += line.len();
        let Some((class, row)) = line.trim_start().split_once(" fn cu") else { continue };
        if !["free", "local", "post", "sync"].contains(&class) {
            continue;
        }
        let head = format!("cu{}", row.split('(').next().unwrap_or_default());
        // The row may go on in the next lines.
        let arguments = rest.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
        let arguments = arguments.map_or("", |(arguments, _)| arguments);
        for name in head.split('|').map(|name| name.split('[').next().unwrap_or_default().trim()) {
            found.push((name.to_owned(), class.to_owned(), arguments.to_owned()));
        }
    }
    found
}

/// One `Argument` for each argument of a row.
fn arguments(row: &str) -> String {
    let each = row.split(',').map(str::trim).filter(|one| !one.is_empty());
    let each = each.map(|one| {
        let (name, ty) = one.split_once(':').unwrap_or_else(|| panic!("{one}: name and type"));
        let (name, size) = match name.trim().split_once('[') {
            Some((name, size)) => (name, format!("Some({:?})", size.trim_end_matches(']'))),
            None => (name.trim(), "None".to_owned()),
        };
        format!("Argument {{ name: {name:?}, ty: {:?}, size: {size} }}", ty.trim())
    });
    each.collect::<Vec<_>>().join(", ")
}

fn generate(
    symbols: &[Symbol],
    entries: &BTreeMap<String, Entry>,
) -> Result<String, std::fmt::Error> {
    let (mut list, mut pointers) = (String::new(), String::new());
    let (mut index, mut stubs) = (String::new(), String::new());
    for (number, symbol) in symbols.iter().enumerate() {
        let Symbol { name, function, since, per_thread } = symbol;
        let entry = entries.get(name);
        let (path, class) =
            entry.map_or(("stubs", "local"), |one| (one.path.as_str(), one.class.as_str()));
        let (implemented, row) = (entry.is_some(), entry.map_or("", |one| one.arguments.as_str()));
        writeln!(
            list,
            "    Export {{ name: {name:?}, function: {function:?}, since: {since}, per_thread: {per_thread}, \
             implemented: {implemented}, class: Class::of({class:?}), arguments: &[{}] }},",
            arguments(row)
        )?;
        writeln!(pointers, "    {path}::{name} as *const (),")?;
        writeln!(index, "    pub const {name}: usize = {number};")?;
        if !implemented {
            writeln!(stubs, "    stub!({name});")?;
        }
    }
    let (mut out, count) = (String::new(), symbols.len());
    writeln!(out, "/// Every exported function, sorted by name.")?;
    writeln!(out, "pub static EXPORTS: [Export; {count}] = [\n{list}];")?;
    writeln!(out, "pub(crate) fn pointers() -> [*const (); {count}] {{\n[\n{pointers}]\n}}")?;
    writeln!(out, "pub(crate) mod index {{\n{index}}}")?;
    writeln!(out, "pub(crate) mod stubs {{\n{stubs}}}")?;
    Ok(out)
}

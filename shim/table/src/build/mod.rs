//! For build scripts: joins `functions.tsv` and the rows of the sources to a library's table.

mod calls;
mod source;

use calls::Calls;
use source::{Row, Source};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

/// A row of `functions.tsv`.
struct Symbol {
    name: String,
    function: Option<String>,
    since: u32,
    per_thread: bool,
}

/// A row of the sources, and what it calls of the library below.
struct Entry {
    row: Row,
    calls: Vec<String>,
}

/// The functions of a library.
pub struct Table {
    symbols: Vec<Symbol>,
    entries: BTreeMap<String, Entry>,
}

impl Table {
    /// Reads `functions.tsv` and the sources of the package that is being built. What the functions named in `on_the_way`
    /// (`module::name`) call is not counted to those that call them, nor what a function does that is marked `#[cold]`.
    ///
    /// # Panics
    /// If something is wrong with them, which stops the build.
    pub fn read(on_the_way: &[&str]) -> Self {
        for changed in ["build.rs", "functions.tsv", "src"] {
            println!("cargo:rerun-if-changed={changed}");
        }
        let symbols =
            symbols(&fs::read_to_string("functions.tsv").expect("functions.tsv is there"));
        let mut source = Source::default();
        read_folder(Path::new("src"), "crate", &mut source);
        Self { entries: entries(source, on_the_way, &symbols), symbols }
    }

    /// Writes the table to `exports.rs` in the folder for what is made: `EXPORTS`, a module `index` with each function's
    /// place in it, and a `stub!` for each name without a row. With `pointers`, also a function of that name: where each is.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, pointers: bool) {
        let mut text = self.text().expect("a string takes everything");
        if pointers {
            text += &self.pointers();
        }
        let folder = env::var("OUT_DIR").expect("cargo sets it");
        fs::write(Path::new(&folder).join("exports.rs"), text).expect("the folder can be written");
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        let (mut list, mut index, mut stubs) = (String::new(), String::new(), String::new());
        for (number, symbol) in self.symbols.iter().enumerate() {
            let Symbol { name, function, since, per_thread } = symbol;
            let entry = self.entries.get(name);
            let class = entry.map_or("local", |entry| &entry.row.class);
            let arguments = entry.map_or_else(String::new, |entry| arguments(&entry.row));
            let calls = entry.map_or(&[][..], |entry| &entry.calls);
            writeln!(
                list,
                "    Export {{ name: {name:?}, function: {function:?}, since: {since}, per_thread: {per_thread}, implemented: {}, \
                 class: Class::of({class:?}), arguments: &[{arguments}], calls: &{calls:?} }},",
                entry.is_some()
            )?;
            writeln!(index, "    pub const {name}: usize = {number};")?;
            if entry.is_none() {
                writeln!(stubs, "    stub!({name});")?;
            }
        }
        let (mut out, count) = (String::new(), self.symbols.len());
        writeln!(out, "/// Every exported function, sorted by name.")?;
        writeln!(out, "pub static EXPORTS: [Export; {count}] = [\n{list}];")?;
        writeln!(out, "pub(crate) mod index {{\n{index}}}")?;
        writeln!(out, "pub(crate) mod stubs {{\n{stubs}}}")?;
        Ok(out)
    }

    fn pointers(&self) -> String {
        let places = self.symbols.iter().map(|symbol| {
            let module = self.entries.get(&symbol.name).map_or("stubs", |one| &one.row.module);
            format!("    {module}::{} as *const (),\n", symbol.name)
        });
        format!(
            "pub(crate) fn pointers() -> [*const (); {}] {{\n[\n{}]\n}}\n",
            self.symbols.len(),
            places.collect::<String>()
        )
    }
}

fn entries(source: Source, on_the_way: &[&str], symbols: &[Symbol]) -> BTreeMap<String, Entry> {
    let calls = Calls::new(source.functions, on_the_way);
    let mut entries = BTreeMap::new();
    for row in source.rows {
        let Row { name, .. } = &row;
        assert!(
            symbols.iter().any(|symbol| symbol.name == *name),
            "{name} is implemented but is no export: add it to functions.tsv"
        );
        let calls = calls.of(&row.module, &row.calls);
        let twice = entries.insert(name.clone(), Entry { row, calls });
        assert!(twice.is_none(), "{} is implemented twice", twice.unwrap().row.name);
    }
    entries
}

/// All exported names, sorted.
fn symbols(text: &str) -> Vec<Symbol> {
    let rows = text.lines().filter(|line| line.trim_start_matches('_').starts_with("cu"));
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

/// One `Argument` for each argument of a row.
fn arguments(row: &Row) -> String {
    let each = row.arguments.iter().map(|(name, ty, size)| {
        format!("Argument {{ name: {name:?}, ty: {ty:?}, size: {size:?} }}")
    });
    each.collect::<Vec<_>>().join(", ")
}

fn read_folder(folder: &Path, module: &str, source: &mut Source) {
    for file in fs::read_dir(folder).expect("the sources are there") {
        let path = file.expect("the sources can be listed").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let inner = match stem {
            "mod" | "lib" => module.to_owned(),
            _ => format!("{module}::{stem}"),
        };
        if path.is_dir() {
            read_folder(&path, &inner, source);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("the sources can be read");
            source.read(&text, &inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTIONS: &str = "# What it is\nsymbol\tfunction\tsince\tdefault_stream\n__cuA\t-\t-\t-\ncuB_ptsz\tcuB\t12040\tthread\n";

    #[test]
    fn a_name_without_a_row_gets_a_stub_and_one_with_a_row_what_the_row_says() {
        let symbols = symbols(FUNCTIONS);
        let mut source = Source::default();
        source.read(
            "entry! { post fn cuB_ptsz(to[count]: Out<'_, u32>, count: u32) {} }",
            "crate::b",
        );
        let table = Table { entries: entries(source, &[], &symbols), symbols };
        let text = table.text().unwrap();
        for part in [
            "stub!(__cuA);",
            "pub const cuB_ptsz: usize = 1;",
            "function: Some(\"cuB\"), since: 12040, per_thread: true, implemented: true, class: Class::of(\"post\")",
            "Argument { name: \"to\", ty: \"Out<u32>\", size: Some(\"count\") }",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("stub!(cuB"));
        assert!(
            table.pointers().contains("stubs::__cuA as")
                && table.pointers().contains("crate::b::cuB_ptsz as")
        );
    }

    #[test]
    #[should_panic(expected = "is no export")]
    fn a_row_of_a_name_that_is_not_exported_stops_the_build() {
        let mut source = Source::default();
        source.read("entry! { local fn cuC() {} }", "crate");
        entries(source, &[], &symbols(FUNCTIONS));
    }
}

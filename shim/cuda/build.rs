//! Gives the library the name that programs ask for, and makes the table of its functions from `functions.tsv` and the
//! entries of the sources. A name that no entry implements becomes a stub that answers "not supported".

fn main() {
    // `-Bsymbolic`: our table of functions must name our own, also where another library of this name is loaded.
    for argument in ["-Wl,-soname,libcuda.so.1", "-Wl,-z,nodelete", "-Wl,-Bsymbolic"] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
    ringbar_shim_table::build::Table::read(&[]).write(true);
}

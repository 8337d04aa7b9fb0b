//! Gives the library the name that programs ask for, and makes the table of its functions from `functions.tsv` and the
//! entries of the sources. A name that no entry implements becomes a stub that answers "not supported".

/// How a function finds the driver and the thread's context: the same calls for all, so they are told of none.
const ON_THE_WAY: [&str; 4] =
    ["driver::loaded", "driver::started", "driver::bind", "driver::bound"];

fn main() {
    // GNU ld is asked for by name: it alone makes a version of the library's name for every symbol (`--default-symver`).
    for argument in
        ["-fuse-ld=bfd", "-Wl,-soname,libcudart.so.13", "-Wl,--default-symver", "-Wl,-z,nodelete"]
    {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
    ringbar_shim_table::build::Table::read(&ON_THE_WAY).write(false);
}

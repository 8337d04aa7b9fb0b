//! Gives the library the name that programs ask for.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // GNU ld is asked for by name: it alone makes a version of the library's name for every symbol (`--default-symver`).
    for argument in
        ["-fuse-ld=bfd", "-Wl,-soname,libcudart.so.13", "-Wl,--default-symver", "-Wl,-z,nodelete"]
    {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
}

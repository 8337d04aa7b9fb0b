//! The library as a file: which names it exports, and how.

#[path = "../../../executor/tests/support/lacking.rs"]
mod lacking;

use object::read::elf::{ElfFile64, FileHeader};
use object::{Endianness, elf};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// The library that cargo built beside this test.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().join("libringbar_shim_cudart.so");
    assert!(path.exists(), "{} is not built", path.display());
    path
}

/// Every name that the library defines, with its version.
fn exports() -> BTreeMap<String, Option<String>> {
    let bytes = std::fs::read(library()).unwrap();
    let file = ElfFile64::<Endianness>::parse(&*bytes).unwrap();
    let (endian, data) = (file.endian(), file.data());
    let sections = file.elf_header().sections(endian, data).unwrap();
    let symbols = sections.symbols(endian, data, elf::SHT_DYNSYM).unwrap();
    let versions = sections.versions(endian, data).unwrap().expect("the library has versions");
    let mut found = BTreeMap::new();
    for (index, symbol) in symbols.enumerate() {
        let defined = symbol.st_shndx.get(endian) != elf::SHN_UNDEF;
        if defined && symbol.st_shndx.get(endian) != elf::SHN_ABS {
            let name = symbols.symbol_name(endian, symbol).unwrap();
            let version = versions.version(versions.version_index(endian, index).into()).unwrap();
            let version = version.map(|version| String::from_utf8_lossy(version.name()).into());
            found.insert(String::from_utf8_lossy(name).into_owned(), version);
        }
    }
    found
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn exactly_the_names_of_the_list_are_exported_each_with_the_librarys_version() {
    let exports = exports();
    let names: Vec<&str> = exports.keys().map(String::as_str).collect();
    let table: Vec<&str> = ringbar_shim_cudart::EXPORTS.iter().map(|export| export.name).collect();
    assert_eq!(names, table);
    for (name, version) in exports {
        assert_eq!(version.as_deref(), Some("libcudart.so.13"), "{name}");
    }
}

#[test]
fn all_that_pytorch_and_ggml_import_is_implemented() {
    for name in lines(include_str!("imports.txt")) {
        let export = ringbar_shim_cudart::EXPORTS.iter().find(|export| export.name == name);
        assert!(export.is_some_and(|export| export.implemented), "{name}");
    }
}

/// A program that NVIDIA's compiler made, if `.ci/programs` was run.
fn program(name: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().unwrap();
    lacking::program(test.ancestors().nth(3).unwrap(), name)
}

#[test]
fn a_program_finds_every_name_and_version_and_is_told_that_there_is_no_driver() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(library(), folder.path().join("libcudart.so.13")).unwrap();
    let Some(program) = program("01_vector_add") else { return };
    // All names at once, as for a program that is linked so: a missing one ends it before it begins.
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", folder.path()).env("LD_BIND_NOW", "1").env_remove("LD_PRELOAD");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("cudaErrorInsufficientDriver") {
        assert_eq!(output.status.code(), Some(1), "{said}");
    } else {
        // This machine has a driver.
        assert!(output.status.success(), "{said}");
    }
    assert!(!said.contains("version information"), "{said}");
}

#[test]
fn what_pytorch_registers_is_known_without_a_driver_and_without_looking_at_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("registration");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/registration.c");
    let compiled = Command::new("cc").args(["-O1", source, "-ldl", "-o"]).arg(&program).status();
    assert!(compiled.unwrap().success());
    let output = Command::new(&program).arg(library()).env_remove("LD_PRELOAD").output().unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("454 fat binaries, 21569 kernels, 13219 variables"), "{said}");
}

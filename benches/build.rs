//! Records which compiler built the benches: a figure without it cannot be compared.

use std::env;
use std::process::Command;

fn main() {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=RINGBAR_BENCHES_RUSTC={}", version.trim());
    println!("cargo:rerun-if-changed=build.rs");
}

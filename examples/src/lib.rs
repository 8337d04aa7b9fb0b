//! Numbered examples; run one with `cargo run -p ringbar-examples --example 01-hello-ring`.
#![forbid(unsafe_code)]

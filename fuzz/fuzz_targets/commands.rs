//! See `ringbar_fuzz::commands`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringbar_fuzz::commands::run(data));

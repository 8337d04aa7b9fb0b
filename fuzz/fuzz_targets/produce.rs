//! See `ringbar_fuzz::produce`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringbar_fuzz::produce::run(data));

//! See `ringbar_fuzz::arena`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringbar_fuzz::arena::run(data));

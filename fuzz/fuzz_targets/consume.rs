//! See `ringbar_fuzz::consume`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringbar_fuzz::consume::run(data));

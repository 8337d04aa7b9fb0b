//! See `ringbar_fuzz::images`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringbar_fuzz::images::run(data));

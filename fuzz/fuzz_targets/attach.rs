//! See `ringbar_fuzz::attach`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringbar_fuzz::attach::run(data));

//! See `ringbar_fuzz::reply`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringbar_fuzz::reply::run(data));

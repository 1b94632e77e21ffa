//! Fuzzes `bodies::http`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::http::run(data));

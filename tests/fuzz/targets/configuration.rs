//! Fuzzes `bodies::configuration`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::configuration::run(data));

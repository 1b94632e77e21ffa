//! Fuzzes `bodies::inspect`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::inspect::run(data));

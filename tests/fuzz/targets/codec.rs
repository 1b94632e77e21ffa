//! Fuzzes `bodies::codec`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::codec::run(data));

//! Fuzzes `bodies::policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::policy::run(data));

//! Fuzzes `bodies::netlink`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::netlink::run(data));

//! The counts that a gate tells on its page, and what it takes of the machine.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Asks for `/metrics` on a connection to the page.
pub(crate) fn metrics(mut stream: TcpStream, page: SocketAddr, token: &str) -> String {
    stream
        .set_read_timeout(Some(crate::ground::PATIENCE))
        .unwrap();
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: {page}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        token.trim()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    told
}

/// One count, with its labels, such as `portcullis_refusals_total{reason="policy"}`.
pub(crate) fn count(metrics: &str, name: &str) -> f64 {
    let sample = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    let found = metrics.lines().find_map(sample);
    found.unwrap_or_else(|| panic!("{name} is not in\n{metrics}"))
}

/// The same of a count that is whole.
pub(crate) fn whole(metrics: &str, name: &str) -> u64 {
    let sample = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    let found = metrics.lines().find_map(sample);
    found.unwrap_or_else(|| panic!("{name} is not in\n{metrics}"))
}

/// Bytes of a process' memory that are in RAM.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse::<u64>().unwrap() * 1024
}

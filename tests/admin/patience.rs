//! Many who connect and say nothing keep nobody from being answered.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use crate::ftp::CONTENT;
use crate::ground::Gate;
use crate::http::on_page;

/// More than there are places.
const MANY: usize = 100;

#[test]
fn silent_connections_to_the_page_keep_nobody_waiting() {
    let gate = Gate::start();
    let mut client = gate.login("anna");
    let data = client.begin("/slow");
    let silent: Vec<_> = (0..MANY)
        .map(|_| TcpStream::connect(gate.page()).unwrap())
        .collect();
    let right = format!("Authorization: Bearer {}", gate.token());
    let answer = on_page(gate.page(), "GET /api/sessions", &[&right], "");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["sessions"][0]["state"], "transfer");
    gate.server.let_go();
    assert_eq!(client.end(data), CONTENT);
    drop(silent);
}

#[test]
fn requests_that_never_end_keep_nobody_waiting() {
    let gate = Gate::start();
    let half = "POST /api/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\n\r\n{";
    let mut halves = Vec::new();
    for _ in 0..MANY {
        let mut stream = TcpStream::connect(gate.page()).unwrap();
        // One that has lost its place may be told so at once.
        drop(stream.write_all(half.as_bytes()));
        halves.push(stream);
    }
    let right = format!("Authorization: Bearer {}", gate.token());
    assert_eq!(
        on_page(gate.page(), "GET /api/status", &[&right], "").status,
        200
    );
}

#[test]
fn silent_connections_to_the_socket_keep_nobody_waiting() {
    let gate = Gate::start();
    let silent: Vec<_> = (0..MANY)
        .map(|_| UnixStream::connect(gate.socket()).unwrap())
        .collect();
    gate.json("/api/status");
    let output = gate.cli(&["sessions"]);
    assert!(output.status.success());
    // The page has places of its own.
    assert_eq!(on_page(gate.page(), "GET /", &[], "").status, 200);
    let page = gate.get("/metrics").body;
    let line = page
        .lines()
        .find(|line| line.starts_with("portcullis_admin_connections{side=\"socket\"}"));
    let count: usize = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!((1..=64).contains(&count), "{count}");
    drop(silent);
}

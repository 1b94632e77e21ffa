//! The control connection as a byte stream: segments do not matter, both ends' ways of closing carry over.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use crate::lab::{Lab, Peer};

crate::claims![
    p01_port_in_two_segments_works,
    p02_port_one_byte_at_a_time_works,
    p03_pipelined_port_works,
    takes_no_more_of_a_client_that_reads_nothing,
    carries_a_half_close_over,
    carries_a_reset_of_the_client_over,
    carries_a_reset_of_the_server_over,
    ends_when_an_answer_finds_a_client_that_was_reset,
    answers_421_where_the_server_refuses,
    answers_421_beyond_the_session_limit,
];

const PORT: &str = "PORT 10,60,1,2,156,64\r\n";

/// A logged-in client behind NAT that listens on port 40000 for the listing it is about to ask vsftpd for.
fn lists(act: impl FnOnce(&mut Peer)) {
    let lab = Lab::behind_nat();
    let server = lab.vsftpd();
    std::fs::write(server.file("a-file"), "content").unwrap();
    let _gate = lab.gate();
    let data = lab.client.listen("10.60.1.2:40000");
    let mut client = Peer::dial(&lab.client, "198.51.100.20:21");
    client.log_in();

    act(&mut client);

    client.expect("150");
    let listing = take(&data);
    client.expect("226");
    assert!(listing.contains("a-file"), "{listing:?} is no listing");
}

fn take(data: &TcpListener) -> String {
    let mut text = String::new();
    data.accept().unwrap().0.read_to_string(&mut text).unwrap();
    text
}

fn p01_port_in_two_segments_works() {
    lists(|client| {
        let (first, second) = PORT.split_at(11);
        client.send(first);
        std::thread::sleep(Duration::from_millis(100));
        client.send(second);
        client.expect("200");
        client.say("LIST");
    });
}

fn p02_port_one_byte_at_a_time_works() {
    lists(|client| {
        for byte in PORT.split_inclusive(|_| true) {
            client.send(byte);
            std::thread::sleep(Duration::from_millis(5));
        }
        client.expect("200");
        client.say("LIST");
    });
}

fn p03_pipelined_port_works() {
    lists(|client| {
        client.send(format!("NOOP\r\n{PORT}LIST\r\n"));
        client.expect("200");
        client.expect("200");
    });
}

/// A client, a server that has greeted it, and a gate between them.
fn greeted(test: impl FnOnce(Peer, Peer)) {
    let lab = Lab::behind_nat();
    let control = lab.server.listen("0.0.0.0:21");
    let _gate = lab.gate();
    let mut client = Peer::dial(&lab.client, "198.51.100.20:21");
    let mut server = Peer::accept(&control);
    server.say("220 a script");
    client.expect("220");
    test(client, server);
}

/// Line ends alone are answered with 500 each, thirty bytes for two.
fn takes_no_more_of_a_client_that_reads_nothing() {
    let lab = Lab::behind_nat();
    let _server = lab.vsftpd();
    let _gate = lab.gate();
    let mut client = lab.client.connect("198.51.100.20:21").unwrap();
    client
        .set_write_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let ends = b"\r\n".repeat(32 * 1024);
    let mut taken = 0;
    while let Ok(count) = client.write(&ends) {
        taken += count;
        assert!(taken < 64 << 20, "{taken} bytes are taken");
    }
    let mut other = Peer::dial(&lab.client, "198.51.100.20:21");
    other.log_in();
}

fn carries_a_half_close_over() {
    greeted(|mut client, mut server| {
        client.say("NOOP");
        server.expect("NOOP");
        client.finish_sending();
        assert_eq!(server.hear(), None, "the server sees the end");
        server.say("200 still here");
        client.expect("200 still here");
        drop(server);
        assert_eq!(client.end(), Ok(()));
    });
}

fn carries_a_reset_of_the_client_over() {
    greeted(|client, server| {
        client.reset();
        assert_eq!(server.end(), Err(ErrorKind::ConnectionReset));
    });
}

fn carries_a_reset_of_the_server_over() {
    greeted(|client, server| {
        server.reset();
        assert_eq!(client.end(), Err(ErrorKind::ConnectionReset));
    });
}

/// Of a client that has said more than its server answers nothing is read, so that its reset is noticed where
/// something is written to it.
fn ends_when_an_answer_finds_a_client_that_was_reset() {
    let lab = Lab::behind_nat();
    let listener = lab.server.listen("198.51.100.20:21");
    let gate = lab.gate();
    let mut client = Peer::dial(&lab.client, "198.51.100.20:21");
    let mut server = Peer::accept(&listener);
    server.say("220 a script");
    client.expect("220");
    client.send("NOOP\r\n".repeat(10_000));
    server.expect("NOOP");
    std::thread::sleep(Duration::from_millis(200));
    client.reset();
    std::thread::sleep(Duration::from_millis(200));

    server.say("200 in step");

    let ended = gate.event("session-end");
    assert_eq!(ended["portcullis"]["reason"], "client_reset", "{ended}");
    assert_eq!(server.end(), Err(ErrorKind::ConnectionReset));
}

fn answers_421_where_the_server_refuses() {
    let lab = Lab::behind_nat();
    let gate = lab.gate();

    let mut client = Peer::dial(&lab.client, "198.51.100.20:21");

    let answer = client.expect("421 ");
    assert!(answer.contains("refused"), "'{answer}' does not say why");
    assert_eq!(client.end(), Ok(()));
    gate.event("session-end");
}

fn answers_421_beyond_the_session_limit() {
    let lab = Lab::behind_nat();
    let _server = lab.vsftpd();
    let _gate = lab.gate_with("limits: { sessions: 1 }\n");
    let mut first = Peer::dial(&lab.client, "198.51.100.20:21");
    first.expect("220");

    let mut second = Peer::dial(&lab.client, "198.51.100.20:21");

    second.expect("421 ");
    first.ask("QUIT", "221");
}

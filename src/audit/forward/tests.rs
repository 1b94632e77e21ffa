//! Peers that listen, that are away, and that come late.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::config::SyslogPeer;

use super::*;

fn row(number: u64) -> Row {
    Row {
        kind: "decision".into(),
        line: format!("{{\"flow_id\":{number}}}"),
        ..Row::default()
    }
}

fn to(peer: SyslogPeer) -> Forwarder {
    Forwarder::start(Peer::Syslog(Syslog::new(peer))).unwrap()
}

fn socket(name: &str) -> PathBuf {
    let name = format!("portcullis-copy-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(name);
    drop(fs::remove_file(&path));
    path
}

#[test]
fn udp_takes_a_message_a_datagram() {
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    let forwarder = to(SyslogPeer::Udp(listener.local_addr().unwrap().to_string()));
    forwarder.offer(&row(7));
    let mut bytes = [0; 1024];
    let len = listener.recv(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes[..len]);
    assert!(
        text.starts_with("<134>1 1970-01-01T00:00:00.000000Z "),
        "{text}"
    );
    assert!(text.ends_with(" decision - {\"flow_id\":7}"), "{text}");
    forwarder.finish();
}

#[test]
fn tcp_counts_octets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let forwarder = to(SyslogPeer::Tcp(listener.local_addr().unwrap().to_string()));
    for number in 0..3 {
        forwarder.offer(&row(number));
    }
    let (mut stream, _) = listener.accept().unwrap();
    forwarder.finish();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let mut rest = text.as_str();
    for number in 0..3 {
        let (len, message) = rest.split_once(' ').unwrap();
        let (message, behind) = message.split_at(len.parse().unwrap());
        assert!(
            message.ends_with(&format!("{{\"flow_id\":{number}}}")),
            "{text}"
        );
        rest = behind;
    }
    assert_eq!(rest, "");
}

#[test]
fn the_journal_gets_fields() {
    let path = socket("journal");
    let listener = UnixDatagram::bind(&path).unwrap();
    let forwarder = Forwarder::start(Peer::Journal(Journal::at(&path))).unwrap();
    forwarder.offer(&row(7));
    let mut bytes = [0; 1024];
    let len = listener.recv(&mut bytes).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&bytes[..len]),
        "PRIORITY=6\nSYSLOG_IDENTIFIER=portcullis\nPORTCULLIS_EVENT=decision\nMESSAGE={\"flow_id\":7}\n"
    );
    forwarder.finish();
    fs::remove_file(path).unwrap();
}

#[test]
fn a_peer_that_comes_late_is_told_how_much_it_missed() {
    let path = socket("late");
    let forwarder = to(SyslogPeer::Unix(path.clone()));
    let started = Instant::now();
    let queue = u64::try_from(QUEUE).unwrap();
    for number in 0..queue + 100 {
        forwarder.offer(&row(number));
    }
    assert!(started.elapsed() < RETRY, "an absent peer holds nobody up");
    let lost = forwarder.lost.load(Ordering::Relaxed);
    assert!((99..=100).contains(&lost), "{lost}");
    let listener = UnixDatagram::bind(&path).unwrap();
    let mut bytes = [0; 1024];
    let mut texts = Vec::new();
    while texts.len() < 2 {
        let len = listener.recv(&mut bytes).unwrap();
        texts.push(String::from_utf8_lossy(&bytes[..len]).into_owned());
    }
    assert!(texts[0].ends_with("{\"flow_id\":0}"), "{texts:?}");
    assert!(
        texts[1].contains(&format!("\"uncopied\":{lost}")),
        "{texts:?}"
    );
    forwarder.finish();
    fs::remove_file(path).unwrap();
}

//! Answers of the kernel: messages of nfnetlink, connection tracking and rtnetlink, read without a panic and
//! without going round; what portcullis writes reads back; and what the one process that may write it is asked for,
//! whose guard lets nothing pass that must never be open.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use portcullis::config::Kernel;
use portcullis::conntrack::decode;
use portcullis::firewall::{Guard, Settings, Subject, encode, plan_close, plan_open};
use portcullis::net::line::decode as decode_message;
use portcullis::net::netlink::{Builder, Message, attributes, messages};
use portcullis::pinhole::Pinhole;

/// Lists inside one another that are walked.
const DEPTH: usize = 6;

/// Reads the bytes as a datagram, as the body of one message, and as a pinhole to be written.
pub fn run(data: &[u8]) {
    for (count, message) in messages(data).enumerate() {
        assert!(count < data.len(), "messages without end");
        read(&message);
    }
    if let Some((kind, body)) = data.split_first_chunk::<2>() {
        let kind = u16::from_ne_bytes(*kind);
        read(&Message {
            kind,
            flags: kind,
            sequence: 1,
            body,
        });
        read(&Message {
            kind: 1 << 8,
            flags: kind,
            sequence: 1,
            body,
        });
    }
    write_back(data);
    ask(data);
}

/// Reads the bytes as what to open and for how long.
fn ask(data: &[u8]) {
    let Ok((subject, lifetime)) = decode_message::<(Subject, Duration)>(data) else {
        return;
    };
    let longest = Duration::from_secs(60);
    let guard = Guard::new(&Settings {
        kernel: Kernel::default(),
        intercepts: Vec::new(),
        windows: Vec::new(),
        capacity: 10,
        pinhole_lifetime: longest,
        servers: BTreeSet::new(),
    });
    if !guard.admits(&subject, lifetime) {
        return;
    }
    let Subject::Pinhole(pinhole) = subject else {
        panic!("{subject} passed, and there are no windows");
    };
    assert!(lifetime <= longest, "{lifetime:?}");
    let Pinhole {
        initiator,
        announced,
        target,
        source,
        ..
    } = pinhole;
    for address in [initiator, announced.ip(), target.ip(), source] {
        assert_eq!(address.is_ipv4(), initiator.is_ipv4(), "{pinhole}");
        let never = address.is_loopback() || address.is_multicast() || address.is_unspecified();
        assert!(!never, "{pinhole}");
    }
    assert!(
        announced.port() >= 1024 && target.port() >= 1024,
        "{pinhole}"
    );
    assert!(subject.plan_open(lifetime).len() <= 4);
}

fn read(message: &Message<'_>) {
    if let Some(entry) = decode(message) {
        let key = entry.flow.key;
        let _ = (key.initiator.is_ipv4(), key.announced.port(), entry.state);
    }
    let _ = message.errno();
    // nfgenmsg has 4 bytes, rtmsg and fib_rule_hdr have 12.
    for header in [4, 12] {
        let mut steps = 0;
        for (_, value) in message.attributes(header) {
            walk(value, DEPTH, &mut steps);
        }
    }
}

fn walk(nest: &[u8], depth: usize, steps: &mut usize) {
    for (_, value) in attributes(nest) {
        *steps += 1;
        assert!(
            value.len() + 4 <= nest.len(),
            "an attribute is longer than its list"
        );
        if depth > 0 && *steps < 10_000 {
            walk(value, depth - 1, steps);
        }
    }
}

fn write_back(data: &[u8]) {
    let Some((bytes, rest)) = data.split_first_chunk::<8>() else {
        return;
    };
    let [a, b, c, d, high, low, more, flags] = *bytes;
    let ip = |last: u8| -> IpAddr {
        match flags & 1 == 0 {
            true => Ipv4Addr::new(a, b, c, last).into(),
            false => Ipv6Addr::from([
                a, b, c, d, high, low, more, flags, a, b, c, d, a, b, c, last,
            ])
            .into(),
        }
    };
    let port = u16::from_be_bytes([high, low]);
    let pinhole = Pinhole {
        initiator: ip(d),
        announced: SocketAddr::new(ip(more), port),
        target: SocketAddr::new(ip(if flags & 2 == 0 { more } else { low }), port),
        source: ip(if flags & 4 == 0 { d } else { high }),
        from_port_20: flags & 8 != 0,
    };
    let table: String = rest
        .iter()
        .take(16)
        .map(|&byte| char::from(byte % 26 + b'a'))
        .collect();
    let lifetime = Duration::from_millis(u64::from(port));
    let mut changes = plan_open(&pinhole, lifetime);
    changes.extend(plan_close(&pinhole));
    let mut builder = Builder::default();
    for (sequence, change) in (1..).zip(&changes) {
        encode(&mut builder, sequence, &table, change);
    }
    let mut read = 0;
    for (sequence, message) in (1..).zip(messages(builder.bytes())) {
        assert_eq!(message.sequence, sequence);
        let mut found = message.attributes(4);
        let (kind, value) = found.next().unwrap();
        assert_eq!(
            (kind, value),
            (1, [table.as_bytes(), &[0]].concat().as_slice())
        );
        assert_eq!(found.map(|(kind, _)| kind).collect::<Vec<_>>(), [2, 3]);
        read += 1;
    }
    assert_eq!(read, changes.len());
}

//! What one pair of families shows for all: whose addresses there are, how long it waits, many at a time.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use portcullis::firewall::install;
use portcullis::relay::{Order, RelayError, expect};

use super::{BYTES, LIFETIME, Relayed, assert_turned_away, closed, noise, take};
use crate::lab::{Addresses, PATIENCE, at, eventually, ip, settings, v4, v6};

/// The address that stands for the IPv4 server in IPv6 (RFC 6052).
const NAT64: &str = "64:ff9b::c633:6414";

/// The client dials an IPv6 address that is nobody's, and is carried to the IPv4 server.
pub(super) fn reaches_nat64() {
    let relayed = Relayed::new(v6(), v4());
    relayed
        .lab
        .edge
        .run(|| drop(install(&settings(10)).unwrap()));
    let listener = relayed.listen();
    let lease = relayed.lease_transparent(ip(NAT64));
    let (announced, events, _expected) = relayed.order(lease, |_| ());
    assert_eq!(announced.ip(), ip(NAT64));
    let other = at(relayed.from.other_client, 0);
    assert_turned_away(relayed.dial_from(other, announced));
    let client = relayed.dial(announced).unwrap();
    let (mut server, seen) = take(&listener);
    assert_eq!(seen.ip(), relayed.to.edge_outside);
    let sent = noise(3, BYTES);
    server.write_all(&sent).unwrap();
    drop(server);
    let mut got = Vec::new();
    (&client).read_to_end(&mut got).unwrap();
    assert!(got == sent, "what came differs");
    drop(client);
    assert_eq!(closed(&events).1, u64::try_from(BYTES).unwrap());
}

/// The server sees the client's own address, which is not the edge's.
pub(super) fn shows_client(net: Addresses) {
    let relayed = Relayed::new(net, net);
    relayed
        .lab
        .edge
        .run(|| drop(install(&settings(10)).unwrap()));
    let listener = relayed.listen();
    let (announced, events, _expected) =
        relayed.expect_with(|order| order.pinhole.source = net.client);
    let mut client = relayed.dial(announced).unwrap();
    let (mut server, seen) = take(&listener);
    assert_eq!(seen.ip(), net.client);
    assert_ne!(seen.port(), client.local_addr().unwrap().port());
    server.write_all(&noise(4, 100_000)).unwrap();
    drop(server);
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert!(got == noise(4, 100_000), "what came differs");
    drop(client);
    assert_eq!(closed(&events), (0, 100_000, false));
}

/// The client dials the server itself, the edge takes it on its way; addresses stay as they are.
pub(super) fn stands_for_server(net: Addresses) {
    let relayed = Relayed::new(net, net);
    relayed
        .lab
        .edge
        .run(|| drop(install(&settings(10)).unwrap()));
    let lease = relayed.lease_transparent(net.server);
    let target = lease.address();
    let listener = relayed
        .lab
        .server
        .run(|| TcpListener::bind(target).unwrap());
    let (announced, events, _expected) = relayed.order(lease, |order| {
        order.pinhole.target = target;
        order.pinhole.source = net.client;
    });
    assert_eq!(announced, target);
    let mut client = relayed.dial(announced).unwrap();
    let (mut server, seen) = take(&listener);
    assert_eq!(seen.ip(), net.client);
    client.write_all(b"through").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(io::read_to_string(&mut server).unwrap(), "through");
    drop(server);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(closed(&events), (7, 0, false));
}

pub(super) fn requires_port_20() {
    let relayed = Relayed::new(v4(), v6());
    let listener = relayed.listen();
    let (announced, events, _expected) =
        relayed.expect_with(|order| order.pinhole.from_port_20 = true);
    assert_turned_away(relayed.dial(announced));
    assert!(events.try_recv().is_err(), "another port was taken");
    let from = at(relayed.from.client, 20);
    let client = relayed.dial_from(from, announced).unwrap();
    drop((client, take(&listener)));
    closed(&events);
}

pub(super) fn waits_so_long() {
    let relayed = Relayed::new(v4(), v4());
    let short = Duration::from_millis(300);
    let (announced, events, _expected) = relayed.expect_with(|order| order.lifetime = short);
    // The end of the waiting is the end of the task, which has the other end of the channel.
    let over = events.recv_timeout(PATIENCE);
    assert_eq!(over, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    assert!(relayed.dial(announced).is_err());
}

pub(super) fn gives_up() {
    let relayed = Relayed::new(v4(), v4());
    let listener = relayed.listen();
    let (announced, events, expected) = relayed.expect();
    expected.close();
    assert!(events.recv().is_err());
    assert!(relayed.dial(announced).is_err());
    // One that came already goes on.
    let (announced, events, expected) = relayed.expect();
    let client = relayed.dial(announced).unwrap();
    let (mut server, _) = take(&listener);
    drop(expected);
    thread::sleep(Duration::from_millis(100));
    server.write_all(b"goes on").unwrap();
    drop(server);
    assert_eq!(io::read_to_string(&client).unwrap(), "goes on");
    drop(client);
    closed(&events);
}

pub(super) fn stalls_alone() {
    let relayed = Relayed::new(v4(), v4());
    let listener = relayed.listen();
    // More than there are threads.
    let stalled: Vec<_> = (0..6)
        .map(|_| {
            let (announced, events, expected) = relayed.expect();
            let client = relayed.dial(announced).unwrap();
            let (mut server, _) = take(&listener);
            server
                .set_write_timeout(Some(Duration::from_millis(200)))
                .unwrap();
            while server.write(&[1; 65_536]).is_ok() {}
            (client, server, events, expected)
        })
        .collect();
    let begun = Instant::now();
    let (announced, events, _expected) = relayed.expect();
    let client = relayed.dial(announced).unwrap();
    let (mut server, _) = take(&listener);
    thread::spawn(move || server.write_all(&noise(5, BYTES)).unwrap());
    let mut got = Vec::new();
    (&client).read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), BYTES);
    drop(client);
    closed(&events);
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    drop(stalled);
}

pub(super) fn carries_hundred() {
    const RELAYS: u32 = 100;
    const EACH: usize = 300_000;
    let relayed = Relayed::new(v6(), v4());
    let listener = relayed.listen();
    let serving = thread::spawn(move || {
        let uploads: Vec<_> = (0..RELAYS)
            .map(|_| {
                let (mut stream, _) = take(&listener);
                thread::spawn(move || {
                    // Sends back what it gets.
                    let mut got = Vec::new();
                    stream.read_to_end(&mut got).unwrap();
                    stream.write_all(&got).unwrap();
                })
            })
            .collect();
        uploads
            .into_iter()
            .for_each(|upload| upload.join().unwrap());
    });
    let all: Vec<_> = (0..RELAYS).map(|seed| (seed, relayed.expect())).collect();
    thread::scope(|scope| {
        for (seed, (announced, ..)) in &all {
            let relayed = &relayed;
            scope.spawn(move || {
                let mut client = relayed.dial(*announced).unwrap();
                let sent = noise(*seed, EACH);
                client.write_all(&sent).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                let mut got = Vec::new();
                client.read_to_end(&mut got).unwrap();
                assert!(got == sent, "what came back to {seed} differs");
            });
        }
    });
    serving.join().unwrap();
    let bytes = u64::try_from(EACH).unwrap();
    for (_, (_, events, _expected)) in &all {
        assert_eq!(closed(events), (bytes, bytes, false));
    }
}

pub(super) fn gives_files_back() {
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let relayed = Relayed::new(v4(), v4());
    let listener = relayed.listen();
    let before = files();
    let (announced, events, _expected) = relayed.expect();
    assert_eq!(files(), before + 1, "while it waits");
    let client = relayed.dial(announced).unwrap();
    let (mut server, _) = take(&listener);
    // The test's own two, and the relay's two.
    eventually("two files of the relay", || files() == before + 4);
    server.write_all(b"x").unwrap();
    (&client).read_exact(&mut [0]).unwrap();
    assert_eq!(files(), before + 6, "while bytes flow one way");
    drop((client, server));
    closed(&events);
    assert_eq!(files(), before, "at the end");
}

pub(super) fn refuses_orders() {
    let relayed = Relayed::new(v4(), v4());
    let refused = |change: fn(&mut Order)| {
        let lease = relayed.lease(relayed.from.edge_inside);
        let mut order = Order {
            pinhole: relayed.pinhole(lease.address()),
            lifetime: LIFETIME,
            max_bytes: None,
            connect_timeout: PATIENCE,
        };
        change(&mut order);
        let _inside = relayed.runtime.enter();
        expect(order, lease, |_| ()).unwrap_err()
    };
    let error = refused(|order| order.pinhole.announced.set_port(1));
    assert!(matches!(error, RelayError::OtherPort { .. }), "{error}");
    let error = refused(|order| order.pinhole.initiator = v6().client);
    assert!(matches!(error, RelayError::MixedFamilies { .. }), "{error}");
    let error = refused(|order| order.pinhole.source = v6().edge_outside);
    assert!(matches!(error, RelayError::MixedFamilies { .. }), "{error}");
}

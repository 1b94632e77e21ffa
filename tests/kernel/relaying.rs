//! Data carried in userspace: between families, from addresses of others, with all ways to end.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use portcullis::firewall::install;
use portcullis::net::{PortLease, Ports};
use portcullis::pinhole::Pinhole;
use portcullis::relay::{Expected, Order, RelayError, RelayEvent, expect, strays};
use tokio::runtime::Runtime;

use crate::lab::{Addresses, Lab, ONE_SYN, PATIENCE, at, eventually, ip, settings, v4, v6};
use crate::trial;

const LIFETIME: Duration = Duration::from_secs(20);
const PORT: u16 = 5000;
const BYTES: usize = 3_000_000;

/// The address that stands for the IPv4 server in IPv6 (RFC 6052).
const NAT64: &str = "64:ff9b::c633:6414";

type Check = (&'static str, fn(Relayed));

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("an_ipv6_client_reaches_a_nat64_address", reaches_nat64),
        trial("the_server_sees_the_client_ipv4", || shows_client(v4())),
        trial("the_server_sees_the_client_ipv6", || shows_client(v6())),
        trial("a_lease_of_the_servers_own_address_ipv4", || {
            stands_for_server(v4())
        }),
        trial("a_lease_of_the_servers_own_address_ipv6", || {
            stands_for_server(v6())
        }),
        trial(
            "a_relay_requires_source_port_20_where_said",
            requires_port_20,
        ),
        trial("a_relay_waits_as_long_as_said", waits_so_long),
        trial("a_relay_that_is_given_up_waits_no_more", gives_up),
        trial("one_stalled_reader_stalls_no_other", stalls_alone),
        trial("a_hundred_relays_at_once", carries_hundred),
        trial(
            "a_relay_takes_files_only_while_it_carries",
            gives_files_back,
        ),
        trial("orders_that_cannot_be_are_refused", refuses_orders),
    ];
    for (name, from, to) in [
        ("ipv4", v4 as fn() -> Addresses, v4 as fn() -> Addresses),
        ("ipv6", v6, v6),
        ("ipv4_to_ipv6", v4, v6),
        ("ipv6_to_ipv4", v6, v4),
    ] {
        let checks: [Check; 6] = [
            ("a_relay_carries_both_ways", carries),
            ("a_relay_carries_half_closes_over", carries_half_close),
            ("a_relay_carries_resets_over", carries_resets),
            ("a_relay_turns_strays_away", turns_strays_away),
            ("a_relay_stops_at_the_limit", stops_at_limit),
            ("a_relay_resets_where_the_target_refuses", tells_refusal),
        ];
        for (check_name, check) in checks {
            trials.push(trial(&format!("{check_name}_{name}"), move || {
                check(Relayed::new(from(), to()));
            }));
        }
    }
    trials
}

/// A client that dials the inside of the edge and is carried to the server.
struct Relayed {
    lab: Lab,
    runtime: Runtime,
    from: Addresses,
    to: Addresses,
}

impl Relayed {
    fn new(from: Addresses, to: Addresses) -> Self {
        let lab = Lab::new();
        // Its threads make their sockets where they are born.
        let runtime = lab.edge.run(|| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(2).enable_all().build().unwrap()
        });
        Self {
            lab,
            runtime,
            from,
            to,
        }
    }

    fn listen(&self) -> TcpListener {
        let address = at(self.to.server, PORT);
        self.lab.server.run(|| TcpListener::bind(address).unwrap())
    }

    fn lease(&self, ip: IpAddr) -> PortLease {
        let ports = Ports::new(20_000..=30_000);
        self.lab.edge.run(|| ports.lease(ip).unwrap())
    }

    fn lease_transparent(&self, ip: IpAddr) -> PortLease {
        let ports = Ports::new(20_000..=30_000);
        self.lab.edge.run(|| ports.lease_transparent(ip).unwrap())
    }

    fn pinhole(&self, announced: SocketAddr) -> Pinhole {
        Pinhole {
            initiator: self.from.client,
            announced,
            target: at(self.to.server, PORT),
            source: self.to.edge_outside,
            from_port_20: false,
        }
    }

    /// Expects the client at the inside of the edge.
    fn expect(&self) -> (SocketAddr, Receiver<RelayEvent>, Expected) {
        self.expect_with(|_| ())
    }

    fn expect_with(
        &self,
        change: impl FnOnce(&mut Order),
    ) -> (SocketAddr, Receiver<RelayEvent>, Expected) {
        self.order(self.lease(self.from.edge_inside), change)
    }

    fn order(
        &self,
        lease: PortLease,
        change: impl FnOnce(&mut Order),
    ) -> (SocketAddr, Receiver<RelayEvent>, Expected) {
        let announced = lease.address();
        let mut order = Order {
            pinhole: self.pinhole(announced),
            lifetime: LIFETIME,
            max_bytes: None,
            connect_timeout: PATIENCE,
        };
        change(&mut order);
        let (sender, events) = channel();
        let _inside = self.runtime.enter();
        let tell = move |event| sender.send(event).unwrap_or_default();
        let expected = self.lab.edge.run(|| {
            let _inside = self.runtime.enter();
            expect(order, lease, tell).unwrap()
        });
        (announced, events, expected)
    }

    fn dial_from(&self, source: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
        let stream = self.lab.client.connect(source, to, ONE_SYN)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.dial_from(at(self.from.client, 0), to)
    }
}

fn take(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    // A connection that never comes must not hold up the others of this program.
    listener.set_nonblocking(true).unwrap();
    let mut taken = None;
    eventually("a connection", || {
        taken = listener.accept().ok();
        taken.is_some()
    });
    let (stream, peer) = taken.unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (stream, peer)
}

fn next(events: &Receiver<RelayEvent>) -> RelayEvent {
    events.recv_timeout(PATIENCE).unwrap()
}

/// Bytes forth, bytes back, truncated.
fn closed(events: &Receiver<RelayEvent>) -> (u64, u64, bool) {
    assert_eq!(next(events), RelayEvent::Used);
    let RelayEvent::Closed {
        counters,
        duration,
        truncated,
    } = next(events)
    else {
        panic!("used twice");
    };
    assert!(duration < PATIENCE, "{duration:?}");
    assert!(events.recv().is_err(), "more was told after the end");
    (counters.bytes_forth, counters.bytes_back, truncated)
}

/// Bytes that differ from place to place and from seed to seed.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

fn assert_reset(mut stream: TcpStream) {
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// The reset may come before the one who dialled looks at the connection.
fn assert_turned_away(dialled: io::Result<TcpStream>) {
    match dialled {
        Ok(stream) => assert_reset(stream),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

fn carries(relayed: Relayed) {
    let listener = relayed.listen();
    let (announced, events, _expected) = relayed.expect();
    let mut client = relayed.dial(announced).unwrap();
    let (mut server, seen) = take(&listener);
    assert_eq!(seen.ip(), relayed.to.edge_outside);
    let (forth, back) = (noise(1, BYTES), noise(2, BYTES));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = &client;
            client.write_all(&forth).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        scope.spawn(|| {
            let mut server = &server;
            server.write_all(&back).unwrap();
            server.shutdown(Shutdown::Write).unwrap();
        });
        let at_server = scope.spawn(|| {
            let mut got = Vec::new();
            (&server).read_to_end(&mut got).unwrap();
            got
        });
        let mut got = Vec::new();
        (&client).read_to_end(&mut got).unwrap();
        assert!(got == back, "what came back differs");
        assert!(
            at_server.join().unwrap() == forth,
            "what went forth differs"
        );
    });
    let bytes = u64::try_from(BYTES).unwrap();
    assert_eq!(closed(&events), (bytes, bytes, false));
    assert!(relayed.dial(announced).is_err(), "passed a second time");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
}

fn carries_half_close(relayed: Relayed) {
    let listener = relayed.listen();
    for server_first in [false, true] {
        let (announced, events, _expected) = relayed.expect();
        let client = relayed.dial(announced).unwrap();
        let (server, _) = take(&listener);
        let (mut first, mut second) = if server_first {
            (server, client)
        } else {
            (client, server)
        };
        first.write_all(b"all of it").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(io::read_to_string(&mut second).unwrap(), "all of it");
        // The other direction goes on.
        for word in ["and", "then", "more"] {
            second.write_all(word.as_bytes()).unwrap();
            let mut got = vec![0; word.len()];
            first.read_exact(&mut got).unwrap();
            assert_eq!(got, word.as_bytes());
        }
        drop(second);
        assert_eq!(first.read(&mut [0]).unwrap(), 0);
        let (forth, back, _) = closed(&events);
        let expected = if server_first { (11, 9) } else { (9, 11) };
        assert_eq!((forth, back), expected);
    }
}

fn carries_resets(relayed: Relayed) {
    let listener = relayed.listen();
    let meet = || {
        let (announced, events, expected) = relayed.expect();
        let client = relayed.dial(announced).unwrap();
        let (server, _) = take(&listener);
        (client, server, events, expected)
    };
    let (client, server, events, _expected) = meet();
    reset(client);
    assert_reset(server);
    assert_eq!(closed(&events), (0, 0, false));

    let (client, server, events, _expected) = meet();
    reset(server);
    assert_reset(client);
    closed(&events);

    // One that has sent its end before, so that nobody reads it any more.
    let (client, mut server, events, _expected) = meet();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    reset(client);
    // Behind an end, reads go on saying that it ended; what a write would get is EPIPE.
    eventually("the reset", || {
        let error = server.take_error().unwrap();
        error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
    });
    closed(&events);

    // One that does not read, with all buffers full.
    let (client, mut server, events, _expected) = meet();
    server
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    while server.write(&[1; 65_536]).is_ok() {}
    reset(client);
    assert_reset(server);
    closed(&events);
}

fn turns_strays_away(relayed: Relayed) {
    let listener = relayed.listen();
    let (announced, events, _expected) = relayed.expect();
    let before = strays();
    let other = at(relayed.from.other_client, 0);
    for _ in 0..40 {
        assert_turned_away(relayed.dial_from(other, announced));
    }
    eventually("the count of strays", || strays() == before + 40);
    assert!(
        events.try_recv().is_err(),
        "a stray was taken for the initiator"
    );
    let client = relayed.dial(announced).unwrap();
    let (mut server, _) = take(&listener);
    server.write_all(b"served").unwrap();
    drop(server);
    assert_eq!(io::read_to_string(&client).unwrap(), "served");
    drop(client);
    assert_eq!(closed(&events), (0, 6, false));
}

fn stops_at_limit(relayed: Relayed) {
    let listener = relayed.listen();
    let limit = |order: &mut Order| order.max_bytes = Some(1_000_000);
    let (announced, events, _expected) = relayed.expect_with(limit);
    let client = relayed.dial(announced).unwrap();
    let (mut server, _) = take(&listener);
    (&client).write_all(&[1; 1000]).unwrap();
    server.read_exact(&mut [0; 1000]).unwrap();
    let sending = thread::spawn(move || while server.write_all(&[1; 10_000]).is_ok() {});
    assert_reset(client);
    sending.join().unwrap();
    assert_eq!(closed(&events), (1000, 999_000, true));
}

fn tells_refusal(relayed: Relayed) {
    let (announced, events, _expected) = relayed.expect();
    assert_turned_away(relayed.dial(announced));
    assert_eq!(closed(&events), (0, 0, false));

    let silent = if relayed.to.server.is_ipv4() {
        "198.51.100.99"
    } else {
        "2001:db8:1::99"
    };
    let (announced, events, _expected) = relayed.expect_with(|order| {
        order.pinhole.target = at(ip(silent), PORT);
        order.connect_timeout = Duration::from_millis(300);
    });
    let begun = Instant::now();
    assert_turned_away(relayed.dial(announced));
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(closed(&events), (0, 0, false));
}

/// The client dials an IPv6 address that is nobody's, and is carried to the IPv4 server.
fn reaches_nat64() {
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
fn shows_client(net: Addresses) {
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
fn stands_for_server(net: Addresses) {
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

fn requires_port_20() {
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

fn waits_so_long() {
    let relayed = Relayed::new(v4(), v4());
    let short = Duration::from_millis(300);
    let (announced, events, _expected) = relayed.expect_with(|order| order.lifetime = short);
    // The end of the waiting is the end of the task, which has the other end of the channel.
    let over = events.recv_timeout(PATIENCE);
    assert_eq!(over, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    assert!(relayed.dial(announced).is_err());
}

fn gives_up() {
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

fn stalls_alone() {
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

fn carries_hundred() {
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

fn gives_files_back() {
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

fn refuses_orders() {
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

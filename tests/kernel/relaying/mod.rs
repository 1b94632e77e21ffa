//! Data carried in userspace: between families, from addresses of others, with all ways to end.

mod pairs;
mod single;

use std::io::{self, ErrorKind, Read as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use libtest_mimic::Trial;
use portcullis::net::{PortLease, Ports};
use portcullis::pinhole::Pinhole;
use portcullis::relay::{Expected, Order, RelayEvent, expect};
use tokio::runtime::Runtime;

use crate::lab::{Addresses, Lab, ONE_SYN, PATIENCE, at, eventually, v4, v6};
use crate::trial;

const LIFETIME: Duration = Duration::from_secs(20);
const PORT: u16 = 5000;
const BYTES: usize = 3_000_000;

type Check = (&'static str, fn(Relayed));

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial(
            "an_ipv6_client_reaches_a_nat64_address",
            single::reaches_nat64,
        ),
        trial("the_server_sees_the_client_ipv4", || {
            single::shows_client(v4())
        }),
        trial("the_server_sees_the_client_ipv6", || {
            single::shows_client(v6())
        }),
        trial("a_lease_of_the_servers_own_address_ipv4", || {
            single::stands_for_server(v4())
        }),
        trial("a_lease_of_the_servers_own_address_ipv6", || {
            single::stands_for_server(v6())
        }),
        trial(
            "a_relay_requires_source_port_20_where_said",
            single::requires_port_20,
        ),
        trial("a_relay_waits_as_long_as_said", single::waits_so_long),
        trial("a_relay_that_is_given_up_waits_no_more", single::gives_up),
        trial("one_stalled_reader_stalls_no_other", single::stalls_alone),
        trial("a_hundred_relays_at_once", single::carries_hundred),
        trial(
            "a_relay_takes_files_only_while_it_carries",
            single::gives_files_back,
        ),
        trial("orders_that_cannot_be_are_refused", single::refuses_orders),
    ];
    for (name, from, to) in [
        ("ipv4", v4 as fn() -> Addresses, v4 as fn() -> Addresses),
        ("ipv6", v6, v6),
        ("ipv4_to_ipv6", v4, v6),
        ("ipv6_to_ipv4", v6, v4),
    ] {
        let checks: [Check; 6] = [
            ("a_relay_carries_both_ways", pairs::carries),
            (
                "a_relay_carries_half_closes_over",
                pairs::carries_half_close,
            ),
            ("a_relay_carries_resets_over", pairs::carries_resets),
            ("a_relay_turns_strays_away", pairs::turns_strays_away),
            ("a_relay_stops_at_the_limit", pairs::stops_at_limit),
            (
                "a_relay_resets_where_the_target_refuses",
                pairs::tells_refusal,
            ),
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

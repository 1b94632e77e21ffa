//! What a window lets through, and what it does not.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use portcullis::config::Kernel;
use portcullis::conntrack::{FlowEvent, Key, watch};
use portcullis::firewall::{Firewall, FirewallError, WindowSpec, install};
use portcullis::rules::Window;

use crate::lab::{Addresses, Lab, ONE_SYN, PATIENCE, at, eventually, ip, plain, settings, v4, v6};
use crate::trial;

const LIFETIME: Duration = Duration::from_secs(20);
const FIRST: u16 = 5000;
const LAST: u16 = 5010;

type Check = fn(Addresses);

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("two_windows_of_one_pair_are_two", keeps_windows_apart),
        trial("a_window_of_two_families_is_refused", refuses_two_families),
        trial("what_comes_through_a_window_is_told", tells_flows),
        trial(
            "a_pinhole_takes_no_place_in_a_window",
            leaves_pinholes_uncounted,
        ),
        trial(
            "an_edge_that_forwards_all_holds_the_limit",
            holds_without_firewall,
        ),
    ];
    for (family, net) in [("ipv4", v4 as fn() -> Addresses), ("ipv6", v6)] {
        let checks: [(&str, Check); 6] = [
            ("a_window_passes_its_range_for_its_pair", passes_range),
            ("a_window_holds_so_many_at_a_time", holds_limit),
            ("a_closed_window_passes_nothing_more", closes),
            ("a_window_expires_unless_opened_again", expires),
            ("a_window_to_a_published_server_keeps_the_port", publishes),
            ("a_window_hides_the_client", translates_source),
        ];
        for (name, check) in checks {
            trials.push(trial(&format!("{name}_{family}"), move || check(net())));
        }
    }
    trials
}

struct Opened {
    lab: Lab,
    firewall: Firewall,
}

impl Opened {
    /// An edge with two windows of the same range: two connections at a time, and one.
    fn new() -> Self {
        let lab = Lab::new();
        let mut settings = settings(100);
        settings.windows = [2, 1]
            .map(|at_most| Window {
                first: FIRST,
                last: LAST,
                at_most,
            })
            .to_vec();
        let firewall = lab.edge.run(|| {
            install(&settings).unwrap();
            Firewall::start(&settings).unwrap()
        });
        Self { lab, firewall }
    }

    fn open(&self, window: WindowSpec, lifetime: Duration) {
        self.lab
            .edge
            .run_async(async || self.firewall.open_window(window, lifetime).await.unwrap());
    }

    fn close(&self, window: WindowSpec) {
        self.lab
            .edge
            .run_async(async || self.firewall.close_window(window).await.unwrap());
    }

    fn listen(&self, address: SocketAddr) -> TcpListener {
        self.lab.server.run(|| TcpListener::bind(address).unwrap())
    }

    fn connect(&self, from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.lab.client.connect(at(from, 0), to, ONE_SYN)
    }

    fn crowded(&self) -> String {
        self.lab.edge.sh("nft list counter inet portcullis crowded")
    }
}

/// A window without any translation.
fn pair(window: usize, net: Addresses) -> WindowSpec {
    WindowSpec {
        window,
        client: net.client,
        dialled: net.server,
        server: net.server,
        source: net.client,
    }
}

fn passes_range(net: Addresses) {
    let opened = Opened::new();
    let ports = [FIRST - 1, FIRST, LAST, LAST + 1];
    let _listeners = ports.map(|port| opened.listen(at(net.server, port)));
    let passes = |from, port| opened.connect(from, at(net.server, port)).is_ok();
    assert!(!passes(net.client, FIRST), "passed without a window");
    opened.open(pair(0, net), LIFETIME);
    let passed = ports.map(|port| passes(net.client, port));
    assert_eq!(passed, [false, true, true, false]);
    assert!(!passes(net.other_client, FIRST), "passed from another host");
    let backwards = at(net.client, FIRST);
    let _client = opened
        .lab
        .client
        .run(|| TcpListener::bind(backwards).unwrap());
    let dialled = opened
        .lab
        .server
        .connect(at(net.server, 0), backwards, ONE_SYN);
    assert!(dialled.is_err(), "passed from the server");
}

fn holds_limit(net: Addresses) {
    let opened = Opened::new();
    let server = at(net.server, FIRST);
    let listener = opened.listen(server);
    opened.open(pair(0, net), LIFETIME);
    let dial = || opened.connect(net.client, server);
    let first = dial().unwrap();
    let second = dial().unwrap();
    for _ in 0..3 {
        assert!(dial().is_err(), "passed as a third");
    }
    assert!(
        opened.crowded().contains("packets 3 "),
        "{}",
        opened.crowded()
    );
    // Opening again admits no more.
    opened.open(pair(0, net), LIFETIME);
    assert!(dial().is_err(), "passed as a third after a renewal");
    // A place is free when a connection ended, by an orderly end or by a reset.
    drop((first, listener.accept().unwrap()));
    let third = in_time(&dial);
    assert!(dial().is_err(), "passed beside two others");
    socket2::SockRef::from(&second)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(second);
    let fourth = in_time(&dial);
    assert!(dial().is_err(), "passed beside two others");
    drop((third, fourth));
}

/// Dials until a place is free: on a busy machine the kernel takes a moment to see an end.
fn in_time<T, E: std::fmt::Debug>(dial: &impl Fn() -> Result<T, E>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match dial() {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < until, "{error:?}"),
        }
    }
}

fn closes(net: Addresses) {
    let opened = Opened::new();
    let server = at(net.server, FIRST);
    let listener = opened.listen(server);
    opened.open(pair(0, net), LIFETIME);
    let running = opened.connect(net.client, server).unwrap();
    let (mut served, _) = listener.accept().unwrap();
    opened.close(pair(0, net));
    opened.close(pair(0, net));
    assert!(opened.connect(net.client, server).is_err());
    std::io::Write::write_all(&mut served, &[1; 100_000]).unwrap();
    drop(served);
    running.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(std::io::read_to_string(running).unwrap().len(), 100_000);
}

fn expires(net: Addresses) {
    let opened = Opened::new();
    let server = at(net.server, FIRST);
    let _listener = opened.listen(server);
    let short = Duration::from_millis(800);
    opened.open(pair(0, net), short);
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(500));
        opened.open(pair(0, net), short);
    }
    drop(opened.connect(net.client, server).unwrap());
    std::thread::sleep(Duration::from_secs(1));
    assert!(opened.connect(net.client, server).is_err());
}

fn publishes(net: Addresses) {
    let opened = Opened::new();
    let window = WindowSpec {
        // The server's side dials here, so that the client's network is the published one.
        window: 0,
        client: net.server,
        dialled: net.edge_outside,
        server: net.client,
        source: net.edge_inside,
    };
    opened.open(window, LIFETIME);
    for port in [FIRST, LAST] {
        let seen = opened.lab.client.serve(at(net.client, port), vec![1; 1000]);
        let dialled = at(net.edge_outside, port);
        let got = opened.lab.server.dial(at(net.server, 0), dialled, PATIENCE);
        assert_eq!(got.unwrap(), 1000);
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap().ip(), net.edge_inside);
    }
}

fn translates_source(net: Addresses) {
    let opened = Opened::new();
    let window = WindowSpec {
        source: net.edge_outside,
        ..pair(0, net)
    };
    opened.open(window, LIFETIME);
    let server = at(net.server, LAST);
    let seen = opened.lab.server.serve(server, vec![1; 1000]);
    let got = opened.lab.client.dial(at(net.client, 0), server, PATIENCE);
    assert_eq!(got.unwrap(), 1000);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().ip(), net.edge_outside);
}

fn keeps_windows_apart() {
    let opened = Opened::new();
    let net = v4();
    let server = at(net.server, FIRST);
    let _listener = opened.listen(server);
    opened.open(pair(1, net), LIFETIME);
    let dial = || opened.connect(net.client, server);
    let _first = dial().unwrap();
    assert!(dial().is_err(), "the second window holds one");
    opened.open(pair(0, net), LIFETIME);
    let _second = dial().unwrap();
}

fn refuses_two_families() {
    let opened = Opened::new();
    let mixed = WindowSpec {
        source: ip("fd60::1"),
        ..pair(0, v4())
    };
    let refused = opened
        .lab
        .edge
        .run_async(async || opened.firewall.open_window(mixed, LIFETIME).await);
    assert!(
        matches!(refused, Err(FirewallError::MixedFamilies { .. })),
        "{refused:?}"
    );
}

fn tells_flows() {
    let opened = Opened::new();
    let net = v4();
    let (sender, events) = channel();
    let _watcher = opened.lab.edge.run(|| {
        let tell = move |event| sender.send(event).unwrap_or_default();
        watch(Kernel::default().connection_mark, tell).unwrap()
    });
    opened.open(pair(0, net), LIFETIME);
    let server = at(net.server, LAST);
    let _seen = opened.lab.server.serve(server, vec![1; 50_000]);
    let got = opened.lab.client.dial(at(net.client, 0), server, PATIENCE);
    assert_eq!(got.unwrap(), 50_000);
    let wanted = Key {
        initiator: net.client,
        announced: server,
    };
    let event = events.recv_timeout(PATIENCE).unwrap();
    assert_eq!(event, FlowEvent::Opened { key: wanted });
    let FlowEvent::Closed { key, counters, .. } = events.recv_timeout(PATIENCE).unwrap() else {
        panic!("opened twice");
    };
    assert_eq!(key, wanted);
    assert!(counters.unwrap().bytes_back > 50_000, "{counters:?}");
}

fn leaves_pinholes_uncounted() {
    let opened = Opened::new();
    let net = v4();
    let server = at(net.server, FIRST);
    let _listener = opened.listen(server);
    opened.open(pair(1, net), LIFETIME);
    opened.lab.edge.run_async(async || {
        let pinhole = plain(net.client, server);
        opened.firewall.open(pinhole, LIFETIME).await.unwrap();
    });
    let dial = || opened.connect(net.client, server);
    let _by_pinhole = dial().unwrap();
    let _by_window = dial().unwrap();
    assert!(dial().is_err(), "passed beside another");
}

fn holds_without_firewall() {
    let opened = Opened::new();
    let net = v4();
    opened.lab.edge.nft("delete table inet site");
    let server = at(net.server, FIRST);
    let _listener = opened.listen(server);
    let before = opened.connect(net.client, server).unwrap();
    opened.open(pair(0, net), LIFETIME);
    let first = opened.connect(net.client, server).unwrap();
    let _second = opened.connect(net.client, server).unwrap();
    assert!(
        opened.connect(net.client, server).is_err(),
        "passed as a third"
    );
    drop((first, before));
    eventually("a free place", || {
        opened.connect(net.client, server).is_ok()
    });
}

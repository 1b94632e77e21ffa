//! What connection tracking tells about data connections.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use portcullis::config::Kernel;
use portcullis::conntrack::{FlowEvent, Key, Watcher, watch};
use portcullis::firewall::{Firewall, install};

use crate::lab::{Addresses, Lab, PATIENCE, at, ip, plain, settings, v4, v6};
use crate::trial;

const LIFETIME: Duration = Duration::from_secs(20);
const BYTES: usize = 1_000_000;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_transfer_is_told_with_its_bytes_ipv4", || {
            tells_bytes(v4())
        }),
        trial("a_transfer_is_told_with_its_bytes_ipv6", || {
            tells_bytes(v6())
        }),
        trial("a_running_transfer_can_be_measured", measures),
        trial("a_forgotten_connection_is_told_closed", tells_forgotten),
        trial("other_connections_are_not_told", ignores_others),
        trial("lost_events_are_made_up_for", makes_up_for_loss),
    ]
}

struct Followed {
    lab: Lab,
    firewall: Firewall,
    watcher: Watcher,
    events: Receiver<FlowEvent>,
}

impl Followed {
    fn new() -> Self {
        let lab = Lab::new();
        let (sender, events) = channel();
        let (firewall, watcher) = lab.edge.run(|| {
            install(&settings(100)).unwrap();
            let tell = move |event| sender.send(event).unwrap_or_default();
            let watcher = watch(Kernel::default().connection_mark, tell).unwrap();
            (Firewall::start(&settings(100)).unwrap(), watcher)
        });
        Self {
            lab,
            firewall,
            watcher,
            events,
        }
    }

    fn open(&self, net: Addresses, port: u16) -> Key {
        let pinhole = plain(net.client, at(net.server, port));
        let firewall = &self.firewall;
        self.lab
            .edge
            .run_async(async || firewall.open(pinhole, LIFETIME).await.unwrap());
        Key::from(&pinhole)
    }

    fn next(&self) -> FlowEvent {
        self.events.recv_timeout(PATIENCE).unwrap()
    }

    fn nothing_more(&self) {
        let more = self.events.recv_timeout(Duration::from_millis(300));
        assert!(more.is_err(), "{more:?}");
    }
}

fn tells_bytes(net: Addresses) {
    let followed = Followed::new();
    let server = at(net.server, 5000);
    let _seen = followed.lab.server.serve(server, vec![1; BYTES]);
    let key = followed.open(net, 5000);
    let begun = Instant::now();
    let got = followed
        .lab
        .client
        .dial(at(net.client, 0), server, PATIENCE);
    assert_eq!(got.unwrap(), BYTES);
    assert_eq!(followed.next(), FlowEvent::Opened { key });
    let FlowEvent::Closed {
        key: closed,
        counters,
        duration,
    } = followed.next()
    else {
        panic!("opened twice");
    };
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "told after {took:?}");
    assert_eq!(closed, key);
    let counters = counters.unwrap();
    let counted = usize::try_from(counters.bytes_back).unwrap();
    assert!(
        (BYTES..BYTES + BYTES / 10).contains(&counted),
        "{counters:?}"
    );
    assert!(
        counters.packets_forth >= 3 && counters.packets_back >= 3,
        "{counters:?}"
    );
    assert!(duration.unwrap() <= took, "{duration:?}");
    // The entry goes: that is not a second end.
    followed.lab.edge.sh("conntrack -D -p tcp 2>/dev/null");
    followed.nothing_more();
}

fn measures() {
    let followed = Followed::new();
    let net = v4();
    let server = at(net.server, 5000);
    let _seen = followed.lab.server.serve(server, vec![1; 50_000]);
    let key = followed.open(net, 5000);
    assert_eq!(followed.watcher.measure(&key), None);
    let mut stream = followed
        .lab
        .client
        .connect(at(net.client, 0), server, PATIENCE)
        .unwrap();
    stream.read_exact(&mut vec![0; 50_000]).unwrap();
    assert_eq!(followed.next(), FlowEvent::Opened { key });
    let (counters, lasted) = followed.watcher.measure(&key).unwrap();
    assert!(counters.bytes_back >= 50_000, "{counters:?}");
    assert!(lasted < PATIENCE, "{lasted:?}");
    // Reset: the connection ends without a farewell.
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
    assert!(matches!(followed.next(), FlowEvent::Closed { .. }));
    assert_eq!(followed.watcher.measure(&key), None);
}

fn tells_forgotten() {
    let followed = Followed::new();
    let net = v4();
    let server = at(net.server, 5000);
    let listener = followed
        .lab
        .server
        .run(|| std::net::TcpListener::bind(server).unwrap());
    let key = followed.open(net, 5000);
    let stream = followed
        .lab
        .client
        .connect(at(net.client, 0), server, PATIENCE);
    assert_eq!(followed.next(), FlowEvent::Opened { key });
    followed.lab.edge.sh("conntrack -D -p tcp 2>/dev/null");
    let FlowEvent::Closed {
        key: closed,
        counters,
        ..
    } = followed.next()
    else {
        panic!("opened twice");
    };
    assert_eq!(closed, key);
    assert!(counters.unwrap().packets_forth >= 2, "{counters:?}");
    followed.nothing_more();
    drop((listener, stream));
}

fn ignores_others() {
    let followed = Followed::new();
    let net = v4();
    let address = at(net.edge_outside, 5000);
    let _seen = followed.lab.edge.serve(address, vec![1; 1000]);
    let got = followed
        .lab
        .server
        .dial(at(net.server, 0), address, PATIENCE);
    assert_eq!(got.unwrap(), 1000);
    followed.nothing_more();
}

/// More connections than the receive buffer has room for, while the watcher is held up.
fn makes_up_for_loss() {
    const CONNECTIONS: u32 = 12_000;
    let lab = Lab::new();
    let (sender, events) = channel();
    let (open_gate, gate) = channel::<()>();
    let _watcher = lab.edge.run(|| {
        install(&settings(100)).unwrap();
        nft_marks_loopback(&lab);
        let gate = Mutex::new(Some(gate));
        let tell = move |event| {
            // The first event waits until all connections were made.
            if let Some(gate) = gate.lock().unwrap().take() {
                let _ = gate.recv();
            }
            let _ = sender.send(event);
        };
        watch(Kernel::default().connection_mark, tell).unwrap()
    });
    let _seen = lab.edge.serve(at(ip("0.0.0.0"), 7000), vec![1; 10]);
    lab.edge.run(|| {
        for number in 0..CONNECTIONS {
            let to = at(Ipv4Addr::from_bits(0x7f01_0000 + number).into(), 7000);
            std::io::read_to_string(TcpStream::connect(to).unwrap()).unwrap();
        }
    });
    open_gate.send(()).unwrap();
    let mut told: BTreeMap<IpAddr, (u32, u32)> = BTreeMap::new();
    while let Ok(event) = events.recv_timeout(Duration::from_secs(1)) {
        match event {
            FlowEvent::Opened { key } => told.entry(key.announced.ip()).or_default().0 += 1,
            FlowEvent::Closed { key, .. } => told.entry(key.announced.ip()).or_default().1 += 1,
        }
    }
    let wrong = told.values().filter(|&&counts| counts != (1, 1)).count();
    assert_eq!(
        (told.len(), wrong),
        (usize::try_from(CONNECTIONS).unwrap(), 0)
    );
}

fn nft_marks_loopback(lab: &Lab) {
    lab.edge.nft(
        "table inet marks {
            chain out { type filter hook output priority mangle; oifname \"lo\" ct state new ct mark set 0x2100; }
        }",
    );
}

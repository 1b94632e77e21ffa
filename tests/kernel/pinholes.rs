//! What one pinhole lets through, and what it does not.

use std::time::Duration;

use libtest_mimic::Trial;
use portcullis::firewall::{Firewall, install};
use portcullis::pinhole::Pinhole;

use crate::lab::{Addresses, Lab, ONE_SYN, PATIENCE, at, ip, plain, settings, v4, v6};
use crate::trial;

const LIFETIME: Duration = Duration::from_secs(20);
const SERVER_PORT: u16 = 5000;
const CLIENT_PORT: u16 = 6000;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_pinhole_passes_one_connection_ipv4", || passes_one(v4())),
        trial("a_pinhole_passes_one_connection_ipv6", || passes_one(v6())),
        trial(
            "an_active_transfer_reaches_the_client_behind_nat_ipv4",
            || redirects(v4()),
        ),
        trial(
            "an_active_transfer_reaches_the_client_behind_nat_ipv6",
            || redirects(v6()),
        ),
        trial("a_translated_source_wins_over_masquerade_ipv4", || {
            translates_source(v4())
        }),
        trial("a_translated_source_wins_over_masquerade_ipv6", || {
            translates_source(v6())
        }),
        trial("both_translations_at_once_ipv4", || translates_both(v4())),
        trial("both_translations_at_once_ipv6", || translates_both(v6())),
        trial("source_port_20_is_required_where_said", requires_port_20),
        trial("a_syn_sent_again_passes", passes_syn_again),
        trial("a_pinhole_expires", expires),
        trial("a_closed_pinhole_is_closed", closes),
        trial("strays_are_counted", counts_strays),
        trial("marks_of_other_programs_stay", keeps_other_marks),
        trial(
            "a_pinhole_wins_over_an_intercepted_port",
            wins_over_intercept,
        ),
    ]
}

fn start(lab: &Lab) -> Firewall {
    lab.edge.run(|| {
        install(&settings(100)).unwrap();
        Firewall::start(&settings(100)).unwrap()
    })
}

fn open(lab: &Lab, firewall: &Firewall, pinhole: Pinhole, lifetime: Duration) {
    lab.edge
        .run_async(async || firewall.open(pinhole, lifetime).await.unwrap());
}

fn passes_one(net: Addresses) {
    let lab = Lab::new();
    let firewall = start(&lab);
    let server = at(net.server, SERVER_PORT);
    let seen = lab.server.serve(server, vec![1; 100_000]);
    let dial = |source| lab.client.dial(at(source, 0), server, PATIENCE);
    let refused = |source| lab.client.dial(at(source, 0), server, ONE_SYN);

    assert!(refused(net.client).is_err(), "passed without a pinhole");
    open(&lab, &firewall, plain(net.client, server), LIFETIME);
    assert!(
        refused(net.other_client).is_err(),
        "passed from another host"
    );
    assert_eq!(dial(net.client).unwrap(), 100_000);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().ip(), net.client);
    assert!(refused(net.client).is_err(), "passed a second time");
}

/// The row "active, client behind NAT".
fn redirects(net: Addresses) {
    let lab = Lab::new();
    let firewall = start(&lab);
    let target = at(net.client, CLIENT_PORT);
    let seen = lab.client.serve(target, vec![1; 1000]);
    let announced = at(net.edge_outside, 50_000);
    let pinhole = Pinhole {
        target,
        ..plain(net.server, announced)
    };
    open(&lab, &firewall, pinhole, LIFETIME);
    let dial = || lab.server.dial(at(net.server, 0), announced, PATIENCE);
    let refused = || lab.server.dial(at(net.server, 0), announced, ONE_SYN);
    assert_eq!(dial().unwrap(), 1000);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().ip(), net.server);
    assert!(refused().is_err(), "passed a second time");
}

/// The row "passive, client behind NAT", with the operator's own masquerade rule in place.
fn translates_source(net: Addresses) {
    let lab = Lab::new();
    let firewall = start(&lab);
    let chosen = if net.server.is_ipv4() {
        ip("198.51.100.77")
    } else {
        ip("2001:db8:1::77")
    };
    lab.edge
        .sh("ip addr add 198.51.100.77/24 dev wan0; ip addr add 2001:db8:1::77/64 dev wan0 nodad");
    lab.edge.nft(
        "table inet site {
            chain out { type nat hook postrouting priority srcnat; oifname \"wan0\" masquerade; }
        }",
    );
    let server = at(net.server, SERVER_PORT);
    let seen = lab.server.serve(server, vec![1; 1000]);
    let pinhole = Pinhole {
        source: chosen,
        ..plain(net.client, server)
    };
    open(&lab, &firewall, pinhole, LIFETIME);
    assert_eq!(
        lab.client
            .dial(at(net.client, 0), server, PATIENCE)
            .unwrap(),
        1000
    );
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().ip(), chosen);
}

/// A server that is published, dials back, and has no route to the client.
fn translates_both(net: Addresses) {
    let lab = Lab::new();
    let firewall = start(&lab);
    let target = at(net.client, CLIENT_PORT);
    let seen = lab.client.serve(target, vec![1; 1000]);
    let announced = at(net.edge_outside, 50_001);
    let pinhole = Pinhole {
        initiator: net.server,
        announced,
        target,
        source: net.edge_inside,
        from_port_20: false,
    };
    open(&lab, &firewall, pinhole, LIFETIME);
    let dial = || lab.server.dial(at(net.server, 0), announced, PATIENCE);
    let refused = || lab.server.dial(at(net.server, 0), announced, ONE_SYN);
    assert_eq!(dial().unwrap(), 1000);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().ip(), net.edge_inside);
    assert!(refused().is_err(), "passed a second time");
}

fn requires_port_20() {
    let lab = Lab::new();
    let firewall = start(&lab);
    for net in [v4(), v6()] {
        let target = at(net.client, CLIENT_PORT);
        let _seen = lab.client.serve(target, vec![1; 1000]);
        let pinhole = Pinhole {
            from_port_20: true,
            ..plain(net.server, target)
        };
        open(&lab, &firewall, pinhole, LIFETIME);
        let dial = |port| lab.server.dial(at(net.server, port), target, PATIENCE);
        let refused = |port| lab.server.dial(at(net.server, port), target, ONE_SYN);
        assert!(refused(0).is_err(), "passed from another port");
        assert_eq!(dial(20).unwrap(), 1000);
    }
}

fn passes_syn_again() {
    let lab = Lab::new();
    let firewall = start(&lab);
    let net = v4();
    let server = at(net.server, SERVER_PORT);
    let _seen = lab.server.serve(server, vec![1; 1000]);
    // The server's machine loses the first SYN.
    lab.server.nft(
        "table inet loss {
            chain in {
                type filter hook prerouting priority -300;
                tcp dport 5000 limit rate 1/day burst 1 packets drop
            }
        }",
    );
    open(&lab, &firewall, plain(net.client, server), LIFETIME);
    assert_eq!(
        lab.client
            .dial(at(net.client, 0), server, PATIENCE)
            .unwrap(),
        1000
    );
}

fn expires() {
    let lab = Lab::new();
    let firewall = start(&lab);
    let net = v4();
    let server = at(net.server, SERVER_PORT);
    let _seen = lab.server.serve(server, vec![1; 1000]);
    open(
        &lab,
        &firewall,
        plain(net.client, server),
        Duration::from_millis(300),
    );
    std::thread::sleep(Duration::from_millis(500));
    assert!(lab.client.dial(at(net.client, 0), server, ONE_SYN).is_err());
}

fn closes() {
    let lab = Lab::new();
    let firewall = start(&lab);
    let net = v4();
    let server = at(net.server, SERVER_PORT);
    let _seen = lab.server.serve(server, vec![1; 1000]);
    let pinhole = plain(net.client, server);
    open(&lab, &firewall, pinhole, LIFETIME);
    lab.edge
        .run_async(async || firewall.close(pinhole).await.unwrap());
    assert!(lab.client.dial(at(net.client, 0), server, ONE_SYN).is_err());
    // A second time there is nothing to close.
    lab.edge
        .run_async(async || firewall.close(pinhole).await.unwrap());
}

fn counts_strays() {
    let lab = Lab::new();
    let firewall = start(&lab);
    for (net, count) in [(v4(), 1), (v6(), 2)] {
        let announced = at(net.edge_outside, 50_000);
        let pinhole = Pinhole {
            target: at(net.client, CLIENT_PORT),
            // The expected peer is another host than the one that dials.
            ..plain(net.edge_inside, announced)
        };
        open(&lab, &firewall, pinhole, LIFETIME);
        assert!(
            lab.server
                .dial(at(net.server, 0), announced, ONE_SYN)
                .is_err()
        );
        let counter = lab.edge.sh("nft list counter inet portcullis strays");
        assert!(counter.contains(&format!("packets {count} ")), "{counter}");
    }
}

fn keeps_other_marks() {
    let lab = Lab::new();
    let firewall = start(&lab);
    let net = v4();
    lab.edge.nft(
        "table inet other {
            chain marking { type filter hook prerouting priority -160; ct state new ct mark set 0x70005; }
        }",
    );
    let server = at(net.server, SERVER_PORT);
    let _seen = lab.server.serve(server, vec![1; 1000]);
    open(&lab, &firewall, plain(net.client, server), LIFETIME);
    assert_eq!(
        lab.client
            .dial(at(net.client, 0), server, PATIENCE)
            .unwrap(),
        1000
    );
    let list = lab.edge.sh("conntrack -L 2>/dev/null");
    assert!(list.contains(&format!("mark={}", 0x0007_2105)), "{list}");
}

/// A data port that equals an intercepted and a bound port.
fn wins_over_intercept() {
    let lab = Lab::new();
    let firewall = start(&lab);
    for net in [v4(), v6()] {
        let server = at(net.server, 2121);
        let seen = lab.server.serve(server, vec![1; 1000]);
        lab.edge.run_async(async || {
            let _listeners = portcullis::net::listen_transparent(2121).unwrap();
            firewall
                .open(plain(net.client, server), LIFETIME)
                .await
                .unwrap();
            assert_eq!(
                lab.client
                    .dial(at(net.client, 0), server, PATIENCE)
                    .unwrap(),
                1000
            );
        });
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap().ip(), net.client);
    }
}

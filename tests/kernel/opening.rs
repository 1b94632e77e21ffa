//! Many pinholes at once, leftovers, full sets: what the netlink thread does.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use portcullis::firewall::{Firewall, FirewallError, MIN_SET_SIZE, Settings, install};
use portcullis::pinhole::Pinhole;

use crate::lab::{Lab, at, eventually, ip, plain, settings, v4};
use crate::trial;

const LIFETIME: Duration = Duration::from_secs(60);

type Check = (&'static str, fn(Start));
type Start = fn(&Settings) -> Result<Firewall, FirewallError>;

pub(crate) fn trials() -> Vec<Trial> {
    let ways: [(&str, Start); 2] = [
        ("", Firewall::start),
        ("_on_kernels_before_6_3", Firewall::start_without_destroy),
    ];
    let mut trials = vec![
        trial("a_pinhole_of_two_families_is_refused", refuses_two_families),
        trial(
            "what_must_never_be_open_is_refused_whoever_asks",
            refuses_the_rest,
        ),
        trial(
            "opening_without_the_table_says_so",
            tells_of_a_missing_table,
        ),
    ];
    for (suffix, start) in ways {
        let checks: [Check; 4] = [
            ("opens_500_at_once", opens_many),
            (
                "a_leftover_is_replaced_and_the_others_open",
                replaces_leftovers,
            ),
            (
                "a_dropped_request_leaves_no_pinhole",
                closes_what_nobody_awaits,
            ),
            ("a_full_set_is_waited_for_and_then_refused", waits_for_room),
        ];
        for (name, check) in checks {
            trials.push(trial(&format!("{name}{suffix}"), move || check(start)));
        }
    }
    trials
}

/// A pinhole with both translations, one of many.
fn numbered(number: u16) -> Pinhole {
    let net = v4();
    Pinhole {
        initiator: net.server,
        announced: at(net.edge_outside, 20_000 + number),
        target: at(net.client, 30_000 + number),
        source: net.edge_inside,
        from_port_20: false,
    }
}

fn elements(lab: &Lab, set: &str) -> usize {
    let kind = if set.starts_with("admit") || set.starts_with("leased") {
        "set"
    } else {
        "map"
    };
    let list = lab
        .edge
        .sh(&format!("nft list {kind} inet portcullis {set}"));
    list.matches("expires").count()
}

fn all_elements(lab: &Lab) -> [usize; 4] {
    ["admit4", "leased4", "redirect4", "source4"].map(|set| elements(lab, set))
}

fn started(lab: &Lab, start: Start, capacity: usize) -> Firewall {
    lab.edge.run(|| {
        install(&settings(capacity)).unwrap();
        start(&settings(capacity)).unwrap()
    })
}

async fn open_all(firewall: &Firewall, numbers: std::ops::Range<u16>) {
    let tasks: Vec<_> = numbers
        .map(|number| {
            let firewall = firewall.clone();
            tokio::spawn(async move { firewall.open(numbered(number), LIFETIME).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}

fn opens_many(start: Start) {
    let lab = Lab::new();
    let firewall = started(&lab, start, 1000);
    lab.edge.run_async(async || {
        let begun = Instant::now();
        open_all(&firewall, 0..500).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(2), "took {took:?}");
        assert_eq!(all_elements(&lab), [500; 4]);
        for number in 0..499 {
            firewall.close_later(numbered(number));
        }
        firewall.close(numbered(499)).await.unwrap();
        assert_eq!(all_elements(&lab), [0; 4]);
    });
}

fn replaces_leftovers(start: Start) {
    let lab = Lab::new();
    let firewall = started(&lab, start, 1000);
    lab.edge.nft(
        "add element inet portcullis redirect4 { 198.51.100.20 . 198.51.100.1 . 20007 timeout 1h : 10.60.1.9 . 9 }",
    );
    lab.edge.run_async(async || {
        open_all(&firewall, 0..20).await;
        // The same again: all of them are leftovers.
        open_all(&firewall, 0..20).await;
    });
    assert_eq!(all_elements(&lab), [20; 4]);
    let map = lab.edge.sh("nft list map inet portcullis redirect4");
    assert!(
        map.contains("10.60.1.2 . 30007") && !map.contains("10.60.1.9"),
        "{map}"
    );
}

fn closes_what_nobody_awaits(start: Start) {
    let lab = Lab::new();
    let firewall = started(&lab, start, 1000);
    lab.edge.run_async(async || {
        for number in 0..50 {
            let mut opening = pin!(firewall.open(numbered(number), LIFETIME));
            let polled = opening
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            if polled.is_ready() {
                // The thread was quicker; this one is ours to close.
                firewall.close_later(numbered(number));
            }
        }
        // Requests are carried out in turn.
        firewall.close(numbered(99)).await.unwrap();
        eventually("the end of the abandoned pinhole", || {
            all_elements(&lab) == [0; 4]
        });
    });
}

fn waits_for_room(start: Start) {
    let lab = Lab::new();
    let firewall = started(&lab, start, 1);
    let places = u16::try_from(MIN_SET_SIZE).unwrap();
    lab.edge.run_async(async || {
        open_all(&firewall, 0..places).await;
        let begun = Instant::now();
        let refused = firewall.open(numbered(places), LIFETIME).await.unwrap_err();
        let took = begun.elapsed();
        assert!(matches!(refused, FirewallError::Full { .. }), "{refused}");
        assert!(
            took > Duration::from_secs(2) && took < Duration::from_secs(5),
            "took {took:?}"
        );

        let opening = tokio::spawn({
            let firewall = firewall.clone();
            async move { firewall.open(numbered(places), LIFETIME).await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        firewall.close(numbered(0)).await.unwrap();
        opening.await.unwrap().unwrap();
    });
}

fn refuses_two_families() {
    let lab = Lab::new();
    let firewall = started(&lab, Firewall::start, 10);
    let mixed = Pinhole {
        source: ip("fd60::1"),
        ..plain(ip("10.60.1.2"), at(ip("198.51.100.20"), 5000))
    };
    let refused = lab
        .edge
        .run_async(async || firewall.open(mixed, LIFETIME).await.unwrap_err());
    assert!(
        matches!(refused, FirewallError::MixedFamilies { .. }),
        "{refused}"
    );
}

fn refuses_the_rest() {
    let lab = Lab::new();
    let bounds = Settings {
        pinhole_lifetime: LIFETIME,
        servers: [v4().server].into(),
        ..settings(10)
    };
    let firewall = lab.edge.run(|| {
        install(&bounds).unwrap();
        Firewall::start(&bounds).unwrap()
    });
    let (client, server) = (v4().client, v4().server);
    let good = plain(client, at(server, 5000));
    let loopback = plain(client, at(ip("127.0.0.1"), 5000));
    for (pinhole, lifetime, expected) in [
        (
            plain(client, at(server, 22)),
            LIFETIME,
            "port 22 is below 1024",
        ),
        (
            loopback,
            LIFETIME,
            "no data connection may have the address",
        ),
        (good, LIFETIME * 2, "is longer than"),
        (
            plain(client, at(v4().edge_outside, 5000)),
            LIFETIME,
            "is a published server",
        ),
    ] {
        let told = lab.edge.run_async(async || {
            let refused = firewall.open(pinhole, lifetime).await.unwrap_err();
            assert!(matches!(refused, FirewallError::Denied { .. }), "{refused}");
            refused.to_string()
        });
        assert!(told.contains(expected), "{told}");
    }
    assert_eq!(all_elements(&lab), [0; 4]);
    lab.edge
        .run_async(async || firewall.open(good, LIFETIME).await.unwrap());
    assert_eq!(all_elements(&lab)[0], 1);
}

fn tells_of_a_missing_table() {
    let lab = Lab::new();
    let firewall = started(&lab, Firewall::start, 10);
    lab.edge.sh("nft flush ruleset");
    lab.edge.run_async(async || {
        let refused = firewall.open(numbered(1), LIFETIME).await.unwrap_err();
        assert!(
            matches!(refused, FirewallError::TableMissing { .. }),
            "{refused}"
        );
        firewall.close(numbered(1)).await.unwrap();
        // Installing again is the cure, and the same handle serves on.
        install(&settings(10)).unwrap();
        firewall.open(numbered(1), LIFETIME).await.unwrap();
    });
    assert_eq!(all_elements(&lab), [1; 4]);
}

//! What another program takes out of the kernel comes back, once a second at most, and not after the end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use portcullis::firewall::{Firewall, FirewallError, HEAL_PAUSE, Healer, install};
use portcullis::net::netlink::{Builder, DUMP, Family, REQUEST, Socket};

use crate::lab::{Lab, PATIENCE, at, plain, settings, v4};
use crate::trial;

const LIFETIME: Duration = Duration::from_secs(20);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("opening_puts_a_flushed_table_back", opening_heals),
        trial("a_flushed_table_comes_back_unasked", watching_heals),
        trial(
            "rules_that_go_come_back_while_pinholes_open_and_close",
            busy_table_heals,
        ),
        trial("flushed_policy_routing_comes_back", routing_heals),
        trial("healing_keeps_a_pause", keeps_a_pause),
        trial("nothing_comes_back_after_the_end", ends),
        trial("a_machine_without_ipv6_is_not_healed_for_it", needs_no_ipv6),
    ]
}

fn tables(lab: &Lab) -> usize {
    lab.edge.sh("nft list tables").matches("portcullis").count()
}

fn rules(lab: &Lab) -> usize {
    let list = lab.edge.sh("ip -4 rule; ip -6 rule");
    list.matches("lookup 121").count()
}

/// Lets `work` run on the edge beside a healer that watches.
fn watched<T: Send>(lab: &Lab, work: impl AsyncFnOnce(&Healer, &Firewall) -> T + Send) -> T {
    lab.edge.run_async(async || {
        install(&settings(10)).unwrap();
        let healer = Healer::new(settings(10));
        let firewall = Firewall::start_healed(&settings(10), healer.clone()).unwrap();
        let watching = tokio::spawn({
            let healer = healer.clone();
            async move { healer.watch().await }
        });
        let done = work(&healer, &firewall).await;
        watching.abort();
        done
    })
}

async fn comes(what: &str, mut there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(
            begun.elapsed() < Duration::from_secs(8),
            "{what} did not come"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn opening_heals() {
    let lab = Lab::new();
    let net = v4();
    let server = at(net.server, 5000);
    let _seen = lab.server.serve(server, vec![1; 1000]);
    lab.edge.run_async(async || {
        install(&settings(10)).unwrap();
        let healer = Healer::new(settings(10));
        let firewall = Firewall::start_healed(&settings(10), healer).unwrap();
        lab.edge
            .sh("nft flush ruleset; ip rule del fwmark 0x21/0xff lookup 121");
        // All that fail at the same time are tried again behind one repair.
        let others: Vec<_> = (6000..6020)
            .map(|port| {
                let firewall = firewall.clone();
                let pinhole = plain(net.client, at(net.server, port));
                tokio::spawn(async move { firewall.open(pinhole, LIFETIME).await })
            })
            .collect();
        let pinhole = plain(net.client, server);
        firewall.open(pinhole, LIFETIME).await.unwrap();
        for other in others {
            other.await.unwrap().unwrap();
        }
    });
    assert_eq!((tables(&lab), rules(&lab)), (1, 2));
    let admitted = lab.edge.sh("nft list set inet portcullis admit4");
    assert_eq!(admitted.matches("expires").count(), 21, "{admitted}");
    let got = lab.client.dial(at(net.client, 0), server, PATIENCE);
    assert_eq!(got.unwrap(), 1000);
}

fn watching_heals() {
    let lab = Lab::new();
    watched(&lab, async |_, _| {
        lab.edge.sh("nft flush ruleset");
        comes("the table", || tables(&lab) == 1).await;
    });
}

/// How many rules the kernel lists of the table (NFT_MSG_GETRULE of linux/netfilter/nf_tables.h).
fn count_rules() -> usize {
    let mut socket = Socket::open(Family::Netfilter, 0, PATIENCE, |_| Ok(())).unwrap();
    let ask = |builder: &mut Builder, sequence| {
        builder.message(
            (10 << 8) | 7,
            REQUEST | DUMP,
            sequence,
            &[1, 0, 0, 0],
            |builder| {
                builder.text(1, "portcullis");
            },
        );
    };
    let mut rules = 0;
    let counted = socket.list(ask, |message| match message {
        Some(_) => rules += 1,
        None => rules = 0,
    });
    counted.unwrap();
    rules
}

/// What pinholes change cuts short what is listed meanwhile.
fn busy_table_heals() {
    let lab = Lab::new();
    let admits = || {
        lab.edge
            .sh("nft list table inet portcullis 2>&1")
            .matches("@admit4 ")
            .count()
    };
    watched(&lab, async |_, firewall| {
        let busy: Vec<_> = (0..8_u16)
            .map(|number| {
                let firewall = firewall.clone();
                tokio::spawn(async move {
                    loop {
                        let pinhole = plain(v4().client, at(v4().server, 5000 + number));
                        // While the table is away it cannot be opened.
                        drop(firewall.open(pinhole, LIFETIME).await);
                        firewall.close_later(pinhole);
                    }
                })
            })
            .collect();
        let wanted = admits();
        assert!(wanted > 0);
        // Some of a hundred are cut short; a rule that a list lacks would not be missed when it goes.
        let mut whole = BTreeSet::new();
        for _ in 0..500 {
            whole.insert(count_rules());
            tokio::task::yield_now().await;
        }
        assert_eq!(whole.len(), 1, "{whole:?}");
        for round in 0..4 {
            tokio::time::sleep(HEAL_PAUSE).await;
            lab.edge.sh(
                "nft delete rule inet portcullis intercept handle \
                 $(nft -a list chain inet portcullis intercept | sed -n 's/.*admit4 .* handle //p' | head -1)",
            );
            comes(&format!("the rule of round {round}"), || admits() == wanted).await;
        }
        busy.iter().for_each(tokio::task::JoinHandle::abort);
    });
}

fn routing_heals() {
    let lab = Lab::new();
    let net = v4();
    watched(&lab, async |_, firewall| {
        let pinhole = plain(net.client, at(net.server, 5000));
        firewall.open(pinhole, LIFETIME).await.unwrap();
        for gone in [
            "ip rule del fwmark 0x21/0xff lookup 121",
            "ip -6 rule del fwmark 0x21/0xff lookup 121",
        ] {
            lab.edge.sh(gone);
            comes("the rule", || rules(&lab) == 2).await;
        }
        lab.edge.sh("ip route flush table 121");
        let route = "ip route show table 121 2>&1 || true";
        comes("the route", || lab.edge.sh(route).contains("local default")).await;
    });
    // The table is as it was, and so are its pinholes.
    let admitted = lab.edge.sh("nft list set inet portcullis admit4");
    assert_eq!(admitted.matches("expires").count(), 1, "{admitted}");
}

fn keeps_a_pause() {
    let lab = Lab::new();
    let net = v4();
    let pinhole = plain(net.client, at(net.server, 5000));
    lab.edge.run_async(async || {
        install(&settings(10)).unwrap();
        let healer = Healer::new(settings(10));
        let firewall = Firewall::start_healed(&settings(10), healer).unwrap();
        lab.edge.sh("nft flush ruleset");
        firewall.open(pinhole, LIFETIME).await.unwrap();
        lab.edge.sh("nft flush ruleset");
        let refused = firewall.open(pinhole, LIFETIME).await.unwrap_err();
        assert!(
            matches!(refused, FirewallError::TableMissing { .. }),
            "{refused}"
        );
        tokio::time::sleep(HEAL_PAUSE).await;
        firewall.open(pinhole, LIFETIME).await.unwrap();
    });
}

fn ends() {
    let lab = Lab::new();
    watched(&lab, async |healer, _| {
        healer.stop().await;
        lab.edge.sh("nft flush ruleset");
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(tables(&lab), 0);
    });
}

fn needs_no_ipv6() {
    let lab = Lab::new();
    lab.edge
        .sh("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
    watched(&lab, async |_, firewall| {
        let net = v4();
        let pinhole = plain(net.client, at(net.server, 5000));
        firewall.open(pinhole, LIFETIME).await.unwrap();
        let handle = || {
            lab.edge
                .sh("ip -4 rule; nft -a list table inet portcullis | head -1")
        };
        let before = handle();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(handle(), before, "it was put back without need");
    });
}

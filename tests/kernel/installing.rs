//! What is put into the kernel at start, and that nothing of it stays at the end.

use std::fs;

use libtest_mimic::Trial;
use portcullis::config::{Kernel, Mark};
use portcullis::firewall::{
    Firewall, FirewallError, Intercept, Settings, install, missing_nft, missing_privilege, ruleset,
};

use portcullis::rules::Window;

use crate::lab::{Lab, PATIENCE, at, nft, plain, settings, v4};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("nft_takes_the_rulesets", nft_takes_rulesets),
        trial("installing_twice_leaves_one_of_each", installs_once),
        trial("removing_leaves_nothing", removes_all),
        trial("a_machine_without_ipv6_serves_ipv4", serves_without_ipv6),
        trial("an_unusable_name_is_refused", refuses_unusable_names),
        trial("nft_says_why_it_refuses", tells_what_nft_says),
        trial("the_lab_has_what_is_needed", nothing_is_missing),
    ]
}

fn routing(lab: &Lab) -> [usize; 4] {
    [
        ("ip -4 rule", "fwmark 0x21/0xff lookup 121"),
        ("ip -6 rule", "fwmark 0x21/0xff lookup 121"),
        (
            "ip -4 route show table 121 2>/dev/null || true",
            "local default dev lo",
        ),
        (
            "ip -6 route show table 121 2>/dev/null || true",
            "local default dev lo",
        ),
    ]
    .map(|(list, wanted)| lab.edge.sh(list).matches(wanted).count())
}

fn nft_takes_rulesets() {
    let lab = Lab::new();
    let all_bits = Mark {
        value: 1,
        mask: u32::MAX,
    };
    let kernel = Kernel {
        table: "gate-2_x".to_owned(),
        packet_mark: all_bits,
        connection_mark: all_bits,
        ..Kernel::default()
    };
    let many = Settings {
        kernel,
        intercepts: vec![
            Intercept {
                interfaces: vec!["eth0.100".to_owned(), "br-a@b:1".to_owned()],
                ports: vec![21],
                bind_port: 65_535,
            },
            Intercept {
                interfaces: Vec::new(),
                ports: vec![21],
                bind_port: 1,
            },
        ],
        windows: vec![
            Window {
                first: 50_000,
                last: 50_100,
                at_most: 4,
            },
            Window {
                first: 1024,
                last: 65_535,
                at_most: 65_535,
            },
            Window {
                first: 2000,
                last: 2000,
                at_most: 1,
            },
        ],
        capacity: 1_000_000,
        ..settings(0)
    };
    let none = Settings {
        intercepts: Vec::new(),
        ..settings(0)
    };
    for settings in [settings(10_000), many, none] {
        let text = ruleset(&settings);
        lab.edge.run(|| nft(&["-c", "-f", "-"], &text));
    }
}

fn installs_once() {
    let lab = Lab::new();
    // As two killed runs left it.
    lab.edge.sh(
        "ip rule add fwmark 0x21/0xff lookup 121; ip rule add fwmark 0x21/0xff lookup 121 priority 7
         ip route add local default dev lo table 121",
    );
    lab.edge.run(|| {
        let first = install(&settings(10)).unwrap();
        assert!(
            first
                .notes()
                .iter()
                .any(|note| note.contains("nf_conntrack_acct to 1")),
            "{:?}",
            first.notes()
        );
        let acct =
            fs::read_to_string("/proc/thread-self/root/proc/sys/net/netfilter/nf_conntrack_acct");
        assert_eq!(acct.unwrap().trim(), "1");
        let second = install(&settings(20)).unwrap();
        assert!(second.notes().is_empty(), "{:?}", second.notes());
    });
    assert_eq!(routing(&lab), [1; 4]);
    assert_eq!(
        lab.edge
            .sh("nft list tables")
            .matches("inet portcullis")
            .count(),
        1
    );
}

fn removes_all() {
    let lab = Lab::new();
    lab.edge.run(|| {
        let first = install(&settings(10)).unwrap();
        let second = install(&settings(10)).unwrap();
        second.remove().unwrap();
        // What is gone already is not missed.
        first.remove().unwrap();
    });
    assert_eq!(routing(&lab), [0; 4]);
    assert!(!lab.edge.sh("nft list tables").contains("portcullis"));
}

fn serves_without_ipv6() {
    let lab = Lab::new();
    lab.edge
        .sh("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
    let net = v4();
    let server = at(net.server, 5000);
    let _seen = lab.server.serve(server, vec![1; 1000]);
    lab.edge.run_async(async || {
        let installed = install(&settings(10)).unwrap();
        let told = |note: &String| note.contains("no policy routing for IPv6");
        assert!(
            installed.notes().iter().any(told),
            "{:?}",
            installed.notes()
        );
        let firewall = Firewall::start(&settings(10)).unwrap();
        let lifetime = std::time::Duration::from_secs(20);
        firewall
            .open(plain(net.client, server), lifetime)
            .await
            .unwrap();
        assert_eq!(
            lab.client
                .dial(at(net.client, 0), server, PATIENCE)
                .unwrap(),
            1000
        );
        installed.remove().unwrap();
    });
    assert_eq!(routing(&lab), [0; 4]);
}

fn refuses_unusable_names() {
    let lab = Lab::new();
    let mut unusable = settings(10);
    unusable.kernel.table = "x { }; flush ruleset".to_owned();
    let refused = lab.edge.run(|| install(&unusable).unwrap_err());
    assert!(
        matches!(refused, FirewallError::UnusableName { .. }),
        "{refused}"
    );
    assert_eq!(routing(&lab), [0; 4]);
}

fn tells_what_nft_says() {
    let lab = Lab::new();
    let mut refused = settings(10);
    // A keyword of nft's.
    refused.kernel.table = "ct".to_owned();
    let refused = lab.edge.run(|| install(&refused).unwrap_err());
    assert!(
        matches!(refused, FirewallError::NftRefused { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("syntax error"), "{refused}");
    assert_eq!(routing(&lab), [0; 4]);
}

fn nothing_is_missing() {
    assert_eq!((missing_privilege(), missing_nft()), (None, None));
}

//! Files arrive whole, in each mode, over each family, wherever the edge stands.

use libtest_mimic::Trial;

use crate::lab::{Family, Lab, Topology, same};

/// How a client can ask for a data connection, and how curl is told to.
const MODES: [(&str, &str); 4] = [
    ("PORT", "--ftp-port - --disable-eprt"),
    ("EPRT", "--ftp-port -"),
    ("PASV", "--disable-epsv"),
    ("EPSV", ""),
];

/// One test for each combination that exists; PORT and PASV cannot name an IPv6 address.
pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = Vec::new();
    for topology in [Topology::BehindNat, Topology::Published] {
        for family in [Family::V4, Family::V6] {
            for (verb, flags) in MODES {
                if family == Family::V4 || verb.starts_with('E') {
                    let name = format!("files_arrive_whole_{topology:?}_{family:?}_{verb}");
                    tests.push(Trial::test(name, move || {
                        files_arrive_whole(topology, family, verb, flags);
                        Ok(())
                    }));
                }
            }
        }
    }
    let others: [(&str, fn()); 2] = [
        (
            "the_server_sees_a_named_address",
            the_server_sees_a_named_address,
        ),
        (
            "a_published_server_may_see_the_edge",
            a_published_server_may_see_the_edge,
        ),
    ];
    for (name, test) in others {
        tests.push(Trial::test(name, move || {
            test();
            Ok(())
        }));
    }
    tests.push(Trial::test(
        "without_nat_both_ends_keep_their_addresses",
        || {
            without_nat_both_ends_keep_their_addresses();
            Ok(())
        },
    ));
    tests
}

fn files_arrive_whole(topology: Topology, family: Family, verb: &str, flags: &str) {
    let lab = Lab::new(topology);
    let server = lab.vsftpd();
    let gate = lab.gate();
    let file = lab.random_file("sent", 3_000_000);
    let back = lab.dir.join("back");
    let url = format!("ftp://{}/kept", lab.dialled(family));

    lab.client(&format!(
        "curl -sS -m 20 {flags} -T {} {url}",
        file.display()
    ));
    lab.client(&format!(
        "curl -sS -m 20 {flags} -o {} {url}",
        back.display()
    ));

    assert!(same(&file, &server.file("kept")), "the upload differs");
    assert!(same(&file, &back), "the download differs");
    let log = server.log();
    assert!(
        log.contains(&format!("\"{verb}")),
        "the server never saw {verb}:\n{log}"
    );
    assert_eq!(
        gate.events("pinhole-opened").len(),
        2,
        "one pinhole for each transfer"
    );
}

fn without_nat_both_ends_keep_their_addresses() {
    let lab = Lab::behind_nat();
    let server = lab.vsftpd();
    std::fs::copy(lab.random_file("original", 300_000), server.file("kept")).unwrap();
    lab.server.sh(
        "ip route add 10.60.1.0/24 via 198.51.100.1; ip route add fd60:1::/64 via 2001:db8:51::1",
    );
    let gate = lab.portcullis(
        "listeners:
  - name: firewall
    transparent: { interfaces: [lan0] }
    server-sees: client
    rules: policy.yaml
audit: { output: AUDIT }
",
        "rules: [ { id: all, allow: true } ]\n",
    );

    for (family, flags) in [
        (Family::V4, "--disable-epsv"),
        (Family::V4, "--ftp-port -"),
        (Family::V6, ""),
        (Family::V6, "--ftp-port -"),
    ] {
        let back = lab.dir.join("back");
        lab.client(&format!(
            "curl -sS -m 20 {flags} ftp://{}/kept -o {}",
            lab.dialled(family),
            back.display()
        ));
        assert!(same(&lab.dir.join("original"), &back), "{family:?} {flags}");
    }

    let log = server.log();
    assert!(
        log.contains("CONNECT: Client \"::ffff:10.60.1.2\"")
            && log.contains("CONNECT: Client \"fd60:1::2\""),
        "{log}"
    );
    assert_eq!(
        gate.events("rewrite"),
        Vec::<serde_json::Value>::new(),
        "nothing needed rewriting"
    );
}

/// Fetches a file in both modes over each family, through this configuration; gives the server's log.
fn fetch_in_both_modes(lab: &Lab, config: &str) -> String {
    let server = lab.vsftpd();
    std::fs::copy(lab.random_file("original", 300_000), server.file("kept")).unwrap();
    let _gate = lab.portcullis(config, "rules: [ { id: all, allow: true } ]\n");
    for family in [Family::V4, Family::V6] {
        for flags in ["", "--ftp-port -"] {
            let back = lab.dir.join("back");
            lab.client(&format!(
                "curl -sS -m 20 {flags} ftp://{}/kept -o {}",
                lab.dialled(family),
                back.display()
            ));
            assert!(same(&lab.dir.join("original"), &back), "{family:?} {flags}");
        }
    }
    server.log()
}

fn the_server_sees_a_named_address() {
    let lab = Lab::behind_nat();
    lab.edge.sh(
        "ip addr add 198.51.100.7/24 dev wan0; ip -6 addr add 2001:db8:51::7/64 dev wan0 nodad",
    );
    let log = fetch_in_both_modes(
        &lab,
        "listeners:
  - name: lan
    transparent: { interfaces: [lan0] }
    server-sees: [198.51.100.7, 2001:db8:51::7]
    rules: policy.yaml
audit: { output: AUDIT }
",
    );
    for address in ["::ffff:198.51.100.7", "2001:db8:51::7"] {
        assert!(
            log.contains(&format!("CONNECT: Client \"{address}\"")),
            "{log}"
        );
    }
}

fn a_published_server_may_see_the_edge() {
    let lab = Lab::published();
    let log = fetch_in_both_modes(
        &lab,
        "listeners:
  - name: published
    published: { listen: [198.51.100.1, '2001:db8:51::1'], server: [10.70.0.2, 'fd70::2'] }
    server-sees: edge
    rules: policy.yaml
audit: { output: AUDIT }
",
    );
    for address in ["::ffff:10.70.0.1", "fd70::1"] {
        assert!(
            log.contains(&format!("CONNECT: Client \"{address}\"")),
            "{log}"
        );
    }
}

//! Limits of rules, with a real client and server: who is refused, who is not, and for how long.

use crate::lab::{Family, Lab, Peer, same, wait_until};

crate::claims![
    a_client_has_so_many_transfers_at_one_time,
    data_that_the_kernel_carries_counts_against_bytes,
];

/// More than the buffers of both ends hold, so that a transfer that nobody reads goes on.
const MORE_THAN_BUFFERS: u64 = 40_000_000;

fn a_client_has_so_many_transfers_at_one_time() {
    let lab = Lab::behind_nat();
    lab.client("ip address add 10.60.1.41/24 dev eth0");
    let server = lab.vsftpd();
    let (large, small) = (
        lab.random_file("large", MORE_THAN_BUFFERS),
        lab.random_file("small", 3_000),
    );
    std::fs::copy(large, server.file("large")).unwrap();
    std::fs::copy(&small, server.file("small")).unwrap();
    let gate = lab.gate_by(
        "rules:
  - { id: one-by-one, allow: true, command: [read], limits: { per: client, transfers: 1 } }
  - { id: all, allow: true }
",
    );
    let dialled = lab.dialled(Family::V4);
    let back = lab.dir.join("back");
    let fetch = |flags: &str| {
        let url = format!("ftp://{dialled}/small");
        format!("curl -sS -v -m 20 {flags} {url} -o {} 2>&1", back.display())
    };

    let mut slow = Peer::dial(&lab.client, &format!("{dialled}:21"));
    slow.log_in();
    let reply = slow.ask("EPSV", "229");
    let port = reply.split('|').nth(3).unwrap();
    let mut data = lab.client.connect(&format!("{dialled}:{port}")).unwrap();
    slow.ask("TYPE I", "200");
    slow.ask("RETR large", "150");

    let output = lab.client.sh(&fetch(""));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success(), "{said}");
    let told = "< 450 Limit of 1 transfer(s) at one time for this client is reached;";
    assert!(said.contains(told), "{said}");
    lab.client(&fetch("--interface 10.60.1.41"));
    assert!(same(&small, &back), "another client was held back");
    let denied = wait_until("the decision on the record", || {
        let mut decisions = gate.events("decision").into_iter();
        decisions.find(|record| record["portcullis"]["action"] == "deny")
    });
    assert_eq!(denied["portcullis"]["rule"], "one-by-one", "{denied}");
    assert_eq!(denied["portcullis"]["limit"], "1 transfers", "{denied}");
    assert_eq!(denied["ftp"]["completion_code"][0], "450", "{denied}");

    let moved = std::io::copy(&mut data, &mut std::io::sink()).unwrap();
    assert_eq!(moved, MORE_THAN_BUFFERS, "the slow transfer was disturbed");
    slow.expect("226");
    std::fs::remove_file(&back).unwrap();
    for _ in 0..3 {
        lab.client(&fetch(""));
        assert!(same(&small, &back), "the download differs");
    }
}

fn data_that_the_kernel_carries_counts_against_bytes() {
    let lab = Lab::behind_nat();
    let server = lab.vsftpd();
    std::fs::copy(lab.random_file("file", 1_000_000), server.file("file")).unwrap();
    let gate = lab.gate_by(
        "rules: [ { id: volume, allow: true, limits: { per: client, bytes: 1MB/day } } ]\n",
    );
    let url = format!("ftp://{}/file", lab.dialled(Family::V4));

    lab.client(&format!("curl -sS -m 20 {url} -o /dev/null"));
    gate.event("transfer");
    let output = lab
        .client
        .sh(&format!("curl -sS -v -m 20 {url} -o /dev/null 2>&1"));

    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success(), "{said}");
    let told = "< 450 Limit of 1MB of data per day for this client is reached; try again in ";
    assert!(said.contains(told), "{said}");
}

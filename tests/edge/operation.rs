//! Starting, stopping, crashing, and what the record says of a transfer.

use std::process::Stdio;

use crate::lab::{Family, Lab, Peer, Topology, same, wait_until};

crate::claims![
    p42_kill_9_in_mid_transfer_leaves_the_transfer_and_nothing_else,
    sigterm_leaves_no_table_rule_or_route,
    says_one_sentence_without_cap_net_admin,
    a_bad_configuration_changes_nothing_in_the_kernel,
    a_start_that_fails_leaves_nothing,
    check_tells_good_bad_and_misuse_apart,
    sighup_gives_live_sessions_new_rules_and_bad_files_change_nothing,
    p60_the_password_appears_nowhere,
    the_record_of_a_transfer_names_all_of_it,
    a_published_server_sees_its_clients,
    a_transfer_works_again_after_another_program_flushed_the_ruleset,
    a_session_goes_on_after_another_program_flushed_the_ruleset,
    sigterm_right_after_a_flush_leaves_nothing,
];

/// Rules of one family that send marked packets to our routing table.
fn routing_rules(lab: &Lab, flag: &str) -> usize {
    let rules = lab.edge.sh(&format!("ip {flag} rule")).stdout;
    String::from_utf8_lossy(&rules)
        .matches("lookup 121")
        .count()
}

fn p42_kill_9_in_mid_transfer_leaves_the_transfer_and_nothing_else() {
    let lab = Lab::behind_nat();
    let server = lab.vsftpd();
    let original = lab.random_file("original", 6_000_000);
    std::fs::copy(&original, server.file("large")).unwrap();
    let gate = lab.gate_with("limits: { pinhole-lifetime: 3s }\n");
    // One pinhole that nobody uses, and one transfer on its way.
    let mut idle = Peer::dial(&lab.client, "198.51.100.20:21");
    idle.log_in();
    idle.ask("EPSV", "229");
    let got = lab.dir.join("got");
    let mut curl = lab.client.command("curl");
    let curl = curl.args([
        "-s",
        "-m",
        "20",
        "--limit-rate",
        "2M",
        "ftp://198.51.100.20/large",
        "-o",
    ]);
    let mut transfer = curl.arg(&got).stdout(Stdio::null()).spawn().unwrap();
    wait_until("the transfer to move", || {
        got.metadata().ok().filter(|file| file.len() > 0)
    });

    gate.kill();

    assert!(lab.open_elements() > 0, "the unused pinhole is still there");
    transfer.wait().unwrap();
    assert!(
        same(&original, &got),
        "the transfer finishes without portcullis"
    );
    wait_until("the pinholes to time out", || {
        (lab.open_elements() == 0).then_some(())
    });
    let gate = lab.gate();
    let tables = lab.edge.sh("nft list tables").stdout;
    assert_eq!(
        String::from_utf8_lossy(&tables)
            .matches("portcullis")
            .count(),
        1
    );
    assert_eq!(
        [routing_rules(&lab, "-4"), routing_rules(&lab, "-6")],
        [1, 1]
    );
    assert!(gate.terminate().success());
    assert_eq!(lab.kernel_state(), Vec::<String>::new());
}

fn sigterm_leaves_no_table_rule_or_route() {
    for lab in [Lab::behind_nat(), Lab::published()] {
        let _server = lab.vsftpd();
        let gate = lab.gate();
        assert_ne!(
            lab.kernel_state(),
            Vec::<String>::new(),
            "there was something to remove"
        );
        let mut client = Peer::dial(&lab.client, &format!("{}:21", lab.dialled(Family::V4)));
        client.log_in();
        client.ask("EPSV", "229");

        let status = gate.terminate();

        assert!(status.success(), "{status}");
        assert_eq!(lab.kernel_state(), Vec::<String>::new());
    }
}

fn says_one_sentence_without_cap_net_admin() {
    let lab = Lab::behind_nat();

    let (code, said) = lab.run_to_end(
        "setpriv --bounding-set=-net_admin PORTCULLIS run --config CONFIG",
        "",
    );

    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "more than a sentence: {said}");
    assert!(
        said.contains("CAP_NET_ADMIN"),
        "'{said}' does not say what is missing"
    );
    assert_eq!(lab.kernel_state(), Vec::<String>::new());
}

fn a_bad_configuration_changes_nothing_in_the_kernel() {
    let lab = Lab::behind_nat();

    let (code, said) = lab.run_to_end(
        "PORTCULLIS run --config CONFIG",
        "limits: { sessions: none }\n",
    );

    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("portcullis.yaml:7"),
        "'{said}' does not say where"
    );
    assert_eq!(lab.kernel_state(), Vec::<String>::new());
}

fn a_start_that_fails_leaves_nothing() {
    let lab = Lab::behind_nat();
    let taken = lab.edge.listen("0.0.0.0:2121");

    let (code, said) = lab.run_to_end("PORTCULLIS run --config CONFIG", "");

    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("2121"), "'{said}' does not say what is taken");
    assert_eq!(lab.kernel_state(), Vec::<String>::new(), "{said}");
    drop(taken);
    // A directory stands where the record should be opened.
    drop(std::fs::remove_file(lab.dir.join("eve.json")));
    std::fs::create_dir(lab.dir.join("eve.json")).unwrap();
    let (code, said) = lab.run_to_end("PORTCULLIS run --config CONFIG", "");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("eve.json"),
        "'{said}' does not say which file"
    );
    assert_eq!(lab.kernel_state(), Vec::<String>::new(), "{said}");
}

fn check_tells_good_bad_and_misuse_apart() {
    let lab = Lab::behind_nat();

    let code = |command, more| lab.run_to_end(command, more).0;

    assert_eq!(code("PORTCULLIS check --config CONFIG", ""), Some(0));
    assert_eq!(
        code(
            "PORTCULLIS check --config CONFIG",
            "limits: { sessions: none }\n"
        ),
        Some(1)
    );
    assert_eq!(code("PORTCULLIS check --config /nowhere.yaml", ""), Some(1));
    assert_eq!(code("PORTCULLIS check --no-such-option", ""), Some(2));
    assert!(
        !lab.dir.join("eve.json").exists(),
        "looking at a configuration creates no record"
    );
}

fn p60_the_password_appears_nowhere() {
    let lab = Lab::behind_nat();
    let server = lab.vsftpd();
    std::fs::write(server.file("a-file"), "content").unwrap();
    let gate = lab.gate();

    lab.client("curl -sS -u anonymous:S3same-open ftp://198.51.100.20/a-file");
    gate.event("session-end");

    assert!(
        gate.audit_text().contains("PASS"),
        "the command itself is on the record"
    );
    assert!(
        !gate.audit_text().contains("S3same"),
        "in the record:\n{}",
        gate.audit_text()
    );
    assert!(
        !gate.output().contains("S3same"),
        "in the log:\n{}",
        gate.output()
    );
}

fn the_record_of_a_transfer_names_all_of_it() {
    let lab = Lab::behind_nat();
    let server = lab.vsftpd();
    std::fs::copy(lab.random_file("original", 500_000), server.file("large")).unwrap();
    let gate = lab.gate();

    lab.client("curl -sS -u anonymous:guest ftp://198.51.100.20/large -o /dev/null");

    let record = gate.event("transfer");
    let ours = &record["portcullis"];
    assert_eq!(ours["rule"], "all", "{record}");
    assert!(
        ours["rule_at"].as_str().unwrap().ends_with("policy.yaml:2"),
        "{record}"
    );
    assert_eq!(ours["user"], "anonymous", "{record}");
    assert_eq!(ours["mode"], "passive", "{record}");
    assert!(
        ours["path"].as_str().unwrap().ends_with("/large"),
        "{record}"
    );
    assert!(ours["bytes"].as_u64().unwrap() >= 500_000, "{record}");
    assert!(ours["packets"].as_u64().unwrap() > 10, "{record}");
    assert_eq!(ours["outcome"], "completed", "{record}");
    assert_eq!(record["src_ip"], "10.60.1.2", "{record}");
    assert_eq!(record["ftp"]["command"], "RETR", "{record}");
    assert!(
        record["ftp"]["completion_code"].to_string().contains("226"),
        "{record}"
    );
}

fn a_published_server_sees_its_clients() {
    let lab = Lab::published();
    let control = lab.server.listen("[::]:21");
    let _gate = lab.gate();
    for (dialled, client) in [
        ("198.51.100.1:21", "198.51.100.40"),
        ("[2001:db8:51::1]:21", "2001:db8:51::40"),
    ] {
        let _client = Peer::dial(&lab.client, dialled);
        let server = Peer::accept(&control);
        assert_eq!(server.other_end().ip().to_canonical().to_string(), client);
    }
}

fn sighup_gives_live_sessions_new_rules_and_bad_files_change_nothing() {
    let lab = Lab::behind_nat();
    let _server = lab.vsftpd();
    let gate = lab.gate();
    let mut client = Peer::dial(&lab.client, "198.51.100.20:21");
    client.log_in();
    client.ask("SYST", "215");
    gate.reload("rules: [{id: x, alow: true}]", "nothing was reloaded");
    client.ask("SYST", "215");
    let no_syst =
        "rules: [{id: no-syst, deny: 502 Not said, command: SYST}, {id: all, allow: true}]";
    gate.reload(no_syst, "reloaded the rules of 1 listener");
    client.ask("SYST", "502 Not said");
    client.ask("NOOP", "200");
}

/// Takes away all that portcullis has in the kernel, and the operator's own firewall with it.
fn flush(lab: &Lab) {
    let flushed = lab.edge.sh(
        "nft flush ruleset; ip rule del fwmark 0x21/0xff lookup 121; ip -6 rule del fwmark 0x21/0xff lookup 121",
    );
    assert!(flushed.status.success(), "{flushed:?}");
}

fn a_transfer_works_again_after_another_program_flushed_the_ruleset() {
    for topology in [Topology::BehindNat, Topology::Published] {
        let lab = Lab::new(topology);
        let server = lab.vsftpd();
        std::fs::write(server.file("a-file"), "content").unwrap();
        let gate = lab.gate();

        flush(&lab);

        wait_until("the table to come back", || {
            let tables = lab.edge.sh("nft list tables").stdout;
            String::from_utf8_lossy(&tables)
                .contains("portcullis")
                .then_some(())
        });
        for family in [Family::V4, Family::V6] {
            for flags in ["", "--ftp-port -"] {
                let url = format!("ftp://{}/a-file", lab.dialled(family));
                let got = lab.client(&format!("curl -sS -m 10 {flags} {url}"));
                assert_eq!(got, "content", "{topology:?} {family:?} {flags}");
            }
        }
        assert!(
            gate.output().contains("is put back"),
            "the log does not tell of it"
        );
        assert_eq!(
            [routing_rules(&lab, "-4"), routing_rules(&lab, "-6")],
            [1, 1]
        );
        assert!(gate.terminate().success());
        assert_eq!(lab.kernel_state(), Vec::<String>::new());
    }
}

/// Where the control connection lasts without the table, the next transfer does not even have to wait.
fn a_session_goes_on_after_another_program_flushed_the_ruleset() {
    let lab = Lab::published();
    let _server = lab.vsftpd();
    let gate = lab.gate();
    let mut client = Peer::dial(&lab.client, "198.51.100.1:21");
    client.log_in();

    flush(&lab);

    client.ask("EPSV", "229");
    let open = lab.open_elements();
    assert!(open > 0, "no pinhole in the new table");
    client.ask("QUIT", "221");
    drop(client);
    gate.event("session-end");
}

fn sigterm_right_after_a_flush_leaves_nothing() {
    let lab = Lab::behind_nat();
    let gate = lab.gate();
    flush(&lab);
    assert!(gate.terminate().success());
    assert_eq!(lab.kernel_state(), Vec::<String>::new());
}

//! Data that portcullis carries itself: both modes, both families, bounded, and without any privilege.

use crate::lab::{Family, Gate, Lab, Peer, REFUSAL, Vsftpd, same};

crate::claims![
    files_arrive_whole_through_the_relay,
    a_transfer_ends_at_its_most_bytes_by_the_rule_of_its_announcement,
    a_transfer_ends_at_its_most_bytes_by_its_own_rule,
    only_the_expected_client_is_relayed,
    a_transparent_listener_relays_as_the_edge,
    a_transparent_listener_relays_as_the_client,
    it_serves_without_any_privilege,
];

const MODES: [(Family, &str); 6] = [
    (Family::V4, "--disable-epsv"),
    (Family::V4, ""),
    (Family::V4, "--ftp-port - --disable-eprt"),
    (Family::V4, "--ftp-port -"),
    (Family::V6, ""),
    (Family::V6, "--ftp-port -"),
];

const ALL: &str = "rules: [ { id: all, allow: true } ]\n";

/// A published listener on this port whose data is relayed.
fn config(port: u16) -> String {
    format!(
        r#"listeners:
  - name: relayed
    published:
      listen: ["198.51.100.1:{port}", "[2001:db8:51::1]:{port}"]
      server: ["10.70.0.2:21", "[fd70::2]:21"]
    server-sees: edge
    data: relay
    rules: policy.yaml
audit: {{ output: AUDIT }}
"#
    )
}

fn moves_in_every_way(lab: &Lab, gate: &Gate, server: &Vsftpd, port: u16) {
    let file = lab.random_file("sent", 3_000_000);
    for (family, flags) in MODES {
        let back = lab.dir.join("back");
        let url = format!("ftp://{}:{port}/kept", lab.dialled(family));
        lab.client(&format!(
            "curl -sS -m 20 {flags} -T {} {url}",
            file.display()
        ));
        lab.client(&format!(
            "curl -sS -m 20 {flags} -o {} {url}",
            back.display()
        ));
        assert!(
            same(&file, &server.file("kept")),
            "the upload differs: {family:?} {flags}"
        );
        assert!(
            same(&file, &back),
            "the download differs: {family:?} {flags}"
        );
        std::fs::remove_file(server.file("kept")).unwrap();
        std::fs::remove_file(back).unwrap();
    }
    let transfers = crate::lab::wait_until("the records of all transfers", || {
        Some(gate.events("transfer")).filter(|transfers| transfers.len() >= 2 * MODES.len())
    });
    for transfer in transfers {
        assert_eq!(transfer["portcullis"]["bytes"], 3_000_000, "{transfer}");
        assert_eq!(transfer["portcullis"]["outcome"], "completed", "{transfer}");
    }
}

fn files_arrive_whole_through_the_relay() {
    let lab = Lab::published();
    lab.accept_data_ports();
    let server = lab.vsftpd();
    let gate = lab.portcullis(&config(21), ALL);

    moves_in_every_way(&lab, &gate, &server, 21);
}

fn a_transfer_ends_at_its_most_bytes_by_the_rule_of_its_announcement() {
    ends_at_its_most_bytes("data");
}

fn a_transfer_ends_at_its_most_bytes_by_its_own_rule() {
    ends_at_its_most_bytes("read");
}

/// A rule for these commands bounds the bytes.
fn ends_at_its_most_bytes(commands: &str) {
    let lab = Lab::published();
    lab.accept_data_ports();
    let server = lab.vsftpd();
    std::fs::copy(lab.random_file("large", 3_000_000), server.file("large")).unwrap();
    std::fs::copy(lab.random_file("small", 1_000_000), server.file("small")).unwrap();
    let gate = lab.portcullis(
        &config(21),
        &format!(
            "rules: [ {{ id: bounded, allow: true, command: [{commands}], max-bytes: 1MB }}, {{ id: all, allow: true }} ]\n"
        ),
    );
    let back = lab.dir.join("back");
    let fetch = |name| {
        format!(
            "curl -sS -m 20 ftp://198.51.100.1/{name} -o {}",
            back.display()
        )
    };

    lab.client(&fetch("small"));
    assert!(
        same(&lab.dir.join("small"), &back),
        "what is within the bound differs"
    );
    let output = lab.client.sh(&fetch("large"));

    assert!(!output.status.success(), "more than the bound came through");
    assert!(back.metadata().unwrap().len() <= 1_000_000);
    let moved = crate::lab::wait_until("the records of both", || {
        Some(gate.events("transfer")).filter(|transfers| transfers.len() == 2)
    });
    assert_eq!(moved[1]["portcullis"]["bytes"], 1_000_000, "{}", moved[1]);
    assert_eq!(moved[0]["portcullis"]["outcome"], "completed");
    assert_eq!(moved[1]["portcullis"]["outcome"], "truncated");
}

fn only_the_expected_client_is_relayed() {
    let lab = Lab::published();
    lab.accept_data_ports();
    lab.client("ip address add 198.51.100.41/24 dev eth0");
    let server = lab.vsftpd();
    std::fs::write(server.file("a-file"), "content").unwrap();
    let _gate = lab.portcullis(&config(21), ALL);
    let mut client = Peer::dial(&lab.client, "198.51.100.1:21");
    client.log_in();
    let reply = client.ask("EPSV", "229");
    let announced = format!("198.51.100.1:{}", reply.split('|').nth(3).unwrap());

    // The kernel takes it before portcullis sees who it is; then it is reset.
    if let Ok(stranger) = lab
        .client
        .connect_from("198.51.100.41:0", &announced, REFUSAL)
    {
        let read = std::io::read_to_string(stranger);
        assert!(read.is_err(), "a stranger was answered: {read:?}");
    }
    let mut data = lab.client.connect(&announced).unwrap();
    client.ask("RETR a-file", "150");
    assert_eq!(std::io::read_to_string(&mut data).unwrap(), "content");
    client.expect("226");
}

fn a_transparent_listener_relays_as_the_edge() {
    transparent("edge");
}

fn a_transparent_listener_relays_as_the_client() {
    transparent("client");
}

/// Relays for clients that dial the server itself, whom the server sees as the edge or as they are.
fn transparent(sees: &str) {
    let lab = Lab::behind_nat();
    lab.accept_data_ports();
    if sees == "client" {
        lab.server.sh(
            "ip route add 10.60.1.0/24 via 198.51.100.1; ip route add fd60:1::/64 via 2001:db8:51::1",
        );
    }
    let server = lab.vsftpd();
    let gate = lab.portcullis(
        &format!(
            "listeners:
  - name: lan
    transparent: {{ interfaces: [lan0] }}
    server-sees: {sees}
    data: relay
    rules: policy.yaml
audit: {{ output: AUDIT }}
"
        ),
        ALL,
    );

    moves_in_every_way(&lab, &gate, &server, 21);
}

fn it_serves_without_any_privilege() {
    let lab = Lab::published();
    lab.accept_data_ports();
    let server = lab.vsftpd();
    let before = lab.kernel_state();
    let gate = lab.portcullis_without_privilege(&config(2121), ALL);

    moves_in_every_way(&lab, &gate, &server, 2121);

    assert_eq!(
        lab.kernel_state(),
        before,
        "the kernel's tables were touched"
    );
    assert!(gate.terminate().success());
}

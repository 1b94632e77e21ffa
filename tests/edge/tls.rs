//! TLS whose keys portcullis does not have: refused, passed on, beside a window, and ended by CCC.

use std::process::Stdio;

use crate::lab::{Family, Gate, Lab, Peer, REFUSAL, Topology, Vsftpd, same, wait_until};

crate::claims![
    a_window_serves_clients_behind_nat,
    a_window_serves_a_published_server,
    pass_lets_control_through_and_no_data,
    refuse_keeps_sessions_in_plain_text,
    after_ccc_pinholes_open_again,
];

/// The server uses 50000 to 50099; on the last port of the window the tests listen.
const WINDOW: &str = "rules:
  - { id: encryption, allow: true, command: [AUTH], tls: { window: { ports: 50000-50100, at-most: 4 } } }
  - { id: all, allow: true }
";

const LFTP: &str = "set net:max-retries 1; set net:timeout 10; set xfer:clobber yes; set ssl:verify-certificate no;
    set ftp:ssl-allow-anonymous true; set ftp:ssl-force true; set ftp:ssl-protect-data true";

const CURL: &str = "curl -sS -m 20 -k --ssl-reqd";

/// Starts vsftpd with TLS on the control connection and, where clients ask for it, on the data connections.
fn vsftpd_with_tls(lab: &Lab) -> Vsftpd {
    let certificate = lab.certificate();
    let options = [
        "ssl_enable=YES",
        "allow_anon_ssl=YES",
        "force_anon_data_ssl=NO",
        "force_anon_logins_ssl=NO",
        "require_ssl_reuse=NO",
        "ssl_ciphers=HIGH",
        "pasv_min_port=50000",
        "pasv_max_port=50099",
        &format!("rsa_cert_file={}", certificate.display()),
        "pasv_address=198.51.100.1",
    ];
    let published = usize::from(lab.topology == Topology::Published);
    lab.vsftpd_with(&options[..options.len() - 1 + published])
}

fn a_window_serves_clients_behind_nat() {
    a_window_serves(Topology::BehindNat);
}

fn a_window_serves_a_published_server() {
    a_window_serves(Topology::Published);
}

fn a_window_serves(topology: Topology) {
    let lab = Lab::new(topology);
    let server = vsftpd_with_tls(&lab);
    let gate = lab.gate_by(WINDOW);
    let file = lab.random_file("sent", 3_000_000);
    let back = lab.dir.join("back");
    let [v4, v6] = [Family::V4, Family::V6].map(|family| lab.dialled(family));

    let listing = lab.client(&format!(
        "lftp -c '{LFTP}; open ftp://{v4}; put {} -o kept; get kept -o {}; ls'",
        file.display(),
        back.display()
    ));
    assert!(listing.contains("kept"), "{listing} does not list the file");
    assert!(same(&file, &server.file("kept")), "the upload differs");
    assert!(same(&file, &back), "the download by lftp differs");
    for (address, flags) in [(v4, ""), (v4, "--disable-epsv"), (v6, "")] {
        std::fs::remove_file(&back).unwrap();
        lab.client(&format!(
            "{CURL} {flags} ftp://{address}/kept -o {}",
            back.display()
        ));
        assert!(
            same(&file, &back),
            "the download by curl {flags} from {address} differs"
        );
    }

    assert!(gate.events("tls-start").len() >= 4);
    assert!(gate.events("window-used").len() >= 6);
    wait_until("the bytes of all data connections", || {
        (gate.events("window-transfer").len() >= 6).then_some(())
    });
    let most = gate
        .events("window-transfer")
        .iter()
        .map(|record| record["portcullis"]["bytes"].as_u64())
        .max();
    assert!(
        most.flatten() > Some(3_000_000),
        "a file went through the window"
    );
    drop(gate);
    only_for_its_client(&lab, &server);
}

/// While one client fetches a file, a stranger's connection to the same ports is refused; once it is gone,
/// the client's is as well.
fn only_for_its_client(lab: &Lab, server: &Vsftpd) {
    let gate = lab.gate_by(WINDOW);
    std::fs::copy(lab.random_file("large", 6_000_000), server.file("large")).unwrap();
    let _listener = lab.server.listen("[::]:50100");
    let [own, stranger] = match lab.topology {
        Topology::BehindNat | Topology::Nat64 => ["10.60.1.2:0", "10.60.1.3:0"],
        Topology::Published => ["198.51.100.40:0", "198.51.100.41:0"],
    };
    let added = stranger.trim_end_matches(":0");
    lab.client(&format!("ip address add {added}/24 dev eth0"));
    let comes = |from, port| {
        let to = format!("{}:{port}", lab.dialled(Family::V4));
        lab.client.connect_from(from, &to, REFUSAL).is_ok()
    };
    assert!(
        !comes(own, 50100),
        "the window stood open before there was TLS"
    );

    let got = lab.dir.join("got");
    let url = format!("ftp://{}/large", lab.dialled(Family::V4));
    let mut curl = lab.client.command("curl");
    curl.args([
        "-s",
        "-k",
        "--ssl-reqd",
        "-m",
        "30",
        "--limit-rate",
        "1M",
        &url,
        "-o",
    ]);
    let mut curl = curl.arg(&got).stdout(Stdio::null()).spawn().unwrap();
    wait_until("the transfer to move", || {
        got.metadata().ok().filter(|file| file.len() > 0)
    });
    assert!(
        !comes(stranger, 50100),
        "a third host came through the window"
    );
    assert!(comes(own, 50100), "the client's own connection was refused");
    assert!(!comes(own, 50101), "a port beside the window was open");
    assert!(curl.wait().unwrap().success());
    assert!(same(&lab.dir.join("large"), &got), "the download differs");

    gate.event("session-end");
    assert!(!comes(own, 50100), "the window stands open after QUIT");
}

fn pass_lets_control_through_and_no_data() {
    let lab = Lab::behind_nat();
    let server = vsftpd_with_tls(&lab);
    let gate = lab.gate_by("rules: [ { id: secret, allow: true, command: [AUTH], tls: pass }, { id: all, allow: true } ]\n");

    let output = lab
        .client
        .sh(&format!("{CURL} --connect-timeout 2 ftp://198.51.100.20/"));

    assert!(!output.status.success(), "a listing came through");
    let log = server.log();
    assert!(
        log.contains("\"PASV\"") || log.contains("\"EPSV\""),
        "control does not work:\n{log}"
    );
    gate.event("tls-start");
    assert_eq!(gate.events("window-used").len(), 0);
    assert_eq!(gate.events("pinhole-opened").len(), 0);
}

fn refuse_keeps_sessions_in_plain_text() {
    let lab = Lab::behind_nat();
    let server = vsftpd_with_tls(&lab);
    std::fs::write(server.file("a-file"), "content").unwrap();
    let gate: Gate = lab.gate();

    let output = lab.client.sh(&format!("{CURL} ftp://198.51.100.20/a-file"));
    assert_eq!(
        output.status.code(),
        Some(64),
        "curl was to end with CURLE_USE_SSL_FAILED"
    );
    let said = lab.client("lftp -c 'set net:max-retries 1; set ftp:ssl-allow-anonymous true; open ftp://198.51.100.20; cat a-file'");
    assert_eq!(said.trim(), "content");

    assert_eq!(gate.events("tls-start").len(), 0);
    assert!(server.log().contains("AUTH TLS"), "the server offers it");
    let mut client = Peer::dial(&lab.client, "198.51.100.20:21");
    client.log_in();
    client.ask("FEAT", "211-");
    let mut features = Vec::new();
    while let Some(line) = client.hear().filter(|line| !line.starts_with("211 ")) {
        features.push(line);
    }
    assert!(features.contains(&" EPSV".to_owned()), "{features:?}");
    for hidden in ["AUTH", "PBSZ", "PROT"] {
        assert!(
            !features.iter().any(|line| line.contains(hidden)),
            "{hidden} is listed: {features:?}"
        );
    }
}

fn after_ccc_pinholes_open_again() {
    let lab = Lab::behind_nat();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/ccc.py");
    let certificate = lab.certificate();
    let mut server = lab.server.command("python3");
    let mut server = server
        .args([script, "server"])
        .arg(certificate)
        .spawn()
        .unwrap();
    wait_until("the server to listen", || {
        lab.server.connect("127.0.0.1:2100").ok()
    });
    let gate = lab.gate_by("rules: [ { id: secret, allow: true, command: [AUTH], tls: pass }, { id: all, allow: true } ]\n");

    let said = lab.client(&format!("python3 {script} client 198.51.100.20"));

    assert!(server.wait().unwrap().success());
    assert_eq!(said.trim(), "plain data after CCC");
    gate.event("tls-start");
    gate.event("tls-end");
    gate.event("pinhole-used");
    assert_eq!(gate.event("transfer")["portcullis"]["outcome"], "completed");
}

//! Clients and servers of different families: a NAT64 prefix, and a server published over the other family.

use std::net::TcpListener;

use crate::lab::{Gate, Lab, Peer, REFUSAL, Topology, Vsftpd, same};

crate::claims![
    an_ipv6_client_moves_files_with_an_ipv4_server,
    an_ipv4_client_moves_files_with_a_published_ipv6_server,
    algs_tells_an_ipv6_client_what_is_translated,
    a_227_with_another_address_leads_to_the_server,
    epsv_all_holds_across_families,
    the_prefix_leads_to_no_address_of_the_edge,
];

const SERVER: &str = "[64:ff9b::c633:6414]";

const ALL: &str = "rules: [ { id: all, allow: true } ]\n";

/// A lab whose client has no IPv4 address and whose server has no IPv6 address.
fn six_to_four() -> (Lab, Gate) {
    let lab = Lab::new(Topology::Nat64);
    let gate = lab.gate();
    (lab, gate)
}

/// Moves a file to the server and back, once for each of these flags of curl.
fn moves(lab: &Lab, gate: &Gate, server: &Vsftpd, address: &str, modes: &[&str]) {
    let file = lab.random_file("sent", 3_000_000);
    for flags in modes {
        let back = lab.dir.join("back");
        let url = format!("ftp://{address}/kept");
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
            "the upload differs with '{flags}'"
        );
        assert!(same(&file, &back), "the download differs with '{flags}'");
        std::fs::remove_file(server.file("kept")).unwrap();
        std::fs::remove_file(back).unwrap();
    }
    let transfers = crate::lab::wait_until("the records of all transfers", || {
        Some(gate.events("transfer")).filter(|transfers| transfers.len() >= 2 * modes.len())
    });
    for transfer in transfers {
        assert_eq!(transfer["portcullis"]["bytes"], 3_000_000, "{transfer}");
    }
}

fn an_ipv6_client_moves_files_with_an_ipv4_server() {
    let (lab, gate) = six_to_four();
    let server = lab.vsftpd();

    moves(&lab, &gate, &server, SERVER, &["", "--ftp-port -"]);

    let log = server.log();
    for verb in ["EPSV", "EPRT"] {
        assert!(
            log.contains(&format!("\"{verb}")),
            "the server never saw {verb}:\n{log}"
        );
    }
    let listing = lab.client(&format!(
        "lftp -c 'set net:max-retries 1; open ftp://{SERVER}; put {} -o by-lftp; ls'",
        lab.dir.join("sent").display()
    ));
    assert!(listing.contains("by-lftp"), "{listing}");
}

fn an_ipv4_client_moves_files_with_a_published_ipv6_server() {
    let lab = Lab::published();
    lab.client.sh("ip -6 address flush dev eth0");
    lab.server.sh("ip -4 address flush dev eth0");
    lab.accept_data_ports();
    let server = lab.vsftpd();
    let gate = lab.portcullis(
        r#"listeners:
  - name: published
    published: { listen: "198.51.100.1:21", server: "[fd70::2]:21" }
    server-sees: edge
    rules: policy.yaml
audit: { output: AUDIT }
"#,
        ALL,
    );

    let modes = [
        "--disable-epsv",
        "--ftp-port - --disable-eprt",
        "",
        "--ftp-port -",
    ];
    moves(&lab, &gate, &server, "198.51.100.1", &modes);
}

fn algs_tells_an_ipv6_client_what_is_translated() {
    let (lab, _gate) = six_to_four();
    let _server = lab.vsftpd();

    let mut client = Peer::dial(&lab.client, &format!("{SERVER}:21"));

    client.log_in();
    client.ask("ALGS STATUS64", "216 EPSV");
}

/// A logged-in client and a scripted server across the families.
fn session(lab: &Lab) -> (Peer, Peer) {
    let control = lab.server.listen("0.0.0.0:21");
    let mut client = Peer::dial(&lab.client, &format!("{SERVER}:21"));
    let mut server = Peer::accept(&control);
    let login = std::thread::spawn(move || {
        server.let_in();
        server
    });
    client.log_in();
    (client, login.join().unwrap())
}

fn arrives(listener: &TcpListener) -> bool {
    listener.set_nonblocking(true).unwrap();
    crate::lab::wait_until("a data connection", || listener.accept().ok());
    true
}

fn a_227_with_another_address_leads_to_the_server() {
    let (lab, _gate) = six_to_four();
    let (mut client, mut server) = session(&lab);
    let data = lab.server.listen("198.51.100.20:40000");
    // The address of a server behind a NAT of its own, say.
    client.say("EPSV");
    server.expect("EPSV");
    server.say("500 never heard of it");
    server.expect("PASV");
    server.say("227 Entering Passive Mode (192,168,7,7,156,64)");
    let reply = client.expect("229");
    let port = reply.split('|').nth(3).unwrap();

    let _stream = lab.client.connect(&format!("{SERVER}:{port}")).unwrap();

    assert!(arrives(&data));
    assert!(
        lab.client
            .connect_within(&format!("{SERVER}:{port}"), REFUSAL)
            .is_err(),
        "a second connection came through"
    );
}

fn epsv_all_holds_across_families() {
    let (lab, _gate) = six_to_four();
    let server = lab.vsftpd();
    std::fs::write(server.file("a-file"), "content").unwrap();
    let mut client = Peer::dial(&lab.client, &format!("{SERVER}:21"));
    client.log_in();

    client.ask("EPSV ALL", "200");

    client.ask("EPRT |2|fd60:1::2|40000|", "501");
    let reply = client.ask("EPSV", "229");
    let port = reply.split('|').nth(3).unwrap();
    let mut data = lab.client.connect(&format!("{SERVER}:{port}")).unwrap();
    client.ask("RETR a-file", "150");
    assert_eq!(std::io::read_to_string(&mut data).unwrap(), "content");
    client.expect("226");
}

fn the_prefix_leads_to_no_address_of_the_edge() {
    let (lab, _gate) = six_to_four();
    let _services = ["127.0.0.1:21", "198.51.100.1:21"].map(|address| lab.edge.listen(address));
    for (address, stands_for) in [
        ("64:ff9b::7f00:1", "127.0.0.1"),
        ("64:ff9b::c633:6401", "198.51.100.1"),
        ("64:ff9b::a9fe:a9fe", "169.254.169.254"),
    ] {
        let mut client = Peer::dial(&lab.client, &format!("[{address}]:21"));
        let answer = client.expect("421 ");
        assert!(answer.contains(stands_for), "'{answer}' does not say which");
    }
}

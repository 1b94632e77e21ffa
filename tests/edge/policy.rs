//! What single rules grant, with real servers: FXP, the rules of a virtual host, masks.

use crate::lab::{Lab, Peer, wait_until};

crate::claims![
    a_rule_lets_a_server_send_to_a_third_host,
    host_chooses_the_rules,
    masks_hide_what_the_server_says_of_itself,
];

fn a_rule_lets_a_server_send_to_a_third_host() {
    let lab = Lab::published();
    lab.client("ip address add 198.51.100.41/24 dev eth0");
    let server = lab.vsftpd_with(&["port_promiscuous=YES"]);
    std::fs::write(server.file("a-file"), "content").unwrap();
    let third = lab.client.listen("198.51.100.41:40000");
    let _gate = lab.gate_by(
        "rules: [ { id: pair, allow: true, command: [PORT], fxp: 198.51.100.41 }, { id: all, allow: true } ]\n",
    );
    let mut client = Peer::dial(&lab.client, "198.51.100.1:21");
    client.log_in();

    client.ask("PORT 198,51,100,42,156,64", "501");
    client.ask("PORT 198,51,100,41,156,64", "200");
    client.ask("RETR a-file", "150");

    let (mut data, from) = third.accept().unwrap();
    assert_eq!(
        from.ip().to_string(),
        "198.51.100.1",
        "the published address sends"
    );
    assert_eq!(std::io::read_to_string(&mut data).unwrap(), "content");
    client.expect("226");
}

fn host_chooses_the_rules() {
    let lab = Lab::published();
    let server = lab.vsftpd();
    std::fs::write(
        lab.dir.join("upload.yaml"),
        "rules: [ { id: all, allow: true } ]\n",
    )
    .unwrap();
    let _gate = lab.portcullis(
        r#"listeners:
  - name: published
    published: { listen: "198.51.100.1:21", server: "10.70.0.2:21" }
    server-sees: client
    rules: policy.yaml
    hosts: { upload.example.org: upload.yaml }
audit: { output: AUDIT }
"#,
        "rules: [ { id: read-only, deny: 550 Nothing is taken here, command: [write] }, { id: all, allow: true } ]\n",
    );
    let made = server.file("made");

    let mut client = Peer::dial(&lab.client, "198.51.100.1:21");
    client.log_in();
    client.ask("MKD made", "550 Nothing is taken here");
    client.ask("HOST upload.example.org", "503");
    let mut client = Peer::dial(&lab.client, "198.51.100.1:21");
    client.expect("220");
    client.ask("HOST other.example.org", "504");
    client.ask("HOST Upload.Example.org", "220");
    client.ask("USER anonymous", "331");
    client.ask("PASS guest", "230");
    client.ask("MKD made", "257");

    wait_until("the directory", || made.is_dir().then_some(()));
}

fn masks_hide_what_the_server_says_of_itself() {
    let lab = Lab::published();
    let _server = lab.vsftpd();
    let _gate = lab.gate_by(
        "protocol: { banner: Files }
rules:
  - { id: system, allow: true, command: [SYST], mask-text: \"UNIX Type: L8\" }
  - { id: all, allow: true, hide-features: [MDTM] }
",
    );
    let mut client = Peer::dial(&lab.client, "198.51.100.1:21");

    assert_eq!(client.expect("220"), "220 Files");
    client.ask("USER anonymous", "331");
    client.ask("PASS guest", "230");
    assert_eq!(client.ask("SYST", "215"), "215 UNIX Type: L8");
    client.ask("FEAT", "211-");
    while let Some(line) = client.hear().filter(|line| !line.starts_with("211 ")) {
        assert!(!line.contains("MDTM"), "'{line}' was to be hidden");
    }
    client.ask("MDTM a-file", "502");
}

//! `kill -9`, at any moment of any transfer, with a start right behind it.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::ground::{
    KINDS, begin, end, installed, logged_in, server_with_a_file, transfers_work, wait_until_closed,
};
use crate::lab::{Gate, Lab, same};

crate::claims![
    killed_on_the_kernel_path,
    killed_with_the_relay,
    what_a_killed_gate_left_open_closes_by_itself,
];

/// Times that each kind of transfer is killed.
const ROUNDS: usize = 2;

/// The kill comes this many milliseconds into a transfer that takes 300 to 600, at the latest.
const LATEST: u64 = 500;

fn killed_on_the_kernel_path() {
    let lab = Lab::behind_nat();
    kill_in_every_kind(&lab, || lab.gate());
}

fn killed_with_the_relay() {
    let lab = Lab::published();
    lab.accept_data_ports();
    let config = r#"listeners:
  - name: relayed
    published: { listen: ["198.51.100.1:21", "[2001:db8:51::1]:21"], server: ["10.70.0.2:21", "[fd70::2]:21"] }
    server-sees: client
    data: relay
    rules: policy.yaml
audit: { output: AUDIT }
"#;
    let policy = "rules: [ { id: all, allow: true } ]\n";
    kill_in_every_kind(&lab, || lab.portcullis(config, policy));
}

fn kill_in_every_kind(lab: &Lab, start: impl Fn() -> Gate) {
    let server = server_with_a_file(lab);
    let original = lab.random_file("original", 1_000_000);
    std::fs::copy(&original, server.file("original")).unwrap();
    std::fs::create_dir(server.file("many")).unwrap();
    for number in 0..2000 {
        std::fs::write(server.file(&format!("many/file-{number}")), "").unwrap();
    }
    let got = lab.dir.join("got");
    let url = format!("ftp://{}", lab.dialled(crate::lab::Family::V4));
    let mut gate = start();
    let mut whole = 0;
    for round in 0..ROUNDS {
        for kind in KINDS {
            let at = RandomState::new().hash_one((round, kind)) % LATEST;
            let told = format!("{kind}, killed after {at} ms");
            drop(std::fs::remove_file(&got));
            drop(std::fs::remove_file(server.file("kept")));
            let rate = if kind.contains("many") { "400k" } else { "3M" };
            let arguments = kind
                .replace("GOT", &got.display().to_string())
                .replace("SENT", &original.display().to_string())
                .replace("URL", &url);
            let transfer = begin(lab, &format!("--limit-rate {rate} {arguments}"));
            std::thread::sleep(Duration::from_millis(at));

            gate.kill();
            gate = start();

            let ended = end(transfer);
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert_ne!(ended.status.code(), Some(28), "{told}: no end, {said}");
            if ended.status.success() {
                whole += 1;
                if kind.contains("SENT") {
                    assert!(same(&original, &server.file("kept")), "{told}");
                } else if kind.contains("original") {
                    assert!(same(&original, &got), "{told}");
                } else {
                    let listing = std::fs::read_to_string(&got).unwrap();
                    assert_eq!(listing.lines().count(), 2000, "{told}");
                }
            } else {
                assert!(!said.is_empty(), "{told}: curl gives no reason");
            }
            assert_eq!(installed(lab)[0], usize::from(needs_table(lab)), "{told}");
        }
    }
    eprintln!(
        "killed: {whole} of {} transfers were complete all the same",
        ROUNDS * KINDS.len()
    );
    transfers_work(lab);
    if needs_table(lab) {
        assert_eq!(installed(lab), [1, 1, 1]);
    }
    assert!(gate.audit_text().ends_with('\n'));
    assert!(gate.records().len() > 20, "every line is a record");
    assert!(gate.terminate().success());
    assert_eq!(lab.kernel_state(), Vec::<String>::new());
}

/// Without kernel data paths there is none.
fn needs_table(lab: &Lab) -> bool {
    lab.topology == crate::lab::Topology::BehindNat
        || !std::fs::read_to_string(lab.dir.join("portcullis.yaml"))
            .unwrap()
            .contains("server-sees: edge")
}

fn what_a_killed_gate_left_open_closes_by_itself() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    let gate = lab.gate_with("limits: { pinhole-lifetime: 2s }\n");
    let mut client = logged_in(&lab);
    client.ask("EPSV", "229");
    assert!(lab.open_elements() > 0);

    gate.kill();

    assert_eq!(client.hear(), None, "the client hears the end");
    wait_until_closed(&lab);
    assert_eq!(installed(&lab), [1, 1, 1], "the table stays");
    let gate = lab.gate();
    transfers_work(&lab);
    assert!(gate.terminate().success());
    assert_eq!(lab.kernel_state(), Vec::<String>::new());
}

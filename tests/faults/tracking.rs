//! Connection tracking is full.

use std::time::{Duration, Instant};

use portcullis::conntrack::ROOM_CHECK;

use crate::ground::{logged_in, python, server_with_a_file, transfers_work, wait_until_closed};
use crate::lab::{Lab, REFUSAL, wait_until};

crate::claims![a_full_table_of_connections_lets_nothing_new_through_and_passes];

/// The limit is the machine's and the count the namespace's, so this takes as many entries as a real edge.
fn a_full_table_of_connections_lets_nothing_new_through_and_passes() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    let folder = lab.dir.display();
    let gate = lab.gate_with(&format!(
        "limits: {{ pinhole-lifetime: 3s, connect-timeout: 2s }}\n\
         admin: {{ page: \"127.0.0.1:8021\", token-file: {folder}/token }}\n"
    ));
    let drops = || {
        let ask = format!(
            "curl -sS -H \"Authorization: Bearer $(cat {folder}/token)\" http://127.0.0.1:8021/metrics"
        );
        let told = String::from_utf8_lossy(&lab.edge.sh(&ask).stdout).into_owned();
        let of = |line: &str| {
            line.strip_prefix("portcullis_conntrack_drops_total ")?
                .parse()
                .ok()
        };
        told.lines()
            .find_map(of)
            .unwrap_or_else(|| panic!("{told}"))
    };
    let before: u64 = drops();
    let mut client = logged_in(&lab);

    let filled = python(&lab, "tracking.py", "fill");

    assert!(filled.status.success(), "{filled:?}");
    let told = String::from_utf8_lossy(&filled.stdout).into_owned();
    // What runs goes on; what is new is dropped by the kernel before any rule sees it.
    let answer = client.ask("EPSV", "229");
    let port = answer.split('|').nth(3).unwrap();
    let to = format!("198.51.100.20:{port}");
    assert!(lab.client.connect_within(&to, REFUSAL).is_err(), "{told}");
    wait_until_closed(&lab);
    client.ask("NOOP", "200");

    let emptied = python(&lab, "tracking.py", "empty");
    assert!(emptied.status.success(), "{emptied:?}");
    wait_until("room for connections", || {
        let got = lab.client.sh("curl -s -m 5 ftp://198.51.100.20/small");
        (got.stdout == b"content").then_some(())
    });
    transfers_work(&lab);
    // Not before: the kernel tracks what comes to the page as well.
    assert!(drops() > before, "{before} are counted");
    let looked = Instant::now();
    while !gate.output().contains("connection tracking is full") {
        assert!(looked.elapsed() < 6 * ROOM_CHECK, "no word in the log");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(gate.terminate().success());
    assert_eq!(lab.kernel_state(), Vec::<String>::new());
}

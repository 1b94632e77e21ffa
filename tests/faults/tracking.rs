//! Connection tracking is full.

use crate::ground::{logged_in, python, server_with_a_file, transfers_work, wait_until_closed};
use crate::lab::{Lab, REFUSAL, wait_until};

crate::claims![a_full_table_of_connections_lets_nothing_new_through_and_passes];

/// The limit is the machine's and the count the namespace's, so this takes as many entries as a real edge.
fn a_full_table_of_connections_lets_nothing_new_through_and_passes() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    let gate = lab.gate_with("limits: { pinhole-lifetime: 3s, connect-timeout: 2s }\n");
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
    assert!(gate.terminate().success());
    assert_eq!(lab.kernel_state(), Vec::<String>::new());
}

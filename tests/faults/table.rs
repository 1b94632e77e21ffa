//! Somebody else edits what is portcullis' in the kernel, in the middle of sessions.

use crate::ground::{
    begin, end, installed, logged_in, server_with_a_file, transfers_work, wait_for_log,
};
use crate::lab::{Lab, REFUSAL, same};

crate::claims![
    a_pinhole_that_somebody_took_is_one_refused_connection,
    an_edited_table_is_put_back_and_transfers_go_on,
    what_others_add_to_the_table_stays,
    flushed_routing_is_put_back_and_sessions_go_on,
];

fn sh(lab: &Lab, command: &str) {
    let done = lab.edge.sh(command);
    assert!(done.status.success(), "{command}: {done:?}");
}

fn a_pinhole_that_somebody_took_is_one_refused_connection() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    let gate = lab.gate();
    let mut client = logged_in(&lab);
    for edit in [
        "flush set inet portcullis admit4",
        "flush map inet portcullis source4",
    ] {
        let answer = client.ask("EPSV", "229");
        let port = answer.split('|').nth(3).unwrap();
        sh(&lab, &format!("nft {edit}"));
        let to = format!("198.51.100.20:{port}");
        assert!(lab.client.connect_within(&to, REFUSAL).is_err(), "{edit}");
    }

    client.ask("EPSV", "229");
    transfers_work(&lab);
    client.ask("QUIT", "221");
    gate.event("session-end");
}

fn an_edited_table_is_put_back_and_transfers_go_on() {
    let lab = Lab::behind_nat();
    let server = server_with_a_file(&lab);
    let original = lab.random_file("original", 8_000_000);
    std::fs::copy(&original, server.file("original")).unwrap();
    let gate = lab.gate();
    let got = lab.dir.join("got");
    let transfer = begin(
        &lab,
        &format!(
            "--limit-rate 1M -o {} ftp://198.51.100.20/original",
            got.display()
        ),
    );
    gate.event("pinhole-used");
    let mut client = logged_in(&lab);
    let first = "nft delete rule inet portcullis intercept handle $(nft -a list chain inet portcullis \
         intercept | sed -n 's/.*admit4 .* handle //p' | head -1)";
    for (edits, edit) in [
        "nft flush chain inet portcullis intercept",
        "nft 'flush chain inet portcullis admit; delete chain inet portcullis admit'",
        "nft flush table inet portcullis",
        "nft add table inet portcullis '{ flags dormant; }'",
        first,
    ]
    .into_iter()
    .enumerate()
    {
        sh(&lab, edit);
        wait_for_log(
            &gate,
            "was removed or changed by another program",
            edits + 1,
        );
        client.ask("NOOP", "200");
        client.ask("EPSV", "229");
        assert_eq!(installed(&lab), [1, 1, 1], "{edit}");
    }

    transfers_work(&lab);
    let ended = end(transfer);
    assert!(ended.status.success(), "{ended:?}");
    assert!(same(&original, &got));
    assert!(gate.terminate().success());
    assert_eq!(lab.kernel_state(), Vec::<String>::new());
}

fn what_others_add_to_the_table_stays() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    let gate = lab.gate();
    let mut client = logged_in(&lab);
    client.ask("EPSV", "229");
    let open = lab.open_elements();
    sh(
        &lab,
        "nft 'insert rule inet portcullis intercept counter comment \"a look\"; \
         add chain inet portcullis other'",
    );
    std::thread::sleep(2 * portcullis::firewall::CHECK_INTERVAL);
    assert!(!gate.output().contains("put back"), "{}", gate.output());
    assert_eq!(lab.open_elements(), open);
    transfers_work(&lab);
}

fn flushed_routing_is_put_back_and_sessions_go_on() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    let gate = lab.gate();
    let mut client = logged_in(&lab);
    for (done, edit) in [
        "ip rule del fwmark 0x21/0xff lookup 121",
        "ip -6 rule del fwmark 0x21/0xff lookup 121",
        "ip route flush table 121; ip -6 route flush table 121",
    ]
    .into_iter()
    .enumerate()
    {
        client.ask("EPSV", "229");
        let open = lab.open_elements();
        sh(&lab, edit);
        wait_for_log(&gate, "the policy routing", done + 1);
        assert_eq!(lab.open_elements(), open, "pinholes stay");
        client.ask("NOOP", "200");
        assert_eq!(installed(&lab), [1, 1, 1], "{edit}");
    }
    transfers_work(&lab);
}

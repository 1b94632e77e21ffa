//! The kernel says no, or nothing, or late: full sets, lost answers, a table of somebody else's, a long lock.

use std::io::Write;
use std::process::Stdio;

use crate::ground::{
    installed, logged_in, python, server_with_a_file, transfers_work, wait_for_log,
    wait_until_closed,
};
use crate::lab::{Lab, Peer, wait_until};

crate::claims![
    a_transfer_waits_for_room_in_a_full_set,
    a_set_that_stays_full_is_told_and_passes,
    a_lost_answer_opens_nothing_and_its_socket_is_replaced,
    answers_fit_however_small_the_room_for_them_is,
    transfers_wait_while_another_program_holds_the_ruleset,
    a_table_that_another_program_owns_is_told_and_taken_back,
    without_its_keeper_it_ends_and_a_restart_mends_a_flush,
];

/// Few enough that the sets have their smallest size, 1024.
const FEW: &str = "limits: { pinholes: 10 }\n";

/// Many clients log in at once.
const MANY: &str = "limits: { session-rate: 1000/s, session-rate-per-client: 1000/s }\n";

/// A published server whose control connections need nothing from the table.
const SEEN_AS_EDGE: &str = r#"listeners:
  - name: published
    published: { listen: ["198.51.100.1:21", "[2001:db8:51::1]:21"], server: ["10.70.0.2:21", "[fd70::2]:21"] }
    server-sees: edge
    rules: policy.yaml
audit: { output: AUDIT }
"#;

const ALL: &str = "rules: [ { id: all, allow: true } ]\n";

/// Fills a set from outside.
fn fill(lab: &Lab, seconds: u32) {
    let command = format!(
        "for i in $(seq 0 1023); do echo \"add element inet portcullis admit4 \
         {{ 10.9.0.1 . 10.9.0.2 . $((1024 + i)) timeout {seconds}s }}\"; done | nft -f -"
    );
    let filled = lab.edge.sh(&command);
    assert!(filled.status.success(), "{filled:?}");
}

fn a_transfer_waits_for_room_in_a_full_set() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    let gate = lab.gate_with(FEW);
    let mut client = logged_in(&lab);
    fill(&lab, 1);

    let url = "ftp://198.51.100.20/small";
    let got = lab.client(&format!("curl -sS -m 15 {url}"));
    assert_eq!(got, "content");
    client.ask("EPSV", "229");
    assert!(!gate.output().contains("had no room"));
}

fn a_set_that_stays_full_is_told_and_passes() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    let gate = lab.gate_with(FEW);
    let mut client = logged_in(&lab);
    fill(&lab, 6);

    client.ask("EPSV", "425");
    wait_for_log(&gate, "had no room", 1);
    assert!(gate.output().contains("raise the limit on pinholes"));
    gate.event("pinhole-refused");

    wait_until("room", || {
        client.say("EPSV");
        let answer = client.hear().unwrap();
        answer.starts_with("229").then_some(())
    });
    transfers_work(&lab);
}

fn a_lost_answer_opens_nothing_and_its_socket_is_replaced() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    let gate = lab.gate();
    let mut client = logged_in(&lab);
    let muted = python(&lab, "break_socket.py", &format!("{} mute", gate.keeper()));
    assert!(muted.status.success(), "{muted:?}");

    client.ask("EPSV", "425");

    wait_for_log(&gate, "pinhole not opened", 1);
    wait_until_closed(&lab);
    client.ask("EPSV", "229");
    transfers_work(&lab);
}

fn answers_fit_however_small_the_room_for_them_is() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    let gate = lab.gate_with(MANY);
    let mut clients: Vec<Peer> = (0..24).map(|_| logged_in(&lab)).collect();
    let narrowed = python(
        &lab,
        "break_socket.py",
        &format!("{} narrow", gate.keeper()),
    );
    assert!(narrowed.status.success(), "{narrowed:?}");
    let mut holding = hold_ruleset(&lab, 2);

    // While the ruleset is held all of these gather, and go to the kernel together.
    for _ in 0..8 {
        for client in &mut clients {
            client.say("EPSV");
        }
        for client in &mut clients {
            client.expect("229");
        }
    }

    holding.wait().unwrap();
    transfers_work(&lab);
    assert!(!gate.output().contains("No buffer space available"));
    for client in &mut clients {
        client.ask("QUIT", "221");
    }
    drop(clients);
    wait_until_closed(&lab);
}

/// Starts another program that replaces 100,000 elements this many times, each time with the ruleset locked.
///
/// One message of that size takes a buffer that only root of the machine gets (`SO_SNDBUFFORCE`); others
/// hold the ruleset more often, for 4,000 elements each time.
fn hold_ruleset(lab: &Lab, times: u32) -> std::process::Child {
    let [big, small] = [("big.nft", 100_000), ("small.nft", 4_000)].map(|(name, count)| {
        let elements: Vec<String> = (0..count)
            .map(|i: u32| std::net::Ipv4Addr::from(0x0a00_0000 + i).to_string())
            .collect();
        let text = format!(
            "add table inet big\nadd set inet big s {{ type ipv4_addr; }}\nflush set inet big s\n\
             add element inet big s {{ {} }}\n",
            elements.join(", ")
        );
        let path = lab.dir.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    });
    let command = format!(
        "if nft -f {big} 2>/dev/null; then file={big} times={times}; else file={small} times=$(({times} * 25)); fi
         for i in $(seq $times); do nft -f $file || exit; done"
    );
    let mut holding = lab.edge.command("sh");
    holding.args(["-c", &command]).spawn().unwrap()
}

fn transfers_wait_while_another_program_holds_the_ruleset() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    let gate = lab.gate_with(MANY);
    let mut holding = hold_ruleset(&lab, 4);
    let mut count = 0;
    while holding.try_wait().unwrap().is_none() {
        let got = lab.client("curl -sS -m 15 ftp://198.51.100.20/small");
        assert_eq!(got, "content");
        count += 1;
    }
    assert!(holding.wait().unwrap().success());
    assert!(count > 0);
    assert!(!gate.output().contains("pinhole not opened"));
    assert!(!gate.output().contains("put back"));
}

fn a_table_that_another_program_owns_is_told_and_taken_back() {
    let lab = Lab::published();
    let _server = server_with_a_file(&lab);
    // A leg that has the client's address would stand still without the table.
    let gate = lab.portcullis(SEEN_AS_EDGE, ALL);
    let mut client = logged_in(&lab);
    let mut owner = lab.edge.command("nft");
    let mut owner = owner
        .arg("-i")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut orders = owner.stdin.take().unwrap();
    orders
        .write_all(b"delete table inet portcullis; add table inet portcullis { flags owner; }\n")
        .unwrap();
    wait_for_log(&gate, "another program has made it", 1);

    client.ask("EPSV", "425");
    client.ask("NOOP", "200");
    let tried = gate.output().matches("could not be put back").count();
    assert_eq!(tried, 1, "it is told once");

    // Its table goes with it.
    drop(orders);
    owner.wait().unwrap();
    wait_for_log(&gate, "is put back", 1);
    client.ask("EPSV", "229");
    transfers_work(&lab);
    assert!(gate.terminate().success());
    assert_eq!(lab.kernel_state(), Vec::<String>::new());
}

fn without_its_keeper_it_ends_and_a_restart_mends_a_flush() {
    let lab = Lab::published();
    let _server = server_with_a_file(&lab);
    let gate = lab.portcullis(SEEN_AS_EDGE, ALL);
    let mut client = logged_in(&lab);
    client.ask("EPSV", "229");
    lab.edge.sh(&format!("kill -9 {}", gate.keeper()));
    client.expect("421");
    let ended = gate.end("portcullis stops, to be started anew");
    assert_eq!(ended.code(), Some(1));

    lab.edge.sh("nft flush ruleset");
    let gate = lab.portcullis(SEEN_AS_EDGE, ALL);
    assert_eq!(installed(&lab), [1, 1, 1]);
    transfers_work(&lab);
    assert!(gate.terminate().success());
    assert_eq!(lab.kernel_state(), Vec::<String>::new());
}

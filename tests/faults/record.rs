//! The record has no room, is read-only, or is locked by somebody else.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ground::{logged_in, server_with_a_file, transfers_work, wait_for_log};
use crate::lab::{Gate, Lab, wait_until};

crate::claims![
    a_full_disk_denies_is_told_everywhere_and_passes,
    a_full_disk_may_let_transfers_go_on,
    a_start_on_a_read_only_disk_says_so,
    a_store_locked_for_seconds_holds_up_nothing,
    a_store_locked_for_long_is_a_failing_record,
];

const POLICY: &str = "rules: [ { id: all, allow: true } ]\n";

/// A small disk of its own for record and store.
fn disk(lab: &Lab, megabytes: u32) -> PathBuf {
    let disk = lab.dir.join("record");
    fs::create_dir(&disk).unwrap();
    let mounted = lab.edge.sh(&format!(
        "mount -t tmpfs -o size={megabytes}m record {}",
        disk.display()
    ));
    assert!(mounted.status.success(), "{mounted:?}");
    disk
}

fn config(lab: &Lab, on_failure: &str) -> String {
    let place = lab.dir.display();
    format!(
        "listeners:\n  - name: lan\n    transparent: {{ interfaces: [lan0] }}\n    server-sees: edge\n    \
         rules: policy.yaml\naudit: {{ output: {place}/record/eve.json, store: {place}/record/audit.db, \
         on-failure: {on_failure} }}\nadmin: {{ socket: {place}/admin.sock }}\n"
    )
}

/// Takes all the room there is.
fn fill(lab: &Lab) {
    let place = lab.dir.join("record/filler");
    let command = format!("! cat /dev/zero >{0}; ! echo x >>{0}", place.display());
    lab.edge.sh(&format!("{command} 2>/dev/null"));
}

fn empty(lab: &Lab) {
    fs::remove_file(lab.dir.join("record/filler")).unwrap();
}

/// What the running gate answers.
fn get(lab: &Lab, route: &str) -> String {
    let socket = lab.dir.join("admin.sock");
    let command = format!(
        "curl -sS --unix-socket {} http://gate{route}",
        socket.display()
    );
    let answer = lab.edge.sh(&command);
    assert!(answer.status.success(), "{answer:?}");
    String::from_utf8(answer.stdout).unwrap()
}

fn state(lab: &Lab) -> (String, bool) {
    let status: Value = serde_json::from_str(&get(lab, "/api/status")).unwrap();
    let failing = get(lab, "/metrics").contains("\nportcullis_record_failing 1\n");
    let state = status["record"]["state"].as_str().unwrap().to_owned();
    assert_eq!(
        status["record"]["error"].is_string(),
        state == "failing",
        "{status}"
    );
    (state, failing)
}

/// File and store have the same lines, each of them a record; gives them.
fn agree(lab: &Lab) -> Vec<Value> {
    let file = lab.dir.join("record/eve.json");
    let config = lab.dir.join("portcullis.yaml");
    let command = format!(
        "{} audit --json --config {}",
        env!("CARGO_BIN_EXE_portcullis"),
        config.display()
    );
    wait_until("file and store to agree", || {
        let text = fs::read_to_string(&file).unwrap();
        let stored = lab.edge.sh(&command);
        assert!(stored.status.success(), "{stored:?}");
        let stored = String::from_utf8(stored.stdout).unwrap();
        (text == stored).then(|| {
            let lines = text.lines();
            lines
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        })
    })
}

fn has(events: &[Value], kind: &str) -> bool {
    events
        .iter()
        .any(|event| event["portcullis"]["event"] == kind)
}

/// Has sessions write until the record fails.
fn until_failing(lab: &Lab, gate: &Gate) {
    wait_until("the record to fail", || {
        lab.client("curl -s -m 15 ftp://198.51.100.20/small || true");
        gate.output()
            .contains("the record cannot be kept")
            .then_some(())
    });
}

fn a_full_disk_denies_is_told_everywhere_and_passes() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    disk(&lab, 8);
    let gate = lab.portcullis(&config(&lab, "deny"), POLICY);
    transfers_work(&lab);
    assert_eq!(state(&lab), ("writing".to_owned(), false));
    let mut client = logged_in(&lab);

    fill(&lab);
    until_failing(&lab, &gate);

    assert_eq!(state(&lab), ("failing".to_owned(), true));
    client.ask("SYST", "421 The record cannot be kept");
    assert_eq!(client.hear(), None);
    let refused = lab
        .client
        .sh("curl -sSv -m 15 ftp://198.51.100.20/small 2>&1");
    let refused = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(refused.contains("421"), "{refused}");
    assert!(gate.output().contains("disk is full") || gate.output().contains("No space left"));
    crate::ground::wait_until_closed(&lab);

    empty(&lab);
    wait_for_log(
        &gate,
        "the record is kept again; nothing is missing in it",
        1,
    );
    assert_eq!(state(&lab), ("writing".to_owned(), false));
    transfers_work(&lab);
    assert!(gate.terminate().success());
    assert!(!has(&agree(&lab), "events-unrecorded"));
}

fn a_full_disk_may_let_transfers_go_on() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    disk(&lab, 8);
    let gate = lab.portcullis(&config(&lab, "allow"), POLICY);
    let mut client = logged_in(&lab);

    fill(&lab);
    until_failing(&lab, &gate);

    transfers_work(&lab);
    client.ask("SYST", "215");
    assert_eq!(state(&lab), ("failing".to_owned(), true));
    empty(&lab);
    wait_for_log(
        &gate,
        "the record is kept again; events are missing in it",
        1,
    );
    transfers_work(&lab);
    client.ask("QUIT", "221");
    assert_eq!(state(&lab), ("writing".to_owned(), false));
    assert!(gate.terminate().success());
    assert!(has(&agree(&lab), "events-unrecorded"));
}

/// A disk that has open files cannot be made read-only; the start is when it can be.
fn a_start_on_a_read_only_disk_says_so() {
    let lab = Lab::behind_nat();
    let disk = disk(&lab, 8);
    let gate = lab.portcullis(&config(&lab, "deny"), POLICY);
    let remount = |how: &str| {
        let command = format!("mount -o remount,bind,{how} {}", disk.display());
        lab.edge.sh(&command).status.success()
    };
    assert!(
        !remount("ro"),
        "the kernel lets nobody pull it from under a writer"
    );
    assert!(gate.terminate().success());
    assert!(remount("ro"));

    let command = format!(
        "exec timeout 10 {} run --config {}/portcullis.yaml 2>&1",
        env!("CARGO_BIN_EXE_portcullis"),
        lab.dir.display()
    );
    let refused = lab.edge.sh(&command);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("eve.json") && said.contains("Read-only"),
        "{said}"
    );
    assert_eq!(lab.kernel_state(), Vec::<String>::new(), "{said}");

    assert!(remount("rw"));
    assert!(
        lab.portcullis(&config(&lab, "deny"), POLICY)
            .terminate()
            .success()
    );
}

/// Locks the store as an operator's sqlite3 does; unlocks it after these seconds.
fn lock(lab: &Lab, seconds: u32) -> std::process::Child {
    let ready = lab.dir.join("locked");
    let script = format!(
        "import sqlite3, time; db = sqlite3.connect('{}/record/audit.db', isolation_level=None); \
         db.execute('BEGIN EXCLUSIVE'); open('{}', 'w'); time.sleep({seconds})",
        lab.dir.display(),
        ready.display()
    );
    let mut python = lab.edge.command("python3");
    let child = python.args(["-c", &script]).spawn().unwrap();
    wait_until("the lock", || ready.exists().then_some(()));
    child
}

fn a_store_locked_for_seconds_holds_up_nothing() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    disk(&lab, 64);
    let gate = lab.portcullis(&config(&lab, "deny"), POLICY);
    let mut client = logged_in(&lab);
    let mut locking = lock(&lab, 5);

    transfers_work(&lab);
    wait_for_log(&gate, "is locked by another process; events wait for it", 1);
    while locking.try_wait().unwrap().is_none() {
        client.ask("SYST", "215");
        assert_eq!(state(&lab), ("writing".to_owned(), false));
        std::thread::sleep(Duration::from_millis(50));
    }

    wait_for_log(&gate, "the audit store is written again", 1);
    client.ask("QUIT", "221");
    assert!(gate.terminate().success());
    assert!(!has(&agree(&lab), "events-unrecorded"));
}

fn a_store_locked_for_long_is_a_failing_record() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    disk(&lab, 64);
    let gate = lab.portcullis(&config(&lab, "deny"), POLICY);
    let mut client = logged_in(&lab);
    let mut locking = lock(&lab, 30);

    let locked = Instant::now();
    while !gate.output().contains("the record cannot be kept") {
        assert!(locked.elapsed() < Duration::from_secs(25), "no alarm");
        lab.client("curl -s -m 15 ftp://198.51.100.20/small || true");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(state(&lab), ("failing".to_owned(), true));
    client.ask("SYST", "421 The record cannot be kept");

    locking.kill().unwrap();
    locking.wait().unwrap();
    wait_for_log(
        &gate,
        "the record is kept again; nothing is missing in it",
        1,
    );
    transfers_work(&lab);
    assert!(gate.terminate().success());
    agree(&lab);
}

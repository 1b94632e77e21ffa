//! The record asked beside a running portcullis: hits, events, rotation.

use serde_json::Value;

use crate::lab::{Lab, Peer, wait_until};

crate::claims![
    a_transfer_is_told_by_hits_and_audit_while_portcullis_runs,
    a_rotated_record_goes_on_in_a_file_of_its_own,
    a_burst_of_events_reaches_the_store_where_no_other_file_may_be_made,
];

/// The lab's listener with a store beside the lines.
const CONFIG: &str = r#"listeners:
  - name: lan
    transparent: { interfaces: [lan0], ports: [21], bind-port: 2121 }
    server-sees: edge
    rules: policy.yaml
audit: { output: AUDIT, store: STORE }
"#;

const POLICY: &str = r#"rules:
  - { id: no-secrets, deny: 550 Not this one, path: "*secret*" }
  - { id: all, allow: true }
  - { id: never, deny: true }
"#;

/// Runs the program on the edge; gives what it wrote to stdout.
fn ask(lab: &Lab, command: &str) -> String {
    let output = lab.edge.sh(&format!(
        "timeout 10 {} {command} --config {}",
        env!("CARGO_BIN_EXE_portcullis"),
        lab.dir.join("portcullis.yaml").display()
    ));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

fn a_transfer_is_told_by_hits_and_audit_while_portcullis_runs() {
    let lab = Lab::behind_nat();
    let server = lab.vsftpd();
    std::fs::copy(lab.random_file("original", 500_000), server.file("large")).unwrap();
    let store = lab.dir.join("audit.db").display().to_string();
    let gate = lab.portcullis(&CONFIG.replace("STORE", &store), POLICY);

    lab.client("curl -sS ftp://198.51.100.20/large -o /dev/null");
    lab.client("! curl -sS ftp://198.51.100.20/secret -o /dev/null");
    wait_until("both sessions to end", || {
        (gate.events("session-end").len() == 2).then_some(())
    });

    let parse = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
    // The lines come first, and the store within the same batch.
    let hits: Vec<Value> = wait_until("the store to have it all", || {
        let ended = ask(&lab, "audit --kind session-end --json");
        (ended.lines().count() == 2).then(|| ask(&lab, "hits --json"))
    })
    .lines()
    .map(parse)
    .collect();
    let all = hits.iter().find(|hit| hit["rule"] == "all").unwrap();
    assert!(all["bytes"].as_u64().unwrap() >= 500_000, "{all}");
    assert_eq!(all["clients"][0]["client"], "10.60.1.2", "{all}");
    let denied = hits.iter().find(|hit| hit["rule"] == "no-secrets").unwrap();
    assert!(denied["hits"].as_u64().unwrap() >= 1, "{denied}");
    let unused = ask(&lab, "hits --unused 1h");
    assert!(unused.contains("never"), "{unused}");
    assert!(!unused.contains("no-secrets"), "{unused}");

    let transfers = ask(&lab, "audit --kind transfer --path '*large' --json");
    assert_eq!(transfers.lines().count(), 1, "{transfers}");
    let transfer = parse(transfers.trim());
    let session = &transfer["portcullis"]["session"];
    let story = ask(&lab, &format!("audit --session {session}"));
    for word in [
        "session-start",
        "pinhole-opened",
        "pinhole-used",
        "226",
        "session-end",
    ] {
        assert!(story.contains(word), "no {word} in\n{story}");
    }
    // File and store have the same lines in the same order.
    let lines: Vec<String> = ask(&lab, "audit --json")
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(lines, gate.audit_text().lines().collect::<Vec<_>>());
    assert!(gate.terminate().success());
    assert_eq!(ask(&lab, "audit --json").lines().count(), lines.len());
}

fn a_rotated_record_goes_on_in_a_file_of_its_own() {
    let lab = Lab::behind_nat();
    let server = lab.vsftpd();
    std::fs::write(server.file("a-file"), "content").unwrap();
    let gate = lab.gate();
    lab.client("curl -sS ftp://198.51.100.20/a-file");
    gate.event("session-end");
    let (path, moved) = (lab.dir.join("eve.json"), lab.dir.join("eve.json.1"));
    std::fs::rename(&path, &moved).unwrap();

    gate.hang_up();
    wait_until("the file to be made again", || path.exists().then_some(()));
    lab.client("curl -sS ftp://198.51.100.20/a-file");

    gate.event("session-end");
    let old = std::fs::read_to_string(&moved).unwrap();
    assert_eq!(old.matches("session-start").count(), 1);
    assert_eq!(gate.events("session-start").len(), 1);
    assert!(gate.terminate().success());
}

fn a_burst_of_events_reaches_the_store_where_no_other_file_may_be_made() {
    let lab = Lab::behind_nat();
    let _server = lab.vsftpd();
    let store = lab.dir.join("audit.db").display().to_string();
    let gate = lab.portcullis(&CONFIG.replace("STORE", &store), POLICY);
    let mut client = Peer::dial(&lab.client, "198.51.100.20:21");
    client.log_in();

    // Together, so that they are written together, by statements of many rows.
    for _ in 0..10 {
        client.send("NOOP\r\n".repeat(50));
        for _ in 0..50 {
            client.expect("200");
        }
    }

    client.ask("QUIT", "221");
    wait_until("the store to have it all", || {
        let decided = ask(&lab, "audit --kind decision --json");
        (decided.matches("NOOP").count() == 500).then_some(())
    });
    assert!(!gate.output().contains("cannot be kept"));
}

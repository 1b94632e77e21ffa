//! `sessions`, `pinholes` and `top` beside a transfer that runs.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::ftp::CONTENT;
use crate::ground::{Gate, said};

/// The lines of a command that prints JSON.
fn lines(gate: &Gate, command: &str) -> Vec<Value> {
    let output = gate.cli(&[command, "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn table(gate: &Gate, command: &str) -> String {
    let output = gate.cli(&[command]);
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_session_is_shown_with_its_transfer_and_after_it() {
    let gate = Gate::start();
    let mut client = gate.login("anna");
    let data = client.begin("/slow");

    let [session] = &lines(&gate, "sessions")[..] else {
        panic!("not one session");
    };
    assert_eq!(session["user"], "anna");
    assert_eq!(session["state"], "transfer");
    assert_eq!(session["command"], "RETR");
    assert_eq!(session["path"], "/slow");
    assert_eq!(session["rule"], "rest");
    assert_eq!(session["listener"], "pub");
    assert_eq!(session["server"], gate.server.address.to_string());
    assert!(
        session["rule_at"]
            .as_str()
            .unwrap()
            .ends_with("rules.yaml:6")
    );
    assert_eq!(session["pinhole"]["mode"], "passive");
    let shown = table(&gate, "sessions");
    for word in ["SESSION", "anna", "transfer", "RETR /slow", "rest"] {
        assert!(shown.contains(word), "{word} is missing in\n{shown}");
    }

    gate.server.let_go();
    assert_eq!(client.end(data), CONTENT);
    let after = gate.json_when("/api/sessions", |all| all["sessions"][0]["transfers"] == 1);
    assert_eq!(after["sessions"][0]["state"], "idle");
    assert!(after["sessions"][0]["bytes"].as_u64().unwrap() > 0);
    assert_eq!(after["sessions"][0]["pinhole"], Value::Null);
    client.ask("DELE /a", "550");
    assert_eq!(lines(&gate, "sessions")[0]["denied"], 1);
    client.quit();
    gate.json_when("/api/sessions", |all| {
        all["sessions"] == serde_json::json!([])
    });
    assert_eq!(table(&gate, "sessions").lines().count(), 1, "only heads");
}

#[test]
fn a_pinhole_is_shown_from_its_announcement_to_its_end() {
    let gate = Gate::start();
    let mut client = gate.login("anna");
    let announced = client.passive();
    let [open] = &lines(&gate, "pinholes")[..] else {
        panic!("not one pinhole");
    };
    assert_eq!(open["state"], "open");
    assert_eq!(open["to"], announced.to_string());
    assert_eq!(open["from"], "127.0.0.1");
    assert_eq!(open["mode"], "passive");
    assert_eq!(open["user"], "anna");
    assert_eq!(open["command"], Value::Null);

    let data = client.begin("/slow");
    let used = gate.json_when("/api/pinholes", |all| all["pinholes"][0]["state"] == "used");
    assert_eq!(used["pinholes"][0]["command"], "RETR");
    assert_eq!(used["pinholes"][0]["path"], "/slow");
    let shown = table(&gate, "pinholes");
    assert!(
        shown.contains("RETR /slow") && shown.contains("TARGET"),
        "{shown}"
    );
    gate.server.let_go();
    client.end(data);
    gate.json_when("/api/pinholes", |all| {
        all["pinholes"] == serde_json::json!([])
    });
    assert_eq!(table(&gate, "pinholes").lines().count(), 1, "only heads");
}

/// A name that would clear a screen and set a title.
const HOSTILE: &str = "eve\u{1b}[2J\u{1b}]0;owned";

#[test]
fn a_hostile_name_reaches_no_terminal() {
    let gate = Gate::start();
    let mut client = gate.login(HOSTILE);
    client.ask("CWD /\u{1b}[31m", "250");
    let shown = table(&gate, "sessions");
    assert!(shown.contains("eve\\u{1b}[2J"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn top_shows_sessions_takes_keys_and_gives_the_terminal_back() {
    let gate = Gate::start();
    let mut client = gate.login(HOSTILE);
    let data = client.begin("/slow");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admin/top.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(env!("CARGO_BIN_EXE_portcullis"));
    command.arg(gate.folder.path("portcullis.yaml"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    gate.server.let_go();
    client.end(data);
}

#[test]
fn top_without_a_terminal_says_what_to_use() {
    let gate = Gate::start();
    let output = gate.cli(&["top"]);
    assert!(!output.status.success());
    assert!(
        said(&output).contains("`top` needs a terminal"),
        "{}",
        said(&output)
    );
}

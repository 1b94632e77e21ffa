//! `reload`: all rules of the files or none, live sessions go on.

use crate::ground::{Gate, said, signal, wait_for};
use crate::http;

const CLOSED: &str = "rules:
  - { id: reading, allow: true, command: RETR }
  - { id: shut, deny: 550 Closed today, command: CWD }
  - { id: rest, allow: true }
";

const BAD: &str = "rules:
  - { id: first, allow: true, comand: CWD }
  - { id: first, deny: 999 No }
";

#[test]
fn a_live_session_gets_the_rules_with_its_next_command_and_goes_on() {
    let gate = Gate::start();
    let mut client = gate.login("anna");
    client.ask("CWD /a", "250");
    gate.folder.write("rules.yaml", CLOSED);
    let output = gate.cli(&["reload"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "reloaded the rules of 1 listener(s)\n"
    );
    client.ask("CWD /a", "550 Closed today");
    client.ask("NOOP", "200");
    assert_eq!(client.fetch("/a"), crate::ftp::CONTENT);
    let status = gate.json("/api/status");
    assert_eq!(status["rules_loaded"]["ok"], true);
    assert_eq!(status["listeners"][0]["rules"], 3);
}

#[test]
fn bad_rules_are_told_whole_and_change_nothing() {
    let gate = Gate::start();
    let mut client = gate.login("anna");
    let before = gate.json("/api/status");
    gate.folder.write("rules.yaml", BAD);
    let output = gate.cli(&["reload"]);
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    for problem in [
        "the rules in force stay",
        "comand",
        "999",
        "rules.yaml:2",
        "rules.yaml:3",
    ] {
        assert!(text.contains(problem), "{problem} is missing in\n{text}");
    }
    client.ask("DELE /a", "550 Nothing is removed here");
    client.ask("CWD /a", "250");
    let status = gate.json("/api/status");
    assert_eq!(status["rules_loaded"]["ok"], false);
    assert!(
        status["rules_loaded"]["text"]
            .as_str()
            .unwrap()
            .contains("comand")
    );
    assert_eq!(status["listeners"], before["listeners"]);
    let page = gate.get("/metrics").body;
    assert!(
        page.contains("portcullis_rules_last_load_successful 0"),
        "{page}"
    );

    let answer = http::on_socket(&gate.socket(), "POST", "/api/reload");
    assert_eq!(answer.status, 409);
    assert_eq!(answer.json()["ok"], false);

    gate.folder.write("rules.yaml", crate::ground::RULES);
    assert!(gate.cli(&["reload"]).status.success());
    assert_eq!(gate.json("/api/status")["rules_loaded"]["ok"], true);
}

#[test]
fn sighup_and_the_command_tell_the_same() {
    let gate = Gate::start();
    gate.folder.write("rules.yaml", BAD);
    signal(gate.pid(), "HUP");
    wait_for("the reload", || {
        let status = gate.json("/api/status");
        (status["rules_loaded"]["ok"] == false).then_some(())
    });
}

#[test]
fn what_needs_a_restart_is_said() {
    let gate = Gate::start();
    let file = gate.folder.path("portcullis.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}limits: {{ sessions: 7 }}\n")).unwrap();
    let output = gate.cli(&["reload"]);
    assert!(output.status.success());
    assert!(
        said(&output).contains("needs a restart"),
        "{}",
        said(&output)
    );
}

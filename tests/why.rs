//! `portcullis why`, as a shell calls it: what it prints, and its exit codes.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::fs;
use std::process::{Command, Output};

const CONFIG: &str = "listeners:
  - name: ftp
    published: { listen: 198.51.100.1, server: 10.70.0.2 }
    server-sees: edge
    rules: policy.yaml
audit: { output: stdout }
";

const POLICY: &str = "rules:
  - id: office
    allow: true
    user: staff
    when: { days: mon-fri, from: '08:00', to: '18:00', zone: Europe/Berlin }
  - { id: login, allow: true, command: login, limits: { per: client, commands: 30/min } }
";

/// Runs the program on a configuration in a folder of its own.
fn why(name: &str, words: &[&str]) -> Output {
    let folder = std::env::temp_dir().join(format!("portcullis-why-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("edge.yaml"), CONFIG).unwrap();
    fs::write(folder.join("policy.yaml"), POLICY).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("why")
        .arg("--config")
        .arg(folder.join("edge.yaml"))
        .args(["--client", "192.0.2.7", "--server", "10.70.0.2"])
        .args(words)
        .output()
        .unwrap();
    fs::remove_dir_all(&folder).unwrap();
    output
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_rule_is_shown_as_it_is_written() {
    let words = [
        "--listener",
        "ftp",
        "--user",
        "staff",
        "--command",
        "RETR /a",
        "--at",
        "2026-11-20T07:00:00Z",
    ];
    let output = why("rule", &words);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(0));
    assert!(text.starts_with("allow: `RETR /a`\nby office ("), "{text}");
    assert!(
        text.contains("2 |   - id: office\n3 |     allow: true\n"),
        "{text}"
    );
}

#[test]
fn a_rule_that_does_not_hold_at_that_time_is_passed_over() {
    let words = [
        "--listener",
        "ftp",
        "--user",
        "staff",
        "--command",
        "RETR /a",
        "--at",
        "2026-11-20T17:00:00Z",
        "--json",
    ];
    let output = why("time", &words);
    let json: serde_json::Value = serde_json::from_str(&printed(&output)).unwrap();
    assert_eq!(json["decision"], "deny");
    assert_eq!(json["reply"], "550 Permission denied by policy");
    assert_eq!(json["rule"], "default");
    assert_eq!(json["passed_over"][0]["field"], "when");
    assert_eq!(json["passed_over"][0]["asked"], "2026-11-20T17:00:00Z");
    assert_eq!(json["passed_over"][1]["field"], "command");
    assert_eq!(json["passed_over"][1]["written"], "login");
}

#[test]
fn the_exit_code_tells_problems_from_wrong_usage() {
    let unknown = why("unknown", &["--listener", "ftpp", "--command", "NOOP"]);
    assert_eq!(unknown.status.code(), Some(1));
    let error = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(error.contains("did you mean `ftp`?"), "{error}");
    let no_command = why("no-command", &["--listener", "ftp", "--command", ""]);
    assert_eq!(no_command.status.code(), Some(1));
    let usage = why(
        "usage",
        &["--listener", "ftp", "--command", "NOOP", "--at", "noon"],
    );
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn the_limits_of_the_rule_are_named() {
    let words = ["--listener", "ftp", "--command", "USER x"];
    let said = "30 command(s) per minute for each client";
    let text = printed(&why("limits", &words));
    assert!(
        text.contains(&format!("while no limit is reached: {said}\n")),
        "{text}"
    );
    let output = why("limits-json", &[words.as_slice(), &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&printed(&output)).unwrap();
    assert_eq!(json["limits"], serde_json::json!([said]));
}

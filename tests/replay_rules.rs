//! Lines of a record decided again: what the rules look at is all taken from the line.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::fs;

use portcullis::audit::{Comparison, Replay};
use portcullis::config::{Config, load};
use serde_json::{Value, json};

/// A configuration with these rules, and rules of its own for the host `upload`.
fn config(name: &str, rules: &str, upload: &str) -> Config {
    let folder =
        std::env::temp_dir().join(format!("portcullis-replay-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("policy.yaml"), rules).unwrap();
    fs::write(folder.join("upload.yaml"), upload).unwrap();
    let listener = "listeners:\n  - name: lan\n    published: { listen: '127.0.0.1:2121', server: '127.0.0.1:21' }\n    \
        server-sees: edge\n    data: relay\n    rules: policy.yaml\n    hosts: { upload: upload.yaml }\n\
        audit: { output: stdout }\n";
    fs::write(folder.join("portcullis.yaml"), listener).unwrap();
    let loaded = load(&folder.join("portcullis.yaml"), &BTreeSet::new());
    fs::remove_dir_all(&folder).unwrap();
    loaded.unwrap().0
}

/// A decision as it is on the record.
fn decision(command: &str, data: &str, more: &Value) -> Value {
    let mut ours = json!({
        "event": "decision", "listener": "lan", "server": "192.0.2.1:21", "rule": "old",
        "rule_at": "old.yaml:1", "action": "allow",
    });
    for (key, value) in more.as_object().unwrap() {
        ours.as_object_mut()
            .unwrap()
            .insert(key.clone(), value.clone());
    }
    let mut ftp = json!({ "command": command, "command_data": data });
    if let Some(reply) = ours.as_object_mut().unwrap().remove("reply") {
        let (code, text) = reply.as_str().unwrap().split_once(' ').unwrap();
        let ftp = ftp.as_object_mut().unwrap();
        ftp.insert("completion_code".into(), json!([code]));
        ftp.insert("reply".into(), json!([text]));
    }
    json!({
        "timestamp": "2026-11-20T15:12:44.123456+0000", "flow_id": 7, "event_type": "ftp",
        "src_ip": "10.0.0.1", "ftp": ftp, "portcullis": ours,
    })
}

fn replayed(config: &Config, lines: &[Value]) -> Comparison {
    let mut replay = Replay::new(config);
    for line in lines {
        replay.take(line.to_string().as_bytes());
    }
    replay.finish()
}

/// What each line would become, for those that differ; examples name the command.
fn afters(found: &Comparison) -> Vec<&str> {
    found
        .changes
        .keys()
        .map(|change| change.after.as_str())
        .collect()
}

const ALL: &str = "rules: [{ id: all, allow: true }]\n";

#[test]
fn words_of_site_and_foreign_addresses_are_looked_at() {
    let rules = "rules:\n  - { id: no-exec, deny: 500 No, command: [SITE EXEC] }\n  - { id: all, allow: true }\n";
    let config = config("words", rules, ALL);
    let found = replayed(
        &config,
        &[
            decision("SITE", "exec ls", &json!({})),
            decision("SITE", "CHMOD 644 a", &json!({})),
            decision("PORT", "10,0,0,1,200,1", &json!({})),
            decision("PORT", "10,0,0,9,200,1", &json!({})),
            decision("EPRT", "|1|10,0|", &json!({})),
        ],
    );
    assert_eq!(found.decisions, 5);
    assert_eq!(
        afters(&found),
        ["deny 550 Permission denied by policy", "deny 500 No"]
    );
}

#[test]
fn tls_that_no_rule_grants_is_refused_as_the_session_does() {
    let refused = json!({ "action": "deny", "reply": "534 TLS is not possible here." });
    let lines = [decision("AUTH", "TLS", &refused)];
    let without = config("without-tls", ALL, ALL);
    assert_eq!(afters(&replayed(&without, &lines)), [""; 0]);
    let with = config(
        "with-tls",
        "rules: [{ id: all, allow: true, tls: pass }]\n",
        ALL,
    );
    assert_eq!(afters(&replayed(&with, &lines)), ["allow"]);
}

#[test]
fn what_a_limit_refused_counts_as_allowed() {
    let refused = json!({ "action": "deny", "reply": "450 Not yet.", "limit": "1 transfers" });
    let lines = [decision("RETR", "a", &refused)];
    let limited = "rules: [{ id: all, allow: true, limits: { per: client, transfers: 1 } }]\n";
    assert_eq!(
        afters(&replayed(&config("limited", limited, ALL), &lines)),
        [""; 0]
    );
    let denied = "rules: [{ id: none, deny: 550 No }]\n";
    let denied = config("denied", denied, ALL);
    assert_eq!(afters(&replayed(&denied, &lines)), ["deny 550 No"]);
}

#[test]
fn host_chooses_the_rules_for_what_follows_in_its_session() {
    let upload = "rules:\n  - { id: no-read, deny: 553 Upload only, command: RETR }\n  - { id: all, allow: true }\n";
    let config = config("host", ALL, upload);
    let host = || decision("HOST", "Upload", &json!({}));
    let retr = || decision("RETR", "a", &json!({ "path": "/a" }));
    let reply = |code: &str| {
        let ours = json!({ "event": "reply", "listener": "lan" });
        json!({ "flow_id": 7, "ftp": { "command": "HOST", "completion_code": [code] }, "portcullis": ours })
    };
    let ended = json!({ "flow_id": 7, "portcullis": { "event": "session-end" } });
    let denied = ["deny 553 Upload only"];
    assert_eq!(afters(&replayed(&config, &[host(), retr()])), denied);
    assert_eq!(
        afters(&replayed(&config, &[host(), reply("502"), retr()])),
        denied
    );
    assert_eq!(
        afters(&replayed(&config, &[host(), reply("504"), retr()])),
        [""; 0]
    );
    assert_eq!(
        afters(&replayed(&config, &[host(), ended, retr()])),
        [""; 0]
    );
}

#[test]
fn listeners_that_are_gone_and_lines_of_others_are_counted() {
    let config = config("gone", ALL, ALL);
    let mut replay = Replay::new(&config);
    let gone = decision("NOOP", "", &json!({ "listener": "dmz" }));
    for line in [
        gone.to_string().as_str(),
        "{\"event_type\":\"dns\"}",
        "\n",
        "{",
        "\u{0}",
    ] {
        replay.take(line.as_bytes());
    }
    let found = replay.finish();
    assert_eq!(found.unknown_listeners.get("dmz"), Some(&1));
    assert_eq!((found.decisions, found.unreadable), (0, 3));
}

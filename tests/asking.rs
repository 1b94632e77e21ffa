//! Asking the record by the program itself: `hits`, `audit` and `replay-rules`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis::audit::{Audit, Entry, Session};
use portcullis::config::{AuditOutput, AuditSettings, StoreSettings};
use portcullis::ftp::Verb;
use portcullis::inspect::{self, EndReason, Event, Mode, Record, TransferOutcome, Transferred};
use portcullis::pinhole::{Counters, Pinhole, PinholeId};
use portcullis::rules::{Decision, Policy, Request, RuleName};
use serde_json::Value;

const RULES: &str = "rules:
  - { id: no-exe, deny: 553 No programs, path: '*.exe' }
  - { id: guests, deny: true, user: guest }
  - { id: never, deny: true, client: 203.0.113.9 }
  - { id: hush, allow: true, command: NOOP, audit: quiet }
  - { id: rest, allow: true }
";

/// A record of two sessions, made by the writer of the program.
struct Recorded {
    folder: PathBuf,
}

impl Drop for Recorded {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Recorded {
    fn new(name: &str) -> Self {
        let name = format!("portcullis-asking-{}-{name}", std::process::id());
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let recorded = Self { folder };
        recorded.write("policy.yaml", RULES);
        let store = recorded.path("audit.db");
        recorded.write(
            "portcullis.yaml",
            &format!(
                "listeners:\n  - name: lan\n    published: {{ listen: '127.0.0.1:2121', server: '127.0.0.1:21' }}\n    \
                 server-sees: edge\n    data: relay\n    rules: policy.yaml\n\
                 audit: {{ output: stdout, store: {store} }}\n"
            ),
        );
        let mut settings = AuditSettings::to(AuditOutput::File(recorded.path("eve.json").into()));
        settings.store = Some(StoreSettings::at(store));
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        runtime.block_on(async {
            let audit = Audit::open(&settings).unwrap();
            for entry in recorded.sessions() {
                audit.accept(entry).await.unwrap();
            }
            audit.finish().await.unwrap();
        });
        recorded
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    fn sessions(&self) -> Vec<Entry> {
        let policy = Policy::parse(&self.path("policy.yaml"), RULES).unwrap();
        let mut entries = Vec::new();
        for (id, client, user, names) in [
            (1, "10.0.0.1", "anna", ["a.txt", "b.exe"]),
            (2, "10.0.0.2", "guest", ["=c.txt", "d\u{1b}[2J.txt"]),
        ] {
            let about = Arc::new(Session {
                id,
                flow_id: 700 + id,
                client: format!("{client}:4000").parse().unwrap(),
                dialled: "127.0.0.1:2121".parse().unwrap(),
                server: "192.0.2.1:21".parse().unwrap(),
                seen: None,
                listener: "lan".into(),
            });
            let mut add = |event| {
                entries.push(Entry {
                    timestamp: SystemTime::now(),
                    session: Arc::clone(&about),
                    record: Record {
                        user: Some(user.into()),
                        event,
                    },
                });
            };
            add(Event::SessionStarted);
            if id == 1 {
                // Quiet: on no line, and a hit of its rule.
                let (client, server) = (about.client.ip(), about.server.ip());
                add(Event::Decided {
                    command: inspect::Command {
                        verb: Verb::Noop,
                        argument: None,
                        path: None,
                    },
                    verdict: policy.decide(&Request::new("lan", client, server, &Verb::Noop)),
                });
            }
            for name in names {
                let path = format!("/pub/{name}");
                let command = inspect::Command {
                    verb: Verb::Retr,
                    argument: Some(name.into()),
                    path: Some(path.as_str().into()),
                };
                let verdict = policy.decide(&Request {
                    user: Some(user),
                    path: Some(path.as_bytes()),
                    ..Request::new("lan", about.client.ip(), about.server.ip(), &Verb::Retr)
                });
                let (rule, decision) = (Arc::clone(&verdict.rule), verdict.decision.clone());
                add(Event::Decided {
                    command: command.clone(),
                    verdict,
                });
                if decision == Decision::Allow {
                    add(Event::Transferred(transferred(command, rule)));
                }
            }
            add(Event::SessionEnded {
                reason: EndReason::ClientClosed,
                lasted: Duration::from_secs(1),
                bytes_from_client: 10,
                bytes_from_server: 20,
            });
        }
        entries
    }

    /// Runs the program; gives its exit code, what it said, and what it complained of.
    fn ask(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(arguments)
            .args(["--config", &self.path("portcullis.yaml")])
            .env("TZ", "CET-1")
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let (code, said, complaint) = self.ask(&[arguments, &["--json"]].concat());
        assert_eq!(code, 0, "{complaint}");
        let parse = |line| serde_json::from_str(line).unwrap();
        said.lines().map(parse).collect()
    }
}

fn transferred(command: inspect::Command, rule: Arc<RuleName>) -> Transferred {
    let any = "192.0.2.1:50000".parse().unwrap();
    Transferred {
        command,
        rule,
        mode: Mode::Passive,
        pinhole: Pinhole {
            initiator: [10, 0, 0, 1].into(),
            announced: any,
            target: any,
            source: [10, 0, 0, 1].into(),
            from_port_20: false,
        },
        id: PinholeId(1),
        announced: any,
        rewritten: any,
        counters: Some(Counters {
            bytes_forth: 1000,
            bytes_back: 3_200_000,
            ..Counters::default()
        }),
        duration: Some(Duration::from_millis(1500)),
        code: Some(226),
        outcome: TransferOutcome::Completed,
    }
}

#[test]
fn hits_tell_what_each_rule_did_and_for_whom() {
    let recorded = Recorded::new("hits");
    let hits = recorded.json(&["hits"]);
    let shown: Vec<_> = hits
        .iter()
        .map(|hit| {
            (
                hit["rule"].as_str().unwrap(),
                hit["hits"].as_u64().unwrap(),
                hit["bytes"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("guests", 2, 0),
            ("hush", 1, 0),
            ("no-exe", 1, 0),
            ("rest", 1, 3_201_000)
        ]
    );
    assert_eq!(hits[0]["clients"][0]["client"], "10.0.0.2");
    let (code, table, _) = recorded.ask(&["hits"]);
    assert_eq!(code, 0);
    assert!(table.starts_with("RULE    HITS  BYTES"), "{table}");
    assert!(table.contains("3.2 MB"), "{table}");
    assert!(table.contains("10.0.0.2 (2)"), "{table}");
    assert!(table.contains("policy.yaml:6"), "{table}");
}

#[test]
fn unused_rules_are_those_of_the_configuration_without_a_hit() {
    let recorded = Recorded::new("unused");
    let (code, table, complaint) = recorded.ask(&["hits", "--unused", "30d"]);
    assert_eq!(code, 0, "{complaint}");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(lines[1].starts_with("never        never"), "{table}");
    assert!(lines[1].ends_with("policy.yaml:4"), "{table}");
    assert!(
        complaint.contains("what happened before is not counted"),
        "{complaint}"
    );
    // Nothing was used in the last zero seconds.
    assert_eq!(recorded.json(&["hits", "--unused", "0s"]).len(), 5);
}

#[test]
fn each_filter_takes_what_it_says() {
    let recorded = Recorded::new("filters");
    for (arguments, count) in [
        (&[][..], 9),
        (&["--kind", "decision"], 4),
        (&["--outcome", "deny"], 3),
        (&["--rule", "rest"], 2),
        (&["--user", "an*"], 4 + 1),
        (&["--client", "10.0.0.2"], 4),
        (&["--client", "10.0.0.0/31"], 5),
        (&["--path", "*.txt"], 4),
        (&["--path", "/pub/**", "--outcome", "deny"], 3),
        (&["--path", "/pub"], 0),
        (&["--since", "1h"], 9),
        (&["--until", "1h"], 0),
        (&["--session", "2"], 4),
        (&["--session", "701"], 5),
    ] {
        let found = recorded.json(&[&["audit"], arguments].concat());
        assert_eq!(found.len(), count, "{arguments:?}");
    }
    let (code, _, complaint) = recorded.ask(&["audit", "--session", "9"]);
    assert_eq!(code, 1);
    assert!(
        complaint.contains("the store has no session 9"),
        "{complaint}"
    );
    let (code, _, complaint) = recorded.ask(&["audit", "--since", "soon"]);
    assert_eq!(code, 1);
    assert!(complaint.contains("`soon` is no time"), "{complaint}");
}

#[test]
fn the_last_events_that_fit_are_printed_oldest_first() {
    let recorded = Recorded::new("last");
    let all = recorded.json(&["audit"]);
    assert_eq!(recorded.json(&["audit", "--last", "3"]), all[6..]);
    assert_eq!(recorded.json(&["audit", "--last", "100"]), all);
    let denied = recorded.json(&["audit", "--outcome", "deny"]);
    let last = recorded.json(&["audit", "--outcome", "deny", "--last", "2"]);
    assert_eq!(last, denied[1..]);
    let (code, _, complaint) = recorded.ask(&["audit", "--last", "0"]);
    assert_eq!(code, 2, "{complaint}");
}

#[test]
fn a_session_tells_its_whole_story_in_order() {
    let recorded = Recorded::new("story");
    let (_, table, _) = recorded.ask(&["audit", "--session", "1"]);
    let events: Vec<&str> = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().nth(3).unwrap())
        .collect();
    assert_eq!(
        events,
        [
            "session-start",
            "decision",
            "transfer",
            "decision",
            "session-end"
        ]
    );
    assert!(
        table.contains("RETR /pub/a.txt 226 3.2 MB 1500 ms"),
        "{table}"
    );
    assert!(table.contains("RETR /pub/b.exe 553 No programs"), "{table}");
    assert!(table.contains("+01:00"), "{table}");
    let (_, utc, _) = recorded.ask(&["audit", "--session", "1", "--utc"]);
    assert!(!utc.contains("+01:00"), "{utc}");
}

#[test]
fn what_peers_wrote_reaches_no_terminal_as_it_came() {
    let recorded = Recorded::new("terminal");
    for arguments in [&["audit"][..], &["audit", "--json"]] {
        let (_, said, _) = recorded.ask(arguments);
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }
    let (_, csv, _) = recorded.ask(&["audit", "--csv", "--kind", "decision"]);
    let lines: Vec<&str> = csv.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 5);
    assert!(
        lines[0].starts_with("time,session,flow,kind,client,"),
        "{csv}"
    );
    assert!(!csv.contains('\u{1b}'), "{csv:?}");
    let cells = lines.iter().map(|line| line.split(',').count());
    assert!(cells.clone().all(|count| count == 17), "{csv}");
}

#[test]
fn following_shows_what_comes() {
    let recorded = Recorded::new("follow");
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args([
            "audit",
            "--follow",
            "--json",
            "--config",
            &recorded.path("portcullis.yaml"),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..9 {
        lines.next().unwrap().unwrap();
    }
    let mut settings = AuditSettings::to(AuditOutput::File(recorded.path("eve.json").into()));
    settings.store = Some(StoreSettings::at(recorded.path("audit.db")));
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    runtime.block_on(async {
        let audit = Audit::open(&settings).unwrap();
        let [first, ..] = &recorded.sessions()[..] else {
            return;
        };
        audit.accept(first.clone()).await.unwrap();
        let line = lines.next().unwrap().unwrap();
        assert!(line.contains("session-start"), "{line}");
        audit.finish().await.unwrap();
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_missing_store_is_told_in_a_sentence() {
    let recorded = Recorded::new("missing");
    let nowhere = recorded.path("nowhere.db");
    let (code, _, complaint) = recorded.ask(&["hits", "--store", &nowhere]);
    assert_eq!(code, 1);
    assert!(
        complaint.contains("nowhere.db does not exist; it is written by"),
        "{complaint}"
    );
    let config = fs::read_to_string(recorded.path("portcullis.yaml")).unwrap();
    let (before, _) = config.split_once(", store").unwrap();
    recorded.write("portcullis.yaml", &format!("{before} }}\n"));
    let (code, _, complaint) = recorded.ask(&["audit"]);
    assert_eq!(code, 1);
    assert!(
        complaint.contains("add it, or name a file by --store"),
        "{complaint}"
    );
}

#[test]
fn replaying_by_the_same_rules_changes_nothing() {
    let recorded = Recorded::new("same");
    let (code, said, complaint) = recorded.ask(&["replay-rules", &recorded.path("eve.json")]);
    assert_eq!(code, 0, "{said}{complaint}");
    assert_eq!(
        said,
        "4 decision(s) compared: 0 would differ, 0 would be the same by another rule\n"
    );
}

#[test]
fn replaying_tells_each_change_by_rule_with_examples() {
    let recorded = Recorded::new("changes");
    recorded.write(
        "policy.yaml",
        "rules:\n  - { id: no-exe, deny: 553 No programs, path: '*.exe' }\n  - { id: no-text, deny: true, \
         path: '*a.txt' }\n  - { id: everybody, allow: true }\n",
    );
    recorded.write("junk", "{\"torn\n{\"event_type\":\"dns\"}\n\n");
    let (code, said, _) = recorded.ask(&[
        "replay-rules",
        &recorded.path("junk"),
        &recorded.path("eve.json"),
    ]);
    assert_eq!(code, 1, "{said}");
    let policy = recorded.path("policy.yaml");
    let wanted = format!(
        "everybody ({policy}:4): 2 decision(s) would be `allow`, and were `deny 550 Permission denied by policy` by guests ({policy}:3)\n"
    );
    assert!(said.contains(&wanted), "{said}");
    let wanted = format!(
        "no-text ({policy}:3): 1 decision(s) would be `deny 550 Permission denied by policy`, and were `allow` by rest ({policy}:6)\n"
    );
    assert!(said.contains(&wanted), "{said}");
    assert!(said.contains(" 10.0.0.1 anna RETR /pub/a.txt\n"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said:?}");
    assert!(said.ends_with("4 decision(s) compared: 3 would differ, 0 would be the same by another rule\n2 line(s) are no records of portcullis\n"), "{said}");
}

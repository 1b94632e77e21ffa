//! EVE lines are what readers of Suricata's EVE output know: its field names and types, event by event.
#![expect(clippy::panic, reason = "a panic is a failed test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis::audit::{Session, encode};
use portcullis::ftp::Verb;
use portcullis::inspect::{
    Command, Direction, EndReason, Event, Mode, PinholeEnd, Record, Side, TransferOutcome,
    Transferred, Violation,
};
use portcullis::pinhole::{Counters, Pinhole, PinholeId};
use portcullis::rules::{Cause, Decision, Grants, Limit, Measure, Per, Refusal, RuleName, Verdict};
use serde_json::{Map, Value};

/// Types of the schema.
#[derive(Clone, Copy, Debug)]
enum Type {
    Integer,
    Text,
    Boolean,
    Texts,
    Section(&'static [(&'static str, Self)]),
    /// `^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d+[+\-]\d+$`
    Timestamp,
}

use Type::{Boolean, Integer, Section, Text, Texts, Timestamp};

/// Suricata's etc/schema.json, as far as lines of portcullis use it: sections `ftp`, `ftp_data`,
/// `flow` and `alert` whole, less the parts of `alert` that only Suricata's own rules fill. It allows
/// no other fields in a section.
const SCHEMA: &[(&str, Type)] = &[
    ("timestamp", Timestamp),
    ("event_type", Text),
    ("flow_id", Integer),
    ("src_ip", Text),
    ("src_port", Integer),
    ("dest_ip", Text),
    ("dest_port", Integer),
    ("proto", Text),
    ("alert", Section(ALERT)),
    ("flow", Section(FLOW)),
    ("ftp", Section(FTP)),
    ("ftp_data", Section(FTP_DATA)),
];

const ALERT: &[(&str, Type)] = &[
    ("action", Text),
    ("category", Text),
    ("gid", Integer),
    ("rev", Integer),
    ("rule", Text),
    ("severity", Integer),
    ("signature", Text),
    ("signature_id", Integer),
];

const FLOW: &[(&str, Type)] = &[
    ("action", Text),
    ("age", Integer),
    ("alerted", Boolean),
    ("bytes_toclient", Integer),
    ("bytes_toserver", Integer),
    ("end", Timestamp),
    ("pkts_toclient", Integer),
    ("pkts_toserver", Integer),
    ("reason", Text),
    ("start", Timestamp),
    ("state", Text),
];

const FTP: &[(&str, Type)] = &[
    ("command", Text),
    ("command_data", Text),
    ("command_truncated", Boolean),
    ("completion_code", Texts),
    ("dynamic_port", Integer),
    ("mode", Text),
    ("reply", Texts),
    ("reply_received", Text),
    ("reply_truncated", Boolean),
];

const FTP_DATA: &[(&str, Type)] = &[("command", Text), ("filename", Text)];

/// What stands in every line.
const ALWAYS: &[&str] = &[
    "timestamp",
    "event_type",
    "flow_id",
    "src_ip",
    "src_port",
    "dest_ip",
    "dest_port",
    "proto",
];

#[test]
fn each_line_has_the_fields_and_types_of_suricata() {
    for event in events() {
        let line = line(event);
        let mut outside = line.clone();
        let ours = outside.remove("portcullis");
        assert!(ours.is_some_and(|ours| ours.is_object()), "{line:?}");
        check(&outside, SCHEMA, "", &line);
        for field in ALWAYS {
            assert!(line.contains_key(*field), "{field} is missing in {line:?}");
        }
        let event_type = line.get("event_type").and_then(Value::as_str);
        let event_type = event_type.unwrap_or_default();
        assert!(["ftp", "ftp_data", "flow", "alert"].contains(&event_type));
        // A line of a type has the section of that name, where the type has more to say than who.
        if event_type != "ftp" {
            assert!(line.contains_key(event_type), "{line:?}");
        }
    }
}

#[test]
fn the_check_tells_what_is_wrong() {
    let line = line(Event::SessionStarted);
    for (field, wrong) in [
        ("flow_id", Value::from("7")),
        ("timestamp", Value::from("2026-11-20 15:12:44")),
        ("ftp", serde_json::json!({ "reply": "ok" })),
        ("ftp", serde_json::json!({ "stranger": 1 })),
    ] {
        let mut broken = line.clone();
        broken.remove("portcullis");
        broken.insert(field.to_owned(), wrong);
        let checked = std::panic::catch_unwind(|| check(&broken, SCHEMA, "", &broken));
        assert!(checked.is_err(), "{broken:?}");
    }
}

fn check(
    section: &Map<String, Value>,
    schema: &[(&str, Type)],
    at: &str,
    line: &Map<String, Value>,
) {
    for (field, value) in section {
        let Some((_, kind)) = schema.iter().find(|(name, _)| name == field) else {
            panic!("{at}{field} is no field of EVE, in {line:?}");
        };
        let fits = match kind {
            Integer => value.is_u64(),
            Text => value.is_string(),
            Boolean => value.is_boolean(),
            Texts => {
                let list = value.as_array();
                list.is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_string))
            }
            Timestamp => value.as_str().is_some_and(is_timestamp),
            Section(schema) => {
                let inner = value.as_object();
                if let Some(inner) = inner {
                    check(inner, schema, &format!("{at}{field}."), line);
                }
                inner.is_some()
            }
        };
        assert!(fits, "{at}{field} is no {kind:?} in {line:?}");
    }
}

fn is_timestamp(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    shape == "0000-00-00T00:00:00.000000+0000"
}

fn line(event: Event) -> Map<String, Value> {
    let address = |text: &str| -> SocketAddr { text.parse().unwrap_or_else(|_| panic!("{text}")) };
    let session = Session {
        id: 5,
        flow_id: 77,
        client: address("10.60.1.2:40000"),
        dialled: address("[2001:db8::1]:21"),
        server: address("198.51.100.20:21"),
        seen: Some(address("198.51.100.1:40000")),
        listener: "lan".into(),
    };
    let record = Record {
        user: Some("anna".into()),
        event,
    };
    let mut out = Vec::new();
    encode(SystemTime::now(), &session, &record, &mut out);
    match serde_json::from_slice(&out) {
        Ok(Value::Object(line)) => line,
        other => panic!("{other:?}"),
    }
}

/// One of each kind at least, with all that may be in it and with as little as may be.
fn events() -> Vec<Event> {
    let any: SocketAddr = ([198, 51, 100, 1], 50_000).into();
    let rule = Arc::new(RuleName {
        id: "read".into(),
        at: "rules/edge.yaml:14".into(),
    });
    let command = |argument: Option<&str>| Command {
        verb: Verb::Retr,
        argument: argument.map(Into::into),
        path: argument.map(|name| format!("/pub/{name}").into()),
    };
    let verdict = |decision| Verdict {
        decision,
        rule: Arc::clone(&rule),
        grants: Grants::default(),
        audit: portcullis::rules::Loudness::Normal,
        limit: None,
    };
    let pinhole = Pinhole {
        initiator: any.ip(),
        announced: any,
        target: any,
        source: any.ip(),
        from_port_20: false,
    };
    let id = PinholeId(9);
    let transferred = |full: bool| Transferred {
        command: command(full.then_some("a.bin")),
        rule: Arc::clone(&rule),
        mode: Mode::Active,
        pinhole,
        id,
        announced: any,
        rewritten: any,
        counters: full.then(Counters::default),
        duration: full.then_some(Duration::from_secs(1)),
        code: full.then_some(226),
        outcome: TransferOutcome::Completed,
    };
    let ended = |reason| Event::SessionEnded {
        reason,
        lasted: Duration::from_secs(3),
        bytes_from_client: 1,
        bytes_from_server: 2,
    };
    let events = vec![
        Event::SessionStarted,
        Event::Decided {
            command: command(Some("a.bin")),
            verdict: verdict(Decision::Allow),
        },
        Event::Decided {
            command: command(None),
            verdict: verdict(Decision::Deny("550 Not here".into())),
        },
        Event::Decided {
            command: command(None),
            verdict: Verdict {
                limit: Some(Refusal {
                    limit: Limit {
                        number: 2,
                        per: Per::User,
                        measure: Measure::Transfers(4),
                    },
                    cause: Cause::Running,
                }),
                ..verdict(Decision::Deny("450 Not yet".into()))
            },
        },
        Event::Replied {
            command: command(None),
            code: 550,
            text: String::new(),
        },
        Event::Rewrote {
            direction: Direction::ToServer,
            before: "PORT 10,60,1,2,1,1".into(),
            after: "PORT 198,51,100,1,1,1".into(),
            rule: Arc::clone(&rule),
        },
        Event::PinholeOpened {
            id,
            pinhole,
            mode: Mode::Passive,
            rule: Arc::clone(&rule),
        },
        Event::PinholeUsed {
            id,
            pinhole,
            after: Duration::ZERO,
        },
        Event::PinholeUnused {
            id,
            pinhole,
            reason: PinholeEnd::Expired,
        },
        Event::PinholeRefused {
            pinhole: None,
            reason: "no port".into(),
        },
        Event::Transferred(transferred(true)),
        Event::Transferred(transferred(false)),
        Event::Converted {
            from: Verb::Epsv,
            to: Verb::Pasv,
            code: 500,
        },
        Event::Secured { rule, window: None },
        Event::Unsecured,
        Event::WindowUsed { announced: any },
        Event::WindowMoved {
            announced: any,
            counters: Some(Counters::default()),
            duration: None,
        },
        Event::Violated {
            by: Side::Client,
            violation: Violation::SentBareCr,
            line: "a\rb".into(),
        },
        Event::ClientsUnheard {
            count: 412,
            within: Duration::from_secs(10),
        },
        ended(EndReason::ClientClosed),
        ended(EndReason::Idle),
    ];
    let mut seen = [false; 16];
    for place in events.iter().map(place) {
        if let Some(seen) = seen.get_mut(place) {
            *seen = true;
        }
    }
    assert_eq!(seen, [true; 16], "a kind of event is not tried");
    events
}

/// A kind that is added breaks this, so that it is tried above as well.
fn place(event: &Event) -> usize {
    match event {
        Event::SessionStarted => 0,
        Event::Decided { .. } => 1,
        Event::Replied { .. } => 2,
        Event::Rewrote { .. } => 3,
        Event::PinholeOpened { .. } => 4,
        Event::PinholeUsed { .. } => 5,
        Event::PinholeUnused { .. } => 6,
        Event::PinholeRefused { .. } => 7,
        Event::Transferred(_) => 8,
        Event::Converted { .. } => 9,
        Event::Secured { .. } => 10,
        Event::Unsecured => 11,
        Event::WindowUsed { .. } | Event::WindowMoved { .. } => 12,
        Event::Violated { .. } => 13,
        Event::SessionEnded { .. } => 14,
        Event::ClientsUnheard { .. } => 15,
    }
}

//! Golden lines: what readers of the record rely on.

use std::sync::Arc;

use crate::ftp::Verb;
use crate::inspect::{Direction, EndReason, Mode, PinholeEnd, Side, TransferOutcome, Violation};
use crate::pinhole::{Counters, PinholeId};
use crate::rules::{Grants, Loudness};

use super::*;

const HEAD: &str = r#"{"timestamp":"2026-11-20T15:12:44.123456+0000","flow_id":77,"event_type":"#;
const ENDS: &str = r#","src_ip":"10.60.1.2","src_port":40000,"dest_ip":"198.51.100.20","dest_port":21,"proto":"TCP","#;
const OURS: &str = r#""session":5,"listener":"lan","user":"anna","server":"198.51.100.20:21","seen":"198.51.100.1:40000""#;

fn session() -> Session {
    Session {
        id: 5,
        flow_id: 77,
        client: "10.60.1.2:40000".parse().unwrap(),
        dialled: "198.51.100.20:21".parse().unwrap(),
        server: "198.51.100.20:21".parse().unwrap(),
        seen: Some("198.51.100.1:40000".parse().unwrap()),
        listener: "lan".into(),
    }
}

fn line(event: Event) -> String {
    let record = Record {
        user: Some("anna".into()),
        event,
    };
    let timestamp = UNIX_EPOCH + Duration::new(1_795_187_564, 123_456_789);
    let mut out = Vec::new();
    encode(timestamp, &session(), &record, &mut out);
    let text = String::from_utf8(out).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(value.is_object());
    assert_eq!(text.matches('\n').count(), 1);
    text.trim_end().to_owned()
}

fn expect(event: Event, event_type: &str, sections: &str, name: &str, rest: &str) {
    let expected = format!(
        r#"{HEAD}"{event_type}"{ENDS}{sections}"portcullis":{{"event":"{name}",{OURS}{rest}}}}}"#
    );
    assert_eq!(line(event), expected);
}

fn retr() -> Command {
    Command {
        verb: Verb::Retr,
        argument: Some("a.bin".into()),
        path: Some("/pub/a.bin".into()),
    }
}

fn rule() -> Arc<RuleName> {
    Arc::new(RuleName {
        id: "read".into(),
        at: "rules/edge.yaml:14".into(),
    })
}

fn pinhole() -> Pinhole {
    Pinhole {
        initiator: "198.51.100.20".parse().unwrap(),
        announced: "198.51.100.1:50000".parse().unwrap(),
        target: "10.60.1.2:41000".parse().unwrap(),
        source: "198.51.100.20".parse().unwrap(),
        from_port_20: false,
    }
}

const HOLE: &str = r#""pinhole":{"initiator":"198.51.100.20","announced":"198.51.100.1:50000","target":"10.60.1.2:41000","source":"198.51.100.20"}"#;

#[test]
fn a_session_starts() {
    expect(Event::SessionStarted, "ftp", "", "session-start", "");
}

#[test]
fn a_command_is_allowed() {
    let verdict = Verdict {
        decision: Decision::Allow,
        rule: rule(),
        grants: Grants::default(),
        audit: Loudness::Normal,
        limit: None,
    };
    expect(
        Event::Decided {
            command: retr(),
            verdict,
        },
        "ftp",
        r#""ftp":{"command":"RETR","command_data":"a.bin"},"#,
        "decision",
        r#","rule":"read","rule_at":"rules/edge.yaml:14","action":"allow","path":"/pub/a.bin""#,
    );
}

#[test]
fn a_command_allowed_by_a_loud_rule_is_an_alert() {
    let verdict = Verdict {
        decision: Decision::Allow,
        rule: rule(),
        grants: Grants::default(),
        audit: Loudness::Alert,
        limit: None,
    };
    expect(
        Event::Decided {
            command: retr(),
            verdict,
        },
        "alert",
        r#""ftp":{"command":"RETR","command_data":"a.bin"},"alert":{"action":"allowed","gid":1,"signature_id":1210002,"rev":1,"signature":"FTP RETR allowed by rule read","category":"Allowed by policy","severity":3},"#,
        "decision",
        r#","rule":"read","rule_at":"rules/edge.yaml:14","action":"allow","path":"/pub/a.bin""#,
    );
}

#[test]
fn a_denied_command_is_an_alert() {
    let verdict = Verdict {
        decision: Decision::Deny("550 Not here".into()),
        rule: rule(),
        grants: Grants::default(),
        audit: Loudness::Normal,
        limit: None,
    };
    expect(
        Event::Decided {
            command: retr(),
            verdict,
        },
        "alert",
        r#""ftp":{"command":"RETR","command_data":"a.bin","reply":["Not here"],"completion_code":["550"]},"alert":{"action":"blocked","gid":1,"signature_id":1210001,"rev":1,"signature":"FTP RETR denied by rule read","category":"Denied by policy","severity":3},"#,
        "decision",
        r#","rule":"read","rule_at":"rules/edge.yaml:14","action":"deny","path":"/pub/a.bin""#,
    );
}

#[test]
fn a_command_refused_by_a_limit_names_it_beside_its_rule() {
    let policy = "rules: [{ id: read, allow: true, limits: { per: client, transfers: 1 } }]";
    let policy = crate::rules::Policy::parse("rules/edge.yaml", policy).unwrap();
    let any = [192, 0, 2, 1].into();
    let asked = crate::rules::Request::new("lan", any, any, &Verb::Retr);
    let allowed = policy.decide(&asked);
    let limit = *allowed
        .grants
        .limits
        .iter()
        .flat_map(|l| l.iter())
        .next()
        .unwrap();
    let cause = crate::rules::Cause::Running;
    let verdict = Verdict {
        decision: Decision::Deny("450 Not yet".into()),
        rule: rule(),
        limit: Some(crate::rules::Refusal { limit, cause }),
        ..allowed
    };
    expect(
        Event::Decided {
            command: retr(),
            verdict,
        },
        "alert",
        r#""ftp":{"command":"RETR","command_data":"a.bin","reply":["Not yet"],"completion_code":["450"]},"alert":{"action":"blocked","gid":1,"signature_id":1210001,"rev":1,"signature":"FTP RETR denied by rule read","category":"Denied by policy","severity":3},"#,
        "decision",
        r#","rule":"read","rule_at":"rules/edge.yaml:14","action":"deny","limit":"1 transfers","path":"/pub/a.bin","reason":"1 transfer(s) at one time for each client""#,
    );
}

#[test]
fn a_reply_is_an_ftp_event() {
    expect(
        Event::Replied {
            command: retr(),
            code: 226,
            text: "Done".into(),
        },
        "ftp",
        r#""ftp":{"command":"RETR","command_data":"a.bin","reply":["Done"],"completion_code":["226"],"reply_received":"yes"},"#,
        "reply",
        r#","path":"/pub/a.bin""#,
    );
}

#[test]
fn a_rewrite_shows_both_lines() {
    expect(
        Event::Rewrote {
            direction: Direction::ToServer,
            before: "PORT 10,60,1,2,160,40".into(),
            after: "PORT 198,51,100,1,195,80".into(),
            rule: rule(),
        },
        "ftp",
        "",
        "rewrite",
        r#","rule":"read","rule_at":"rules/edge.yaml:14","direction":"to_server","before":"PORT 10,60,1,2,160,40","after":"PORT 198,51,100,1,195,80""#,
    );
}

#[test]
fn a_pinhole_opens_is_used_stays_unused_and_is_refused() {
    expect(
        Event::PinholeOpened {
            id: PinholeId(9),
            pinhole: pinhole(),
            mode: Mode::Active,
            rule: rule(),
        },
        "ftp",
        r#""ftp":{"dynamic_port":50000,"mode":"active"},"#,
        "pinhole-opened",
        &format!(
            r#","rule":"read","rule_at":"rules/edge.yaml:14","transfer":9,"mode":"active",{HOLE}"#
        ),
    );
    expect(
        Event::PinholeUsed {
            id: PinholeId(9),
            pinhole: pinhole(),
            after: Duration::from_millis(12),
        },
        "ftp",
        "",
        "pinhole-used",
        &format!(r#","transfer":9,{HOLE},"duration_ms":12"#),
    );
    expect(
        Event::PinholeUnused {
            id: PinholeId(9),
            pinhole: pinhole(),
            reason: PinholeEnd::TransferRefused,
        },
        "ftp",
        "",
        "pinhole-unused",
        &format!(r#","transfer":9,{HOLE},"reason":"transfer_refused""#),
    );
    expect(
        Event::PinholeRefused {
            pinhole: None,
            reason: "no free port".into(),
        },
        "ftp",
        "",
        "pinhole-refused",
        r#","reason":"no free port""#,
    );
}

#[test]
fn a_transfer_is_ftp_data_with_the_kernels_count() {
    expect(
        Event::Transferred(Transferred {
            command: retr(),
            rule: rule(),
            mode: Mode::Active,
            pinhole: pinhole(),
            id: PinholeId(9),
            announced: "10.60.1.2:41000".parse().unwrap(),
            rewritten: "198.51.100.1:50000".parse().unwrap(),
            counters: Some(Counters {
                packets_forth: 8,
                bytes_forth: 9000,
                packets_back: 4,
                bytes_back: 208,
            }),
            duration: Some(Duration::from_millis(340)),
            code: Some(226),
            outcome: TransferOutcome::Completed,
        }),
        "ftp_data",
        r#""ftp":{"command":"RETR","command_data":"a.bin","completion_code":["226"],"dynamic_port":41000,"mode":"active","reply_received":"yes"},"ftp_data":{"filename":"/pub/a.bin","command":"RETR"},"#,
        "transfer",
        &format!(
            r#","rule":"read","rule_at":"rules/edge.yaml:14","path":"/pub/a.bin","transfer":9,"mode":"active","announced":"10.60.1.2:41000","rewritten":"198.51.100.1:50000",{HOLE},"bytes":9208,"packets":12,"bytes_forth":9000,"bytes_back":208,"packets_forth":8,"packets_back":4,"duration_ms":340,"outcome":"completed""#
        ),
    );
}

#[test]
fn a_violation_is_an_alert_that_names_who_did_what() {
    expect(
        Event::Violated {
            by: Side::Server,
            violation: Violation::AnsweredNothing { code: 227 },
            line: "227 (10,0,0,1,0,22)".into(),
        },
        "alert",
        r#""alert":{"action":"blocked","gid":1,"signature_id":1210107,"rev":1,"signature":"FTP server sent 227 without a passive command outstanding","category":"Protocol violation","severity":1},"#,
        "violation",
        r#","reason":"sent 227 without a passive command outstanding","by":"server","line":"227 (10,0,0,1,0,22)""#,
    );
}

#[test]
fn a_session_ends_as_a_flow() {
    expect(
        Event::SessionEnded {
            reason: EndReason::Idle,
            lasted: Duration::from_millis(62_500),
            bytes_from_client: 120,
            bytes_from_server: 900,
        },
        "flow",
        r#""flow":{"bytes_toserver":120,"bytes_toclient":900,"start":"2026-11-20T15:11:41.623456+0000","end":"2026-11-20T15:12:44.123456+0000","age":62,"state":"closed","reason":"timeout"},"#,
        "session-end",
        r#","duration_ms":62500,"reason":"idle""#,
    );
}

#[test]
fn p60_a_masked_argument_stays_masked() {
    let command = Command {
        verb: Verb::Pass,
        argument: Some("***".into()),
        path: None,
    };
    let shown = line(Event::Replied {
        command,
        code: 230,
        text: "Welcome".into(),
    });
    assert!(shown.contains(r#""command":"PASS","command_data":"***""#));
}

#[test]
fn hostile_text_stays_inside_its_string() {
    let hostile = "\"},\n{\"a\":\u{0}\u{1b}[31m\\\u{2028}\u{fffd}".to_owned();
    let shown = line(Event::Rewrote {
        direction: Direction::ToClient,
        before: hostile.clone(),
        after: String::new(),
        rule: rule(),
    });
    let value: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(value["portcullis"]["before"], hostile);
}

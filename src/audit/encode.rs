//! From a record to its line: pure, the timestamp passed in.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::inspect::{Command, Event, Record, Transferred};
use crate::pinhole::Pinhole;
use crate::rules::{Decision, Loudness, RuleName, Verdict, Window};

use super::eve::{Alert, Code, Facts, Flow, Ftp, FtpData, Hole, Line};
use super::json::{self, Value};
use super::{Session, words};

/// Appends one record to `out` as one line of EVE JSON, line end included.
pub fn encode(timestamp: SystemTime, session: &Session, record: &Record, out: &mut Vec<u8>) {
    write(&line(timestamp, session, record), out);
}

/// Says one record in the shape of EVE.
pub(super) fn line<'a>(
    timestamp: SystemTime,
    session: &'a Session,
    record: &'a Record,
) -> Line<'a> {
    let mut line = Line {
        timestamp,
        flow_id: session.flow_id,
        event_type: "ftp",
        src_ip: session.client.ip(),
        src_port: session.client.port(),
        dest_ip: session.dialled.ip(),
        dest_port: session.dialled.port(),
        proto: "TCP",
        ftp: None,
        ftp_data: None,
        alert: None,
        flow: None,
        portcullis: Facts {
            session: session.id,
            listener: &session.listener,
            user: record.user.as_deref(),
            server: Some(session.server),
            seen: session.seen,
            ..Facts::default()
        },
    };
    fill(&mut line, &record.event, timestamp);
    line
}

/// Appends a line, line end included.
pub(super) fn write(line: &Line<'_>, out: &mut Vec<u8>) {
    line.write(out);
    out.push(b'\n');
}

fn fill<'a>(line: &mut Line<'a>, event: &'a Event, timestamp: SystemTime) {
    let facts = &mut line.portcullis;
    match event {
        Event::SessionStarted => facts.event = "session-start",
        Event::Decided { command, verdict } => decided(line, command, verdict),
        Event::Replied {
            command,
            code,
            text,
        } => {
            facts.event = "reply";
            facts.path = command.path.as_deref();
            line.ftp = Some(Ftp {
                reply: Some([text]),
                completion_code: Some([Code::Number(*code)]),
                reply_received: Some("yes"),
                ..ftp(command)
            });
        }
        Event::Rewrote {
            direction,
            before,
            after,
            rule,
        } => {
            facts.event = "rewrite";
            facts.direction = Some(words::direction(*direction));
            facts.before = Some(before);
            facts.after = Some(after);
            by_rule(facts, rule);
        }
        Event::PinholeOpened {
            id,
            pinhole,
            mode,
            rule,
        } => {
            facts.event = "pinhole-opened";
            facts.transfer = Some(id.0);
            facts.mode = Some(words::mode(*mode));
            facts.pinhole = Some(hole(pinhole));
            by_rule(facts, rule);
            line.ftp = Some(Ftp {
                dynamic_port: Some(pinhole.announced.port()),
                mode: Some(words::mode(*mode)),
                ..Ftp::default()
            });
        }
        Event::PinholeUsed { id, pinhole, after } => {
            facts.event = "pinhole-used";
            facts.transfer = Some(id.0);
            facts.pinhole = Some(hole(pinhole));
            facts.duration_ms = Some(milliseconds(*after));
        }
        Event::PinholeUnused {
            id,
            pinhole,
            reason,
        } => {
            facts.event = "pinhole-unused";
            facts.transfer = Some(id.0);
            facts.pinhole = Some(hole(pinhole));
            facts.reason = Some(words::pinhole_end(*reason).into());
        }
        Event::PinholeRefused { pinhole, reason } => {
            facts.event = "pinhole-refused";
            facts.pinhole = pinhole.as_ref().map(hole);
            facts.reason = Some(reason.into());
        }
        Event::Transferred(transferred) => transfer(line, transferred),
        Event::Converted { from, to, code } => {
            facts.event = "conversion";
            facts.before = Some(from.as_str());
            facts.after = Some(to.as_str());
            facts.reason = Some(format!("the server answered {from} with {code}").into());
        }
        Event::Secured { rule, window } => {
            facts.event = "tls-start";
            by_rule(facts, rule);
            facts.reason = window.as_ref().map(|window| {
                let Window {
                    first,
                    last,
                    at_most,
                } = window;
                format!("window: passive ports {first}-{last}, at most {at_most} at a time").into()
            });
        }
        Event::Unsecured => facts.event = "tls-end",
        Event::WindowUsed { announced } => {
            facts.event = "window-used";
            facts.announced = Some(*announced);
        }
        Event::WindowMoved {
            announced,
            counters,
            duration,
        } => {
            facts.event = "window-transfer";
            facts.announced = Some(*announced);
            facts.duration_ms = duration.map(milliseconds);
            facts.measured(counters.as_ref());
        }
        Event::Violated {
            by,
            violation,
            line: offending,
        } => {
            facts.event = "violation";
            facts.by = Some(words::side(*by));
            let said = violation.to_string();
            facts.reason = Some(said.clone().into());
            facts.line = Some(offending);
            let (signature_id, severity) = words::violation(violation);
            line.event_type = "alert";
            line.alert = Some(Alert {
                action: "blocked",
                gid: 1,
                signature_id,
                rev: 1,
                signature: [
                    "FTP ".into(),
                    words::side(*by).into(),
                    " ".into(),
                    said.into(),
                ],
                category: "Protocol violation",
                severity,
            });
        }
        Event::ClientsUnheard { count, within } => {
            facts.event = "clients-unheard";
            facts.count = Some(*count);
            facts.duration_ms = Some(milliseconds(*within));
            facts.reason = Some(format!("{count} clients beyond the limits were reset").into());
        }
        Event::SessionEnded {
            reason,
            lasted,
            bytes_from_client,
            bytes_from_server,
        } => {
            facts.event = "session-end";
            facts.duration_ms = Some(milliseconds(*lasted));
            facts.reason = Some(words::session_end(reason));
            line.event_type = "flow";
            line.flow = Some(Flow {
                bytes_toserver: *bytes_from_client,
                bytes_toclient: *bytes_from_server,
                start: timestamp.checked_sub(*lasted).unwrap_or(UNIX_EPOCH),
                end: timestamp,
                age: lasted.as_secs(),
                state: "closed",
                reason: words::flow_end(reason),
            });
        }
    }
}

fn decided<'a>(line: &mut Line<'a>, command: &'a Command, verdict: &'a Verdict) {
    let facts = &mut line.portcullis;
    facts.event = "decision";
    facts.path = command.path.as_deref();
    by_rule(facts, &verdict.rule);
    if let Some(refusal) = &verdict.limit {
        let limit = refusal.limit;
        facts.limit = Some(format!("{} {}", limit.number, limit.measure.key()));
        facts.reason = Some(limit.to_string().into());
    }
    let mut shown = ftp(command);
    match &verdict.decision {
        Decision::Allow => {
            facts.action = Some("allow");
            if verdict.audit == Loudness::Alert {
                line.event_type = "alert";
                line.alert = Some(Alert {
                    action: "allowed",
                    gid: 1,
                    signature_id: words::ALLOWED,
                    rev: 1,
                    signature: signature(command, " allowed by rule ", &verdict.rule),
                    category: "Allowed by policy",
                    severity: words::SEVERITY_ALLOWED,
                });
            }
        }
        Decision::Deny(reply) => {
            facts.action = Some("deny");
            let (code, text) = reply.split_once(' ').unwrap_or((reply, ""));
            shown.completion_code = Some([Code::Text(code)]);
            shown.reply = Some([text]);
            line.event_type = "alert";
            line.alert = Some(Alert {
                action: "blocked",
                gid: 1,
                signature_id: words::DENIED,
                rev: 1,
                signature: signature(command, " denied by rule ", &verdict.rule),
                category: "Denied by policy",
                severity: words::SEVERITY_DENIED,
            });
        }
    }
    line.ftp = Some(shown);
}

fn transfer<'a>(line: &mut Line<'a>, transferred: &'a Transferred) {
    let facts = &mut line.portcullis;
    let mode = words::mode(transferred.mode);
    let path = transferred.command.path.as_deref();
    facts.event = "transfer";
    by_rule(facts, &transferred.rule);
    facts.path = path;
    facts.transfer = Some(transferred.id.0);
    facts.mode = Some(mode);
    facts.announced = Some(transferred.announced);
    facts.rewritten = Some(transferred.rewritten);
    facts.pinhole = Some(hole(&transferred.pinhole));
    facts.measured(transferred.counters.as_ref());
    facts.duration_ms = transferred.duration.map(milliseconds);
    facts.outcome = Some(words::outcome(transferred.outcome));
    line.event_type = "ftp_data";
    line.ftp_data = Some(FtpData {
        filename: path.or(transferred.command.argument.as_deref()),
        command: transferred.command.verb.as_str(),
    });
    let replied = transferred.code.is_some();
    line.ftp = Some(Ftp {
        completion_code: transferred.code.map(|code| [Code::Number(code)]),
        dynamic_port: Some(transferred.announced.port()),
        mode: Some(mode),
        reply_received: Some(if replied { "yes" } else { "no" }),
        ..ftp(&transferred.command)
    });
}

fn ftp(command: &Command) -> Ftp<'_> {
    Ftp {
        command: Some(command.verb.as_str()),
        command_data: command.argument.as_deref(),
        ..Ftp::default()
    }
}

fn by_rule<'a>(facts: &mut Facts<'a>, rule: &'a RuleName) {
    facts.rule = Some(&rule.id);
    facts.rule_at = Some(&rule.at);
}

fn hole(pinhole: &Pinhole) -> Hole {
    Hole {
        initiator: pinhole.initiator,
        announced: pinhole.announced,
        target: pinhole.target,
        source: pinhole.source,
    }
}

fn signature<'a>(command: &'a Command, said: &'a str, rule: &'a RuleName) -> [Cow<'a, str>; 4] {
    ["FTP ", command.verb.as_str(), said, &rule.id].map(Cow::Borrowed)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Writes a time as EVE does: UTC, microseconds, `+0000`.
pub(super) fn written(timestamp: SystemTime) -> String {
    json::text(|out| json::time(timestamp, out))
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;

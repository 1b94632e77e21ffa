//! Lines of the record, read back: the row that a line stands for.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Deserialize;

use super::Row;
use super::row::ends;

impl Row {
    /// Reads a line of the record, without its end; `None` for what is none.
    pub(super) fn read(text: &str) -> Option<Self> {
        let line: Line = serde_json::from_str(text).ok()?;
        let facts = line.portcullis;
        let ftp = line.ftp.unwrap_or_default();
        let reason = facts.reason.filter(|_| ends(&facts.event));
        let unrecorded = facts.unrecorded.zip(facts.since);
        let unrecorded = unrecorded.map(|(count, since)| lacking(count, &since));
        let code = ftp.completion_code.first();
        Some(Self {
            seq: 0,
            time: instant(&line.timestamp)?.as_microsecond(),
            session: facts.session,
            flow: line.flow_id,
            kind: facts.event,
            client: line.src_ip.map(|ip| ip.to_string()).unwrap_or_default(),
            server: facts.server,
            listener: facts.listener,
            user: facts.user,
            rule: facts.rule,
            rule_at: facts.rule_at,
            verb: ftp.command,
            path: facts.path,
            outcome: facts.outcome.or(facts.action).or(reason).or(unrecorded),
            code: code.and_then(|code| code.parse().ok()),
            bytes: facts.bytes,
            packets: facts.packets,
            duration_ms: facts.duration_ms,
            line: text.to_owned(),
        })
    }
}

/// The outcome of `events-unrecorded`.
pub(super) fn lacking(count: u64, since: &str) -> String {
    format!("{count} unrecorded since {since}")
}

/// The instant that a line of the record names.
pub(super) fn instant(timestamp: &str) -> Option<Timestamp> {
    jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", timestamp)
        .and_then(|parsed| parsed.to_timestamp())
        .ok()
}

#[derive(Deserialize)]
struct Line {
    timestamp: String,
    #[serde(default)]
    flow_id: u64,
    src_ip: Option<IpAddr>,
    ftp: Option<Ftp>,
    portcullis: Facts,
}

#[derive(Default, Deserialize)]
struct Ftp {
    command: Option<String>,
    #[serde(default)]
    completion_code: Vec<String>,
}

#[derive(Deserialize)]
struct Facts {
    event: String,
    #[serde(default)]
    session: u64,
    #[serde(default)]
    listener: String,
    #[serde(default)]
    server: String,
    user: Option<String>,
    rule: Option<String>,
    rule_at: Option<String>,
    action: Option<String>,
    path: Option<String>,
    outcome: Option<String>,
    reason: Option<String>,
    bytes: Option<u64>,
    packets: Option<u64>,
    duration_ms: Option<u64>,
    unrecorded: Option<u64>,
    since: Option<String>,
}

//! One event as the store keeps it: what is asked for by itself, and the line it came from.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::eve::Line;
use super::json;

/// One event of the store. Times are microseconds since 1970 in UTC, so that they sort as numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Its place in the store, counted from 1; never given twice. 0 before it is stored.
    pub seq: i64,
    /// When it happened.
    pub time: i64,
    /// The number of its session, unique in the life of one process.
    pub session: u64,
    /// The number that ties the lines of a session together, unique across restarts.
    pub flow: u64,
    /// What happened: `portcullis.event` of the line.
    pub kind: String,
    /// The address that dialled, without its port.
    pub client: String,
    /// The server's address and port.
    pub server: String,
    /// The listener that took the session.
    pub listener: String,
    /// The name given in USER.
    pub user: Option<String>,
    /// The id of the rule.
    pub rule: Option<String>,
    /// Where the rule is written, `file:line`; `built-in` for the default.
    pub rule_at: Option<String>,
    /// The command.
    pub verb: Option<String>,
    /// The path it names.
    pub path: Option<String>,
    /// `allow` or `deny` of a decision, `completed`, `failed` or `abandoned` of a transfer, why a
    /// pinhole was not used or a session ended, how many clients were not heard.
    pub outcome: Option<String>,
    /// The reply code.
    pub code: Option<u16>,
    /// Bytes of a transfer, both directions.
    pub bytes: Option<u64>,
    /// Packets of a transfer, both directions.
    pub packets: Option<u64>,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// The EVE line, without its end.
    pub line: String,
}

impl Row {
    /// Becomes the row of a line; `text` is the line as it was written. The memory of the row that it
    /// was before serves again, since most texts are as long as those of any other event.
    pub(super) fn fill(&mut self, timestamp: SystemTime, line: &Line<'_>, text: &[u8]) {
        let (facts, text) = (&line.portcullis, text.trim_ascii_end());
        let ftp = line.ftp.as_ref();
        let code = ftp.and_then(|ftp| ftp.completion_code.as_ref());
        let outcome = facts.outcome.or(facts.action);
        let reason = facts.reason.as_deref().filter(|_| ends(facts.event));
        self.seq = 0;
        self.time = micros(timestamp);
        self.session = facts.session;
        self.flow = line.flow_id;
        facts.event.clone_into(&mut self.kind);
        json::refill(&mut self.client, |out| json::ip(line.src_ip, out));
        json::refill(&mut self.server, |out| {
            facts
                .server
                .iter()
                .for_each(|place| json::place(*place, out))
        });
        facts.listener.clone_into(&mut self.listener);
        refill(&mut self.user, facts.user);
        refill(&mut self.rule, facts.rule);
        refill(&mut self.rule_at, facts.rule_at);
        refill(&mut self.verb, ftp.and_then(|ftp| ftp.command));
        refill(&mut self.path, facts.path);
        refill(&mut self.outcome, outcome.or(reason));
        self.code = code.and_then(|[code]| code.number());
        self.bytes = facts.bytes;
        self.packets = facts.packets;
        self.duration_ms = facts.duration_ms;
        // Lines are text, which is quickly seen; looking for bytes to replace is slow.
        match std::str::from_utf8(text) {
            Ok(text) => text.clone_into(&mut self.line),
            Err(_) => self.line = String::from_utf8_lossy(text).into_owned(),
        }
    }
}

fn refill(slot: &mut Option<String>, text: Option<&str>) {
    match (slot, text) {
        (Some(slot), Some(text)) => text.clone_into(slot),
        (slot, text) => *slot = text.map(str::to_owned),
    }
}

/// Whether the reason of an event is how something ended, or all that there is to it.
pub(super) fn ends(kind: &str) -> bool {
    matches!(kind, "session-end" | "pinhole-unused" | "clients-unheard")
}

/// Gives a time as the store keeps it; times before 1970 become 0.
pub fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Gives a time of the store back.
pub fn time_of(micros: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

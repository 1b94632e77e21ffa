//! The record, counted: each piece of it is read once and then removed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;

use super::ledger::Kind;
use super::places::{HONEST, Who};

/// What the record says, in numbers.
#[derive(Clone, Default)]
pub(super) struct Tally {
    pub(super) lines: u64,
    /// By hostile kind and word; `session` is a session that began or was refused, `refused` one of those.
    pub(super) hostile: BTreeMap<(Kind, String), u64>,
    /// Sessions and completed transfers of honest clients.
    pub(super) honest: BTreeMap<Who, (u64, u64)>,
    /// Events, and for those that have one the reason behind a space.
    pub(super) events: BTreeMap<String, u64>,
    /// Sessions that began and have not ended.
    pub(super) running: BTreeMap<u64, IpAddr>,
    /// Pinholes that were opened and neither used nor closed, by session and number.
    pub(super) open: BTreeMap<(u64, u64), IpAddr>,
}

#[derive(Deserialize)]
struct Line<'a> {
    src_ip: Option<IpAddr>,
    flow_id: Option<u64>,
    #[serde(borrow)]
    portcullis: Facts<'a>,
}

#[derive(Deserialize)]
struct Facts<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    outcome: Option<Cow<'a, str>>,
    #[serde(borrow)]
    mode: Option<Cow<'a, str>>,
    #[serde(borrow)]
    action: Option<Cow<'a, str>>,
    transfer: Option<u64>,
    count: Option<u64>,
}

impl Tally {
    /// Reads a piece of the record and removes it.
    pub(super) fn take(&mut self, file: &Path) {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "half a line");
        for line in text.lines() {
            let read: Line<'_> = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{error} in the record {line}"));
            self.count(&read);
        }
        fs::remove_file(file).unwrap();
    }

    fn count(&mut self, line: &Line<'_>) {
        self.lines += 1;
        let (flow, facts) = (line.flow_id.unwrap_or(0), &line.portcullis);
        let event = &*facts.event;
        let word = match (event, &facts.reason, &facts.outcome, &facts.mode) {
            ("session-end", Some(reason), ..) => {
                let (reason, _) = reason.split_once(':').unwrap_or((reason, ""));
                format!("{event} {reason}")
            }
            ("pinhole-unused", Some(reason), ..) => format!("{event} {reason}"),
            ("transfer", _, Some(outcome), Some(mode)) => format!("{event} {mode} {outcome}"),
            ("decision", ..) if facts.action.as_deref() == Some("deny") => "deny".to_owned(),
            _ => event.to_owned(),
        };
        *self.events.entry(word).or_default() += facts.count.unwrap_or(1);
        let Some(from) = line.src_ip else { return };
        let key = (flow, facts.transfer.unwrap_or(0));
        let mut words = vec![event];
        match event {
            "session-start" => {
                self.running.insert(flow, from);
                words.push("session");
            }
            // One that never began was refused.
            "session-end" if self.running.remove(&flow).is_none() => {
                words.extend(["session", "refused"]);
            }
            "pinhole-opened" => {
                self.open.insert(key, from);
            }
            "pinhole-used" | "pinhole-unused" => {
                self.open.remove(&key);
            }
            _ => {}
        }
        let Some(who) = Who::of(from) else { return };
        if who.group == HONEST {
            let (sessions, transfers) = self.honest.entry(who).or_default();
            *sessions += u64::from(event == "session-start");
            let completed = facts.outcome.as_deref() == Some("completed");
            *transfers += u64::from(event == "transfer" && completed);
            return;
        }
        for word in words {
            let kind = (who.side, who.group);
            *self.hostile.entry((kind, word.to_owned())).or_default() += 1;
        }
    }

    /// The sum of all events whose word begins so.
    pub(super) fn events_of(&self, start: &str) -> u64 {
        let begin = self.events.iter();
        let of = begin.filter(|(word, _)| word.starts_with(start));
        of.map(|(_, count)| count).sum()
    }
}

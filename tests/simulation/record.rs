//! What must hold of the record: begun first, ended once and last, every pinhole accounted for.

use std::collections::BTreeMap;

use portcullis::inspect::{
    EndReason, Event, PinholeEnd, PinholeNews, Side, TransferOutcome, Transferred, Violation,
};
use portcullis::pinhole::{Counters, PinholeId};
use portcullis::rules::Decision;

use crate::Held;
use crate::oracle::Oracle;

#[derive(Debug, Default)]
pub(crate) struct Record {
    begun: bool,
    ended: bool,
    pinholes: BTreeMap<PinholeId, Entry>,
    taken: [u64; 2],
    pub(crate) seen: Seen,
}

/// How often each kind of thing was recorded.
pub(crate) type Seen = BTreeMap<&'static str, u64>;

/// What is known of one pinhole.
#[derive(Debug, Default)]
struct Entry {
    opened: bool,
    /// The inspector was told that its connection came, and recorded it.
    told: bool,
    used: bool,
    counters: Option<Counters>,
    cut: bool,
    ended: bool,
    forgotten: bool,
}

impl Record {
    pub(crate) fn count(&mut self, by_client: bool, bytes: usize) {
        if !self.ended {
            self.taken[usize::from(!by_client)] += u64::try_from(bytes).unwrap_or_default();
        }
    }

    /// The filter's answer: it stands.
    pub(crate) fn opened(&mut self, id: PinholeId) {
        self.pinholes.entry(id).or_default();
    }

    /// News that is about to be told.
    pub(crate) fn told(&mut self, id: PinholeId, news: &PinholeNews) {
        let Some(entry) = self.pinholes.get_mut(&id).filter(|entry| !entry.forgotten) else {
            return;
        };
        match news {
            PinholeNews::Used => entry.told |= entry.opened,
            PinholeNews::Closed { counters, cut, .. } if entry.opened => {
                // A count is proof of a connection, though the word that it came was lost.
                entry.told |= counters.is_some();
                entry.counters = counters.or(entry.counters);
                entry.cut |= cut;
            }
            _ => {}
        }
    }

    pub(crate) fn forgotten(&mut self, id: PinholeId) {
        if let Some(entry) = self.pinholes.get_mut(&id) {
            entry.forgotten = true;
        }
    }

    pub(crate) fn see(&mut self, event: &Event, oracle: &Oracle) -> Held {
        if self.ended {
            return Err(format!("recorded behind the end: {event:?}"));
        }
        if std::mem::replace(&mut self.begun, true) == matches!(event, Event::SessionStarted) {
            return Err(format!("the record begins wrongly: {event:?}"));
        }
        *self.seen.entry(kind(event)).or_default() += 1;
        match event {
            Event::PinholeOpened { id, .. } => match self.pinholes.get_mut(id) {
                Some(entry) if !entry.opened => {
                    entry.opened = true;
                    Ok(())
                }
                _ => Err(format!("{id} is on the record as opened, wrongly")),
            },
            Event::PinholeUsed { id, .. } => {
                let entry = self.entry(*id)?;
                if !entry.told || std::mem::replace(&mut entry.used, true) {
                    return Err(format!("{id} is on the record as used, wrongly"));
                }
                Ok(())
            }
            Event::PinholeUnused { id, reason, .. } => {
                let entry = self.entry(*id)?;
                if entry.told {
                    return Err(format!("{id} was used and is recorded as unused"));
                }
                entry.ended = true;
                let why = oracle.ends.iter().rev().find(|(end, _)| end == id);
                match why {
                    Some((_, due)) if due == reason => Ok(()),
                    _ => Err(format!("{id} is unused for {reason:?}, and it was {why:?}")),
                }
            }
            Event::Transferred(transferred) => self.transferred(transferred, oracle),
            Event::SessionEnded {
                bytes_from_client,
                bytes_from_server,
                ..
            } => {
                self.ended = true;
                match self.taken == [*bytes_from_client, *bytes_from_server] {
                    true => self.finish(),
                    false => Err("the end counts other bytes than were taken".into()),
                }
            }
            _ => Ok(()),
        }
    }

    fn entry(&mut self, id: PinholeId) -> Held<&mut Entry> {
        let entry = self.pinholes.get_mut(&id);
        entry
            .filter(|entry| entry.opened && !entry.ended)
            .ok_or_else(|| format!("{id} is on the record and not open there"))
    }

    fn transferred(&mut self, moved: &Transferred, oracle: &Oracle) -> Held {
        let id = moved.id;
        let code = oracle.codes.iter().find(|(served, _)| *served == id);
        let code = code.map(|(_, code)| *code);
        let served = oracle.serves.iter().find(|(served, _)| *served == id);
        let entry = self.entry(id)?;
        entry.ended = true;
        let fits = entry.used
            && moved.counters == entry.counters
            && served.is_none_or(|(_, verb)| verb == moved.command.verb.as_str())
            && moved.code == code;
        let outcome = match code {
            _ if entry.cut => TransferOutcome::Truncated,
            Some(200..300) => TransferOutcome::Completed,
            Some(_) => TransferOutcome::Failed,
            None => TransferOutcome::Abandoned,
        };
        if !fits || moved.outcome != outcome {
            return Err(format!(
                "{moved:?} is on the record of {entry:?}, {served:?}, {code:?}"
            ));
        }
        Ok(())
    }

    fn finish(&self) -> Held {
        let open = |entry: &&Entry| entry.opened && !entry.ended;
        match self.pinholes.values().find(open) {
            Some(entry) => Err(format!("a pinhole without an end on the record: {entry:?}")),
            None => Ok(()),
        }
    }
}

/// Every kind that chance has to reach, for the simulation to show anything.
pub(crate) const KINDS: [&str; 36] = [
    "allowed",
    "limited",
    "denied",
    "reply",
    "rewrite",
    "opened",
    "used",
    "refused",
    "converted",
    "tls",
    "plain again",
    "window",
    "moved",
    "failed",
    "abandoned",
    "truncated",
    "bounce",
    "forbidden",
    "port",
    "unasked",
    "speaks",
    "expired",
    "transfer refused",
    "transfer ended",
    "replaced",
    "aborted",
    "reinitialised",
    "quit",
    "auth",
    "session closed",
    "client closed",
    "server closed",
    "reset",
    "idle",
    "stopped",
    "violation",
];

fn kind(event: &Event) -> &'static str {
    match event {
        Event::SessionStarted => "begun",
        Event::Decided { verdict, .. } => match verdict.decision {
            Decision::Allow => "allowed",
            Decision::Deny(_) if verdict.limit.is_some() => "limited",
            Decision::Deny(_) => "denied",
        },
        Event::Replied { .. } => "reply",
        Event::Rewrote { .. } => "rewrite",
        Event::PinholeOpened { .. } => "opened",
        Event::PinholeUsed { .. } => "used",
        Event::PinholeRefused { .. } => "refused",
        Event::Converted { .. } => "converted",
        Event::Secured { .. } => "tls",
        Event::Unsecured => "plain again",
        Event::WindowUsed { .. } | Event::WindowMoved { .. } => "window",
        Event::ClientsUnheard { .. } => "unheard",
        Event::Transferred(moved) => match moved.outcome {
            TransferOutcome::Completed => "moved",
            TransferOutcome::Failed => "failed",
            TransferOutcome::Abandoned => "abandoned",
            TransferOutcome::Truncated => "truncated",
        },
        Event::Violated { by, violation, .. } => match violation {
            Violation::AnnouncedForeignAddress { .. } if *by == Side::Client => "bounce",
            Violation::AnnouncedForbiddenAddress { .. } => "forbidden",
            Violation::AnnouncedForbiddenPort { .. } => "port",
            Violation::AnsweredNothing { .. } => "unasked",
            Violation::SpokeForOtherSide => "speaks",
            _ => "other violation",
        },
        Event::PinholeUnused { reason, .. } => match reason {
            PinholeEnd::Expired => "expired",
            PinholeEnd::TransferRefused => "transfer refused",
            PinholeEnd::TransferEnded => "transfer ended",
            PinholeEnd::Replaced => "replaced",
            PinholeEnd::Aborted => "aborted",
            PinholeEnd::Reinitialised => "reinitialised",
            PinholeEnd::Quit => "quit",
            PinholeEnd::Secured => "auth",
            PinholeEnd::SessionClosed => "session closed",
        },
        Event::SessionEnded { reason, .. } => match reason {
            EndReason::ClientClosed => "client closed",
            EndReason::ServerClosed => "server closed",
            EndReason::ClientReset | EndReason::ServerReset => "reset",
            EndReason::Idle => "idle",
            EndReason::Stopping => "stopped",
            EndReason::Violation => "violation",
            _ => "other end",
        },
    }
}

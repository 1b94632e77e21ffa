//! What a batch changes in `sessions`, `rules` and `hours`: added up first, so that each of their rows is
//! written once, however many events of the batch count for it.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params};

use super::super::Row;
use super::HOUR;
use super::write::signed;

/// The sums of one batch.
#[derive(Debug, Default)]
pub(super) struct Counts<'a> {
    sessions: BTreeMap<u64, Session<'a>>,
    rules: BTreeMap<(&'a str, &'a str), Rule<'a>>,
    hours: BTreeMap<(&'a str, &'a str, i64), Sum>,
    /// Decisions that are kept, by file, rule and client.
    clients: BTreeMap<(&'a str, &'a str, &'a str), i64>,
}

#[derive(Debug)]
struct Session<'a> {
    /// The first event, which says when the session began where it is not known.
    first: &'a Row,
    user: Option<&'a str>,
    /// The event that ended it.
    end: Option<&'a Row>,
    /// Transfers and their bytes.
    moved: Sum,
}

#[derive(Debug)]
struct Rule<'a> {
    at: &'a str,
    first_use: i64,
    last_use: i64,
    used: Sum,
}

/// How often, and how many bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    count: i64,
    bytes: i64,
}

impl Sum {
    fn add(&mut self, count: bool, row: &Row) {
        self.count = self.count.saturating_add(i64::from(count));
        self.bytes = self.bytes.saturating_add(signed(row.bytes.unwrap_or(0)));
    }
}

impl Row {
    /// Whether it is a decision on USER.
    pub(super) fn names_user(&self) -> bool {
        self.verb.as_deref() == Some("USER")
    }
}

impl<'a> Counts<'a> {
    /// Adds an event to its session, where it says something about it.
    pub(super) fn add_session(&mut self, row: &'a Row) {
        let transfer = row.kind == "transfer";
        let ended = row.kind == "session-end";
        let named = row.kind == "decision" && row.names_user();
        if !(transfer || ended || named || row.kind == "session-start") {
            return;
        }
        let session = self.sessions.entry(row.flow).or_insert_with(|| Session {
            first: row,
            user: None,
            end: None,
            moved: Sum::default(),
        });
        session.user = row.user.as_deref().or(session.user);
        session.end = Some(row).filter(|_| ended).or(session.end);
        session.moved.add(transfer, row);
    }

    /// Adds an event to its rule and the hour.
    pub(super) fn add_rule(&mut self, row: &'a Row) {
        let decision = row.kind == "decision";
        if let (Some(rule), Some(at)) = (&row.rule, &row.rule_at)
            && (decision || row.kind == "transfer")
        {
            let key = (file_of(at), rule.as_str());
            let sum = self.rules.entry(key).or_insert_with(|| Rule {
                at,
                first_use: row.time,
                last_use: row.time,
                used: Sum::default(),
            });
            sum.at = at;
            sum.first_use = sum.first_use.min(row.time);
            sum.last_use = sum.last_use.max(row.time);
            sum.used.add(decision, row);
            let hour = row.time - row.time.rem_euclid(HOUR);
            let sum = self.hours.entry((key.0, key.1, hour)).or_default();
            sum.add(decision, row);
        }
    }

    /// Adds an event that is kept to the client of its rule.
    pub(super) fn add_client(&mut self, row: &'a Row) {
        if let (Some(rule), Some(at), "decision") = (&row.rule, &row.rule_at, &*row.kind) {
            let key = (file_of(at), rule.as_str(), row.client.as_str());
            *self.clients.entry(key).or_default() += 1;
        }
    }

    /// Carries the sums into the database.
    pub(super) fn put(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        if !self.sessions.is_empty() {
            self.put_sessions(transaction)?;
        }
        if !self.rules.is_empty() {
            self.put_rules(transaction)?;
            self.put_hours(transaction)?;
        }
        if !self.clients.is_empty() {
            self.put_clients(transaction)?;
        }
        Ok(())
    }

    fn put_sessions(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut upsert = transaction.prepare_cached(
            "INSERT INTO sessions (flow, session, listener, client, server, user, started, ended,
                 reason, transfers, bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (flow) DO UPDATE SET user = coalesce(excluded.user, user),
                 ended = coalesce(excluded.ended, ended),
                 reason = coalesce(excluded.reason, reason),
                 transfers = transfers + excluded.transfers, bytes = bytes + excluded.bytes",
        )?;
        for (flow, session) in &self.sessions {
            let Session { first, moved, .. } = session;
            upsert.execute(params![
                signed(*flow),
                signed(first.session),
                first.listener,
                first.client,
                first.server,
                session.user,
                first.time,
                session.end.map(|row| row.time),
                session.end.and_then(|row| row.outcome.as_deref()),
                moved.count,
                moved.bytes,
            ])?;
        }
        Ok(())
    }

    fn put_rules(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut upsert = transaction.prepare_cached(
            "INSERT INTO rules (file, id, at, hits, bytes, first_use, last_use)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (file, id) DO UPDATE SET at = excluded.at, hits = hits + excluded.hits,
                 bytes = bytes + excluded.bytes, first_use = min(first_use, excluded.first_use),
                 last_use = max(last_use, excluded.last_use)",
        )?;
        for ((file, id), rule) in &self.rules {
            let Sum { count, bytes } = rule.used;
            let (first, last) = (rule.first_use, rule.last_use);
            upsert.execute(params![file, id, rule.at, count, bytes, first, last])?;
        }
        Ok(())
    }

    fn put_hours(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut upsert = transaction.prepare_cached(
            "INSERT INTO hours (file, id, hour, hits, bytes) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (file, id, hour) DO UPDATE SET hits = hits + excluded.hits,
                 bytes = bytes + excluded.bytes",
        )?;
        for ((file, id, hour), sum) in &self.hours {
            upsert.execute(params![file, id, hour, sum.count, sum.bytes])?;
        }
        Ok(())
    }

    fn put_clients(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut upsert = transaction.prepare_cached(
            "INSERT INTO clients_of_rule (file, id, client, hits) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (file, id, client) DO UPDATE SET hits = hits + excluded.hits",
        )?;
        for ((file, id, client), hits) in &self.clients {
            upsert.execute(params![file, id, client, hits])?;
        }
        Ok(())
    }
}

/// The file of `file:line`; lines move as a file is edited, so that counts go by file and id.
pub(super) fn file_of(at: &str) -> &str {
    match at.rsplit_once(':') {
        Some((file, line)) if line.bytes().all(|byte| byte.is_ascii_digit()) => file,
        Some(_) | None => at,
    }
}

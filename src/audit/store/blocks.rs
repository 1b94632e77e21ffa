//! How events are found: 64 places in a row are a block, and what is in a block is noted once, however
//! many of its events have it. An index entry for each event would cost more than the event itself.
//!
//! Owns the tables `blocks` (the times in a block) and `blocks_of_…` (where a flow, a client or a rule is).
//! They are exact about blocks: what is noted is there, and what is there is noted.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Params, ToSql, Transaction, params};

use super::super::Row;
use super::counts::file_of;
use super::write::signed;

/// How far to shift a place to get its block. The queries here and the schema have it as a number.
pub(super) const BITS: u32 = 6;

/// The places of `block`.
pub(super) const WITHIN: &str = "seq BETWEEN block << 6 AND (block << 6) + 63";

/// What the blocks of one batch have.
#[derive(Debug, Default)]
pub(super) struct Blocks<'a> {
    /// Block, earliest and latest time.
    times: Vec<(i64, i64, i64)>,
    flows: Vec<(i64, i64)>,
    clients: Vec<(&'a str, i64)>,
    rules: Vec<(&'a str, i64)>,
}

impl<'a> Blocks<'a> {
    /// Looks through events that lie one behind the other from this place on.
    pub(super) fn of(first: i64, rows: &'a [Row]) -> Self {
        let mut blocks = Self::default();
        for (seq, row) in (first..).zip(rows) {
            let block = seq >> BITS;
            match blocks.times.last_mut() {
                Some((last, earliest, latest)) if *last == block => {
                    *earliest = row.time.min(*earliest);
                    *latest = row.time.max(*latest);
                }
                Some(_) | None => blocks.times.push((block, row.time, row.time)),
            }
            note(&mut blocks.flows, (signed(row.flow), block));
            note(&mut blocks.clients, (&*row.client, block));
            if let Some(rule) = &row.rule {
                note(&mut blocks.rules, (&**rule, block));
            }
        }
        blocks
    }

    /// Carries it into the database.
    pub(super) fn put(self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let put = "INSERT OR IGNORE INTO blocks (block, earliest, latest) VALUES (?1, ?2, ?3)";
        let mut put = transaction.prepare_cached(put)?;
        for (block, earliest, latest) in self.times {
            if put.execute([block, earliest, latest])? == 0 {
                widen(transaction, block, earliest, latest)?;
            }
        }
        let put = "INSERT OR IGNORE INTO blocks_of_flow (value, block) VALUES (?1, ?2)";
        put_all(transaction, put, self.flows)?;
        let put = "INSERT OR IGNORE INTO blocks_of_client (value, block) VALUES (?1, ?2)";
        put_all(transaction, put, self.clients)?;
        let put = "INSERT OR IGNORE INTO blocks_of_rule (value, block) VALUES (?1, ?2)";
        put_all(transaction, put, self.rules)
    }
}

/// Puts more times into a block. The index on `earliest` would be written at each mention of it, and
/// only a clock that was set back changes it.
fn widen(
    transaction: &Transaction<'_>,
    block: i64,
    earliest: i64,
    latest: i64,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE blocks SET latest = ?2 WHERE block = ?1 AND latest < ?2")?
        .execute([block, latest])?;
    transaction
        .prepare_cached("UPDATE blocks SET earliest = ?2 WHERE block = ?1 AND earliest > ?2")?
        .execute([block, earliest])?;
    Ok(())
}

/// Neighbours are often alike, which need not be sorted out later.
fn note<T: PartialEq>(noted: &mut Vec<(T, i64)>, pair: (T, i64)) {
    if noted.last() != Some(&pair) {
        noted.push(pair);
    }
}

fn put_all<T: ToSql + Ord>(
    transaction: &Transaction<'_>,
    insert: &str,
    mut noted: Vec<(T, i64)>,
) -> rusqlite::Result<()> {
    if noted.is_empty() {
        return Ok(());
    }
    noted.sort_unstable();
    noted.dedup();
    let mut insert = transaction.prepare_cached(insert)?;
    for (value, block) in noted {
        insert.execute(params![value, block])?;
    }
    Ok(())
}

/// Events that were taken out, as far as something else in the database counts on them.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) count: usize,
    blocks: BTreeSet<i64>,
    flows: BTreeSet<(i64, i64)>,
    clients: BTreeSet<(String, i64)>,
    rules: BTreeSet<(String, i64)>,
    /// Decisions by file, rule and client.
    decisions: BTreeMap<(String, String, String), i64>,
}

impl Taken {
    /// Takes out the events whose places a query gives, and all that was noted of them.
    pub(super) fn take(
        transaction: &Transaction<'_>,
        places: &str,
        values: impl Params,
    ) -> rusqlite::Result<Self> {
        let query = format!(
            "DELETE FROM events WHERE seq IN ({places})
             RETURNING seq, flow, client, rule, rule_at, kind = 'decision'"
        );
        let mut taken = Self::default();
        let mut delete = transaction.prepare_cached(&query)?;
        let mut rows = delete.query(values)?;
        while let Some(row) = rows.next()? {
            taken.add(row)?;
        }
        taken.forget(transaction)?;
        Ok(taken)
    }

    fn add(&mut self, row: &rusqlite::Row<'_>) -> rusqlite::Result<()> {
        let block = row.get::<_, i64>(0)? >> BITS;
        let client: String = row.get(2)?;
        self.count += 1;
        self.blocks.insert(block);
        self.flows.insert((row.get(1)?, block));
        if let Some(rule) = row.get::<_, Option<String>>(3)? {
            let at: Option<String> = row.get(4)?;
            if let Some(at) = at.filter(|_| row.get(5).unwrap_or(false)) {
                let key = (file_of(&at).to_owned(), rule.clone(), client.clone());
                *self.decisions.entry(key).or_default() += 1;
            }
            self.rules.insert((rule, block));
        }
        self.clients.insert((client, block));
        Ok(())
    }

    fn forget(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut delete = transaction.prepare_cached(&format!(
            "DELETE FROM blocks WHERE block = ?1 AND NOT EXISTS (SELECT 1 FROM events WHERE {WITHIN})"
        ))?;
        let mut update = transaction.prepare_cached(&format!(
            "UPDATE blocks SET (earliest, latest) = (SELECT min(time), max(time) FROM events WHERE {WITHIN})
             WHERE block = ?1"
        ))?;
        for block in &self.blocks {
            if delete.execute([block])? == 0 {
                update.execute([block])?;
            }
        }
        forget_all(transaction, "flow", &self.flows)?;
        forget_all(transaction, "client", &self.clients)?;
        forget_all(transaction, "rule", &self.rules)?;
        let mut update = transaction.prepare_cached(
            "UPDATE clients_of_rule SET hits = hits - ?4 WHERE file = ?1 AND id = ?2 AND client = ?3",
        )?;
        let mut delete = transaction.prepare_cached(
            "DELETE FROM clients_of_rule
             WHERE file = ?1 AND id = ?2 AND client = ?3 AND hits <= 0",
        )?;
        for ((file, id, client), count) in &self.decisions {
            update.execute(params![file, id, client, count])?;
            delete.execute([file, id, client])?;
        }
        Ok(())
    }
}

fn forget_all<T: ToSql>(
    transaction: &Transaction<'_>,
    column: &str,
    pairs: &BTreeSet<(T, i64)>,
) -> rusqlite::Result<()> {
    let mut delete = transaction.prepare_cached(&format!(
        "DELETE FROM blocks_of_{column} WHERE value = ?1 AND block = ?2
         AND NOT EXISTS (SELECT 1 FROM events WHERE {WITHIN} AND {column} = ?1)"
    ))?;
    for (value, block) in pairs {
        delete.execute(params![value, block])?;
    }
    Ok(())
}

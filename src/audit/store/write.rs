//! Writing: one batch, one transaction, with the sessions and the counts of the rules it changes.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};

use crate::config::StoreSettings;

use super::super::Row;
use super::super::batch::Batch;
use super::{HOUR, StoreError, folder, schema};

/// How long another process may hold the database before a write fails and is tried again.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Pages of the write-ahead log after which it goes into the database: 4 MB of 4 KiB pages.
const CHECKPOINT_PAGES: i64 = 1000;

/// Bytes that the write-ahead log keeps once it is used up.
const MAX_IDLE_LOG: i64 = 8 << 20;

/// Who may read the file: the owner, and the group of the log readers.
const MODE: u32 = 0o640;

/// The database as its one writer has it.
#[derive(Debug)]
pub struct Store {
    pub(super) settings: StoreSettings,
    pub(super) connection: Connection,
    /// What `state.next` is once the batch at hand is in; set while it is unknown whether it is.
    unsure: Option<i64>,
}

impl Store {
    /// Opens the database, creates it with mode 0640 where there is none, and brings it to the
    /// schema of this program.
    ///
    /// # Errors
    /// Tells a missing folder, a later schema, another program's database, and what SQLite said.
    pub fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        let path = &settings.path;
        let place = folder(path);
        if !place.is_dir() {
            return Err(StoreError::NoFolder {
                path: path.clone(),
                folder: place.to_owned(),
            });
        }
        // Created here, so that it has its mode from the first byte; SQLite gives its own files the same.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(MODE);
        drop(
            options
                .open(path)
                .map_err(|error| StoreError::unopened(path, error))?,
        );
        let connection = connect(path)?;
        Ok(Self {
            settings: settings.clone(),
            connection,
            unsure: None,
        })
    }

    /// The file.
    pub fn path(&self) -> &PathBuf {
        &self.settings.path
    }

    /// Writes a batch, all of it or nothing. A batch that failed is to be given again before any other.
    ///
    /// # Errors
    /// Gives what SQLite said; nothing of the batch is in the database, or all of it, and then the
    /// next attempt finds that out and writes nothing twice.
    pub fn write(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        self.write_batch(&Batch {
            rows: rows.to_vec(),
            ..Batch::default()
        })
    }

    /// The same with what is counted alone.
    pub(in crate::audit) fn write_batch(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let result = self.try_write(batch);
        result.map_err(|error| StoreError::unwritten(&self.settings.path, &error))
    }

    fn try_write(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let next: i64 =
            transaction.query_row("SELECT next FROM state", [], |row| row.get("next"))?;
        if self.unsure == Some(next) {
            self.unsure = None;
            return Ok(());
        }
        let mut seq = next;
        for row in &batch.rows {
            insert(&transaction, seq, row)?;
            count_session(&transaction, row)?;
            count_rule(&transaction, row)?;
            seq += 1;
        }
        for row in &batch.quiet {
            name_user(&transaction, row)?;
            count_rule(&transaction, row)?;
        }
        // Each batch moves it: that tells whether a batch is in.
        seq = seq.max(next + 1);
        transaction
            .prepare_cached("UPDATE state SET next = ?1")?
            .execute([seq])?;
        self.unsure = Some(seq);
        transaction.commit()?;
        self.unsure = None;
        Ok(())
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let unopened = |error: rusqlite::Error| StoreError::unopened(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(unopened)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(unopened)?;
    let version = schema::version(&connection, path)?;
    if version == 0 {
        // Only an empty database takes this; with it, what retention frees can go back to the disk.
        connection
            .pragma_update(None, "auto_vacuum", "INCREMENTAL")
            .map_err(unopened)?;
    }
    for (name, value) in [
        ("wal_autocheckpoint", CHECKPOINT_PAGES),
        ("journal_size_limit", MAX_IDLE_LOG),
    ] {
        connection
            .pragma_update(None, name, value)
            .map_err(unopened)?;
    }
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(unopened)?;
    connection
        .pragma_update(None, "synchronous", "NORMAL")
        .map_err(unopened)?;
    schema::migrate(&mut connection, version, schema::MIGRATIONS).map_err(unopened)?;
    Ok(connection)
}

fn insert(transaction: &Transaction<'_>, seq: i64, row: &Row) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO events (seq, time, session, flow, kind, client, server, listener, user, rule,
             rule_at, verb, path, outcome, code, bytes, packets, duration_ms, line)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
    )?;
    insert.execute(params![
        seq,
        row.time,
        signed(row.session),
        signed(row.flow),
        row.kind,
        row.client,
        row.server,
        row.listener,
        row.user,
        row.rule,
        row.rule_at,
        row.verb,
        row.path,
        row.outcome,
        row.code,
        row.bytes.map(signed),
        row.packets.map(signed),
        row.duration_ms.map(signed),
        row.line,
    ])?;
    Ok(())
}

/// A quiet USER names the user of a session that is known.
fn name_user(transaction: &Transaction<'_>, row: &Row) -> rusqlite::Result<()> {
    if row.verb.as_deref() == Some("USER") {
        let mut update =
            transaction.prepare_cached("UPDATE sessions SET user = ?2 WHERE flow = ?1")?;
        update.execute(params![signed(row.flow), row.user])?;
    }
    Ok(())
}

/// Carries a row into `sessions`.
fn count_session(transaction: &Transaction<'_>, row: &Row) -> rusqlite::Result<()> {
    let bytes = signed(row.bytes.unwrap_or(0));
    let transfer = i64::from(row.kind == "transfer");
    let decision = i64::from(row.kind == "decision");
    let ended = row.kind == "session-end";
    let names_user = row.verb.as_deref() == Some("USER");
    if transfer == 1 || ended || row.kind == "session-start" || (decision == 1 && names_user) {
        let mut upsert = transaction.prepare_cached(
            "INSERT INTO sessions (flow, session, listener, client, server, user, started, ended,
                 reason, transfers, bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (flow) DO UPDATE SET user = coalesce(excluded.user, user),
                 ended = coalesce(excluded.ended, ended),
                 reason = coalesce(excluded.reason, reason),
                 transfers = transfers + excluded.transfers, bytes = bytes + excluded.bytes",
        )?;
        upsert.execute(params![
            signed(row.flow),
            signed(row.session),
            row.listener,
            row.client,
            row.server,
            row.user,
            row.time,
            ended.then_some(row.time),
            row.outcome.as_ref().filter(|_| ended),
            transfer,
            bytes,
        ])?;
    }
    Ok(())
}

/// Carries a row into `rules` and `hours`.
fn count_rule(transaction: &Transaction<'_>, row: &Row) -> rusqlite::Result<()> {
    let bytes = signed(row.bytes.unwrap_or(0));
    let transfer = i64::from(row.kind == "transfer");
    let decision = i64::from(row.kind == "decision");
    if let (Some(rule), Some(at)) = (&row.rule, &row.rule_at)
        && decision + transfer > 0
    {
        let mut upsert = transaction.prepare_cached(
            "INSERT INTO rules (file, id, at, hits, bytes, first_use, last_use)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
             ON CONFLICT (file, id) DO UPDATE SET at = excluded.at, hits = hits + excluded.hits,
                 bytes = bytes + excluded.bytes, first_use = min(first_use, excluded.first_use),
                 last_use = max(last_use, excluded.last_use)",
        )?;
        upsert.execute(params![file_of(at), rule, at, decision, bytes, row.time])?;
        let mut upsert = transaction.prepare_cached(
            "INSERT INTO hours (file, id, hour, hits, bytes) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (file, id, hour) DO UPDATE SET hits = hits + excluded.hits,
                 bytes = bytes + excluded.bytes",
        )?;
        let hour = row.time - row.time.rem_euclid(HOUR);
        upsert.execute(params![file_of(at), rule, hour, decision, bytes])?;
    }
    Ok(())
}

/// The file of `file:line`; lines move as a file is edited, so that counts go by file and id.
pub(super) fn file_of(at: &str) -> &str {
    match at.rsplit_once(':') {
        Some((file, line)) if line.bytes().all(|byte| byte.is_ascii_digit()) => file,
        Some(_) | None => at,
    }
}

/// SQLite's integers have a sign; what is beyond stays at their end.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

//! Writing: one batch, one transaction, with the sessions and the counts of the rules it changes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Statement, ToSql, Transaction, TransactionBehavior, params};

use crate::config::StoreSettings;

use super::super::Row;
use super::super::batch::{Batch, Place};
use super::blocks::Blocks;
use super::counts::Counts;
use super::fresh::Opened;
use super::{StoreError, find, folder, place, schema};

/// How long another process may hold the database before a write fails and is tried again.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of a page of a store that begins. An event has some 1,000, so that in pages of the usual 4 KiB
/// a good part stays empty; larger ones are written anew for few events too often.
const PAGE: i64 = 8 << 10;

/// Pages of the write-ahead log after which it goes into the database: 8 MB.
const CHECKPOINT_PAGES: i64 = 1000;

/// Bytes that the write-ahead log keeps once it is used up.
const MAX_IDLE_LOG: i64 = 8 << 20;

/// Who may read the file: the owner, and the group of the log readers.
const MODE: u32 = 0o640;

/// The database as its one writer has it.
#[derive(Debug)]
pub struct Store {
    pub(super) settings: StoreSettings,
    /// The file, which need not be the one of the settings.
    pub(super) path: PathBuf,
    pub(super) opened: Opened,
    pub(super) connection: Connection,
    /// What `state.next` is once the batch at hand is in; set while it is unknown whether it is.
    unsure: Option<i64>,
}

impl Store {
    /// Opens the database, creates it with mode 0640 where there is none, and brings it to the
    /// schema of this program.
    pub(super) fn open_file(path: &Path, settings: &StoreSettings) -> Result<Self, StoreError> {
        let place = folder(path);
        if !place.is_dir() {
            return Err(StoreError::NoFolder {
                path: path.to_owned(),
                folder: place.to_owned(),
            });
        }
        // Created here, so that it has its mode from the first byte; SQLite gives its own files the same.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(MODE);
        let file = options.open(path);
        file.map_err(|error| {
            let reason = format!("{error}; portcullis has to write to it and to its folder");
            StoreError::unopened(path, reason)
        })?;
        let connection = connect(path)?;
        Ok(Self {
            path: path.to_owned(),
            settings: settings.clone(),
            opened: Opened::of(path),
            connection,
            unsure: None,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a batch, all of it or nothing. A batch that failed is to be given again before any other.
    ///
    /// # Errors
    /// Gives what SQLite said; nothing of the batch is in the database, or all of it, and then the
    /// next attempt finds that out and writes nothing twice.
    pub fn write(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        self.write_parts(rows, &[], None)
    }

    /// The same with what is counted alone.
    pub(in crate::audit) fn write_batch(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.write_parts(&batch.rows, &batch.quiet, batch.place.as_ref())
    }

    fn write_parts(
        &mut self,
        rows: &[Row],
        quiet: &[Row],
        place: Option<&Place>,
    ) -> Result<(), StoreError> {
        if rows.is_empty() && quiet.is_empty() && place.is_none() {
            return Ok(());
        }
        let result = self.try_write(rows, quiet, place);
        result.map_err(|error| StoreError::unwritten(&self.path, &error))
    }

    fn try_write(
        &mut self,
        rows: &[Row],
        quiet: &[Row],
        place: Option<&Place>,
    ) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let next: i64 = transaction
            .prepare_cached("SELECT next FROM state")?
            .query_row([], |row| row.get(0))?;
        if self.unsure == Some(next) {
            self.unsure = None;
            return Ok(());
        }
        if !rows.is_empty() {
            insert(&transaction, next, rows)?;
            Blocks::of(next, rows).put(&transaction)?;
        }
        let mut counts = Counts::default();
        for row in rows {
            counts.add_session(row);
            counts.add_rule(row);
            counts.add_client(row);
        }
        for row in quiet {
            counts.add_rule(row);
        }
        counts.put(&transaction)?;
        name_users(&transaction, quiet)?;
        // Each batch moves it: that tells whether a batch is in.
        let seq = next + i64::try_from(rows.len()).unwrap_or(i64::MAX).max(1);
        transaction
            .prepare_cached("UPDATE state SET next = ?1")?
            .execute([seq])?;
        if let Some(place) = place {
            place::put(&transaction, place)?;
        }
        self.unsure = Some(seq);
        transaction.commit()?;
        self.unsure = None;
        Ok(())
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let unopened = |error: rusqlite::Error| StoreError::not_opened(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(unopened)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(unopened)?;
    let version = schema::version(&connection, path)?;
    if version == 0 {
        // Only an empty database takes these; with the second, what retention frees can go back to the disk.
        connection
            .pragma_update(None, "page_size", PAGE)
            .map_err(unopened)?;
        connection
            .pragma_update(None, "auto_vacuum", "INCREMENTAL")
            .map_err(unopened)?;
    }
    // An empty database has nothing to lose: it is brought to the disk once, when it has its form.
    let at_first = if version == 0 { "OFF" } else { "NORMAL" };
    connection
        .pragma_update(None, "synchronous", at_first)
        .map_err(unopened)?;
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
    // What a statement of many rows keeps to undo itself would go to a file in a folder of the system's.
    connection
        .pragma_update(None, "temp_store", "MEMORY")
        .map_err(unopened)?;
    schema::migrate(&mut connection, version, schema::MIGRATIONS).map_err(unopened)?;
    connection
        .pragma_update(None, "synchronous", "NORMAL")
        .map_err(unopened)?;
    if version == 0 {
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|error| StoreError::unopened(path, error.to_string()))?;
    }
    schema::probe(&connection, path)?;
    Ok(connection)
}

/// Columns of an event.
const COLUMNS: usize = 19;

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let (columns, values) = (find::COLUMNS, ["?"; COLUMNS].join(", "));
    format!("INSERT INTO events ({columns}) VALUES ({values})")
});

/// Puts the events in, from this place on. A statement of several events would cost more: it keeps the
/// pages that it changes, to be able to undo itself, and more texts at once than have a place ready.
fn insert(transaction: &Transaction<'_>, first: i64, rows: &[Row]) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(&INSERT)?;
    for (seq, row) in (first..).zip(rows) {
        bind(&mut insert, seq, row)?;
        insert.raw_execute()?;
    }
    Ok(())
}

/// Binds an event, in the order of [`find::COLUMNS`].
fn bind(insert: &mut Statement<'_>, seq: i64, row: &Row) -> rusqlite::Result<()> {
    let values: [&dyn ToSql; COLUMNS] = [
        &seq,
        &row.time,
        &signed(row.session),
        &signed(row.flow),
        &row.kind,
        &row.client,
        &row.server,
        &row.listener,
        &row.user,
        &row.rule,
        &row.rule_at,
        &row.verb,
        &row.path,
        &row.outcome,
        &row.code,
        &row.bytes.map(signed),
        &row.packets.map(signed),
        &row.duration_ms.map(signed),
        &row.line,
    ];
    for (parameter, value) in (1..).zip(values) {
        insert.raw_bind_parameter(parameter, value)?;
    }
    Ok(())
}

/// A quiet USER names the user of a session that is known.
fn name_users(transaction: &Transaction<'_>, quiet: &[Row]) -> rusqlite::Result<()> {
    let mut naming = quiet.iter().filter(|row| row.names_user()).peekable();
    if naming.peek().is_none() {
        return Ok(());
    }
    let mut update = transaction.prepare_cached("UPDATE sessions SET user = ?2 WHERE flow = ?1")?;
    for row in naming {
        update.execute(params![signed(row.flow), row.user])?;
    }
    Ok(())
}

/// SQLite's integers have a sign; what is beyond stays at their end.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

//! The tables, their version, and the way from each version to the next.

use std::path::Path;

use rusqlite::ffi::ErrorCode;
use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// `PRAGMA application_id` of the store, "PCUL" in ASCII: tells it from databases of other programs.
pub(super) const APPLICATION: i64 = 0x5043_554c;

/// Each entry leads from its place, the schema before, to the next one (`PRAGMA user_version`).
pub(super) const MIGRATIONS: &[&str] = &[TABLES, HOURS, INDEXES, PLACE, BLOCKS];

/// Schema 1. `line` is the whole record; the other columns of `events` are what questions go by.
/// `rules` counts for ever: what retention takes out of `events` stays counted there.
const TABLES: &str = "
CREATE TABLE events (
    seq         INTEGER PRIMARY KEY,
    time        INTEGER NOT NULL,
    session     INTEGER NOT NULL,
    flow        INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    client      TEXT NOT NULL,
    server      TEXT NOT NULL,
    listener    TEXT NOT NULL,
    user        TEXT,
    rule        TEXT,
    rule_at     TEXT,
    verb        TEXT,
    path        TEXT,
    outcome     TEXT,
    code        INTEGER,
    bytes       INTEGER,
    packets     INTEGER,
    duration_ms INTEGER,
    line        TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_time ON events (time);
CREATE INDEX events_by_flow ON events (flow);
CREATE INDEX events_by_rule ON events (rule, client, rule_at) WHERE kind = 'decision';

CREATE TABLE sessions (
    flow      INTEGER PRIMARY KEY,
    session   INTEGER NOT NULL,
    listener  TEXT NOT NULL,
    client    TEXT NOT NULL,
    server    TEXT NOT NULL,
    user      TEXT,
    started   INTEGER NOT NULL,
    ended     INTEGER,
    reason    TEXT,
    transfers INTEGER NOT NULL DEFAULT 0,
    bytes     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX sessions_by_number ON sessions (session);
CREATE INDEX sessions_by_start ON sessions (started);

CREATE TABLE rules (
    file      TEXT NOT NULL,
    id        TEXT NOT NULL,
    at        TEXT NOT NULL,
    hits      INTEGER NOT NULL DEFAULT 0,
    bytes     INTEGER NOT NULL DEFAULT 0,
    first_use INTEGER NOT NULL,
    last_use  INTEGER NOT NULL,
    PRIMARY KEY (file, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE state (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    next INTEGER NOT NULL
) STRICT;
INSERT INTO state (one, next) VALUES (1, 1);
";

/// Schema 2: what each rule did in each hour (`hour`: its start). Filled from the events that are
/// kept, in one pass over them; quiet decisions of before left no event, and are missing.
const HOURS: &str = "
CREATE TABLE hours (
    file  TEXT NOT NULL,
    id    TEXT NOT NULL,
    hour  INTEGER NOT NULL,
    hits  INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (file, id, hour)
) STRICT, WITHOUT ROWID;
CREATE INDEX hours_by_hour ON hours (hour);
INSERT INTO hours (file, id, hour, hits, bytes)
    SELECT CASE WHEN rtrim(rule_at, '0123456789') LIKE '%:'
                THEN substr(rule_at, 1, length(rtrim(rule_at, '0123456789')) - 1)
                ELSE rule_at END AS of_file,
           rule, time - time % 3600000000 AS of_hour,
           sum(kind = 'decision'), sum(ifnull(bytes, 0))
    FROM events
    WHERE kind IN ('decision', 'transfer') AND rule IS NOT NULL AND rule_at IS NOT NULL
    GROUP BY of_file, rule, of_hour;
";

/// Schema 3: all events of a rule or a client in the order of their places.
const INDEXES: &str = "
CREATE INDEX events_of_rule ON events (rule) WHERE rule IS NOT NULL;
CREATE INDEX events_of_client ON events (client);
";

/// Schema 4: the file of the lines, and where in it the last batch begins and ends.
const PLACE: &str = "
ALTER TABLE state ADD COLUMN device INTEGER;
ALTER TABLE state ADD COLUMN inode INTEGER;
ALTER TABLE state ADD COLUMN before INTEGER;
ALTER TABLE state ADD COLUMN after INTEGER;
";

/// Schema 5: what is in each block of 64 events, in place of an entry for each event in each of five
/// indexes; and the clients of each rule among the events that are kept. Filled through those indexes,
/// in their order, so that nothing is sorted.
const BLOCKS: &str = "
CREATE TABLE blocks (
    block    INTEGER PRIMARY KEY,
    earliest INTEGER NOT NULL,
    latest   INTEGER NOT NULL
) STRICT;
CREATE TABLE blocks_of_flow (
    value INTEGER NOT NULL,
    block INTEGER NOT NULL,
    PRIMARY KEY (value, block)
) STRICT, WITHOUT ROWID;
CREATE TABLE blocks_of_client (
    value TEXT NOT NULL,
    block INTEGER NOT NULL,
    PRIMARY KEY (value, block)
) STRICT, WITHOUT ROWID;
CREATE TABLE blocks_of_rule (
    value TEXT NOT NULL,
    block INTEGER NOT NULL,
    PRIMARY KEY (value, block)
) STRICT, WITHOUT ROWID;
CREATE TABLE clients_of_rule (
    file   TEXT NOT NULL,
    id     TEXT NOT NULL,
    client TEXT NOT NULL,
    hits   INTEGER NOT NULL,
    PRIMARY KEY (file, id, client)
) STRICT, WITHOUT ROWID;
INSERT INTO blocks (block, earliest, latest)
    SELECT seq >> 6, time, time FROM events WHERE true ORDER BY time
    ON CONFLICT (block) DO UPDATE SET earliest = min(earliest, excluded.earliest),
        latest = max(latest, excluded.latest);
CREATE INDEX blocks_by_time ON blocks (earliest);
INSERT OR IGNORE INTO blocks_of_flow (value, block)
    SELECT flow, seq >> 6 FROM events ORDER BY flow, seq;
INSERT OR IGNORE INTO blocks_of_client (value, block)
    SELECT client, seq >> 6 FROM events ORDER BY client, seq;
INSERT OR IGNORE INTO blocks_of_rule (value, block)
    SELECT rule, seq >> 6 FROM events WHERE rule IS NOT NULL ORDER BY rule, seq;
INSERT INTO clients_of_rule (file, id, client, hits)
    SELECT CASE WHEN rtrim(rule_at, '0123456789') LIKE '%:'
                THEN substr(rule_at, 1, length(rtrim(rule_at, '0123456789')) - 1)
                ELSE rule_at END,
           rule, client, 1
    FROM events
    WHERE kind = 'decision' AND rule IS NOT NULL AND rule_at IS NOT NULL
    ORDER BY rule, client
    ON CONFLICT (file, id, client) DO UPDATE SET hits = hits + 1;
DROP INDEX events_by_time;
DROP INDEX events_by_flow;
DROP INDEX events_by_rule;
DROP INDEX events_of_rule;
DROP INDEX events_of_client;
";

/// The first schema with [`BLOCKS`].
pub(super) const WITH_BLOCKS: i64 = 5;

/// Looks whether this program can use the database as it is; gives its schema, 0 for an empty one.
///
/// # Errors
/// Tells a later schema, and another program's database.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let unopened = |error: rusqlite::Error| StoreError::not_opened(path, &error);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = pragma("application_id").map_err(unopened)?;
    let found = pragma("user_version").map_err(unopened)?;
    if application != APPLICATION {
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables: i64 = connection
            .query_row(tables, [], |row| row.get(0))
            .map_err(unopened)?;
        if tables > 0 || application != 0 || found != 0 {
            return Err(StoreError::Foreign {
                path: path.to_owned(),
            });
        }
        return Ok(0);
    }
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::NewerSchema {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(found)
}

/// Looks at the beginnings of all tables: what is damaged there is told at the start.
///
/// # Errors
/// Tells a database that is damaged, or lacks a table.
pub(super) fn probe(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let look = |query: &str| {
        let mut select = connection.prepare(query)?;
        let found = select.query([])?.next()?.is_some();
        Ok::<_, rusqlite::Error>(found)
    };
    let damaged = |reason: String| StoreError::Damaged {
        path: path.to_owned(),
        reason,
    };
    for (query, needed) in [
        ("SELECT next, after FROM state", true),
        ("SELECT line FROM events ORDER BY seq DESC LIMIT 1", false),
        ("SELECT min(earliest) FROM blocks", false),
        ("SELECT block FROM blocks_of_flow LIMIT 1", false),
        ("SELECT block FROM blocks_of_client LIMIT 1", false),
        ("SELECT block FROM blocks_of_rule LIMIT 1", false),
        ("SELECT hits FROM clients_of_rule LIMIT 1", false),
        ("SELECT flow FROM sessions ORDER BY started LIMIT 1", false),
        ("SELECT file FROM rules LIMIT 1", false),
        ("SELECT hour FROM hours ORDER BY hour LIMIT 1", false),
    ] {
        match look(query) {
            Ok(found) if found || !needed => {}
            Ok(_) => return Err(damaged("the table `state` is empty".to_owned())),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => {
                return Err(damaged(error.to_string()));
            }
            Err(error) => return Err(StoreError::not_opened(path, &error)),
        }
    }
    Ok(())
}

/// Brings the database to the last schema, each step in a transaction of its own.
///
/// # Errors
/// Gives what SQLite said; the steps before stay.
pub(super) fn migrate(
    connection: &mut Connection,
    from: i64,
    migrations: &[&str],
) -> rusqlite::Result<()> {
    for (step, (migration, version)) in migrations.iter().zip(1_i64..).enumerate() {
        if i64::try_from(step).is_ok_and(|step| step < from) {
            continue;
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_migration_runs_once_and_in_order() {
        let mut connection = Connection::open_in_memory().unwrap();
        let first = ["CREATE TABLE a (x INTEGER)"];
        migrate(&mut connection, 0, &first).unwrap();
        let both = [first[0], "ALTER TABLE a ADD COLUMN y INTEGER"];
        migrate(&mut connection, 1, &both).unwrap();
        connection
            .execute("INSERT INTO a VALUES (1, 2)", [])
            .unwrap();
        let version = connection.pragma_query_value(None, "user_version", |row| row.get(0));
        assert_eq!(version, Ok(2_i64));
    }

    #[test]
    fn a_migration_that_fails_leaves_the_schema_before_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        let steps = [
            "CREATE TABLE a (x INTEGER)",
            "CREATE TABLE b (x INTEGER); nonsense",
        ];
        migrate(&mut connection, 0, &steps).unwrap_err();
        let version = connection.pragma_query_value(None, "user_version", |row| row.get(0));
        assert_eq!(version, Ok(1_i64));
        connection.execute("SELECT 1 FROM b", []).unwrap_err();
    }
}

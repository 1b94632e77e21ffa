//! Counts by the hour: what each rule did when, also in a store of the first schema.

use std::ops::ControlFlow;
use std::path::Path;
use std::slice;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis::audit::{Filter, HOUR, Point, Reader, Row, Series, Store, StoreError, micros};
use portcullis::config::StoreSettings;
use rusqlite::types::Value;
use rusqlite::{Connection, params};

use crate::{Folder, flows, row};

/// The tables as the first schema had them.
const SCHEMA_1: &str = "
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

PRAGMA application_id = 0x5043554c;
PRAGMA user_version = 1;
";

/// A time a little behind the start of an hour, some hours ago.
fn ago(hours: i64) -> SystemTime {
    let hour = micros(SystemTime::now()) / HOUR - hours;
    let seconds = u64::try_from(hour * HOUR / 1_000_000).unwrap();
    UNIX_EPOCH + Duration::from_secs(seconds + 60)
}

fn start_of(hours: i64) -> i64 {
    micros(ago(hours)) - 60_000_000
}

fn by(rule: &str, at: &str, row: Row) -> Row {
    Row {
        rule: Some(rule.into()),
        rule_at: Some(at.into()),
        ..row
    }
}

fn transfer(bytes: u64, row: Row) -> Row {
    Row {
        kind: "transfer".into(),
        bytes: Some(bytes),
        ..row
    }
}

fn rows() -> Vec<Row> {
    vec![
        row(ago(5), 1),
        row(ago(5), 1),
        transfer(700, row(ago(5), 1)),
        by("other", "rules.yaml:9", row(ago(3), 2)),
        by("default", "built-in", row(ago(3), 2)),
        transfer(50, row(ago(1), 1)),
        row(ago(1), 1),
    ]
}

fn series(rule: &str, file: &str, points: &[(i64, u64, u64)]) -> Series {
    let point = |&(hours, hits, bytes): &(i64, u64, u64)| Point {
        hour: start_of(hours),
        hits,
        bytes,
    };
    Series {
        rule: rule.into(),
        file: file.into(),
        points: points.iter().map(point).collect(),
    }
}

fn wanted() -> Vec<Series> {
    vec![
        series("default", "built-in", &[(3, 1, 0)]),
        series("all", "rules.yaml", &[(5, 2, 700), (1, 1, 50)]),
        series("other", "rules.yaml", &[(3, 1, 0)]),
    ]
}

#[test]
fn each_hour_of_each_rule_is_counted() {
    let folder = Folder::new("hours");
    let mut store = Store::open(&folder.store()).unwrap();
    store.write(&rows()).unwrap();
    let reader = Reader::open(&folder.store().path).unwrap();
    let (from, to) = (start_of(6), micros(SystemTime::now()) + 1);
    assert_eq!(reader.series(from, to, None).unwrap(), wanted());
    let one = reader.series(from, to, Some(("rules.yaml", "all")));
    assert_eq!(one.unwrap(), wanted()[1..2]);
    // An hour counts as a whole, wherever in it the span begins.
    let within = reader.series(start_of(3) + 7, start_of(1), None).unwrap();
    let names: Vec<&str> = within.iter().map(|one| one.rule.as_str()).collect();
    assert_eq!(names, ["default", "other"]);
}

#[test]
fn old_hours_go_in_small_steps_and_the_sums_stay() {
    let folder = Folder::new("old-hours");
    let mut settings = folder.store();
    settings.keep = Duration::from_secs(2 * 3600);
    let mut store = Store::open(&settings).unwrap();
    let many = (0..1500).map(|n| by(&format!("r{n}"), "rules.yaml:2", row(ago(30), n)));
    store.write(&many.collect::<Vec<_>>()).unwrap();
    store.write(&rows()).unwrap();
    let mut steps = 0;
    while store.retain(SystemTime::now()).unwrap() {
        steps += 1;
    }
    assert!(steps >= 2, "{steps} steps");
    let reader = Reader::open(&settings.path).unwrap();
    let kept = reader.series(0, i64::MAX, None).unwrap();
    assert_eq!(kept, [series("all", "rules.yaml", &[(1, 1, 50)])]);
    assert_eq!(reader.hits(0).unwrap().len(), 1503);
}

#[test]
fn a_store_of_the_first_schema_is_brought_to_the_last_and_its_events_are_counted() {
    let folder = Folder::new("first-schema");
    let settings = folder.store();
    let old = Connection::open(&settings.path).unwrap();
    old.execute_batch(SCHEMA_1).unwrap();
    for (seq, row) in (1_i64..).zip(&rows()) {
        let insert = "INSERT INTO events (seq, time, session, flow, kind, client, server, listener, \
             rule, rule_at, bytes, line) VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        let bytes = row.bytes.map(|bytes| i64::try_from(bytes).unwrap());
        let flow = i64::try_from(row.flow).unwrap();
        let (rule, at) = (row.rule.as_deref(), row.rule_at.as_deref());
        let values = params![
            seq,
            row.time,
            flow,
            row.kind,
            row.client,
            row.server,
            row.listener,
            rule,
            at,
            bytes,
            row.line
        ];
        old.execute(insert, values).unwrap();
    }
    let next = i64::try_from(rows().len()).unwrap() + 1;
    old.execute("UPDATE state SET next = ?1", [next]).unwrap();
    drop(old);
    // Until it is brought there, it is asked as far as it goes.
    let early = Reader::open(&settings.path).unwrap();
    let refused = early.series(0, i64::MAX, None).unwrap_err();
    assert!(matches!(refused, StoreError::OlderSchema { found: 1, .. }));
    assert!(refused.to_string().contains("brings it there"), "{refused}");
    let before = asked(&early);
    drop(early);

    let mut store = Store::open(&settings).unwrap();

    let reader = Reader::open(&settings.path).unwrap();
    assert_eq!(reader.series(0, i64::MAX, None).unwrap(), wanted());
    assert_eq!(asked(&reader), before);
    store.write(&[row(ago(1), 9)]).unwrap();
    let all = reader.series(0, i64::MAX, Some(("rules.yaml", "all")));
    let points = [(5, 2, 700), (1, 2, 50)];
    assert_eq!(all.unwrap(), [series("all", "rules.yaml", &points)]);
    assert_eq!(flows(&settings.path), [1, 1, 1, 2, 2, 1, 1, 9]);
}

/// What is found by each of the things that are noted for finding, both ways, as text.
fn asked(reader: &Reader) -> Vec<String> {
    let all = Filter::default();
    let filters = [
        Filter {
            flow: Some(2),
            ..all.clone()
        },
        Filter {
            client: "10.0.0.1".parse::<std::net::IpAddr>().ok().map(Into::into),
            ..all.clone()
        },
        Filter {
            rule: Some("all".into()),
            ..all.clone()
        },
        Filter {
            since: Some(start_of(4)),
            until: Some(start_of(2)),
            ..all
        },
    ];
    let mut found = vec![format!("{:?}", reader.hits(3).unwrap())];
    found.push(format!("{:?}", reader.story(1, 10).unwrap()));
    for filter in filters {
        let mut rows = Vec::new();
        let each = |row: Row| {
            rows.push(row.seq);
            ControlFlow::Continue(())
        };
        reader.events(&filter, 0, each).unwrap();
        let latest = reader.latest(&filter, None, 10).unwrap();
        let latest: Vec<i64> = latest.rows.iter().map(|row| row.seq).collect();
        assert!(!rows.is_empty() && rows.iter().rev().eq(&latest));
        found.push(format!("{rows:?}"));
    }
    found
}

/// All that is counted, as text.
fn counted(database: &Path) -> Vec<String> {
    let database = Connection::open(database).unwrap();
    let mut all = Vec::new();
    for table in [
        "sessions",
        "rules",
        "hours",
        "blocks",
        "blocks_of_flow",
        "blocks_of_client",
        "blocks_of_rule",
        "clients_of_rule",
    ] {
        let query = format!("SELECT * FROM {table} ORDER BY 1, 2");
        let mut select = database.prepare(&query).unwrap();
        let columns = select.column_count();
        let mut found = select.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let values = (0..columns).map(|column| row.get::<_, Value>(column).unwrap());
            all.push(format!("{table} {:?}", values.collect::<Vec<_>>()));
        }
    }
    all
}

#[test]
fn one_batch_counts_as_its_events_do_one_by_one() {
    let mut rows = rows();
    // A clock that was set back, a user who is named late, a session that ends, rules that moved in
    // their file, and one that lies in two files.
    let named = |user: &str, row: Row| Row {
        verb: Some("USER".into()),
        user: Some(user.into()),
        ..row
    };
    let ended = Row {
        kind: "session-end".into(),
        outcome: Some("idle".into()),
        rule: None,
        ..row(ago(1), 2)
    };
    rows.extend([
        by("all", "rules.yaml:7", row(ago(9), 3)),
        by("all", "other.yaml:7", row(ago(2), 3)),
        named("anna", row(ago(1), 3)),
        transfer(9, row(ago(1), 3)),
        named("ben", row(ago(1), 3)),
        transfer(u64::MAX, by("huge", "rules.yaml:8", row(ago(1), 4))),
        ended,
        transfer(1, row(ago(0), 2)),
    ]);
    let folder = Folder::new("sums");
    let (together, apart) = (folder.0.join("together.db"), folder.0.join("apart.db"));
    let mut store = Store::open(&StoreSettings::at(&together)).unwrap();
    store.write(&rows).unwrap();
    let mut store = Store::open(&StoreSettings::at(&apart)).unwrap();
    for row in &rows {
        store.write(slice::from_ref(row)).unwrap();
    }
    assert_eq!(counted(&together), counted(&apart));
}

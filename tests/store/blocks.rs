//! What is noted of each block of events: what there is, after batches of all sizes and after retention.

use std::time::{Duration, SystemTime};

use portcullis::audit::{Row, Store};
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::{Folder, row};

/// Each table, and the same read off the events.
const TABLES: [(&str, &str); 5] = [
    (
        "SELECT block, earliest, latest FROM blocks",
        "SELECT seq >> 6, min(time), max(time) FROM events GROUP BY 1",
    ),
    (
        "SELECT value, block FROM blocks_of_flow",
        "SELECT DISTINCT flow, seq >> 6 FROM events",
    ),
    (
        "SELECT value, block FROM blocks_of_client",
        "SELECT DISTINCT client, seq >> 6 FROM events",
    ),
    (
        "SELECT value, block FROM blocks_of_rule",
        "SELECT DISTINCT rule, seq >> 6 FROM events WHERE rule IS NOT NULL",
    ),
    (
        "SELECT id, client, hits FROM clients_of_rule",
        "SELECT rule, client, count(*) FROM events WHERE kind = 'decision' AND rule IS NOT NULL GROUP BY 1, 2",
    ),
];

/// Compares them; gives how many events there are.
fn check(database: &Connection) -> i64 {
    let all = |query: &str| {
        let mut select = database.prepare(&format!("{query} ORDER BY 1, 2")).unwrap();
        let columns = select.column_count();
        let rows = select.query_map([], |row| {
            let values = (0..columns).map(|column| row.get::<_, Value>(column));
            values.collect::<Result<Vec<_>, _>>()
        });
        rows.unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    for (noted, there) in TABLES {
        assert_eq!(all(noted), all(there), "{noted}");
    }
    let count = database.query_row("SELECT count(*) FROM events", [], |row| row.get(0));
    count.unwrap()
}

#[test]
fn what_is_noted_is_what_there_is() {
    let folder = Folder::new("noted");
    let mut settings = folder.store();
    settings.keep = Duration::from_secs(3600);
    let mut store = Store::open(&settings).unwrap();
    let database = Connection::open(&settings.path).unwrap();
    let begun = SystemTime::now() - Duration::from_secs(4000);
    let (mut number, mut size) = (0, 1);
    while number < 2000 {
        let rows = (number..number + size).map(|n| {
            // Every seventh clock is some minutes late, so that blocks go in parts.
            let late = if n % 7 == 0 { 300 } else { 0 };
            Row {
                client: format!("10.0.0.{}", n % 5),
                rule: (n % 3 > 0).then(|| format!("r{}", n % 4)),
                kind: if n % 2 == 0 { "decision" } else { "transfer" }.into(),
                ..row(begun + Duration::from_millis(400 * n + 1000 * late), n / 9)
            }
        });
        store.write(&rows.collect::<Vec<_>>()).unwrap();
        number += size;
        size = size * 3 % 101;
    }
    let written = check(&database);
    let mut steps = 0;
    while store.retain(SystemTime::now()).unwrap() {
        steps += 1;
        check(&database);
    }
    let kept = check(&database);
    assert!(steps > 1, "{steps} steps");
    assert!(kept > 100 && kept < written - 100, "{kept} of {written}");

    // What is too much goes by its place.
    settings.keep_size = 0;
    drop(store);
    let mut store = Store::open(&settings).unwrap();
    while store.retain(SystemTime::now()).unwrap() {
        check(&database);
    }
    assert_eq!(check(&database), 0);
}

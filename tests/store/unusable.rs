//! Stores that cannot be used, go away, or break: what is said, and what goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis::audit::{Audit, AuditError, Reader, Store, StoreError};
use portcullis::config::{AuditSettings, OnUnusable};
use rusqlite::Connection;

use crate::{Folder, entry, flows, settings};

fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().unwrap().block_on(test);
}

/// Accepts one entry, and waits until it is written.
async fn write(audit: &Audit, flow: u64) {
    let before = audit.written();
    audit.accept(entry(flow)).await.unwrap();
    while audit.written() == before {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A run that writes these.
fn written(settings: &AuditSettings, flows: &[u64]) {
    run(async {
        let audit = Audit::open(settings).unwrap();
        for &flow in flows {
            audit.accept(entry(flow)).await.unwrap();
        }
        audit.finish().await.unwrap();
    });
}

fn refused(settings: &AuditSettings) -> String {
    Audit::open(settings).unwrap_err().to_string()
}

/// Damages the pages behind the first one.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[4096..].fill(0xa5);
    fs::write(path, bytes).unwrap();
}

fn foreign(path: &Path) {
    let database = Connection::open(path).unwrap();
    database.execute_batch("CREATE TABLE t (x)").unwrap();
}

#[test]
fn a_start_that_fails_says_which_file_what_is_wrong_and_what_to_do() {
    let folder = Folder::new("refused");
    let settings = settings(&folder.0);
    let path = folder.store().path;
    let shown = path.display();
    let said = |wrong: &str, right: &str| {
        let error = refused(&settings);
        assert!(
            error.starts_with(&format!("audit store {shown} {wrong}")),
            "{error}"
        );
        assert!(error.contains(right), "{error}");
        assert!(
            error.ends_with("or set `on-unusable-store: fresh`"),
            "{error}"
        );
    };
    fs::write(&path, "x".repeat(5000)).unwrap();
    said("is no SQLite database", "move this one away");
    fs::remove_file(&path).unwrap();
    foreign(&path);
    said(
        "is a database of another program",
        "name another file in `audit: store`",
    );
    fs::remove_file(&path).unwrap();
    written(&settings, &[1]);
    damage(&path);
    said("is damaged: ", "move it and ");
    fs::remove_file(&path).unwrap();
    written(&settings, &[1]);
    let database = Connection::open(&path).unwrap();
    database.execute_batch("DROP TABLE rules").unwrap();
    drop(database);
    said("is damaged: no such table: rules", ".recover`");
    fs::remove_file(&path).unwrap();
    written(&settings, &[1]);
    let database = Connection::open(&path).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    said(
        "has schema 99, and this program knows schemas up to",
        "use the program that wrote it",
    );
}

#[test]
fn a_fresh_store_begins_once_and_each_start_goes_on_with_it() {
    let folder = Folder::new("fresh");
    let mut settings = settings(&folder.0);
    let store = settings.store.as_mut().unwrap();
    store.on_unusable = OnUnusable::Fresh;
    let store = store.clone();
    written(&settings, &[1]);
    assert_eq!(Store::current(&store), store.path);
    damage(&store.path);
    let damaged = fs::read(&store.path).unwrap();
    for flow in 2..5 {
        written(&settings, &[flow]);
    }
    let first = folder.0.join("audit.fresh-1.db");
    assert_eq!(Store::current(&store), first);
    assert_eq!(flows(&first), [2, 3, 4]);
    assert!(!folder.0.join("audit.fresh-2.db").exists());
    assert_eq!(fs::read(&store.path).unwrap(), damaged, "it stays as it is");

    // The fresh one breaks as well.
    damage(&first);
    written(&settings, &[5]);
    assert_eq!(Store::current(&store), folder.0.join("audit.fresh-2.db"));
    assert_eq!(flows(&Store::current(&store)), [5]);
    // With `refuse` the file that is named has the word.
    settings.store.as_mut().unwrap().on_unusable = OnUnusable::Refuse;
    assert!(refused(&settings).contains("audit.db is damaged"));
}

#[test]
fn a_fresh_store_is_no_way_around_a_folder_that_is_missing() {
    let folder = Folder::new("fresh-folder");
    let mut settings = folder.store();
    settings.path = folder.0.join("none/audit.db");
    settings.on_unusable = OnUnusable::Fresh;
    let error = Store::open(&settings).unwrap_err();
    assert!(matches!(error, StoreError::NoFolder { .. }), "{error}");
}

#[test]
fn a_store_deleted_while_it_is_in_use_is_made_anew_and_no_later_event_is_lost() {
    for beside in [false, true] {
        let folder = Folder::new("deleted");
        let path = folder.store().path;
        run(async {
            let audit = Audit::open(&settings(&folder.0)).unwrap();
            write(&audit, 1).await;
            fs::remove_file(&path).unwrap();
            if beside {
                for name in ["audit.db-wal", "audit.db-shm"] {
                    fs::remove_file(folder.0.join(name)).unwrap();
                }
            }
            for flow in 2..6 {
                write(&audit, flow).await;
            }
            assert_eq!(flows(&path), [2, 3, 4, 5], "beside: {beside}");
            audit.finish().await.unwrap();
        });
        assert_eq!(flows(&path), [2, 3, 4, 5], "beside: {beside}");
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.newest().unwrap(), 4);
    }
}

#[test]
fn a_copy_of_before_that_is_put_in_place_gets_what_it_lacks() {
    let folder = Folder::new("copy");
    let path = folder.store().path;
    let copy = folder.0.join("copy.db");
    written(&settings(&folder.0), &[1, 2]);
    fs::copy(&path, &copy).unwrap();
    run(async {
        let audit = Audit::open(&settings(&folder.0)).unwrap();
        for flow in 3..1000 {
            audit.accept(entry(flow)).await.unwrap();
        }
        write(&audit, 1000).await;
        while audit.written() < 998 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        fs::rename(&copy, &path).unwrap();
        write(&audit, 1001).await;
        audit.finish().await.unwrap();
    });
    let wanted: Vec<u64> = (1..1002).collect();
    assert_eq!(flows(&path), wanted);
    let database = Connection::open(&path).unwrap();
    let check = database.query_row("PRAGMA integrity_check", [], |row| row.get(0));
    assert_eq!(check, Ok("ok".to_owned()));
}

#[test]
fn a_store_that_breaks_while_it_is_in_use_is_a_failing_output_until_it_is_moved_away() {
    let folder = Folder::new("breaks");
    let path = folder.store().path;
    run(async {
        let audit = Audit::open(&settings(&folder.0)).unwrap();
        write(&audit, 1).await;
        let database = Connection::open(&path).unwrap();
        database
            .execute_batch(
                "PRAGMA writable_schema = ON;
                 UPDATE sqlite_schema SET sql = 'nonsense' WHERE name = 'events';
                 PRAGMA schema_version = 4711;",
            )
            .unwrap();
        drop(database);
        let mut accepted = Vec::new();
        let error = loop {
            let flow = 2 + u64::try_from(accepted.len()).unwrap();
            match audit.accept(entry(flow)).await {
                Ok(()) => accepted.push(flow),
                Err(error) => break error,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(
            matches!(error, AuditError::Store(StoreError::Damaged { .. })),
            "{error}"
        );
        assert_eq!(audit.written(), 1);
        fs::rename(&path, moved(&path)).unwrap();
        while audit.accept(entry(5000)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        audit.finish().await.unwrap();
        accepted.push(5000);
        assert_eq!(flows(&path), accepted);
        let lines = fs::read_to_string(folder.0.join("eve.json")).unwrap();
        assert_eq!(lines.lines().count(), accepted.len() + 1);
    });
}

fn moved(path: &Path) -> PathBuf {
    path.with_extension("broken")
}

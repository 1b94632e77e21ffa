//! The store: what is written stays, whatever ends the writer; what is old goes; what is foreign is told.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a failed unwrap is a failed test"
)]

mod agreement;
mod blocks;
mod hours;
mod kill;
mod newest;
mod unusable;

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis::audit::{Audit, Entry, Filter, Reader, Row, Session, Store, StoreError, micros};
use portcullis::config::{AuditOutput, AuditSettings, StoreSettings};
use portcullis::inspect::{Event, Record};
use rusqlite::Connection;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("portcullis-store-{}-{name}", std::process::id());
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn store(&self) -> StoreSettings {
        StoreSettings::at(self.0.join("audit.db"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn row(time: SystemTime, flow: u64) -> Row {
    Row {
        time: micros(time),
        session: flow,
        flow,
        kind: "decision".into(),
        client: "10.0.0.1".into(),
        server: "192.0.2.1:21".into(),
        listener: "lan".into(),
        rule: Some("all".into()),
        rule_at: Some("rules.yaml:2".into()),
        outcome: Some("allow".into()),
        line: format!("{{\"flow_id\":{flow},\"filler\":\"{}\"}}", "x".repeat(400)),
        ..Row::default()
    }
}

fn flows(path: &Path) -> Vec<u64> {
    let mut flows = Vec::new();
    let each = |row: Row| {
        flows.push(row.flow);
        ControlFlow::Continue(())
    };
    let reader = Reader::open(path).unwrap();
    reader.events(&Filter::default(), 0, each).unwrap();
    flows
}

fn settings(folder: &Path) -> AuditSettings {
    let mut settings = AuditSettings::to(AuditOutput::File(folder.join("eve.json")));
    settings.store = Some(StoreSettings::at(folder.join("audit.db")));
    settings
}

fn entry(flow_id: u64) -> Entry {
    let address: SocketAddr = "192.0.2.1:21".parse().unwrap();
    Entry {
        timestamp: SystemTime::now(),
        session: Arc::new(Session {
            id: flow_id,
            flow_id,
            client: address,
            dialled: address,
            server: address,
            seen: None,
            listener: "lan".into(),
        }),
        record: Record {
            user: None,
            event: Event::SessionStarted,
        },
    }
}

#[test]
fn what_is_too_old_goes_in_small_steps_and_the_counts_stay() {
    let folder = Folder::new("age");
    let mut settings = folder.store();
    settings.keep = Duration::from_secs(3600);
    let mut store = Store::open(&settings).unwrap();
    let now = SystemTime::now();
    let old = now - Duration::from_secs(7200);
    let rows: Vec<Row> = (0..1200).map(|flow| row(old, flow)).collect();
    store.write(&rows).unwrap();
    store.write(&[row(now, 5000)]).unwrap();

    let mut steps = 0;
    while store.retain(now).unwrap() {
        steps += 1;
    }

    assert!(steps >= 2, "{steps} steps");
    assert_eq!(flows(&settings.path), [5000]);
    let hits = Reader::open(&settings.path).unwrap().hits(3).unwrap();
    assert_eq!(hits[0].hits, 1201);
    assert_eq!(hits[0].first_use, micros(old));
    assert_eq!(hits[0].clients, [("10.0.0.1".to_owned(), 1)]);
}

#[test]
fn what_is_too_much_goes_oldest_first_and_the_disk_gets_it_back() {
    let folder = Folder::new("size");
    let mut settings = folder.store();
    settings.keep_size = 2_000_000;
    let mut store = Store::open(&settings).unwrap();
    let now = SystemTime::now();
    for batch in 0..30 {
        let rows: Vec<Row> = (0..500).map(|n| row(now, batch * 500 + n)).collect();
        store.write(&rows).unwrap();
    }
    while store.retain(now).unwrap() {}
    let kept = flows(&settings.path);
    assert_eq!(kept.last(), Some(&14_999));
    assert!(
        kept.len() > 1000 && kept.len() < 8000,
        "{} kept",
        kept.len()
    );
    drop(store);
    let size = fs::metadata(&settings.path).unwrap().len();
    assert!(size < 6_000_000, "{size} bytes");
}

#[test]
fn places_are_never_given_twice() {
    let folder = Folder::new("places");
    let mut settings = folder.store();
    settings.keep = Duration::from_secs(3600);
    let old = SystemTime::now() - Duration::from_secs(7200);
    let mut store = Store::open(&settings).unwrap();
    store.write(&[row(old, 1)]).unwrap();
    while store.retain(SystemTime::now()).unwrap() {}
    drop(store);
    let mut store = Store::open(&settings).unwrap();
    store.write(&[row(SystemTime::now(), 2)]).unwrap();
    let reader = Reader::open(&settings.path).unwrap();
    let mut places = Vec::new();
    let each = |row: Row| {
        places.push((row.seq, row.flow));
        ControlFlow::Continue(())
    };
    reader.events(&Filter::default(), 0, each).unwrap();
    assert_eq!(places, [(2, 2)]);
}

#[test]
fn a_later_schema_and_a_foreign_database_are_told() {
    let folder = Folder::new("schema");
    let settings = folder.store();
    drop(Store::open(&settings).unwrap());
    let database = Connection::open(&settings.path).unwrap();
    database.pragma_update(None, "user_version", 7).unwrap();
    drop(database);
    for error in [
        Store::open(&settings).unwrap_err(),
        Reader::open(&settings.path).unwrap_err(),
    ] {
        let path = settings.path.display();
        assert_eq!(
            error.to_string(),
            format!(
                "audit store {path} has schema 7, and this program knows schemas up to 5; use the program that wrote it, name another file, or set `on-unusable-store: fresh`"
            )
        );
    }
    let foreign = StoreSettings::at(folder.0.join("foreign.db"));
    let database = Connection::open(&foreign.path).unwrap();
    database.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(database);
    assert!(matches!(
        Store::open(&foreign),
        Err(StoreError::Foreign { .. })
    ));
    let no_database = StoreSettings::at(folder.0.join("text"));
    fs::write(&no_database.path, "x".repeat(5000)).unwrap();
    assert!(matches!(
        Store::open(&no_database),
        Err(StoreError::NoDatabase { .. })
    ));
    let missing = Reader::open(&folder.0.join("none.db"));
    assert!(matches!(missing, Err(StoreError::Missing { .. })));
    let no_folder = Store::open(&StoreSettings::at(folder.0.join("none/audit.db")));
    assert!(matches!(no_folder, Err(StoreError::NoFolder { .. })));
}

#[test]
fn the_end_of_the_writer_leaves_one_file() {
    let folder = Folder::new("end");
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    runtime.block_on(async {
        let audit = Audit::open(&settings(&folder.0)).unwrap();
        audit.accept(entry(1)).await.unwrap();
        audit.finish().await.unwrap();
    });
    let path = folder.store().path;
    for beside in ["audit.db-wal", "audit.db-shm"] {
        assert!(!folder.0.join(beside).exists(), "{beside}");
    }
    assert_eq!(flows(&path), [1]);
}

#[test]
fn is_for_owner_and_group_alone() {
    let folder = Folder::new("mode");
    let settings = folder.store();
    let mut store = Store::open(&settings).unwrap();
    store.write(&[row(SystemTime::now(), 1)]).unwrap();
    for name in ["audit.db", "audit.db-wal", "audit.db-shm"] {
        let mode = fs::metadata(folder.0.join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o137, 0, "{name}: {mode:o}");
    }
}

#[test]
fn is_asked_while_it_is_written_and_after() {
    let folder = Folder::new("asked");
    let settings = folder.store();
    let mut store = Store::open(&settings).unwrap();
    store.write(&[row(SystemTime::now(), 1)]).unwrap();
    let reader = Reader::open(&settings.path).unwrap();
    assert_eq!(flows(&settings.path), [1]);
    store.write(&[row(SystemTime::now(), 2)]).unwrap();
    assert_eq!(flows(&settings.path), [1, 2]);
    assert_eq!(reader.hits(0).unwrap()[0].hits, 2);
    drop((store, reader));
    assert_eq!(flows(&settings.path), [1, 2]);
}

#[test]
fn events_of_batches_of_any_size_come_back_as_they_were() {
    let folder = Folder::new("sizes");
    let mut store = Store::open(&folder.store()).unwrap();
    let (mut written, mut flow) = (Vec::new(), 0);
    for size in 0..40 {
        let rows: Vec<Row> = (0..size)
            .map(|_| {
                flow += 1;
                let odd = flow % 2 == 1;
                let text = |what: &str| odd.then(|| format!("{what} {flow}"));
                Row {
                    kind: format!("kind {flow}"),
                    client: format!("client {flow}"),
                    server: format!("server {flow}"),
                    listener: format!("listener {flow}"),
                    user: text("user"),
                    verb: text("verb"),
                    path: text("path"),
                    outcome: text("outcome"),
                    code: odd.then_some(226),
                    bytes: odd.then_some(flow * 3),
                    packets: odd.then_some(flow * 5),
                    duration_ms: odd.then_some(flow * 7),
                    ..row(SystemTime::now(), flow)
                }
            })
            .collect();
        store.write(&rows).unwrap();
        written.extend(rows);
    }
    for (seq, row) in (1..).zip(&mut written) {
        row.seq = seq;
    }
    let mut read = Vec::new();
    let reader = Reader::open(&folder.store().path).unwrap();
    let each = |row: Row| {
        read.push(row);
        ControlFlow::Continue(())
    };
    reader.events(&Filter::default(), 0, each).unwrap();
    assert_eq!(read, written);
}

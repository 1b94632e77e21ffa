//! The writer under load, on a full disk, and at the end of the program.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tokio::runtime::Builder;

use crate::audit::lines::MODE;
use crate::audit::{Audit, Filter, Reader, RecordState, Row, Session};
use crate::config::{OnFailure, StoreSettings};
use crate::ftp::Verb;
use crate::inspect::{Command, Event, Record};
use crate::rules::{Policy, Request};

use super::*;

/// Takes a part of each write, or nothing while it is broken.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<(Vec<u8>, bool)>>);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.0.lock().unwrap();
        if disk.1 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().div_ceil(2);
        disk.0.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk {
    fn break_it(&self, broken: bool) {
        self.0.lock().unwrap().1 = broken;
    }

    fn flow_ids(&self) -> Vec<u64> {
        flow_ids(&String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap())
    }
}

fn flow_ids(text: &str) -> Vec<u64> {
    text.lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["flow_id"].as_u64().unwrap()
        })
        .collect()
}

fn entry(flow_id: u64) -> Entry {
    let address: SocketAddr = "192.0.2.1:21".parse().unwrap();
    Entry {
        timestamp: SystemTime::now(),
        session: Arc::new(Session {
            id: 1,
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

fn run(test: impl Future<Output = ()>) {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().build().unwrap().block_on(test);
}

fn on(disk: &Disk) -> Audit {
    start(disk, None, OnFailure::Deny)
}

fn start(disk: &Disk, store: Option<Store>, on_failure: OnFailure) -> Audit {
    let outputs = Outputs {
        lines: Lines::to_sink("disk".into(), Box::new(disk.clone())),
        store,
        forwarders: Vec::new(),
    };
    Audit::start(outputs, on_failure, 4096).unwrap()
}

fn folder(name: &str) -> PathBuf {
    let folder =
        std::env::temp_dir().join(format!("portcullis-audit-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn writes_all_it_accepted_in_order() {
    run(async {
        let disk = Disk::default();
        let audit = on(&disk);
        let wanted: Vec<u64> = (0..10_000).collect();
        for &id in &wanted {
            audit.accept(entry(id)).await.unwrap();
        }
        audit.finish().await.unwrap();
        assert_eq!(disk.flow_ids(), wanted);
        assert_eq!(audit.accept(entry(1)).await, Err(AuditError::Ended));
    });
}

#[test]
fn refuses_while_the_disk_is_full_and_loses_nothing() {
    run(async {
        let disk = Disk::default();
        let audit = on(&disk);
        disk.break_it(true);
        let mut accepted = Vec::new();
        let mut id = 0;
        let error = loop {
            match audit.accept(entry(id)).await {
                Ok(()) => accepted.push(id),
                Err(error) => break error,
            }
            id += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert!(matches!(error, AuditError::Unwritten { .. }), "{error}");
        disk.break_it(false);
        while audit.accept(entry(1_000_000)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        accepted.push(1_000_000);
        audit.finish().await.unwrap();
        assert_eq!(disk.flow_ids(), accepted);
    });
}

#[test]
fn tells_what_was_lost_at_the_end() {
    run(async {
        let disk = Disk::default();
        disk.break_it(true);
        let audit = on(&disk);
        audit.accept(entry(1)).await.unwrap();
        let lost = audit.finish().await;
        let output = "disk".to_owned();
        assert_eq!(lost, Err(AuditError::Lost { output, lines: 1 }));
    });
}

#[test]
fn a_full_device_is_told_to_later_calls() {
    run(async {
        let audit = Audit::to_file(Path::new("/dev/full")).unwrap();
        audit.accept(entry(1)).await.unwrap();
        let error = loop {
            if let Err(error) = audit.accept(entry(2)).await {
                break error;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert_eq!(
            error.to_string(),
            "audit output /dev/full cannot be written: No space left on device (os error 28)"
        );
    });
}

#[test]
fn creates_a_file_for_owner_and_group_and_mends_a_torn_line() {
    run(async {
        let path = folder("file").join("eve.json");
        let audit = Audit::to_file(&path).unwrap();
        audit.accept(entry(1)).await.unwrap();
        audit.finish().await.unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & !MODE, 0);
        fs::write(&path, "{\"torn").unwrap();
        let audit = Audit::to_file(&path).unwrap();
        audit.accept(entry(2)).await.unwrap();
        audit.finish().await.unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let (torn, rest) = text.split_once('\n').unwrap();
        assert_eq!(torn, "{\"torn");
        assert_eq!(flow_ids(rest), [2]);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    });
}

#[test]
fn names_the_folder_that_is_missing() {
    let error = Audit::to_file(Path::new("/nowhere/eve.json")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "audit file /nowhere/eve.json: the folder /nowhere does not exist; create it, or change `audit: output`"
    );
}

fn store(folder: &Path) -> StoreSettings {
    StoreSettings::at(folder.join("audit.db"))
}

fn stored(settings: &StoreSettings) -> Vec<Row> {
    let reader = Reader::open(&settings.path).unwrap();
    let mut rows = Vec::new();
    let each = |row| {
        rows.push(row);
        ControlFlow::Continue(())
    };
    reader.events(&Filter::default(), 0, each).unwrap();
    rows
}

/// A database that takes no events until this is dropped.
struct Spoiled(rusqlite::Connection);

impl Spoiled {
    fn new(settings: &StoreSettings) -> Self {
        let database = rusqlite::Connection::open(&settings.path).unwrap();
        let refuse = "CREATE TRIGGER spoiled BEFORE UPDATE OF next ON state BEGIN SELECT RAISE(ABORT, 'spoiled'); END";
        database.execute_batch(refuse).unwrap();
        Self(database)
    }
}

impl Drop for Spoiled {
    fn drop(&mut self) {
        self.0.execute_batch("DROP TRIGGER spoiled").unwrap();
    }
}

/// Locks the database until it is dropped.
fn lock(settings: &StoreSettings) -> rusqlite::Connection {
    let lock = rusqlite::Connection::open(&settings.path).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    lock
}

#[test]
fn a_lock_that_passes_is_waited_for_and_nothing_fails() {
    run(async {
        let folder = folder("store-locked");
        let (disk, settings) = (Disk::default(), store(&folder));
        let opened = Store::open(&settings).unwrap();
        let audit = start(&disk, Some(opened), OnFailure::Deny);
        let locked = lock(&settings);
        for id in 100..130 {
            audit.accept(entry(id)).await.unwrap();
            assert_eq!(audit.written(), 0, "one of two is not written");
            // Together longer than SQLite itself waits for the lock.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drop(locked);
        audit.finish().await.unwrap();
        assert_eq!(stored(&settings).len(), 30);
        assert_eq!(disk.flow_ids().len(), 30);
        fs::remove_dir_all(folder).unwrap();
    });
}

#[test]
fn a_store_that_fails_stops_all_and_then_gets_each_event_once() {
    run(async {
        let folder = folder("store-fails");
        let (disk, settings) = (Disk::default(), store(&folder));
        let audit = start(
            &disk,
            Some(Store::open(&settings).unwrap()),
            OnFailure::Deny,
        );
        let spoiled = Spoiled::new(&settings);
        let mut accepted = Vec::new();
        let error = loop {
            let id = 100 + u64::try_from(accepted.len()).unwrap();
            match audit.accept(entry(id)).await {
                Ok(()) => accepted.push(id),
                Err(error) => break error,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(
            error.to_string().contains("audit.db cannot be written"),
            "{error}"
        );
        assert_eq!(audit.written(), 0, "one of two is not written");
        drop(spoiled);
        audit.finish().await.unwrap();
        assert_eq!(disk.flow_ids(), accepted);
        let rows = stored(&settings);
        assert_eq!(
            rows.iter().map(|row| row.flow).collect::<Vec<_>>(),
            accepted
        );
        assert_eq!(audit.written(), u64::try_from(accepted.len()).unwrap());
        fs::remove_dir_all(folder).unwrap();
    });
}

#[test]
fn a_file_that_fails_stops_all_and_the_store_has_each_event_once() {
    run(async {
        let folder = folder("file-fails");
        let (disk, settings) = (Disk::default(), store(&folder));
        disk.break_it(true);
        let audit = start(
            &disk,
            Some(Store::open(&settings).unwrap()),
            OnFailure::Deny,
        );
        audit.accept(entry(1)).await.unwrap();
        while audit.accept(entry(2)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(audit.written(), 0);
        disk.break_it(false);
        audit.finish().await.unwrap();
        let flows: Vec<u64> = stored(&settings).iter().map(|row| row.flow).collect();
        assert_eq!(disk.flow_ids(), flows);
        fs::remove_dir_all(folder).unwrap();
    });
}

#[test]
fn going_on_without_a_record_is_counted_and_goes_on_the_record() {
    run(async {
        let folder = folder("goes-on");
        let (disk, settings) = (Disk::default(), store(&folder));
        disk.break_it(true);
        let opened = Store::open(&settings).unwrap();
        let audit = start(&disk, Some(opened), OnFailure::Allow);
        let mut given = 0;
        while given < 200 {
            audit.accept(entry(given)).await.unwrap();
            given += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        disk.break_it(false);
        while audit.written() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        audit.finish().await.unwrap();
        let text = String::from_utf8(disk.0.lock().unwrap().0.clone()).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let told = |line: &serde_json::Value| line["portcullis"]["unrecorded"].as_u64();
        let missing: u64 = lines.iter().filter_map(told).sum();
        let kept = lines.iter().filter(|line| told(line).is_none()).count();
        assert!(missing > 0);
        assert_eq!(u64::try_from(kept).unwrap() + missing, given);
        let rows = stored(&settings);
        assert_eq!(rows.len(), lines.len());
        assert!(rows.iter().any(|row| row.kind == "events-unrecorded"));
        fs::remove_dir_all(folder).unwrap();
    });
}

fn quiet_entry(flow_id: u64, verb: Verb) -> Entry {
    let mut entry = entry(flow_id);
    let text = "rules:\n  - { id: hush, allow: true, command: [USER, NOOP], audit: quiet }\n  - { id: no, deny: true, audit: quiet }\n";
    let policy = Policy::parse("edge.yaml", text).unwrap();
    let ip = entry.session.client.ip();
    entry.record = Record {
        user: Some("anna".into()),
        event: Event::Decided {
            verdict: policy.decide(&Request::new("lan", ip, ip, &verb)),
            command: Command {
                verb,
                argument: None,
                path: None,
            },
        },
    };
    entry
}

#[test]
fn a_quiet_allow_counts_for_its_rule_and_leaves_no_line() {
    run(async {
        let folder = folder("quiet");
        let (disk, settings) = (Disk::default(), store(&folder));
        let opened = Store::open(&settings).unwrap();
        let audit = start(&disk, Some(opened), OnFailure::Deny);
        audit.accept(entry(1)).await.unwrap();
        for verb in [Verb::User, Verb::Noop, Verb::Noop, Verb::Dele] {
            audit.accept(quiet_entry(1, verb)).await.unwrap();
        }
        audit.finish().await.unwrap();
        assert_eq!(audit.written(), 5);
        assert_eq!(disk.flow_ids().len(), 2, "the start and the deny");
        let kinds: Vec<String> = stored(&settings).into_iter().map(|row| row.kind).collect();
        assert_eq!(kinds, ["session-start", "decision"]);
        let hits = Reader::open(&settings.path).unwrap().hits(3).unwrap();
        let shown: Vec<_> = hits.iter().map(|h| (h.rule.as_str(), h.hits)).collect();
        assert_eq!(shown, [("hush", 3), ("no", 1)]);
        assert!(hits[0].first_use > 0 && hits[0].first_use <= hits[0].last_use);
        assert_eq!(hits[0].clients, [], "they leave no event");
        fs::remove_dir_all(folder).unwrap();
    });
}

#[test]
fn a_quiet_decision_is_refused_while_it_cannot_be_counted_and_counts_once() {
    run(async {
        let folder = folder("quiet-fails");
        let (disk, settings) = (Disk::default(), store(&folder));
        let opened = Store::open(&settings).unwrap();
        let audit = start(&disk, Some(opened), OnFailure::Deny);
        let spoiled = Spoiled::new(&settings);
        let mut accepted = 0;
        while audit.accept(quiet_entry(1, Verb::Noop)).await.is_ok() {
            accepted += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(accepted > 0);
        assert_eq!(audit.written(), 0);
        drop(spoiled);
        audit.finish().await.unwrap();
        let hits = Reader::open(&settings.path).unwrap().hits(0).unwrap();
        assert_eq!(hits[0].hits, accepted);
        assert_eq!(audit.written(), accepted);
        fs::remove_dir_all(folder).unwrap();
    });
}

#[test]
fn health_tells_what_waits_what_is_wrong_and_what_went_unrecorded() {
    run(async {
        let disk = Disk::default();
        let audit = start(&disk, None, OnFailure::Allow);
        assert_eq!(audit.health().state, RecordState::Writing);
        disk.break_it(true);
        let mut given = 0;
        while audit.health().unrecorded < 3 {
            audit.accept(entry(given)).await.unwrap();
            given += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let failing = audit.health();
        assert_eq!(failing.state.name(), "failing");
        assert!(failing.error.unwrap().contains("disk cannot be written"));
        assert_eq!(failing.written, 0);
        assert_eq!(failing.waiting + failing.unrecorded, given);
        disk.break_it(false);
        while audit.health().state == RecordState::Failing {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        audit.finish().await.unwrap();
        let ended = audit.health();
        assert_eq!((ended.state, ended.error), (RecordState::Ended, None));
        assert_eq!((ended.waiting, ended.unrecorded), (0, 3));
        assert_eq!(ended.written, given - 3);
    });
}

#[test]
fn the_file_is_opened_again_when_asked() {
    run(async {
        let folder = folder("again");
        let (path, moved) = (folder.join("eve.json"), folder.join("eve.json.1"));
        let audit = Audit::to_file(&path).unwrap();
        audit.accept(entry(1)).await.unwrap();
        while audit.written() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        fs::rename(&path, &moved).unwrap();
        audit.reopen().await.unwrap();
        audit.accept(entry(2)).await.unwrap();
        audit.finish().await.unwrap();
        let both = [&moved, &path].map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(flow_ids(&both.concat()), [1, 2]);
        assert_eq!(flow_ids(&both[1]), [2]);
        fs::remove_dir_all(folder).unwrap();
    });
}

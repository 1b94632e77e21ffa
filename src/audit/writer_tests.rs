//! The writer under load, on a full disk, and at the end of the program.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::time::SystemTime;

use crate::audit::Session;
use crate::inspect::{Event, Record};

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
        timestamp: SystemTime::UNIX_EPOCH,
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
    Audit::start("disk".into(), Box::new(disk.clone())).unwrap()
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

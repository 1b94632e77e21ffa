//! Records of one transfer, on their way to lines and to the store.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis::audit::{Audit, Entry, Filter, Reader, Row, Session, Store, encode};
use portcullis::config::{AuditOutput, AuditSettings, StoreSettings};
use portcullis::inspect::Record;

use super::Folder;

/// The session that the records belong to.
pub fn session() -> Session {
    let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
    Session {
        id: 5,
        flow_id: 1_795_187_564_123,
        client: address("10.60.1.2:40000"),
        dialled: address("198.51.100.20:21"),
        server: address("198.51.100.20:21"),
        seen: Some(address("198.51.100.1:40000")),
        listener: "lan".into(),
    }
}

/// The time of the n-th record: a microsecond after the one before.
pub fn time(number: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(1_795_187_564_123_456 + number)
}

/// Encodes records in turn, so many in all.
pub fn encode_many(records: &[Record], count: u64) -> usize {
    let (session, mut out, mut bytes) = (session(), Vec::with_capacity(4096), 0);
    for (record, number) in records.iter().cycle().zip(0..count) {
        encode(time(number), &session, record, &mut out);
        bytes += out.len();
        out.clear();
    }
    bytes
}

/// Brings records in turn through the writer, so many in all: into a file, and into a store where one
/// is wanted.
pub fn write_many(records: &[Record], count: u64, folder: &Path, with_store: bool) {
    let output = AuditOutput::File(folder.join("eve.json"));
    let settings = AuditSettings {
        store: with_store.then(|| StoreSettings::at(folder.join("audit.db"))),
        ..AuditSettings::to(output)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let audit = Audit::open(&settings).unwrap();
        let session = Arc::new(session());
        for (record, number) in records.iter().cycle().zip(0..count) {
            let entry = Entry {
                timestamp: time(number),
                session: Arc::clone(&session),
                record: record.clone(),
            };
            audit.accept(entry).await.unwrap();
        }
        audit.finish().await.unwrap();
    });
}

/// The records as the store has them.
pub fn rows(records: &[Record], folder: &Folder) -> Vec<Row> {
    let count = u64::try_from(records.len()).unwrap();
    write_many(records, count, &folder.file(""), true);
    let reader = Reader::open(&folder.file("audit.db")).unwrap();
    let mut rows = Vec::new();
    let all = reader.events(&Filter::default(), 0, |row| {
        rows.push(row);
        ControlFlow::Continue(())
    });
    all.unwrap();
    rows
}

/// A store and what is written to it again and again.
pub struct Batches {
    store: Store,
    rows: Vec<Row>,
    written: u64,
}

impl Batches {
    /// Begins an empty store that gets the records in batches of so many.
    pub fn new(records: &[Record], size: usize, folder: &Folder) -> Self {
        let rows = rows(records, folder);
        Self {
            store: Store::open(&StoreSettings::at(folder.file("batches.db"))).unwrap(),
            rows: rows.into_iter().cycle().take(size).collect(),
            written: 0,
        }
    }

    /// Writes one batch, each row a microsecond after the one before.
    pub fn write(&mut self) {
        for row in &mut self.rows {
            self.written += 1;
            row.time = 1_795_187_564_123_456 + i64::try_from(self.written).unwrap();
        }
        self.store.write(&self.rows).unwrap();
    }
}

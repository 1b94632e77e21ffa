//! The record: every event as one EVE JSON line, and the one writer that keeps them.
//!
//! Owns formats, the file, the store that can be asked, and the copies for syslog and the journal.
//! What is recorded is decided in `inspect`, and when it happened is passed in.

mod agree;
mod batch;
mod encode;
mod eve;
mod forward;
mod handle;
mod health;
mod json;
mod lines;
mod notice;
mod read;
mod replay;
mod row;
mod store;
pub(crate) mod words;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::inspect::Record;

pub use encode::encode;
pub use handle::{Audit, AuditError};
pub use health::{RecordHealth, RecordState};
pub use replay::{Change, Comparison, Found, Replay};
pub use row::{Row, micros, time_of};
pub use store::{
    Filter, HOUR, Hits, Latest, Point, Reader, Series, Store, StoreError, Story, Told,
};

/// What all records of one session share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its number, unique in the life of the process.
    pub id: u64,
    /// The number that ties its lines together, `flow_id` in EVE.
    pub flow_id: u64,
    /// Who dialled.
    pub client: SocketAddr,
    /// Whom the client dialled.
    pub dialled: SocketAddr,
    /// The server's own address; the same as `dialled` where the edge publishes nothing.
    pub server: SocketAddr,
    /// What the server sees as its client; `None` while it is not connected.
    pub seen: Option<SocketAddr>,
    /// The listener that took the session.
    pub listener: Arc<str>,
}

/// One line to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it happened.
    pub timestamp: SystemTime,
    /// The session it belongs to.
    pub session: Arc<Session>,
    /// What happened.
    pub record: Record,
}

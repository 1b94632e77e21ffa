//! Copies of the record for others: a syslog peer, the journal.
//!
//! The file and the store are the evidence; a copy holds up neither. Each peer has a thread and a
//! bounded queue: one that is slow or away loses lines, and their count is logged and, once the peer
//! takes lines again, told to it as a line of its own.

mod journal;
mod syslog;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::config::AuditSettings;
use crate::sandbox::{RECORD, keep_only};

use super::row::{Row, micros};
use super::{AuditError, notice};

use journal::Journal;
use syslog::Syslog;

/// Lines that wait for one peer; what comes beyond them is lost to it.
const QUEUE: usize = 4096;

/// Between two attempts at a peer that takes nothing.
const RETRY: Duration = Duration::from_secs(1);

/// Between two log lines about one peer.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// How long one write may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the end of the program waits for what is queued.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// One line for a peer.
struct Message {
    /// Microseconds since 1970.
    time: i64,
    kind: String,
    /// Whether somebody was refused something.
    refused: bool,
    line: String,
}

impl Message {
    fn of(row: &Row) -> Self {
        Self {
            time: row.time,
            kind: row.kind.clone(),
            refused: row.kind == "violation" || row.outcome.as_deref() == Some("deny"),
            line: row.line.clone(),
        }
    }
}

/// Where copies go.
enum Peer {
    Syslog(Syslog),
    Journal(Journal),
}

impl Peer {
    fn name(&self) -> String {
        match self {
            Self::Syslog(peer) => peer.name(),
            Self::Journal(_) => "the journal".to_owned(),
        }
    }

    fn send(&mut self, message: &Message) -> io::Result<()> {
        match self {
            Self::Syslog(peer) => peer.send(message),
            Self::Journal(peer) => peer.send(message),
        }
    }
}

/// A peer as the writer sees it.
pub(super) struct Forwarder {
    lines: SyncSender<Message>,
    lost: Arc<AtomicU64>,
    ending: Arc<AtomicBool>,
    ended: Receiver<()>,
}

impl Forwarder {
    /// Starts a thread for each peer of the configuration; a peer that is away is no error.
    pub(super) fn start_all(settings: &AuditSettings) -> Result<Vec<Self>, AuditError> {
        let syslog = settings.syslog.clone();
        let syslog = syslog.map(|peer| Peer::Syslog(Syslog::new(peer)));
        let journal = settings.journald.then(|| Peer::Journal(Journal::default()));
        let peers = syslog.into_iter().chain(journal);
        peers.map(Self::start).collect()
    }

    fn start(peer: Peer) -> Result<Self, AuditError> {
        let (lines, queue) = sync_channel(QUEUE);
        let (end, ended) = sync_channel(1);
        let (lost, ending) = (Arc::default(), Arc::default());
        let name = peer.name();
        let copier = Copier {
            peer,
            queue,
            lost: Arc::clone(&lost),
            ending: Arc::clone(&ending),
            said_at: None,
        };
        thread::Builder::new()
            .name("audit-copy".to_owned())
            .spawn(move || {
                if let Err(error) = keep_only(RECORD) {
                    tracing::warn!("the thread of a copy: {error}");
                }
                copier.run();
                drop(end);
            })
            .map_err(|error| AuditError::unopened(&name, &error))?;
        Ok(Self {
            lines,
            lost,
            ending,
            ended,
        })
    }

    /// Hands over a copy, or counts it as lost where the queue is full.
    pub(super) fn offer(&self, row: &Row) {
        if self.lines.try_send(Message::of(row)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits a second at most until the peer has what is queued.
    pub(super) fn finish(self) {
        self.ending.store(true, Ordering::Relaxed);
        drop(self.lines);
        if self.ended.recv_timeout(FINISH_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("last lines were not copied");
        }
    }
}

/// The thread of one peer.
struct Copier {
    peer: Peer,
    queue: Receiver<Message>,
    lost: Arc<AtomicU64>,
    ending: Arc<AtomicBool>,
    said_at: Option<Instant>,
}

impl Copier {
    fn run(mut self) {
        while let Ok(message) = self.queue.recv() {
            self.deliver(&message);
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                tracing::warn!(lost, "lines were not copied to {}", self.peer.name());
                if self.ending.load(Ordering::Relaxed) {
                    continue;
                }
                let now = SystemTime::now();
                let row = notice::uncopied(now, lost);
                self.deliver(&Message {
                    time: micros(now),
                    ..Message::of(&row)
                });
            }
        }
    }

    /// Tries until the peer has it, or the program ends.
    fn deliver(&mut self, message: &Message) {
        while let Err(error) = self.peer.send(message) {
            let again = self.said_at.is_none_or(|at| at.elapsed() > SAY_AGAIN);
            if again {
                self.said_at = Some(Instant::now());
                tracing::warn!("{} takes no copies: {error}", self.peer.name());
            }
            if too_long(&error) || self.ending.load(Ordering::Relaxed) {
                self.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            thread::sleep(RETRY);
        }
    }
}

/// Whether the line would never fit.
fn too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! The handle by which sessions reach the writer, and what they are told where it cannot write.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use thiserror::Error;
use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::config::{AuditOutput, AuditSettings, OnFailure};
use crate::sandbox::{RECORD, keep_only};

use super::agree;
use super::forward::Forwarder;
use super::health::{Counts, RecordHealth};
use super::lines::Lines;
use super::writer::{Health, Outputs, Writer};
use super::{Entry, Store, StoreError};

/// Requests to open the file again that wait for the writer.
const MAX_REOPENINGS: usize = 4;

/// Why the record cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuditError {
    /// The folder of the file is not there.
    #[error("audit file {}: the folder {} does not exist; create it, or change `audit: output`", path.display(), folder.display())]
    NoFolder {
        /// The file.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// The output cannot be opened.
    #[error("audit output {output} cannot be opened: {reason}")]
    Unopened {
        /// The file, or `stdout`.
        output: String,
        /// What the system said.
        reason: String,
    },
    /// The output does not take the lines; they are kept and tried again.
    #[error("audit output {output} cannot be written: {reason}")]
    Unwritten {
        /// The file, or `stdout`.
        output: String,
        /// What the system said.
        reason: String,
    },
    /// The store cannot be opened, or does not take the events; they are kept and tried again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The writer has ended.
    #[error("the audit writer has ended")]
    Ended,
    /// The program ended while an output took no lines.
    #[error("{lines} accepted audit lines were lost: output {output} could not be written")]
    Lost {
        /// The file or the store, or `stdout`.
        output: String,
        /// How many.
        lines: usize,
    },
}

impl AuditError {
    pub(super) fn unopened(output: &str, error: &std::io::Error) -> Self {
        Self::Unopened {
            output: output.to_owned(),
            reason: error.to_string(),
        }
    }
}

/// A handle of the writer; cheap to clone. When the last one is dropped the writer writes what it
/// accepted and ends; [`Audit::finish`] waits for that.
#[derive(Clone, Debug)]
pub struct Audit {
    entries: mpsc::Sender<Entry>,
    /// Woken where the queue is half full: the writer may be gathering.
    crowded: Arc<Notify>,
    health: watch::Receiver<Health>,
    stop: Arc<watch::Sender<bool>>,
    reopenings: mpsc::Sender<oneshot::Sender<Result<(), AuditError>>>,
    on_failure: OnFailure,
    counts: Arc<Counts>,
}

impl Audit {
    /// Opens all outputs that the configuration names, brings file and store together where the end
    /// of the program before came between them, and starts their writer.
    ///
    /// # Errors
    /// Tells which output cannot be opened and why.
    pub fn open(settings: &AuditSettings) -> Result<Self, AuditError> {
        let lines = match &settings.output {
            AuditOutput::Stdout => Lines::to_stdout()?,
            AuditOutput::File(path) => Lines::to_file(path)?,
        };
        let mut store = settings.store.as_ref().map(Store::open).transpose()?;
        if let Some(eve) = lines.eve() {
            agree::bring_together(&eve, store.as_mut())?;
        }
        let forwarders = Forwarder::start_all(settings)?;
        let outputs = Outputs {
            lines,
            store,
            forwarders,
        };
        Self::start(outputs, settings.on_failure, settings.queue)
    }

    /// Opens a file, created with mode 0640, and starts its writer.
    ///
    /// # Errors
    /// Tells that the folder is missing, or what the system said.
    pub fn to_file(path: &Path) -> Result<Self, AuditError> {
        Self::open(&AuditSettings::to(AuditOutput::File(path.to_owned())))
    }

    /// Starts a writer on standard output.
    ///
    /// # Errors
    /// Gives what the system said.
    pub fn to_stdout() -> Result<Self, AuditError> {
        Self::open(&AuditSettings::to(AuditOutput::Stdout))
    }

    /// Hands over one entry where that takes no waiting, else gives it back for [`Self::accept`].
    ///
    /// # Errors
    /// The entry; nothing was done with it.
    #[expect(clippy::result_large_err, reason = "it goes on to be accepted")]
    pub fn accept_at_once(&self, entry: Entry) -> Result<(), Entry> {
        if !matches!(&*self.health.borrow(), Health::Writing) || *self.stop.borrow() {
            return Err(entry);
        }
        match self.entries.try_reserve() {
            Ok(permit) => {
                self.hand_over(permit, entry);
                Ok(())
            }
            Err(_full_or_closed) => Err(entry),
        }
    }

    fn hand_over(&self, permit: mpsc::Permit<'_, Entry>, entry: Entry) {
        self.counts.accepted.fetch_add(1, Ordering::Release);
        permit.send(entry);
        if self.entries.capacity() <= self.entries.max_capacity() / 2 {
            self.crowded.notify_one();
        }
    }

    /// Hands over one entry; waits while the queue is full. Once it returns, the entry will be
    /// written to every output, or counted where the policy is to go on without a record.
    ///
    /// # Errors
    /// Tells that an output takes no lines and the policy is to deny; the entry was not accepted then.
    pub async fn accept(&self, entry: Entry) -> Result<(), AuditError> {
        let mut health = self.health.clone();
        loop {
            match (&*health.borrow_and_update(), self.on_failure) {
                (Health::Writing, _) => {}
                (Health::Failing(error), OnFailure::Deny) => return Err(error.clone()),
                (Health::Failing(_), OnFailure::Allow) => {
                    self.counts.unrecorded.fetch_add(1, Ordering::Relaxed);
                    self.counts.ever_unrecorded.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                (Health::Ended(_), _) => return Err(AuditError::Ended),
            }
            if *self.stop.borrow() {
                return Err(AuditError::Ended);
            }
            tokio::select! {
                biased;
                permit = self.entries.reserve() => {
                    let permit = permit.map_err(|_closed| AuditError::Ended)?;
                    self.hand_over(permit, entry);
                    return Ok(());
                }
                changed = health.changed() => changed.map_err(|_gone| AuditError::Ended)?,
            }
        }
    }

    /// How many of the accepted entries are written: the file has the line, and the store, where
    /// there is one, has committed the event. What is written survives the end of the process,
    /// however it ends. A quiet decision is written once the store has counted it; at most `audit: queue` and one
    /// batch of accepted entries are not written.
    pub fn written(&self) -> u64 {
        self.counts.written.load(Ordering::Acquire)
    }

    /// Says how the record is doing. Cheap, at any time: it waits for nothing.
    pub fn health(&self) -> RecordHealth {
        self.counts
            .health(&self.health.borrow(), self.entries.max_capacity())
    }

    /// Opens the file of the EVE lines again, after a rotation has moved it away. Lines accepted
    /// before go into the old file or the one at hand, each whole and once.
    ///
    /// # Errors
    /// Tells why the file cannot be opened; the old one stays in use.
    pub async fn reopen(&self) -> Result<(), AuditError> {
        let (tell, told) = oneshot::channel();
        let asked = self.reopenings.send(tell).await;
        asked.map_err(|_gone| AuditError::Ended)?;
        told.await.unwrap_or(Err(AuditError::Ended))
    }

    /// Ends the writer once everything it accepted is written; all handles accept nothing from here on.
    ///
    /// # Errors
    /// Tells how many accepted lines could not be written within two seconds.
    pub async fn finish(&self) -> Result<(), AuditError> {
        self.stop.send_replace(true);
        let mut health = self.health.clone();
        let ended = health
            .wait_for(|health| matches!(health, Health::Ended(_)))
            .await;
        match ended.as_deref() {
            Ok(Health::Ended(result)) => result.clone(),
            Ok(Health::Writing | Health::Failing(_)) | Err(_) => Err(AuditError::Ended),
        }
    }

    /// Starts a writer for which at most `room` entries wait; when it is full, sessions wait too.
    pub(super) fn start(
        outputs: Outputs,
        on_failure: OnFailure,
        room: usize,
    ) -> Result<Self, AuditError> {
        let (entries, queue) = mpsc::channel(room.max(1));
        let (tell, health) = watch::channel(Health::Writing);
        let (stop, stopped) = watch::channel(false);
        let (reopenings, reopen) = mpsc::channel(MAX_REOPENINGS);
        let counts = Arc::<Counts>::default();
        let name = outputs.lines.name().to_owned();
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| AuditError::unopened(&name, &error))?;
        let crowded = Arc::<Notify>::default();
        let queue = (queue, Arc::clone(&crowded));
        let writer = Writer::new(outputs, queue, tell, stopped, reopen, Arc::clone(&counts));
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                if let Err(error) = keep_only(RECORD) {
                    tracing::warn!("the thread of the record: {error}");
                }
                writer.run(&runtime);
            })
            .map_err(|error| AuditError::unopened(&name, &error))?;
        Ok(Self {
            entries,
            crowded,
            health,
            stop: Arc::new(stop),
            reopenings,
            on_failure,
            counts,
        })
    }
}

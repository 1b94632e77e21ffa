//! The one writer: takes entries over a bounded channel and brings each batch to the file and the store.
//!
//! A batch counts as written once the output has its lines and the store has committed its events.
//! Where one of the two fails, the other has the batch, the failing one is tried again with the same
//! batch until it takes it, and nothing more is accepted meanwhile: neither ever has a gap or an
//! event twice. A decision of a quiet rule has no line; it is in the batch, and grows the rule's count
//! in the store. The copies for syslog and the journal follow, and hold up nothing.
//!
//! An event that comes alone is written at once; those that come soon after it wait for each other, since
//! a transaction costs more than what is in it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::batch::{Batch, MAX_BATCH, Place};
use super::forward::Forwarder;
use super::health::Counts;
use super::lines::Lines;
use super::{AuditError, Entry, Store, StoreError, agree, encode, notice};

/// Between two batches, unless a whole one waits or the queue is half full: what a crash may cost beyond the queue is
/// bounded by it, and no reader of the record waits longer.
const GATHERING: Duration = Duration::from_millis(20);

/// Between two attempts at a write that failed.
const RETRY: Duration = Duration::from_millis(200);

/// How long another process may lock the store before the record counts as failing: the lines have all
/// meanwhile, and the queue takes more.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// How long the end of the program waits for a write that fails.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two steps of retention while there is more to take out and nothing to write; while there
/// is, each batch is followed by a step, which takes out more than a batch brings in.
const RETAIN_SOON: Duration = Duration::from_millis(50);

/// Between two looks at whether there is anything to take out, while events come.
const RETAIN_LATER: Duration = Duration::from_secs(1);

/// The same while nothing comes: only age makes work then.
const RETAIN_IDLE: Duration = Duration::from_secs(30);

/// What the writer says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Writing,
    Failing(AuditError),
    Ended(Result<(), AuditError>),
}

/// Where the record goes.
pub(super) struct Outputs {
    pub(super) lines: Lines,
    pub(super) store: Option<Store>,
    pub(super) forwarders: Vec<Forwarder>,
}

type Reopening = oneshot::Sender<Result<(), AuditError>>;

pub(super) struct Writer {
    outputs: Outputs,
    queue: mpsc::Receiver<Entry>,
    /// Says that the queue is half full.
    crowded: Arc<Notify>,
    /// When the last batch was written.
    written_at: Option<Instant>,
    tell: watch::Sender<Health>,
    stopped: watch::Receiver<bool>,
    reopenings: mpsc::Receiver<Reopening>,
    counts: Arc<Counts>,
    /// The batch at hand, for the store and the copies.
    batch: Batch,
    stored: bool,
    /// The store is another one than before, and may lack what the file has.
    behind: bool,
    failing_since: Option<SystemTime>,
    /// Since when the store is locked by another process.
    locked_since: Option<Instant>,
    /// When to look at what is too old or too much, if no batch brings that about.
    retain_at: Instant,
    /// Whether the last look left something to take out.
    retain_more: bool,
    retained_at: Instant,
}

/// What the writer woke up for.
enum Wake {
    Entries,
    Reopen(Reopening),
    Retain,
    End,
}

impl Writer {
    pub(super) fn new(
        outputs: Outputs,
        (queue, crowded): (mpsc::Receiver<Entry>, Arc<Notify>),
        tell: watch::Sender<Health>,
        stopped: watch::Receiver<bool>,
        reopenings: mpsc::Receiver<Reopening>,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            outputs,
            queue,
            crowded,
            written_at: None,
            tell,
            stopped,
            reopenings,
            counts,
            batch: Batch::default(),
            stored: true,
            behind: false,
            failing_since: None,
            locked_since: None,
            retain_at: Instant::now(),
            retain_more: true,
            retained_at: Instant::now(),
        }
    }

    pub(super) fn run(mut self, runtime: &Runtime) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let mut result = Ok(());
        while result.is_ok() {
            match runtime.block_on(self.wake(&mut batch)) {
                Wake::Entries => {
                    let count = batch.len();
                    for entry in batch.drain(..) {
                        self.encode(&entry);
                    }
                    result = self.write_batch(count);
                    self.written_at = Some(Instant::now());
                    if self.retain_more || self.retained_at.elapsed() >= RETAIN_LATER {
                        self.retain();
                    }
                }
                Wake::Reopen(asked) => self.reopen(asked),
                Wake::Retain => self.retain(),
                Wake::End => break,
            }
        }
        for forwarder in self.outputs.forwarders.drain(..) {
            forwarder.finish();
        }
        self.outputs.lines.close();
        // Closed before the end is told, or the program would be gone first: closing brings the
        // write-ahead log into the database.
        self.outputs.store = None;
        self.tell.send_replace(Health::Ended(result));
    }

    /// Waits for something to do; [`Wake::End`] once the queue is closed and empty.
    async fn wake(&mut self, batch: &mut Vec<Entry>) -> Wake {
        let retains = self.outputs.store.is_some();
        let gathered = self.written_at.map(|at| at + GATHERING);
        let mut gathers =
            self.queue.len() < MAX_BATCH && gathered.is_some_and(|until| until > Instant::now());
        loop {
            let closed = self.queue.is_closed();
            tokio::select! {
                biased;
                Some(asked) = self.reopenings.recv() => return Wake::Reopen(asked),
                // The queue is not looked at meanwhile, so that senders need not wake this thread.
                () = sleep_until(gathered), if gathers && !closed => gathers = false,
                () = self.crowded.notified(), if gathers && !closed => gathers = false,
                taken = self.queue.recv_many(batch, MAX_BATCH), if !gathers || closed => {
                    return if taken > 0 { Wake::Entries } else { Wake::End };
                }
                // Closing lets in nobody more, and what was let in still comes out.
                _ = self.stopped.wait_for(|stop| *stop), if !closed => self.queue.close(),
                () = tokio::time::sleep_until(self.retain_at.into()), if retains => return Wake::Retain,
            }
        }
    }

    fn encode(&mut self, entry: &Entry) {
        let Entry {
            timestamp,
            session,
            record,
        } = entry;
        let line = encode::line(*timestamp, session, record);
        if record.is_quiet() {
            if self.outputs.store.is_some() {
                let mut row = self.batch.spare();
                row.fill(*timestamp, &line, b"");
                self.batch.quiet.push(row);
            }
            return;
        }
        let buffer = self.outputs.lines.buffer();
        let start = buffer.len();
        encode::write(&line, buffer);
        if self.outputs.store.is_some() || !self.outputs.forwarders.is_empty() {
            let text = buffer.get(start..).unwrap_or_default();
            let mut row = self.batch.spare();
            row.fill(*timestamp, &line, text);
            self.batch.rows.push(row);
        }
    }

    /// Brings the batch to the output and the store, and then says what could not be recorded before it.
    fn write_batch(&mut self, count: usize) -> Result<(), AuditError> {
        self.write_out()?;
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.counts.written.fetch_add(count, Ordering::Release);
        self.note_unrecorded()
    }

    /// Puts the count of what went unrecorded on the record.
    fn note_unrecorded(&mut self) -> Result<(), AuditError> {
        let Some(since) = self.failing_since.take() else {
            return Ok(());
        };
        let unrecorded = self.counts.unrecorded.swap(0, Ordering::Relaxed);
        if unrecorded == 0 {
            tracing::warn!("the record is kept again; nothing is missing in it");
            return Ok(());
        }
        tracing::warn!(
            unrecorded,
            "the record is kept again; events are missing in it"
        );
        let (text, row) = notice::unrecorded(SystemTime::now(), since, unrecorded);
        self.outputs.lines.buffer().extend_from_slice(&text);
        self.batch.rows.push(row);
        self.write_out()
    }

    /// Writes until all is written; tries again and again while the program runs.
    fn write_out(&mut self) -> Result<(), AuditError> {
        let mut deadline: Option<Instant> = None;
        self.stored = false;
        self.batch.place = self.outputs.lines.place();
        while let Err(error) = self.attempt() {
            self.wait(error, &mut deadline)?;
        }
        if self.locked_since.take().is_some() && self.failing_since.is_none() {
            tracing::warn!("the audit store is written again; nothing is missing in it");
        }
        for row in &self.batch.rows {
            for forwarder in &self.outputs.forwarders {
                forwarder.offer(row);
            }
        }
        self.batch.clear();
        self.tell.send_if_modified(|health| {
            let failed = *health != Health::Writing;
            *health = Health::Writing;
            failed
        });
        Ok(())
    }

    /// Tries both, so that one that works has the batch whatever the other does.
    fn attempt(&mut self) -> Result<(), AuditError> {
        let lines = self.outputs.lines.write_out();
        while !self.stored && self.outputs.store.is_some() {
            self.look_after_store()?;
            if let Some(store) = &mut self.outputs.store {
                store.write_batch(&self.batch)?;
                // A file that went away meanwhile took the batch with it.
                self.stored = !store.is_gone();
            }
        }
        lines
    }

    /// Opens the store again where its file was deleted or replaced, and brings it to where the batch
    /// at hand begins.
    fn look_after_store(&mut self) -> Result<(), AuditError> {
        let Some(store) = &mut self.outputs.store else {
            return Ok(());
        };
        if store.is_gone() {
            store.reopen()?;
            self.behind = true;
        }
        if self.behind {
            if let (Some(eve), Some(place)) = (self.outputs.lines.eve(), &self.batch.place) {
                agree::catch_up(&eve, place, store)?;
                store.mark(&Place {
                    after: place.before,
                    ..*place
                })?;
            }
            self.behind = false;
        }
        Ok(())
    }

    fn wait(
        &mut self,
        error: AuditError,
        deadline: &mut Option<Instant>,
    ) -> Result<(), AuditError> {
        let passing = self.may_pass(&error);
        if !passing && self.failing_since.is_none() {
            self.failing_since = Some(SystemTime::now());
            tracing::error!("the record cannot be kept: {error}");
        }
        let ending = *self.stopped.borrow() || self.queue.is_closed();
        let now = Instant::now();
        if ending && now >= *deadline.get_or_insert(now + FINISH_TIMEOUT) {
            return Err(self.give_up());
        }
        if !passing {
            self.tell.send_replace(Health::Failing(error));
        }
        while let Ok(asked) = self.reopenings.try_recv() {
            self.reopen(asked);
        }
        thread::sleep(RETRY);
        Ok(())
    }

    /// Whether this is the store's lock, not held for too long so far; the lines have all.
    fn may_pass(&mut self, error: &AuditError) -> bool {
        if !matches!(error, AuditError::Store(StoreError::Locked { .. }))
            || self.outputs.lines.waiting() > 0
            || self.failing_since.is_some()
        {
            return false;
        }
        let since = *self.locked_since.get_or_insert_with(|| {
            let patience = LOCK_PATIENCE.as_secs();
            tracing::warn!("{error}; events wait for it for {patience} s");
            Instant::now()
        });
        since.elapsed() < LOCK_PATIENCE
    }

    fn give_up(&mut self) -> AuditError {
        let unwritten = self.outputs.lines.waiting();
        let batch = self.batch.rows.len() + self.batch.quiet.len();
        let unstored = if self.stored { 0 } else { batch };
        let (output, mut lines) = match &self.outputs.store {
            Some(store) if unstored > unwritten => (store.path().display().to_string(), unstored),
            Some(_) | None => (self.outputs.lines.name().to_owned(), unwritten),
        };
        self.queue.close();
        while self.queue.blocking_recv().is_some() {
            lines += 1;
        }
        AuditError::Lost { output, lines }
    }

    fn reopen(&mut self, asked: Reopening) {
        let result = self.outputs.lines.reopen();
        // The store is told before the file gets lines; where it cannot be, the next start looks
        // through the file.
        self.batch.place = self.outputs.lines.place().map(|place| match self.stored {
            true => place,
            false => Place {
                after: place.before,
                ..place
            },
        });
        if let (Some(store), Some(place)) = (&mut self.outputs.store, &self.batch.place)
            && let Err(error) = store.mark(place)
        {
            tracing::debug!("the store does not know of the file at hand so far: {error}");
        }
        if asked.send(result).is_err() {
            tracing::debug!("nobody waits for the file to be opened again");
        }
    }

    /// Takes out a little of what is too old or too much. Where that fails, the store is too large for
    /// a while, and nothing is lost.
    fn retain(&mut self) {
        self.batch.place = self.outputs.lines.place();
        if let Err(error) = self.look_after_store() {
            tracing::error!("{error}");
        }
        let Some(store) = &mut self.outputs.store else {
            return;
        };
        self.retain_more = store.retain(SystemTime::now()).unwrap_or_else(|error| {
            tracing::warn!("old events stay: {error}");
            false
        });
        self.retained_at = Instant::now();
        let pause = if self.retain_more {
            RETAIN_SOON
        } else {
            RETAIN_IDLE
        };
        self.retain_at = self.retained_at + pause;
    }
}

async fn sleep_until(instant: Option<Instant>) {
    if let Some(instant) = instant {
        tokio::time::sleep_until(instant.into()).await;
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;

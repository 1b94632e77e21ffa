//! The one writer: takes entries over a bounded channel and appends whole lines to a file or to standard output.
//!
//! An entry that was accepted is written or its loss is told: a write that fails is kept and tried
//! again, and until it works nothing more is accepted.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};

use super::{Entry, encode};

/// Entries that wait for the writer; when it is full, sessions wait.
const QUEUE: usize = 4096;

/// Entries that go into one write at most.
const MAX_BATCH: usize = 512;

/// Between two attempts at a write that failed.
const RETRY: Duration = Duration::from_millis(200);

/// How long the end of the program waits for a write that fails.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Who may read the file: the owner, and the group of the log readers.
const MODE: u32 = 0o640;

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
    /// The writer has ended.
    #[error("the audit writer has ended")]
    Ended,
    /// The program ended while the output took no lines.
    #[error("{lines} accepted audit lines were lost: output {output} could not be written")]
    Lost {
        /// The file, or `stdout`.
        output: String,
        /// How many.
        lines: usize,
    },
}

/// A handle of the writer; cheap to clone. When the last one is dropped the writer writes what it
/// accepted and ends; [`Audit::finish`] waits for that.
#[derive(Clone, Debug)]
pub struct Audit {
    entries: mpsc::Sender<Entry>,
    health: watch::Receiver<Health>,
    stop: Arc<watch::Sender<bool>>,
}

/// What the writer says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Health {
    Writing,
    Failing(AuditError),
    Ended(Result<(), AuditError>),
}

impl Audit {
    /// Opens a file, created with mode 0640, and starts its writer.
    ///
    /// # Errors
    /// Tells that the folder is missing, or what the system said.
    pub fn to_file(path: &Path) -> Result<Self, AuditError> {
        let folder = path.parent().unwrap_or_else(|| Path::new("/"));
        if !folder.as_os_str().is_empty() && !folder.is_dir() {
            return Err(AuditError::NoFolder {
                path: path.to_owned(),
                folder: folder.to_owned(),
            });
        }
        let output = path.display().to_string();
        let file = open(path).map_err(|error| unopened(&output, &error))?;
        Self::start(output, Box::new(file))
    }

    /// Starts a writer on standard output.
    ///
    /// # Errors
    /// Gives what the system said.
    pub fn to_stdout() -> Result<Self, AuditError> {
        let output = "stdout".to_owned();
        // Past the standard library's own buffer: one write is one batch of whole lines.
        let own = io::stdout().as_fd().try_clone_to_owned();
        let file = own.map_err(|error| unopened(&output, &error))?;
        Self::start(output, Box::new(File::from(file)))
    }

    /// Hands over one entry; waits while the queue is full. Once it returns, the line will be written.
    ///
    /// # Errors
    /// Tells that the output takes no lines; the entry was not accepted then.
    pub async fn accept(&self, entry: Entry) -> Result<(), AuditError> {
        let mut health = self.health.clone();
        loop {
            match &*health.borrow_and_update() {
                Health::Writing => {}
                Health::Failing(error) => return Err(error.clone()),
                Health::Ended(_) => return Err(AuditError::Ended),
            }
            if *self.stop.borrow() {
                return Err(AuditError::Ended);
            }
            tokio::select! {
                biased;
                permit = self.entries.reserve() => {
                    permit.map_err(|_closed| AuditError::Ended)?.send(entry);
                    return Ok(());
                }
                changed = health.changed() => changed.map_err(|_gone| AuditError::Ended)?,
            }
        }
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

    fn start(output: String, sink: Box<dyn Write + Send>) -> Result<Self, AuditError> {
        let (entries, queue) = mpsc::channel(QUEUE);
        let (tell, health) = watch::channel(Health::Writing);
        let (stop, stopped) = watch::channel(false);
        let runtime = Builder::new_current_thread()
            .build()
            .map_err(|error| unopened(&output, &error))?;
        let writer = Writer {
            output: output.clone(),
            sink,
            queue,
            tell,
            stopped,
            unwritten: Vec::new(),
        };
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&runtime))
            .map_err(|error| unopened(&output, &error))?;
        Ok(Self {
            entries,
            health,
            stop: Arc::new(stop),
        })
    }
}

struct Writer {
    output: String,
    sink: Box<dyn Write + Send>,
    queue: mpsc::Receiver<Entry>,
    tell: watch::Sender<Health>,
    stopped: watch::Receiver<bool>,
    /// What the output has not taken; begins inside a line where it took a part of one.
    unwritten: Vec<u8>,
}

impl Writer {
    fn run(mut self, runtime: &Runtime) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let mut result = Ok(());
        while result.is_ok() && runtime.block_on(self.take(&mut batch)) {
            for entry in batch.drain(..) {
                let Entry {
                    timestamp,
                    session,
                    record,
                } = &entry;
                encode(*timestamp, session, record, &mut self.unwritten);
            }
            result = self.write_out();
        }
        self.tell.send_replace(Health::Ended(result));
    }

    /// Waits for entries; false once the queue is closed and empty.
    async fn take(&mut self, batch: &mut Vec<Entry>) -> bool {
        loop {
            let closed = self.queue.is_closed();
            tokio::select! {
                biased;
                taken = self.queue.recv_many(batch, MAX_BATCH) => return taken > 0,
                // Closing lets in nobody more, and what was let in still comes out.
                _ = self.stopped.wait_for(|stop| *stop), if !closed => self.queue.close(),
            }
        }
    }

    /// Writes until all is written; tries again and again while the program runs.
    fn write_out(&mut self) -> Result<(), AuditError> {
        let mut deadline: Option<Instant> = None;
        while !self.unwritten.is_empty() {
            match self.sink.write(&self.unwritten) {
                Ok(0) => self.wait(&io::ErrorKind::WriteZero.into(), &mut deadline)?,
                Ok(taken) => {
                    self.unwritten.drain(..taken.min(self.unwritten.len()));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.wait(&error, &mut deadline)?,
            }
        }
        self.tell.send_if_modified(|health| {
            let failed = *health != Health::Writing;
            *health = Health::Writing;
            failed
        });
        Ok(())
    }

    fn wait(
        &mut self,
        error: &io::Error,
        deadline: &mut Option<Instant>,
    ) -> Result<(), AuditError> {
        let ending = *self.stopped.borrow() || self.queue.is_closed();
        let now = Instant::now();
        if ending && now >= *deadline.get_or_insert(now + FINISH_TIMEOUT) {
            self.queue.close();
            let mut lines = self.unwritten.iter().filter(|&&byte| byte == b'\n').count();
            while self.queue.blocking_recv().is_some() {
                lines += 1;
            }
            let output = self.output.clone();
            return Err(AuditError::Lost { output, lines });
        }
        let told = AuditError::Unwritten {
            output: self.output.clone(),
            reason: error.to_string(),
        };
        self.tell.send_replace(Health::Failing(told));
        thread::sleep(RETRY);
        Ok(())
    }
}

/// A file that a crash left inside a line gets its line end first, so that the next line is whole.
fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .mode(MODE)
        .open(path)?;
    if file.metadata()?.is_file() && file.seek(SeekFrom::End(0))? > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

fn unopened(output: &str, error: &io::Error) -> AuditError {
    AuditError::Unopened {
        output: output.to_owned(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;

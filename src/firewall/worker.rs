//! The netlink thread: takes all requests that wait, carries them out in one transaction, and answers.
//!
//! One thread, because another program's big reload can hold a change for 150 ms, and because one
//! transaction for all that wait costs little more than one for each.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::FirewallError;
use super::plan::Change;
use super::privilege::not_permitted;
use super::subject::Subject;
use super::wire::{Connection, Removal, is_unknown};

/// Requests carried out in one transaction; at most four changes each, whose 256 answers fit the
/// smallest receive buffer.
pub const MAX_BATCH: usize = 64;
/// Pause after a full set. Trying again sooner starves the kernel's collector of expired elements.
pub const FULL_PAUSE: Duration = Duration::from_millis(250);
/// How long what used pinholes left may stay where no other is opened.
pub(super) const USED_PAUSE: Duration = Duration::from_millis(250);
/// How long a request to open waits for room in the sets, from the first refusal on.
const FULL_PATIENCE: Duration = Duration::from_secs(3);

/// Pinholes that have been used, to be taken out with the next change. At most as many as are open.
pub(super) type Used = Arc<Mutex<Vec<Subject>>>;

#[derive(Debug)]
pub(super) enum Request {
    Open(OpenRequest),
    Close {
        subject: Subject,
        reply: Option<oneshot::Sender<Result<(), FirewallError>>>,
    },
}

#[derive(Debug)]
pub(super) struct OpenRequest {
    pub(super) subject: Subject,
    pub(super) lifetime: Duration,
    pub(super) reply: oneshot::Sender<Result<(), FirewallError>>,
    /// When a set was found full first.
    pub(super) refused_at: Option<Instant>,
    /// Held until the request is answered, even if nobody waits for the answer.
    pub(super) permit: OwnedSemaphorePermit,
}

pub(super) struct Worker {
    connection: Connection,
    removal: Removal,
    table: String,
    full: Option<Full>,
    used: Used,
    /// Subjects that were opened and not closed: as long as there are any, some may have been used.
    open: usize,
}

/// While a set is full.
struct Full {
    retry_at: Instant,
    /// At most [`super::MAX_OPEN_REQUESTS`], since each holds its permit.
    waiting: Vec<OpenRequest>,
}

impl Worker {
    /// Makes a worker that has nothing waiting.
    pub(super) fn new(connection: Connection, removal: Removal, table: String, used: Used) -> Self {
        Self {
            connection,
            removal,
            table,
            full: None,
            used,
            open: 0,
        }
    }

    /// Serves until all handles are gone.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        loop {
            let used_at = (self.open > 0).then(|| Instant::now() + USED_PAUSE);
            let retry_at = self.full.as_ref().map(|full| full.retry_at);
            let first = match used_at.into_iter().chain(retry_at).min() {
                None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => {
                    requests.recv_timeout(until.saturating_duration_since(Instant::now()))
                }
            };
            match first {
                Ok(first) => {
                    let mut batch = self.take_used();
                    gather(&mut batch, first, requests);
                    self.carry_out(batch);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let used = self.take_used();
                    self.carry_out(used);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let used = self.take_used();
                    return self.carry_out(used);
                }
            }
            self.retry_when_due();
        }
    }

    /// Those that were used, to be closed before anything is opened: one of them may come again.
    fn take_used(&self) -> Vec<Request> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let count = used.len().min(MAX_BATCH);
        let taken = used.drain(..count).map(|subject| Request::Close {
            subject,
            reply: None,
        });
        taken.collect()
    }

    fn retry_when_due(&mut self) {
        if let Some(full) = self.full.take_if(|full| full.retry_at <= Instant::now()) {
            for request in full.waiting {
                self.carry_out_open(request);
            }
        }
    }

    fn carry_out(&mut self, mut batch: Vec<Request>) {
        // One by one where a removal that finds nothing would fail the others.
        let together = match self.removal {
            Removal::Destroy => true,
            Removal::Delete => batch
                .iter()
                .all(|request| matches!(request, Request::Open(_))),
        };
        if batch.len() > 1 && together && self.full.is_none() {
            let changes: Vec<_> = batch.iter().flat_map(plan).collect();
            match self.connection.transact(&changes, self.removal) {
                Ok(()) => {
                    for request in batch {
                        self.count(&request);
                        finish(request);
                    }
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, requests = batch.len(), "Retrying a failed batch one by one");
                }
            }
        }
        for request in batch.drain(..) {
            match request {
                Request::Open(request) => self.carry_out_open(request),
                Request::Close { subject, reply } => {
                    self.open = self.open.saturating_sub(1);
                    let outcome = self
                        .close(&subject)
                        .map_err(|source| refusal("close", &self.table, subject, source));
                    answer_close(subject, reply, outcome);
                }
            }
        }
    }

    fn count(&mut self, request: &Request) {
        self.open = match request {
            Request::Open(_) => self.open.saturating_add(1),
            Request::Close { .. } => self.open.saturating_sub(1),
        };
    }

    fn carry_out_open(&mut self, mut request: OpenRequest) {
        if request.reply.is_closed() {
            return;
        }
        if let Some(full) = &mut self.full {
            request.refused_at.get_or_insert_with(Instant::now);
            full.waiting.push(request);
            return;
        }
        let error = match self.open(&request.subject, request.lifetime) {
            Ok(()) => {
                self.open = self.open.saturating_add(1);
                return answer_open(request, Ok(()));
            }
            Err(error) => error,
        };
        if is(&error, Errno::NFILE) {
            return self.wait_for_room(request);
        }
        if is_unknown(&error) {
            // Nobody knows whether it is open; it must not be.
            let _ = self.close(&request.subject);
        }
        let refused = refusal("open", &self.table, request.subject, error);
        answer_open(request, Err(refused));
    }

    fn wait_for_room(&mut self, mut request: OpenRequest) {
        let waited = request
            .refused_at
            .get_or_insert_with(Instant::now)
            .elapsed();
        if waited >= FULL_PATIENCE {
            let refused = FirewallError::Full {
                subject: Box::new(request.subject),
                waited_ms: waited.as_millis(),
                table: self.table.clone(),
            };
            answer_open(request, Err(refused));
            return;
        }
        let full = self.full.get_or_insert_with(|| Full {
            retry_at: Instant::now() + FULL_PAUSE,
            waiting: Vec::new(),
        });
        full.waiting.push(request);
    }

    fn open(&mut self, subject: &Subject, lifetime: Duration) -> io::Result<()> {
        let additions = subject.plan_open(lifetime);
        match self.connection.transact(&additions, self.removal) {
            // A leftover with the same key: an update would keep its lifetime on kernels before 6.12.
            Err(error) if is(&error, Errno::EXIST) => {}
            outcome => return outcome,
        }
        match self.removal {
            Removal::Destroy => {
                let mut changes = subject.plan_close();
                changes.extend(additions);
                self.connection.transact(&changes, self.removal)
            }
            Removal::Delete => {
                self.close(subject)?;
                self.connection.transact(&additions, self.removal)
            }
        }
    }

    fn close(&mut self, subject: &Subject) -> io::Result<()> {
        let removals = subject.plan_close();
        let outcome = match self.removal {
            Removal::Destroy => self.connection.transact(&removals, self.removal),
            Removal::Delete => removals.chunks(1).try_for_each(|removal| {
                tolerate_absence(self.connection.transact(removal, self.removal))
            }),
        };
        tolerate_absence(outcome)
    }
}

/// ENOENT says that the element is gone, or its whole table.
fn tolerate_absence(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if is(&error, Errno::NOENT) => Ok(()),
        outcome => outcome,
    }
}

fn gather(batch: &mut Vec<Request>, first: Request, requests: &Receiver<Request>) {
    batch.push(first);
    while batch.len() < MAX_BATCH {
        match requests.try_recv() {
            Ok(request) => batch.push(request),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
        }
    }
}

fn plan(request: &Request) -> Vec<Change> {
    match request {
        Request::Open(request) => request.subject.plan_open(request.lifetime),
        Request::Close { subject, .. } => subject.plan_close(),
    }
}

fn finish(request: Request) {
    match request {
        Request::Open(request) => answer_open(request, Ok(())),
        Request::Close { subject, reply } => answer_close(subject, reply, Ok(())),
    }
}

fn answer_open(request: OpenRequest, outcome: Result<(), FirewallError>) {
    drop(request.permit);
    // Where nobody waits any longer, a close follows.
    let _ = request.reply.send(outcome);
}

fn answer_close(
    subject: Subject,
    reply: Option<oneshot::Sender<Result<(), FirewallError>>>,
    outcome: Result<(), FirewallError>,
) {
    if let (Err(error), None) = (&outcome, &reply) {
        tracing::warn!(%subject, %error, "Could not close it; its lifetime ends it");
    }
    if let Some(reply) = reply {
        // Nobody may be waiting any longer, which changes nothing.
        let _ = reply.send(outcome);
    }
}

fn refusal(doing: &'static str, table: &str, subject: Subject, source: io::Error) -> FirewallError {
    if is(&source, Errno::PERM) {
        return not_permitted(table);
    }
    if is(&source, Errno::NOENT) {
        return FirewallError::TableMissing {
            subject: Box::new(subject),
            table: table.to_owned(),
        };
    }
    FirewallError::Refused {
        doing,
        subject: Box::new(subject),
        source,
    }
}

pub(super) fn is(error: &io::Error, errno: Errno) -> bool {
    Errno::from_io_error(error) == Some(errno)
}

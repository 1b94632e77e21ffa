//! The netlink thread: takes all requests that wait, carries them out in one transaction, and answers.
//!
//! One thread, because another program's big reload can hold a change for 150 ms, and because one
//! transaction for all that wait costs little more than one for each.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::FirewallError;
use super::plan::{Change, Element, plan_close, plan_open};
use super::wire::{Connection, Removal};
use crate::config::Kernel;
use crate::pinhole::Pinhole;

/// Requests carried out in one transaction; at most four changes each, whose 256 answers fit the
/// smallest receive buffer.
pub const MAX_BATCH: usize = 64;
/// Requests to open that may wait at one time; the next waits before it is sent.
pub const MAX_OPEN_REQUESTS: usize = 1024;
/// Pause after a full set. Trying again sooner starves the kernel's collector of expired elements.
pub const FULL_PAUSE: Duration = Duration::from_millis(250);
/// How long a request to open waits for room in the sets, from the first refusal on.
const FULL_PATIENCE: Duration = Duration::from_secs(3);

/// The way to the netlink thread; cheap to clone. The thread ends when the last handle is dropped and
/// all requests are carried out.
#[derive(Clone, Debug)]
pub struct Firewall {
    requests: Sender<Request>,
    open_requests: Arc<Semaphore>,
}

#[derive(Debug)]
enum Request {
    Open(OpenRequest),
    Close {
        pinhole: Pinhole,
        reply: Option<oneshot::Sender<Result<(), FirewallError>>>,
    },
}

#[derive(Debug)]
struct OpenRequest {
    pinhole: Pinhole,
    lifetime: Duration,
    reply: oneshot::Sender<Result<(), FirewallError>>,
    /// When a set was found full first.
    refused_at: Option<Instant>,
    /// Held until the request is answered, even if nobody waits for the answer.
    _permit: OwnedSemaphorePermit,
}

impl Firewall {
    /// Connects to the table that [`super::install`] made and starts the thread.
    ///
    /// # Errors
    /// [`FirewallError::Unprivileged`], [`FirewallError::Netlink`].
    pub fn start(kernel: &Kernel) -> Result<Self, FirewallError> {
        let doing = "open a netlink socket for nftables";
        let mut connection = Connection::open(&kernel.table)
            .map_err(|source| FirewallError::Netlink { doing, source })?;
        let removal = probe(&mut connection)?;
        Self::spawn(connection, removal, kernel)
    }

    /// As [`Firewall::start`], without the message of Linux 6.3 that removes an element which may be gone;
    /// `start` finds out by itself where it is missing.
    ///
    /// # Errors
    /// As [`Firewall::start`].
    pub fn start_without_destroy(kernel: &Kernel) -> Result<Self, FirewallError> {
        let doing = "open a netlink socket for nftables";
        let connection = Connection::open(&kernel.table)
            .map_err(|source| FirewallError::Netlink { doing, source })?;
        Self::spawn(connection, Removal::Delete, kernel)
    }

    fn spawn(
        connection: Connection,
        removal: Removal,
        kernel: &Kernel,
    ) -> Result<Self, FirewallError> {
        let (sender, receiver) = channel();
        let worker = Worker {
            connection,
            removal,
            table: kernel.table.clone(),
            full: None,
        };
        thread::Builder::new()
            .name("nftables".to_owned())
            .spawn(move || worker.run(&receiver))
            .map_err(|source| FirewallError::Netlink {
                doing: "start the nftables thread",
                source,
            })?;
        Ok(Self {
            requests: sender,
            open_requests: Arc::new(Semaphore::new(MAX_OPEN_REQUESTS)),
        })
    }

    /// Opens a pinhole for at most `lifetime`; done when the kernel has committed it. A pinhole with the
    /// same tuple is replaced. If the future is dropped, the pinhole is closed again.
    ///
    /// # Errors
    /// Any [`FirewallError`]; then the pinhole is not open.
    pub async fn open(&self, pinhole: Pinhole, lifetime: Duration) -> Result<(), FirewallError> {
        if mixes_families(&pinhole) {
            return Err(FirewallError::MixedFamilies {
                pinhole: Box::new(pinhole),
            });
        }
        let permit = Arc::clone(&self.open_requests)
            .acquire_owned()
            .await
            .map_err(|_| FirewallError::Stopped)?;
        let (reply, answer) = oneshot::channel();
        let request = Request::Open(OpenRequest {
            pinhole,
            lifetime,
            reply,
            refused_at: None,
            _permit: permit,
        });
        self.requests
            .send(request)
            .map_err(|_| FirewallError::Stopped)?;
        let mut opening = Opening {
            firewall: self,
            pinhole,
            answer,
            answered: false,
        };
        let answer = (&mut opening.answer).await;
        opening.answered = true;
        answer.map_err(|_| FirewallError::Stopped)?
    }

    /// Closes a pinhole; done when the kernel has committed it. One that is gone already is no error.
    ///
    /// # Errors
    /// Any [`FirewallError`]; then the pinhole closes when its lifetime is over.
    pub async fn close(&self, pinhole: Pinhole) -> Result<(), FirewallError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::Close {
                pinhole,
                reply: Some(reply),
            })
            .map_err(|_| FirewallError::Stopped)?;
        answer.await.map_err(|_| FirewallError::Stopped)?
    }

    /// Asks for a pinhole to be closed, without waiting. A failure is logged; the pinhole's lifetime ends
    /// it then.
    ///
    /// The queue has no limit of its own: each open pinhole is closed at most once, so that it is bounded
    /// by the limit on pinholes.
    pub fn close_later(&self, pinhole: Pinhole) {
        let request = Request::Close {
            pinhole,
            reply: None,
        };
        if self.requests.send(request).is_err() {
            tracing::warn!(%pinhole, "The netlink thread has ended; the pinhole closes by its lifetime");
        }
    }
}

/// A request to open whose answer did not come yet.
struct Opening<'a> {
    firewall: &'a Firewall,
    pinhole: Pinhole,
    answer: oneshot::Receiver<Result<(), FirewallError>>,
    answered: bool,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        // In this order: a request that waits for room is not in turn with others, and would be carried
        // out after its close if it could not see that nobody awaits it.
        self.answer.close();
        self.firewall.close_later(self.pinhole);
    }
}

fn mixes_families(pinhole: &Pinhole) -> bool {
    let v4 = pinhole.initiator.is_ipv4();
    [
        pinhole.announced.is_ipv4(),
        pinhole.target.is_ipv4(),
        pinhole.source.is_ipv4(),
    ]
    .iter()
    .any(|&other| other != v4)
}

/// Asks whether the kernel knows DESTROYSETELEM, by destroying an element that nobody adds: 0.0.0.0 port 0.
fn probe(connection: &mut Connection) -> Result<Removal, FirewallError> {
    let absent = Change::Remove {
        element: Element {
            set: "leased4",
            key: vec![0; 8],
            data: None,
        },
    };
    match connection.transact(&[absent], Removal::Destroy) {
        Ok(()) => Ok(Removal::Destroy),
        Err(error) if is(&error, Errno::PERM) => Err(FirewallError::Unprivileged {
            doing: "to change nftables",
        }),
        Err(error) if is(&error, Errno::INVAL) || is(&error, Errno::OPNOTSUPP) => {
            tracing::debug!("The kernel is older than 6.3; removing elements one by one");
            Ok(Removal::Delete)
        }
        Err(source) => Err(FirewallError::Netlink {
            doing: "reach the nftables table",
            source,
        }),
    }
}

struct Worker {
    connection: Connection,
    removal: Removal,
    table: String,
    full: Option<Full>,
}

/// While a set is full.
struct Full {
    retry_at: Instant,
    /// At most [`MAX_OPEN_REQUESTS`], since each holds its permit.
    waiting: Vec<OpenRequest>,
}

impl Worker {
    fn run(mut self, requests: &Receiver<Request>) {
        loop {
            let first = match &self.full {
                None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(full) => {
                    requests.recv_timeout(full.retry_at.saturating_duration_since(Instant::now()))
                }
            };
            match first {
                Ok(first) => {
                    let batch = gather(first, requests);
                    self.carry_out(batch);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.retry_when_due();
        }
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
                Request::Close { pinhole, reply } => {
                    let outcome = self
                        .close(&pinhole)
                        .map_err(|source| refusal("close", &self.table, pinhole, source));
                    answer_close(pinhole, reply, outcome);
                }
            }
        }
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
        let error = match self.open(&request.pinhole, request.lifetime) {
            Ok(()) => return answer_open(request, Ok(())),
            Err(error) => error,
        };
        if is(&error, Errno::NFILE) {
            return self.wait_for_room(request);
        }
        if is(&error, Errno::AGAIN) {
            // Nobody knows whether it is open; it must not be.
            let _ = self.close(&request.pinhole);
        }
        let refused = refusal("open", &self.table, request.pinhole, error);
        answer_open(request, Err(refused));
    }

    fn wait_for_room(&mut self, mut request: OpenRequest) {
        let waited = request
            .refused_at
            .get_or_insert_with(Instant::now)
            .elapsed();
        if waited >= FULL_PATIENCE {
            let refused = FirewallError::Full {
                pinhole: Box::new(request.pinhole),
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

    fn open(&mut self, pinhole: &Pinhole, lifetime: Duration) -> io::Result<()> {
        let additions = plan_open(pinhole, lifetime);
        match self.connection.transact(&additions, self.removal) {
            // A leftover with the same key: an update would keep its lifetime on kernels before 6.12.
            Err(error) if is(&error, Errno::EXIST) => {}
            outcome => return outcome,
        }
        match self.removal {
            Removal::Destroy => {
                let mut changes = plan_close(pinhole);
                changes.extend(additions);
                self.connection.transact(&changes, self.removal)
            }
            Removal::Delete => {
                self.close(pinhole)?;
                self.connection.transact(&additions, self.removal)
            }
        }
    }

    fn close(&mut self, pinhole: &Pinhole) -> io::Result<()> {
        let removals = plan_close(pinhole);
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

fn gather(first: Request, requests: &Receiver<Request>) -> Vec<Request> {
    let mut batch = vec![first];
    while batch.len() < MAX_BATCH {
        match requests.try_recv() {
            Ok(request) => batch.push(request),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
        }
    }
    batch
}

fn plan(request: &Request) -> Vec<Change> {
    match request {
        Request::Open(request) => plan_open(&request.pinhole, request.lifetime),
        Request::Close { pinhole, .. } => plan_close(pinhole),
    }
}

fn finish(request: Request) {
    match request {
        Request::Open(request) => answer_open(request, Ok(())),
        Request::Close { pinhole, reply } => answer_close(pinhole, reply, Ok(())),
    }
}

fn answer_open(request: OpenRequest, outcome: Result<(), FirewallError>) {
    // Where nobody waits any longer, a close follows.
    let _ = request.reply.send(outcome);
}

fn answer_close(
    pinhole: Pinhole,
    reply: Option<oneshot::Sender<Result<(), FirewallError>>>,
    outcome: Result<(), FirewallError>,
) {
    if let (Err(error), None) = (&outcome, &reply) {
        tracing::warn!(%pinhole, %error, "Could not close a pinhole; its lifetime ends it");
    }
    if let Some(reply) = reply {
        // Nobody may be waiting any longer, which changes nothing.
        let _ = reply.send(outcome);
    }
}

fn refusal(doing: &'static str, table: &str, pinhole: Pinhole, source: io::Error) -> FirewallError {
    if is(&source, Errno::PERM) {
        return FirewallError::Unprivileged {
            doing: "to change nftables",
        };
    }
    if is(&source, Errno::NOENT) {
        return FirewallError::TableMissing {
            pinhole: Box::new(pinhole),
            table: table.to_owned(),
        };
    }
    FirewallError::Refused {
        doing,
        pinhole: Box::new(pinhole),
        source,
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    Errno::from_io_error(error) == Some(errno)
}

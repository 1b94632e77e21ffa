//! The way to the netlink thread: asks for pinholes to be opened and closed, from any task.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::{Semaphore, oneshot};

use super::FirewallError;
use super::healer::Healer;
use super::keeper::Keeper;
use super::plan::{Change, Element};
use super::subject::Subject;
use super::window::WindowSpec;
use super::wire::{Connection, Removal};
use super::worker::{OpenRequest, Request, Used, Worker, is};
use crate::config::Kernel;
use crate::pinhole::Pinhole;
use crate::sandbox::{self, keep_only};

/// Requests to open that may wait at one time; the next waits before it is sent.
pub const MAX_OPEN_REQUESTS: usize = 1024;

/// The way to the netlink thread; cheap to clone. The thread ends when the last handle is dropped and
/// all requests are carried out.
#[derive(Clone, Debug)]
pub struct Firewall {
    requests: Sender<Request>,
    open_requests: Arc<Semaphore>,
    used: Used,
    mender: Option<Mender>,
}

/// Who puts the table back where it is found missing.
#[derive(Clone, Debug)]
enum Mender {
    Here(Healer),
    Keeper(Keeper),
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

    /// Lets `healer` put the table back where it is found missing, and tries once more then.
    #[must_use]
    pub fn healed_by(mut self, healer: Healer) -> Self {
        self.mender = Some(Mender::Here(healer));
        self
    }

    /// The same by the keeper, for a process that runs no programs.
    #[must_use]
    pub fn kept_by(mut self, keeper: Keeper) -> Self {
        self.mender = Some(Mender::Keeper(keeper));
        self
    }

    fn spawn(
        connection: Connection,
        removal: Removal,
        kernel: &Kernel,
    ) -> Result<Self, FirewallError> {
        let (sender, receiver) = channel();
        let used = Used::default();
        let worker = Worker::new(connection, removal, kernel.table.clone(), Arc::clone(&used));
        thread::Builder::new()
            .name("nftables".to_owned())
            .spawn(move || {
                if let Err(error) = keep_only(sandbox::NETLINK) {
                    tracing::warn!("the nftables thread: {error}");
                }
                worker.run(&receiver);
            })
            .map_err(|source| FirewallError::Netlink {
                doing: "start the nftables thread",
                source,
            })?;
        Ok(Self {
            requests: sender,
            open_requests: Arc::new(Semaphore::new(MAX_OPEN_REQUESTS)),
            used,
            mender: None,
        })
    }

    /// Opens a pinhole for at most `lifetime`; done when the kernel has committed it. A pinhole with the
    /// same tuple is replaced. If the future is dropped, the pinhole is closed again.
    ///
    /// # Errors
    /// Any [`FirewallError`]; then the pinhole is not open.
    pub async fn open(&self, pinhole: Pinhole, lifetime: Duration) -> Result<(), FirewallError> {
        self.open_subject(Subject::Pinhole(pinhole), lifetime).await
    }

    /// Closes a pinhole; done when the kernel has committed it. One that is gone already is no error.
    ///
    /// # Errors
    /// Any [`FirewallError`]; then the pinhole closes when its lifetime is over.
    pub async fn close(&self, pinhole: Pinhole) -> Result<(), FirewallError> {
        self.close_subject(Subject::Pinhole(pinhole)).await
    }

    /// Asks for a pinhole to be closed, without waiting. A failure is logged; the pinhole's lifetime ends
    /// it then.
    ///
    /// The queue has no limit of its own: each open pinhole is closed at most once, so that it is bounded
    /// by the limit on pinholes.
    pub fn close_later(&self, pinhole: Pinhole) {
        self.close_subject_later(Subject::Pinhole(pinhole));
    }

    /// Takes out what a pinhole that has been used left in the kernel, without waiting: the kernel closed it
    /// with its first connection. Done with the next pinhole that is opened, or within a
    /// quarter of a second, which spares a transaction.
    pub fn close_used(&self, pinhole: Pinhole) {
        // A panic elsewhere leaves the list usable: every change to it is one call.
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.push(Subject::Pinhole(pinhole));
    }

    /// Opens a window for at most `lifetime`; done when the kernel has committed it. Opening it again
    /// begins a new lifetime, and connections that came through it still count. If the future is dropped,
    /// the window is closed.
    ///
    /// A window is the pair's, not a session's: where several sessions need it, the last of them closes it.
    ///
    /// # Errors
    /// Any [`FirewallError`]; then the window is not open, or not renewed.
    pub async fn open_window(
        &self,
        window: WindowSpec,
        lifetime: Duration,
    ) -> Result<(), FirewallError> {
        self.open_subject(Subject::Window(window), lifetime).await
    }

    /// Closes a window to new connections; those that came through it go on. One that is closed already is
    /// no error.
    ///
    /// # Errors
    /// Any [`FirewallError`]; then the window closes when its lifetime is over.
    pub async fn close_window(&self, window: WindowSpec) -> Result<(), FirewallError> {
        self.close_subject(Subject::Window(window)).await
    }

    /// Asks for a window to be closed, without waiting; as [`Firewall::close_later`].
    pub fn close_window_later(&self, window: WindowSpec) {
        self.close_subject_later(Subject::Window(window));
    }

    async fn open_subject(
        &self,
        subject: Subject,
        lifetime: Duration,
    ) -> Result<(), FirewallError> {
        if subject.mixes_families() {
            return Err(FirewallError::MixedFamilies {
                subject: Box::new(subject),
            });
        }
        match self.try_open(subject, lifetime).await {
            Err(error @ FirewallError::TableMissing { .. }) => {
                let mended = match &self.mender {
                    Some(Mender::Here(healer)) => healer.heal_table().await,
                    Some(Mender::Keeper(keeper)) => keeper.heal_table().await,
                    None => false,
                };
                match mended {
                    true => self.try_open(subject, lifetime).await,
                    false => Err(error),
                }
            }
            outcome => outcome,
        }
    }

    async fn try_open(&self, subject: Subject, lifetime: Duration) -> Result<(), FirewallError> {
        let permit = Arc::clone(&self.open_requests)
            .acquire_owned()
            .await
            .map_err(|_| FirewallError::Stopped)?;
        let (reply, answer) = oneshot::channel();
        let request = Request::Open(OpenRequest {
            subject,
            lifetime,
            reply,
            refused_at: None,
            permit,
        });
        self.requests
            .send(request)
            .map_err(|_| FirewallError::Stopped)?;
        let mut opening = Opening {
            firewall: self,
            subject,
            answer,
            answered: false,
        };
        let answer = (&mut opening.answer).await;
        opening.answered = true;
        answer.map_err(|_| FirewallError::Stopped)?
    }

    async fn close_subject(&self, subject: Subject) -> Result<(), FirewallError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::Close {
                subject,
                reply: Some(reply),
            })
            .map_err(|_| FirewallError::Stopped)?;
        answer.await.map_err(|_| FirewallError::Stopped)?
    }

    fn close_subject_later(&self, subject: Subject) {
        let request = Request::Close {
            subject,
            reply: None,
        };
        if self.requests.send(request).is_err() {
            tracing::warn!(%subject, "The netlink thread has ended; what is open closes by its lifetime");
        }
    }
}

/// A request to open whose answer did not come yet.
struct Opening<'a> {
    firewall: &'a Firewall,
    subject: Subject,
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
        self.firewall.close_subject_later(self.subject);
    }
}

/// Asks whether the kernel knows DESTROYSETELEM, by destroying an element that nobody adds: 0.0.0.0 port 0.
fn probe(connection: &mut Connection) -> Result<Removal, FirewallError> {
    let absent = Change::Remove {
        element: Element {
            set: "leased4".into(),
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

//! The way to the netlink thread: asks for pinholes to be opened and closed, from any task.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::{Semaphore, oneshot};

use super::FirewallError;
use super::plan::{Change, Element};
use super::wire::{Connection, Removal};
use super::worker::{OpenRequest, Request, Worker, is};
use crate::config::Kernel;
use crate::pinhole::Pinhole;

/// Requests to open that may wait at one time; the next waits before it is sent.
pub const MAX_OPEN_REQUESTS: usize = 1024;

/// The way to the netlink thread; cheap to clone. The thread ends when the last handle is dropped and
/// all requests are carried out.
#[derive(Clone, Debug)]
pub struct Firewall {
    requests: Sender<Request>,
    open_requests: Arc<Semaphore>,
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
        let worker = Worker::new(connection, removal, kernel.table.clone());
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
            permit,
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

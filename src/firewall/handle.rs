//! The way to the firewall: asks for pinholes to be opened and closed, from any task.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime;

use super::healer::Healer;
use super::order::{Order, Ticket};
use super::outbox::{Outbox, Waiting};
use super::subject::Subject;
use super::ways::ways;
use super::window::WindowSpec;
use super::wire::Removal;
use super::worker::Server;
use super::{FirewallError, Settings};
use crate::pinhole::Pinhole;
use crate::sandbox::{self, keep_only};

/// Requests to open that may wait at one time; the next waits before it is sent.
pub const MAX_OPEN_REQUESTS: usize = 1024;

/// The way to the one who may change the table; cheap to clone. What serves it ends when the last handle
/// of all that were made together is dropped and all requests are carried out.
#[derive(Clone, Debug)]
pub struct Firewall {
    outbox: Arc<Outbox>,
    waiting: Arc<Waiting>,
    line: u16,
    table: Arc<str>,
}

impl Firewall {
    pub(super) fn new(
        outbox: &Arc<Outbox>,
        waiting: &Arc<Waiting>,
        line: u16,
        table: &Arc<str>,
    ) -> Self {
        Self {
            outbox: Arc::clone(outbox),
            waiting: Arc::clone(waiting),
            line,
            table: Arc::clone(table),
        }
    }

    /// Connects to the table that [`super::install`] made, and serves on threads of this process, one of which
    /// keeps CAP_NET_ADMIN.
    ///
    /// # Errors
    /// [`FirewallError::Unprivileged`], [`FirewallError::Netlink`].
    pub fn start(settings: &Settings) -> Result<Self, FirewallError> {
        Self::serve_here(settings, |serving| Server::new(serving, settings, None))
    }

    /// The same; `healer` puts the table back where it is found missing, and what failed for it is tried
    /// once more.
    ///
    /// # Errors
    /// As [`Firewall::start`].
    pub fn start_healed(settings: &Settings, healer: Healer) -> Result<Self, FirewallError> {
        Self::serve_here(settings, |serving| {
            Server::new(serving, settings, Some(healer))
        })
    }

    /// As [`Firewall::start`], without the message of Linux 6.3 that removes an element which may be gone;
    /// `start` finds out by itself where it is missing.
    ///
    /// # Errors
    /// As [`Firewall::start`].
    pub fn start_without_destroy(settings: &Settings) -> Result<Self, FirewallError> {
        Self::serve_here(settings, |serving| {
            Server::with_removal(serving, settings, Removal::Delete)
        })
    }

    fn serve_here(
        settings: &Settings,
        server: impl FnOnce(super::Serving) -> Result<Server, FirewallError>,
    ) -> Result<Self, FirewallError> {
        let failed = |source| FirewallError::Netlink {
            doing: "start the threads for nftables",
            source,
        };
        let (asking, serving) = ways(1).map_err(failed)?;
        let server = server(serving)?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        thread::Builder::new()
            .name("nftables".to_owned())
            .spawn(move || {
                if let Err(error) = keep_only(sandbox::NETLINK) {
                    tracing::warn!("the nftables thread: {error}");
                }
                if let Err(error) = server.run() {
                    tracing::error!("the nftables thread has ended: {error}");
                }
            })
            .map_err(failed)?;
        let (tend, mut handles) = asking.handles(&settings.kernel.table);
        let (firewall, listen) = handles.pop().ok_or(FirewallError::Stopped)?;
        let listen = move || {
            runtime.spawn(tend);
            runtime.block_on(listen);
        };
        thread::Builder::new()
            .name("firewall".to_owned())
            .spawn(listen)
            .map_err(failed)?;
        Ok(firewall)
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
    /// Each open pinhole is closed at most once, so that what waits is bounded by the limit on pinholes.
    pub fn close_later(&self, pinhole: Pinhole) {
        self.close_subject_later(Subject::Pinhole(pinhole));
    }

    /// Takes out what a pinhole that has been used left in the kernel, without waiting: the kernel closed it
    /// with its first connection. Done with the next pinhole that is opened, or within half a second,
    /// which spares a transaction.
    pub fn close_used(&self, pinhole: Pinhole) {
        self.outbox.note_used(Subject::Pinhole(pinhole));
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
        let stopped = || FirewallError::Stopped;
        let turn = Arc::clone(&self.outbox.turns).acquire_owned().await;
        let turn = turn.map_err(|_| stopped())?;
        let (number, answer) = self.waiting.add(Some(turn)).ok_or_else(stopped)?;
        let ticket = self.ticket(number);
        let order = Order::Open {
            ticket,
            subject,
            lifetime,
        };
        self.post(order, ticket)?;
        let mut opening = Opening {
            firewall: self,
            ticket,
            subject,
            answered: false,
        };
        let outcome = answer.await;
        opening.answered = true;
        outcome
            .map_err(|_| stopped())?
            .map_err(|refusal| refusal.into_error("open", subject, &self.table))
    }

    async fn close_subject(&self, subject: Subject) -> Result<(), FirewallError> {
        let stopped = || FirewallError::Stopped;
        let (number, answer) = self.waiting.add(None).ok_or_else(stopped)?;
        let ticket = self.ticket(number);
        let order = Order::Close {
            ticket: Some(ticket),
            subject,
        };
        self.post(order, ticket)?;
        answer
            .await
            .map_err(|_| stopped())?
            .map_err(|refusal| refusal.into_error("close", subject, &self.table))
    }

    fn close_subject_later(&self, subject: Subject) {
        self.post_later(Order::Close {
            ticket: None,
            subject,
        });
    }

    fn post_later(&self, order: Order) {
        if let Err(error) = self.outbox.post(order) {
            tracing::warn!("not closed ({error}); what is open closes by its lifetime");
        }
    }

    fn ticket(&self, number: u64) -> Ticket {
        Ticket {
            line: self.line,
            number,
        }
    }

    fn post(&self, order: Order, ticket: Ticket) -> Result<(), FirewallError> {
        self.outbox.post(order).map_err(|error| {
            tracing::debug!(%error, "nobody takes orders any longer");
            self.waiting.forget(ticket);
            FirewallError::Stopped
        })
    }
}

/// A request to open whose answer did not come yet.
struct Opening<'a> {
    firewall: &'a Firewall,
    ticket: Ticket,
    subject: Subject,
    answered: bool,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.firewall.post_later(Order::Cancel {
                ticket: self.ticket,
                subject: self.subject,
            });
        }
    }
}

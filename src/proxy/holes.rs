//! What a session holds of its pinholes and its window: leases, places, kernel elements, relays. All
//! of it is given back when it is closed, or when the session is dropped.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::audit;
use crate::conntrack::Key;
use crate::firewall::WindowSpec;
use crate::inspect::{Carriage, PinholeNews, WindowNews};
use crate::net::{self, PortLease};
use crate::pinhole::{Pinhole, PinholeId};
use crate::relay::{self, Expected, Order, RelayEvent};
use crate::rules::{DataPath, Window};

use super::Shared;
use super::counts::Place;
use super::flows::{News, Pair};
use super::mailbox::Mailbox;

/// The pinholes and the window of one session.
#[derive(Debug)]
pub(super) struct Holes {
    shared: Arc<Shared>,
    about: Arc<audit::Session>,
    /// Few at a time, in no order; without room where there are none, as there mostly are.
    held: Vec<(PinholeId, Held)>,
    /// The address that ports were leased on last, and whether it is this machine's. It is one of the
    /// session's own legs, which does not outlive its address.
    leased_on: Option<(IpAddr, bool)>,
    window: Option<Box<WindowSpec>>,
    /// Whose window was closed and is followed still.
    drained: Option<Box<Pair>>,
    /// `None` while nothing is held.
    news: Option<Arc<Mailbox>>,
}

/// What is held for one pinhole.
#[derive(Debug, Default)]
struct Held {
    lease: Option<PortLease>,
    /// In the kernel, and followed there.
    kernel: Option<Pinhole>,
    relay: Option<Expected>,
    /// Counts it as long as it is open.
    place: Option<Place>,
}

impl Holes {
    /// Begins with nothing.
    pub(super) fn new(shared: Arc<Shared>, about: Arc<audit::Session>) -> Self {
        Self {
            shared,
            about,
            held: Vec::new(),
            leased_on: None,
            window: None,
            drained: None,
            news: None,
        }
    }

    /// The oldest news of what is held.
    pub(super) fn take_news(&mut self) -> Option<News> {
        self.news.as_ref()?.take()
    }

    /// Ready once somebody wakes the session for news.
    pub(super) fn poll_woken(&self, context: &Context<'_>) -> Poll<()> {
        match &self.news {
            Some(news) => news.poll_woken(context),
            None => Poll::Pending,
        }
    }

    /// Where news of what is held arrive.
    fn mailbox(&mut self) -> Arc<Mailbox> {
        Arc::clone(self.news.get_or_insert_default())
    }

    fn find(&self, id: PinholeId) -> Option<&Held> {
        let mut held = self.held.iter();
        held.find_map(|(own, held)| (*own == id).then_some(held))
    }

    fn find_mut(&mut self, id: PinholeId) -> Option<&mut Held> {
        let mut held = self.held.iter_mut();
        held.find_map(|(own, held)| (*own == id).then_some(held))
    }

    /// What is held for a pinhole from here on, in place of what was.
    fn hold(&mut self, id: PinholeId, held: Held) {
        self.held.retain(|(own, _)| *own != id);
        // Most sessions never hold two.
        self.held.reserve_exact(1);
        self.held.push((id, held));
    }

    /// Whether a connection is waited for here and not in the kernel.
    pub(super) fn is_relayed(&self, id: PinholeId) -> bool {
        self.find(id).is_some_and(|held| held.relay.is_some())
    }

    /// Whether a pinhole has been used after all, by what the kernel announced and nobody took so far; it is
    /// among the news then.
    pub(super) fn look_for_use(&self, id: PinholeId) -> bool {
        let used = || {
            let news =
                |news: &News| matches!(news, News::Pinhole(of, PinholeNews::Used) if *of == id);
            self.news.as_ref().is_some_and(|own| own.has(news))
        };
        let held = self.find(id).filter(|held| held.place.is_some());
        let pinhole = held.and_then(|held| held.kernel);
        if let (Some(pinhole), Some(kernel)) = (pinhole, &self.shared.kernel)
            && !used()
        {
            kernel.watcher.look(&Key::from(&pinhole));
        }
        used()
    }

    /// Finds a free port, and keeps it for the pinhole.
    pub(super) fn lease_port(&mut self, id: PinholeId, address: IpAddr) -> Option<u16> {
        // An address that is not this machine's (a client's, a NAT64 one) takes packets only where
        // the kernel is told to hand them over.
        let lease = match self.is_local(address) {
            false => self.shared.ports.lease_transparent(address),
            true => self.shared.ports.lease(address),
        };
        let port = lease.as_ref().map(PortLease::port);
        let held = Held {
            lease,
            ..Held::default()
        };
        self.hold(id, held);
        port
    }

    fn is_local(&mut self, address: IpAddr) -> bool {
        match self.leased_on {
            Some((known, local)) if known == address => local,
            Some(_) | None => {
                // What cannot be looked up shows when it is bound.
                let local = net::is_local(address).unwrap_or(true);
                self.leased_on = Some((address, local));
                local
            }
        }
    }

    /// Opens a pinhole; done when the connection may come.
    ///
    /// # Errors
    /// Says why not, in words for the client.
    pub(super) async fn open(
        &mut self,
        id: PinholeId,
        pinhole: Pinhole,
        carriage: Carriage,
        lifetime: Duration,
    ) -> Result<(), String> {
        let client = self.about.client.ip();
        let place = self.shared.counts.enter_pinhole(client)?;
        let held = Held {
            lease: self.find_mut(id).and_then(|held| held.lease.take()),
            kernel: matches!(carriage.path, DataPath::Kernel).then_some(pinhole),
            relay: None,
            place: Some(place),
        };
        self.hold(id, held);
        match carriage.path {
            DataPath::Kernel => self.open_in_kernel(id, pinhole, lifetime).await,
            DataPath::Relay => self.open_relay(id, pinhole, carriage, lifetime),
        }
    }

    async fn open_in_kernel(
        &mut self,
        id: PinholeId,
        pinhole: Pinhole,
        lifetime: Duration,
    ) -> Result<(), String> {
        let (session, news) = (self.about.id, self.mailbox());
        let Some(firewall) = self.shared.firewall() else {
            return Err("this gate has no data path in the kernel".to_owned());
        };
        // Followed first: the connection may come the moment the kernel lets it.
        let key = Key::from(&pinhole);
        self.shared.flows.follow(key, session, id, news);
        let asked = self.shared.monitor.pinhole_asked();
        let opened = firewall.open(pinhole, lifetime).await;
        drop(asked);
        opened.map_err(|error| {
            tracing::warn!(session = self.about.id, %pinhole, "pinhole not opened: {error}");
            "the firewall did not take it".to_owned()
        })
    }

    fn open_relay(
        &mut self,
        id: PinholeId,
        pinhole: Pinhole,
        carriage: Carriage,
        lifetime: Duration,
    ) -> Result<(), String> {
        let news = self.mailbox();
        let lease = self.find_mut(id).and_then(|held| held.lease.take());
        let Some(lease) = lease else {
            return Err("no port to listen on".to_owned());
        };
        let order = Order {
            pinhole,
            lifetime,
            max_bytes: carriage.max_bytes,
            connect_timeout: self.shared.limits.connect_timeout,
        };
        let tell = move |event| {
            let news_of_it = match event {
                RelayEvent::Used => PinholeNews::Used,
                RelayEvent::Closed {
                    counters,
                    duration,
                    truncated,
                } => PinholeNews::Closed {
                    counters: Some(counters),
                    duration: Some(duration),
                    cut: truncated,
                },
            };
            news.send(News::Pinhole(id, news_of_it));
        };
        match relay::expect(order, lease, tell) {
            Ok(expected) => {
                if let Some(held) = self.find_mut(id) {
                    held.relay = Some(expected);
                }
                Ok(())
            }
            Err(error) => {
                tracing::warn!(session = self.about.id, %pinhole, "relay not opened: {error}");
                Err("the relay could not be set up".to_owned())
            }
        }
    }

    /// Lets a relayed connection carry no more than this.
    pub(super) fn bound(&mut self, id: PinholeId, max_bytes: u64) {
        match self.find(id).and_then(|held| held.relay.as_ref()) {
            Some(relay) => relay.bound(max_bytes),
            None => {
                tracing::debug!(session = self.about.id, %id, max_bytes, "the kernel bounds nothing");
            }
        }
    }

    /// Closes a pinhole to connections that have not come; one that stands goes on. Done when the kernel
    /// has closed it: the line that comes next may tell a peer that all is over.
    pub(super) async fn close(&mut self, id: PinholeId) {
        let (Some(pinhole), Some(firewall)) = (self.let_go(id), self.shared.firewall()) else {
            return;
        };
        if let Err(error) = firewall.close(pinhole).await {
            tracing::warn!(session = self.about.id, %pinhole, "pinhole not closed, its lifetime ends it: {error}");
        }
    }

    /// Takes out what a used pinhole left.
    pub(super) fn close_used(&mut self, id: PinholeId) {
        if let (Some(pinhole), Some(firewall)) = (self.let_go(id), self.shared.firewall()) {
            firewall.close_used(pinhole);
        }
    }

    /// Closes one that may not have been used, without waiting.
    fn close_later(&mut self, id: PinholeId) {
        if let (Some(pinhole), Some(firewall)) = (self.let_go(id), self.shared.firewall()) {
            firewall.close_later(pinhole);
        }
    }

    /// Gives back what a pinhole holds here; the pinhole, where the kernel has to close it.
    fn let_go(&mut self, id: PinholeId) -> Option<Pinhole> {
        let held = self.find_mut(id)?;
        held.lease = None;
        held.relay = None;
        held.place.take()?;
        held.kernel
    }

    /// Nothing more is wanted about it.
    pub(super) fn forget(&mut self, id: PinholeId) {
        self.close_later(id);
        if let Some(pinhole) = self.find(id).and_then(|held| held.kernel) {
            let key = Key::from(&pinhole);
            self.shared.flows.leave(key, self.about.id, id);
        }
        self.held.retain(|(own, _)| *own != id);
        if self.held.is_empty() {
            self.held = Vec::new();
            let heard = |news: &mut Arc<Mailbox>| news.is_empty();
            if self.window.is_none() && self.drained.is_none() {
                self.news.take_if(heard);
            }
        }
    }

    /// What the kernel has counted so far.
    pub(super) fn measure(&self, id: PinholeId) -> PinholeNews {
        let measured = self.shared.kernel.as_ref().and_then(|kernel| {
            let pinhole = self.find(id)?.kernel?;
            kernel.watcher.measure(&Key::from(&pinhole))
        });
        let (counters, duration) = measured.unzip();
        PinholeNews::Closed {
            counters,
            duration,
            cut: false,
        }
    }

    /// Opens the session's window, or goes on holding it open.
    pub(super) async fn open_window(&mut self, window: &Window, lifetime: Duration) {
        let (about, news) = (Arc::clone(&self.about), self.mailbox());
        let index = self.shared.windows.iter().position(|known| known == window);
        let (Some(index), Some(firewall), Some(seen)) = (index, self.shared.firewall(), about.seen)
        else {
            return tell_refused(&news, "this gate has no windows");
        };
        let (client, dialled) = (about.client.ip(), about.dialled.ip());
        let spec = WindowSpec {
            window: index,
            client,
            dialled,
            server: about.server.ip(),
            source: seen.ip(),
        };
        self.window = Some(Box::new(spec));
        let flows = &self.shared.flows;
        flows.follow_window((client, dialled), about.id, Arc::clone(&news));
        if let Err(error) = firewall.open_window(spec, lifetime).await {
            tracing::warn!(session = about.id, window = %spec, "window not opened: {error}");
            tell_refused(&news, "the firewall did not take the window");
        }
    }

    /// Closes the session's window, unless another session between the same hosts needs it. What came
    /// through it is followed until this is dropped.
    pub(super) fn close_window(&mut self) {
        let Some(spec) = self.window.take() else {
            return;
        };
        let pair = (spec.client, spec.dialled);
        let left = self.shared.flows.drain_window(pair, self.about.id);
        self.drained = Some(Box::new(pair));
        if let (0, Some(firewall)) = (left, self.shared.firewall()) {
            firewall.close_window_later(*spec);
        }
    }
}

impl Drop for Holes {
    fn drop(&mut self) {
        self.close_window();
        if let Some(pair) = self.drained.take() {
            self.shared.flows.leave_window(*pair, self.about.id);
        }
        while let Some(&(id, _)) = self.held.first() {
            self.forget(id);
        }
    }
}

fn tell_refused(news: &Mailbox, reason: &str) {
    news.send(News::Window(WindowNews::Refused(reason.to_owned())));
}

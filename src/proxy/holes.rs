//! What a session holds of its pinholes and its window: leases, places, kernel elements, relays. All
//! of it is given back when it is closed, or when the session is dropped.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::conntrack::Key;
use crate::firewall::WindowSpec;
use crate::inspect::{Carriage, PinholeNews, WindowNews};
use crate::nat::Legs;
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
    session: u64,
    legs: Legs,
    held: BTreeMap<PinholeId, Held>,
    /// The address that ports were leased on last, and whether it is this machine's. It is one of the
    /// session's own legs, which does not outlive its address.
    leased_on: Option<(IpAddr, bool)>,
    window: Option<WindowSpec>,
    /// Whose window was closed and is followed still.
    drained: Option<Pair>,
    news: Arc<Mailbox>,
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
    pub(super) fn new(shared: Arc<Shared>, session: u64, legs: Legs) -> Self {
        Self {
            shared,
            session,
            legs,
            held: BTreeMap::new(),
            leased_on: None,
            window: None,
            drained: None,
            news: Arc::default(),
        }
    }

    /// The oldest news of what is held.
    pub(super) fn take_news(&mut self) -> Option<News> {
        self.news.take()
    }

    /// Where somebody wakes the session for news.
    pub(super) fn mailbox(&self) -> &Mailbox {
        &self.news
    }

    /// Whether a connection is waited for here and not in the kernel.
    pub(super) fn is_relayed(&self, id: PinholeId) -> bool {
        self.held.get(&id).is_some_and(|held| held.relay.is_some())
    }

    /// Whether a pinhole has been used after all, by what the kernel announced and nobody took so far; it is
    /// among the news then.
    pub(super) fn look_for_use(&self, id: PinholeId) -> bool {
        let used = || {
            let news =
                |news: &News| matches!(news, News::Pinhole(of, PinholeNews::Used) if *of == id);
            self.news.has(news)
        };
        let held = self.held.get(&id).filter(|held| held.place.is_some());
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
        self.held.insert(
            id,
            Held {
                lease,
                ..Held::default()
            },
        );
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
        let place = self.shared.counts.enter_pinhole(self.legs.client)?;
        let held = self.held.entry(id).or_default();
        held.place = Some(place);
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
        let Some(kernel) = &self.shared.kernel else {
            return Err("this gate has no data path in the kernel".to_owned());
        };
        self.held.entry(id).or_default().kernel = Some(pinhole);
        // Followed first: the connection may come the moment the kernel lets it.
        self.shared
            .flows
            .follow(Key::from(&pinhole), self.session, id, self.news.clone());
        let asked = self.shared.monitor.pinhole_asked();
        let opened = kernel.firewall.open(pinhole, lifetime).await;
        drop(asked);
        opened.map_err(|error| {
            tracing::warn!(session = self.session, %pinhole, "pinhole not opened: {error}");
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
        let held = self.held.entry(id).or_default();
        let Some(lease) = held.lease.take() else {
            return Err("no port to listen on".to_owned());
        };
        let order = Order {
            pinhole,
            lifetime,
            max_bytes: carriage.max_bytes,
            connect_timeout: self.shared.limits.connect_timeout,
        };
        let news = self.news.clone();
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
                held.relay = Some(expected);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(session = self.session, %pinhole, "relay not opened: {error}");
                Err("the relay could not be set up".to_owned())
            }
        }
    }

    /// Lets a relayed connection carry no more than this.
    pub(super) fn bound(&mut self, id: PinholeId, max_bytes: u64) {
        match self.held.get(&id).and_then(|held| held.relay.as_ref()) {
            Some(relay) => relay.bound(max_bytes),
            None => {
                tracing::debug!(session = self.session, %id, max_bytes, "the kernel bounds nothing");
            }
        }
    }

    /// Closes a pinhole to connections that have not come; one that stands goes on. Done when the kernel
    /// has closed it: the line that comes next may tell a peer that all is over.
    pub(super) async fn close(&mut self, id: PinholeId) {
        let (Some(pinhole), Some(kernel)) = (self.let_go(id), &self.shared.kernel) else {
            return;
        };
        if let Err(error) = kernel.firewall.close(pinhole).await {
            tracing::warn!(session = self.session, %pinhole, "pinhole not closed, its lifetime ends it: {error}");
        }
    }

    /// Takes out what a used pinhole left.
    pub(super) fn close_used(&mut self, id: PinholeId) {
        if let (Some(pinhole), Some(kernel)) = (self.let_go(id), &self.shared.kernel) {
            kernel.firewall.close_used(pinhole);
        }
    }

    /// Closes one that may not have been used, without waiting.
    fn close_later(&mut self, id: PinholeId) {
        if let (Some(pinhole), Some(kernel)) = (self.let_go(id), &self.shared.kernel) {
            kernel.firewall.close_later(pinhole);
        }
    }

    /// Gives back what a pinhole holds here; the pinhole, where the kernel has to close it.
    fn let_go(&mut self, id: PinholeId) -> Option<Pinhole> {
        let held = self.held.get_mut(&id)?;
        held.lease = None;
        held.relay = None;
        held.place.take()?;
        held.kernel
    }

    /// Nothing more is wanted about it.
    pub(super) fn forget(&mut self, id: PinholeId) {
        self.close_later(id);
        if let Some(Held {
            kernel: Some(pinhole),
            ..
        }) = self.held.remove(&id)
        {
            self.shared
                .flows
                .leave(Key::from(&pinhole), self.session, id);
        }
    }

    /// What the kernel has counted so far.
    pub(super) fn measure(&self, id: PinholeId) -> PinholeNews {
        let measured = self.shared.kernel.as_ref().and_then(|kernel| {
            let pinhole = self.held.get(&id)?.kernel?;
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
        let Legs {
            client,
            dialled,
            server,
            seen,
        } = self.legs;
        let index = self.shared.windows.iter().position(|known| known == window);
        let (Some(index), Some(kernel)) = (index, &self.shared.kernel) else {
            return self.tell_refused("this gate has no windows");
        };
        let spec = WindowSpec {
            window: index,
            client,
            dialled,
            server,
            source: seen,
        };
        self.window = Some(spec);
        self.shared
            .flows
            .follow_window((client, dialled), self.session, self.news.clone());
        if let Err(error) = kernel.firewall.open_window(spec, lifetime).await {
            tracing::warn!(session = self.session, window = %spec, "window not opened: {error}");
            self.tell_refused("the firewall did not take the window");
        }
    }

    fn tell_refused(&self, reason: &str) {
        let refused = News::Window(WindowNews::Refused(reason.to_owned()));
        self.news.send(refused);
    }

    /// Closes the session's window, unless another session between the same hosts needs it. What came
    /// through it is followed until this is dropped.
    pub(super) fn close_window(&mut self) {
        let Some(spec) = self.window.take() else {
            return;
        };
        let pair = (spec.client, spec.dialled);
        let left = self.shared.flows.drain_window(pair, self.session);
        self.drained = Some(pair);
        if let (0, Some(kernel)) = (left, &self.shared.kernel) {
            kernel.firewall.close_window_later(spec);
        }
    }
}

impl Drop for Holes {
    fn drop(&mut self) {
        self.close_window();
        if let Some(pair) = self.drained.take() {
            self.shared.flows.leave_window(pair, self.session);
        }
        while let Some((&id, _)) = self.held.first_key_value() {
            self.forget(id);
        }
    }
}

//! One session: drives an inspector with two sockets, a clock and the kernel's news.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time;

use crate::audit::{self, Entry};
use crate::inspect::{
    Action, EndReason, Event, Inspector, ListenerRules, PinholeNews, Record, Room, Settings, Side,
};

use crate::monitor::Watched;
use crate::pinhole::PinholeId;

use super::Shared;
use super::counts::Place;
use super::flows::News;
use super::holes::Holes;
use super::legs::{Leg, Taken};
use super::orders::Orders;

/// How long the last bytes may take to be written once a session closes.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

thread_local! {
    /// What the sessions of a thread work in, one after the other.
    static ROOM: RefCell<Room> = RefCell::default();
}

/// What is left to be waited for of an action.
type Rest<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A session whose two connections stand.
pub(super) struct Session {
    shared: Arc<Shared>,
    id: u64,
    about: Arc<audit::Session>,
    watched: Watched,
    inspector: Inspector,
    client: Leg,
    server: Leg,
    holes: Holes,
    /// The record could not be kept: nothing more is carried out.
    unrecorded: bool,
    /// The client broke the connection, so the server's is broken too, or the other way round.
    broken: bool,
    closing: bool,
    /// Counts the session as long as it lives.
    _place: Place,
}

/// Why a session's turn has come.
enum Wake {
    /// There are new rules, or portcullis stops.
    Told,
    /// This side may have sent something.
    Readable(Side),
    /// A peer takes bytes again, or there is news of the data.
    TurnDue,
    /// The inspector's deadline.
    Deadline,
}

impl Session {
    pub(super) fn new(
        shared: Arc<Shared>,
        about: audit::Session,
        settings: Settings,
        (client, server): (TcpStream, TcpStream),
        place: Place,
    ) -> Self {
        let about = Arc::new(about);
        let watched = shared.monitor.watch(&about, SystemTime::now());
        let holes = Holes::new(Arc::clone(&shared), Arc::clone(&about));
        Self {
            id: about.id,
            inspector: Inspector::new(settings, Instant::now()),
            client: Leg::new(client),
            server: Leg::new(server),
            holes,
            unrecorded: false,
            broken: false,
            closing: false,
            _place: place,
            shared,
            about,
            watched,
        }
    }

    /// Serves the session to its end.
    pub(super) async fn run(&mut self, Orders { rules, told }: &mut Orders) {
        // These last from turn to turn: to begin and end them at each costs more than what a turn does.
        let mut notified = pin!(told.notified(self.id));
        let mut alarm = pin!(time::sleep(Duration::ZERO));
        let mut stopping = false;
        loop {
            self.take_news();
            self.carry_out().await;
            // A leg that broke is news, and what follows from it waits for nothing.
            if self.flush().await {
                continue;
            }
            if self.inspector.is_over() {
                break;
            }
            if self.hear(rules, &mut stopping) {
                continue;
            }
            ROOM.with_borrow_mut(|room| self.inspector.give_back(room));
            let deadline = self.inspector.poll_timeout();
            if let Some(deadline) = deadline {
                alarm.as_mut().reset(deadline.into());
            }
            let held_up = self.server.is_full() || self.client.takes_nothing();
            let read_client = self.inspector.wants(Side::Client) && !held_up;
            let held_up = self.client.is_full() || self.server.takes_nothing();
            let read_server = self.inspector.wants(Side::Server) && !held_up;
            let wake = poll_fn(|context| {
                // First: what a peer sends after a reload was told as done is decided by its rules.
                if rules.has_changed().unwrap_or(false) || (!stopping && self.stops()) {
                    return Poll::Ready(Wake::Told);
                }
                if read_server && self.server.poll_readable(context).is_ready() {
                    return Poll::Ready(Wake::Readable(Side::Server));
                }
                if read_client && self.client.poll_readable(context).is_ready() {
                    return Poll::Ready(Wake::Readable(Side::Client));
                }
                let writable = self.client.poll_writable(context).is_ready()
                    || self.server.poll_writable(context).is_ready();
                if writable || self.holes.poll_woken(context).is_ready() {
                    return Poll::Ready(Wake::TurnDue);
                }
                if deadline.is_some() && alarm.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Wake::Deadline);
                }
                notified.as_mut().poll(context).map(|()| Wake::Told)
            });
            match wake.await {
                Wake::Told => notified.set(told.notified(self.id)),
                Wake::Readable(side) => self.read(side),
                Wake::TurnDue => {}
                Wake::Deadline => self.inspector.handle_timeout(Instant::now()),
            }
        }
    }

    /// Takes new rules, and that portcullis stops; gives whether there was one of the two.
    fn hear(&mut self, rules: &mut watch::Receiver<ListenerRules>, stopping: &mut bool) -> bool {
        // An error means that nobody is left who could give new ones.
        let changed = rules.has_changed().unwrap_or(false);
        if changed {
            let rules = rules.borrow_and_update().clone();
            self.inspector.handle_rules(rules, Instant::now());
        }
        // Said once; what is left ends by its deadlines.
        let stops = !*stopping && self.stops();
        if stops {
            let text = "The FTP gate is stopping.";
            self.inspector
                .handle_stop(EndReason::Stopping, text, Instant::now());
            *stopping = true;
        }
        changed || stops
    }

    /// Whether portcullis stops; it does as well where nobody is left to say so.
    fn stops(&self) -> bool {
        self.shared.stop.has_changed().unwrap_or(true)
    }

    fn take_news(&mut self) {
        while let Some(news) = self.holes.take_news() {
            match news {
                News::Pinhole(id, news) => self.inspector.handle_pinhole(id, news, Instant::now()),
                News::Window(news) => self.inspector.handle_window(news, Instant::now()),
            }
        }
    }

    fn read(&mut self, side: Side) {
        let (leg, inspector) = match side {
            Side::Client => (&mut self.client, &mut self.inspector),
            Side::Server => (&mut self.server, &mut self.inspector),
        };
        ROOM.with_borrow_mut(|room| inspector.lend(room));
        let monitor = self.watched.monitor();
        let taken = leg.take(|bytes, urgent| {
            let now = Instant::now();
            inspector.handle_clock(jiff::Timestamp::now(), now);
            if urgent && side == Side::Client {
                inspector.handle_urgent();
            }
            match side {
                Side::Client => inspector.handle_client(bytes, now),
                Side::Server => inspector.handle_server(bytes, now),
            }
            monitor.inspection_took(now.elapsed());
        });
        match taken {
            Ok(Taken::Bytes | Taken::Nothing) => {}
            Ok(Taken::Finished) => inspector.handle_finish(side, Instant::now()),
            Err(error) => {
                tracing::debug!(session = self.id, ?side, %error, "control connection broke");
                self.broken = true;
                inspector.handle_reset(side, Instant::now());
            }
        }
    }

    async fn carry_out(&mut self) {
        while let Some(action) = self.inspector.poll_action() {
            if let Some(rest) = self.begin(action) {
                rest.await;
            }
        }
    }

    /// Does what can be done at once, and gives what has to be waited for: on the heap, as it is seldom, and
    /// idle sessions keep room for it otherwise.
    fn begin(&mut self, action: Action) -> Option<Rest<'_>> {
        match action {
            Action::Record(record) => return self.keep(record),
            // What is not on the record is not done (design: fail closed).
            Action::ToServer(_) | Action::OpenPinhole { .. } | Action::OpenWindow { .. }
                if self.unrecorded => {}
            Action::ToClient(bytes) => self.client.push(bytes),
            Action::ToServer(bytes) => self.server.push(bytes),
            Action::Synch(Side::Client) => self.client.push_synch(),
            Action::Synch(Side::Server) => self.server.push_synch(),
            Action::LeasePort { id, address } => {
                let port = self.holes.lease_port(id, address);
                self.inspector.handle_port(id, port, Instant::now());
            }
            Action::OpenPinhole {
                id,
                pinhole,
                carriage,
                lifetime,
            } => {
                return Some(Box::pin(async move {
                    let opened = self.holes.open(id, pinhole, carriage, lifetime);
                    let news = match opened.await {
                        Ok(()) => PinholeNews::Opened,
                        Err(reason) => PinholeNews::Refused(reason),
                    };
                    self.inspector.handle_pinhole(id, news, Instant::now());
                }));
            }
            Action::BoundPinhole { id, max_bytes } => self.holes.bound(id, max_bytes),
            Action::ClosePinhole { id, used: true } => self.holes.close_used(id),
            Action::ClosePinhole { id, used: false } => {
                let relayed = self.holes.is_relayed(id);
                if !relayed && self.close_if_used(id) {
                    return None;
                }
                return Some(Box::pin(async move {
                    // A fast server has sent all, and says so, before its connection is looked at. What came
                    // before this moment is taken, and nothing after it: peers hear of the end only then.
                    if relayed {
                        yield_now().await;
                        if self.close_if_used(id) {
                            return;
                        }
                    }
                    self.holes.close(id).await;
                }));
            }
            Action::MeasurePinhole { id } => {
                let news = self.holes.measure(id);
                self.inspector.handle_pinhole(id, news, Instant::now());
            }
            Action::ForgetPinhole { id } => self.holes.forget(id),
            Action::OpenWindow { window, lifetime } => {
                return Some(Box::pin(async move {
                    self.holes.open_window(&window, lifetime).await;
                }));
            }
            Action::CloseWindow { .. } => self.holes.close_window(),
            Action::FinishToServer => self.server.finish(),
            Action::FinishToClient => self.client.finish(),
            Action::Close => self.closing = true,
        }
        None
    }

    /// Closes a pinhole that turns out to have been used; gives whether it has.
    fn close_if_used(&mut self, id: PinholeId) -> bool {
        let used = self.holes.look_for_use(id);
        if used {
            self.holes.close_used(id);
            self.take_news();
        }
        used
    }

    fn keep(&mut self, record: Box<Record>) -> Option<Rest<'_>> {
        if self.unrecorded {
            return None;
        }
        let timestamp = SystemTime::now();
        self.watched.observe(&record, timestamp);
        let session = Arc::clone(&self.about);
        let entry = Entry {
            timestamp,
            session,
            record: *record,
        };
        let entry = self.shared.audit.accept_at_once(entry).err()?;
        Some(Box::pin(async move {
            if let Err(error) = self.shared.audit.accept(entry).await {
                tracing::error!(session = self.id, "the record cannot be kept: {error}");
                self.unrecorded = true;
                let text = "The record cannot be kept, so nothing can be done.";
                self.inspector
                    .handle_stop(EndReason::AuditFailed, text, Instant::now());
            }
        }))
    }

    /// Writes what the peers take, and closes where that is due; gives whether a leg broke.
    async fn flush(&mut self) -> bool {
        let mut broke = false;
        if let Err(error) = self.client.flush() {
            self.broke(Side::Client, &error);
            broke = true;
        }
        if let Err(error) = self.server.flush() {
            self.broke(Side::Server, &error);
            broke = true;
        }
        if !self.closing || !(self.client.is_open() || self.server.is_open()) {
            return broke;
        }
        if self.broken {
            self.client.reset();
            self.server.reset();
            return broke;
        }
        Box::pin(self.close()).await;
        broke
    }

    /// Writes what is left, for a while, and closes.
    async fn close(&mut self) {
        for leg in [&mut self.client, &mut self.server] {
            let rest = async {
                while leg.has_unsent() {
                    leg.writable().await;
                    if leg.flush().is_err() {
                        break;
                    }
                }
            };
            if time::timeout(FLUSH_TIMEOUT, rest).await.is_err() {
                tracing::debug!(session = self.id, "last bytes were not taken in time");
            }
            leg.close();
        }
    }

    fn broke(&mut self, side: Side, error: &std::io::Error) {
        tracing::debug!(session = self.id, ?side, %error, "control connection broke");
        self.broken = true;
        match side {
            Side::Client => self.client.reset(),
            Side::Server => self.server.reset(),
        }
        self.inspector.handle_reset(side, Instant::now());
    }
}

/// Records a session that ended before it began.
pub(super) async fn record_refusal(shared: &Shared, about: audit::Session, reason: EndReason) {
    let ended = Event::SessionEnded {
        reason,
        lasted: Duration::ZERO,
        bytes_from_client: 0,
        bytes_from_server: 0,
    };
    let (id, record) = (
        about.id,
        Record {
            user: None,
            event: ended,
        },
    );
    shared.monitor.turned_away(&record);
    let entry = Entry {
        timestamp: SystemTime::now(),
        session: Arc::new(about),
        record,
    };
    if let Err(error) = shared.audit.accept(entry).await {
        tracing::error!(session = id, "the record cannot be kept: {error}");
    }
}

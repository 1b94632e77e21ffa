//! What goes on at this moment, and what was counted since the start: both read from the record as it
//! is made, in one place.
//!
//! Keeps no history; that is the store's.

mod live;
mod metrics;
mod program;
mod reasons;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::metrics::gauge::Gauge;

use crate::audit::{self, RecordHealth};
use crate::config::Limits;
use crate::inspect::{Event, Record};
use crate::net::Shortage;

pub use live::{LivePinhole, LiveSession, SessionState};

use live::Live;
use metrics::Metrics;

/// Watches all sessions of the program.
#[derive(Debug)]
pub struct Monitor {
    metrics: Metrics,
    /// Bounded by the limit on sessions.
    sessions: Mutex<BTreeMap<u64, Arc<Mutex<Live>>>>,
    started: SystemTime,
}

/// One session being watched; it is shown as long as this lives.
#[derive(Debug)]
pub struct Watched {
    monitor: Arc<Monitor>,
    id: u64,
    live: Arc<Mutex<Live>>,
}

/// How reading the rules again went the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesLoaded {
    /// When.
    pub at: SystemTime,
    /// Whether the rules read then are in force.
    pub ok: bool,
    /// What was read, or every problem that was found.
    pub text: String,
}

/// By which way the gate is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminSide {
    /// The unix socket.
    Socket,
    /// The loopback address of the page.
    Page,
}

/// Why a request to the page is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminRefusal {
    /// Neither token nor cookie.
    NoToken,
    /// Another token.
    WrongToken,
    /// Too many of those before.
    TooManyTokens,
    /// A name that is not this machine's own.
    ForeignHost,
    /// Sent by a page from elsewhere.
    ForeignOrigin,
}

impl AdminRefusal {
    const ALL: [Self; 5] = [
        Self::NoToken,
        Self::WrongToken,
        Self::TooManyTokens,
        Self::ForeignHost,
        Self::ForeignOrigin,
    ];
}

/// Counts a connection that asks the gate, as long as it lives.
#[derive(Debug)]
pub struct AdminConnected(Gauge);

impl Drop for AdminConnected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A pinhole that the kernel is asked for; once dropped, the time that took is counted.
#[derive(Debug)]
pub struct PinholeAsked<'a> {
    metrics: &'a Metrics,
    began: Instant,
}

impl Drop for PinholeAsked<'_> {
    fn drop(&mut self) {
        self.metrics.pinhole_requests.dec();
        let took = self.began.elapsed().as_secs_f64();
        self.metrics.pinhole_open.observe(took);
    }
}

impl Monitor {
    /// Begins to count; the limits are told beside the counts.
    pub fn new(started: SystemTime, limits: &Limits) -> Self {
        Self {
            metrics: Metrics::new(started, limits),
            sessions: Mutex::default(),
            started,
        }
    }

    /// When the program was started.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Watches a session that begins.
    pub fn watch(self: &Arc<Self>, about: &Arc<audit::Session>, at: SystemTime) -> Watched {
        self.metrics.session_started(&about.listener);
        let live = Arc::new(Mutex::new(Live::new(Arc::clone(about), at)));
        self.lock().insert(about.id, Arc::clone(&live));
        Watched {
            monitor: Arc::clone(self),
            id: about.id,
            live,
        }
    }

    /// Takes the record of a session that was turned away before it began.
    pub fn turned_away(&self, record: &Record) {
        self.metrics.count(&record.event);
    }

    /// So many clients are being turned away that this one is reset without a word.
    pub fn unanswered(&self) {
        self.metrics.refused("unanswered");
    }

    /// A connection, of a client or of whoever asks the gate, could not be taken.
    pub fn accept_failed(&self, shortage: Option<Shortage>) {
        self.metrics.accept_failed(shortage);
    }

    /// The kernel is asked to open a pinhole; what is given is dropped when it has answered.
    pub fn pinhole_asked(&self) -> PinholeAsked<'_> {
        self.metrics.pinhole_requests.inc();
        PinholeAsked {
            metrics: &self.metrics,
            began: Instant::now(),
        }
    }

    /// Somebody connects to ask the gate.
    pub fn admin_connected(&self, side: AdminSide) -> AdminConnected {
        let connections = self.metrics.program.connections(side);
        connections.inc();
        AdminConnected(connections)
    }

    /// A request to the page was turned away.
    pub fn admin_refused(&self, reason: AdminRefusal) {
        self.metrics.program.refusals(reason).inc();
    }

    /// Takes how long reading a piece of the control channel, and deciding on it, took.
    pub fn inspection_took(&self, time: Duration) {
        self.metrics.inspection.observe(time.as_secs_f64());
    }

    /// All sessions as they are, in the order they began.
    pub fn sessions(&self) -> Vec<LiveSession> {
        // The list first: a session is not held up by the others being looked at.
        let sessions: Vec<_> = self.lock().values().map(Arc::clone).collect();
        let shown = sessions.iter().map(|live| lock(live).show());
        shown.collect()
    }

    /// All counts as OpenMetrics text.
    pub fn scrape(&self, record: &RecordHealth, rules: &RulesLoaded) -> String {
        let sessions = self.sessions();
        self.metrics.scrape(&sessions, record, rules)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Mutex<Live>>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Takes a record of the session, in its turn.
    pub fn observe(&self, record: &Record, at: SystemTime) {
        let metrics = &self.monitor.metrics;
        let mut live = lock(&self.live);
        live.take(record, at);
        if let Event::Decided { verdict, .. } = &record.event {
            live.hits(verdict, metrics).inc();
        }
        drop(live);
        metrics.count(&record.event);
    }

    /// The watch that this session is under.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.monitor.lock().remove(&self.id);
    }
}

fn lock(live: &Mutex<Live>) -> MutexGuard<'_, Live> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

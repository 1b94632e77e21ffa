//! What goes on at this moment, and what was counted since the start: both read from the record as it
//! is made, in one place.
//!
//! Keeps no history; that is the store's.

mod live;
mod metrics;
mod reasons;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::audit::{self, RecordHealth};
use crate::inspect::{Event, Record};

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

impl Monitor {
    /// Begins to count.
    pub fn new(started: SystemTime) -> Self {
        Self {
            metrics: Metrics::new(started),
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

    /// Takes how long the kernel took to open a pinhole, from the request to its word.
    pub fn pinhole_took(&self, time: Duration) {
        self.metrics.pinhole_open.observe(time.as_secs_f64());
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

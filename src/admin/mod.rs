//! How a running gate is asked: one HTTP interface, on a unix socket and, for the page, on loopback.
//!
//! Owns the routes, who may use them, and the client that the command line asks by. What is told comes
//! from the monitor and the store.

mod auth;
mod client;
mod hits;
mod live;
mod page;
mod places;
mod record;
mod routes;
mod serve;
mod status;

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::audit::Audit;
use crate::config::StoreSettings;
use crate::inspect::ListenerRules;
use crate::monitor::{Monitor, RulesLoaded};

pub use auth::MIN_TOKEN;
pub use client::{Client, ClientError};
pub use serve::{Admin, AdminError, Answers};

/// Questions to the store that are answered at one time; the next ones wait.
const MAX_QUESTIONS: usize = 4;

/// Requests for a reload that may wait.
pub const MAX_RELOADS: usize = 4;

/// Asks for the rules to be read again; the answer is how that went.
pub type ReloadRequest = oneshot::Sender<RulesLoaded>;

/// A listener, as it is told.
#[derive(Clone, Debug)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// `transparent` or `published`.
    pub kind: &'static str,
    /// Where it takes connections, in words.
    pub address: String,
    /// The rules that are in force.
    pub rules: watch::Receiver<ListenerRules>,
}

/// What the answers are made of.
#[derive(Debug)]
pub struct Sources {
    /// Live sessions and counts.
    pub monitor: Arc<Monitor>,
    /// The writer of the record.
    pub audit: Audit,
    /// The database of the record; `None` where there is none.
    pub store: Option<StoreSettings>,
    /// The listeners.
    pub listeners: Vec<ListenerView>,
    /// How reading the rules went the last time.
    pub rules_loaded: watch::Receiver<RulesLoaded>,
    /// Has the rules read again.
    pub reloads: mpsc::Sender<ReloadRequest>,
}

/// What all answers share.
#[derive(Clone, Debug)]
struct State {
    sources: Arc<Sources>,
    questions: Arc<Semaphore>,
}

impl State {
    fn new(sources: Sources) -> Self {
        Self {
            sources: Arc::new(sources),
            questions: Arc::new(Semaphore::new(MAX_QUESTIONS)),
        }
    }

    /// All counts as OpenMetrics text.
    fn scrape(&self) -> String {
        let sources = &self.sources;
        let loaded = sources.rules_loaded.borrow().clone();
        sources.monitor.scrape(&sources.audit.health(), &loaded)
    }
}

fn now() -> i64 {
    crate::audit::micros(SystemTime::now())
}

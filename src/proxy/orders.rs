//! What the sessions of one listener are told from outside: new rules, and that portcullis stops.
//!
//! One place to wait for both: each place costs every session memory, and work each time that it waits.

use std::sync::Arc;

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};

use crate::inspect::ListenerRules;

/// Gives new rules to a listener and its sessions.
#[derive(Debug)]
pub struct RulesSender {
    rules: watch::Sender<ListenerRules>,
    told: Arc<Told>,
}

impl RulesSender {
    /// A receiver of the rules, for who only looks at them.
    pub fn subscribe(&self) -> watch::Receiver<ListenerRules> {
        self.rules.subscribe()
    }

    /// Puts rules in force, and gives those that were.
    pub fn send_replace(&self, rules: ListenerRules) -> ListenerRules {
        let before = self.rules.send_replace(rules);
        self.told.wake_all();
        before
    }
}

/// What sessions hear.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    pub(super) rules: watch::Receiver<ListenerRules>,
    pub(super) told: Arc<Told>,
}

/// Where sessions wait until they are to look at the rules again, and whether portcullis stops.
///
/// In several parts: whoever waits locks a part for a moment, on all threads of sessions.
#[derive(Debug, Default)]
pub(super) struct Told {
    parts: [Notify; PARTS],
}

const PARTS: usize = 16;

impl Told {
    /// Waits until something is told after this call, awaited or not.
    pub(super) fn notified(&self, session: u64) -> Notified<'_> {
        let part = usize::try_from(session).unwrap_or_default() % PARTS;
        let [first, ..] = &self.parts;
        self.parts.get(part).unwrap_or(first).notified()
    }

    /// Wakes all who wait.
    pub(super) fn wake_all(&self) {
        for part in &self.parts {
            part.notify_waiters();
        }
    }
}

/// The two ends.
pub(super) fn orders(rules: ListenerRules) -> (RulesSender, Orders) {
    let (sender, rules) = watch::channel(rules);
    let told = Arc::<Told>::default();
    let sender = RulesSender {
        rules: sender,
        told: Arc::clone(&told),
    };
    (sender, Orders { rules, told })
}

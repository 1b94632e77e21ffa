//! Puts back what another program took away: the table after `nft flush ruleset`, or where one of its rules is
//! gone; the policy routing after `ip rule flush`.
//!
//! Looks once a second, because without the table no control connection is taken, and so nobody would
//! notice by failing to open a pinhole; and at once when opening one fails for it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::install::install;
use super::wire::Connection;
use super::{FirewallError, Settings, routing};

/// How often [`Healer::watch`] looks.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How much time is between two attempts at least, so that two programs do not replace each other's
/// tables as fast as they can.
pub const HEAL_PAUSE: Duration = Duration::from_secs(1);

/// Knows what [`install`] put in place, and does it again where it is gone; cheap to clone.
#[derive(Clone, Debug)]
pub struct Healer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    /// What there was after [`install`]: a machine without IPv6 does not miss its routes.
    wanted: Presence,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Handles of the rules that [`install`] made; `None` where they are not known, which the next look makes up for.
    rules: Option<BTreeSet<u64>>,
    last: Option<Attempt>,
    stopped: bool,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    at: Instant,
    healed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Presence {
    table: bool,
    v4: bool,
    v6: bool,
}

impl Healer {
    /// Takes what was installed, and looks which of it is there: call it right behind [`install`].
    pub fn new(settings: Settings) -> Self {
        let wanted = Presence {
            table: true,
            ..Presence::look(&settings)
        };
        let state = State {
            rules: rules_of(&settings),
            ..State::default()
        };
        Self {
            shared: Arc::new(Shared {
                settings,
                wanted,
                state: Mutex::new(state),
            }),
        }
    }

    /// Looks every [`CHECK_INTERVAL`] and puts back what is gone, for ever. Needs a tokio runtime.
    pub async fn watch(&self) {
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.run(|shared| shared.heal(false)).await;
        }
    }

    /// Puts the table back, which did not take a change. Gives whether it is worth trying the change again.
    /// Blocks for as long as `nft` takes.
    pub(super) fn heal_table(&self) -> bool {
        self.shared.heal(true)
    }

    /// Ends healing, after waiting for what is under way: call it before [`super::Installed::remove`].
    pub async fn stop(&self) {
        self.run(|shared| {
            shared.lock().stopped = true;
            false
        })
        .await;
    }

    /// Runs `work` where it may block. It ends even if nobody awaits it, so the lock is taken inside.
    async fn run(&self, work: impl FnOnce(&Shared) -> bool + Send + 'static) -> bool {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.unwrap_or(false)
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heal(&self, table_failed: bool) -> bool {
        let mut state = self.lock();
        if state.stopped {
            return false;
        }
        if let Some(last) = state.last
            && last.at.elapsed() < HEAL_PAUSE
        {
            return last.healed;
        }
        let mut there = Presence::look(&self.settings);
        // Rules that others add are theirs to answer for.
        if let Some(rules) = rules_of(&self.settings) {
            match &state.rules {
                Some(wanted) => there.table &= rules.is_superset(wanted),
                // A table that lies dormant shows none.
                None => state.rules = Some(rules).filter(|rules| !rules.is_empty()),
            }
        }
        if there.has(self.wanted) && !table_failed {
            return true;
        }
        let outcome = self.put_back(there, table_failed);
        let failed_before = state.last.is_some_and(|last| !last.healed);
        match &outcome {
            Ok(notes) => {
                for note in notes {
                    tracing::warn!("{note}");
                }
            }
            Err(error) if failed_before => tracing::debug!(%error, "Could not put it back again"),
            Err(error) => {
                tracing::error!(
                    "what another program removed from the kernel could not be put back: {error}"
                );
            }
        }
        if outcome.is_ok() && (!there.table || table_failed) {
            state.rules = rules_of(&self.settings);
        }
        state.last = Some(Attempt {
            at: Instant::now(),
            healed: outcome.is_ok(),
        });
        outcome.is_ok()
    }

    fn put_back(&self, there: Presence, table_failed: bool) -> Result<Vec<String>, FirewallError> {
        let kernel = &self.settings.kernel;
        if !there.table || table_failed {
            let installed = install(&self.settings)?;
            let mut notes = vec![format!(
                "the table inet {} was removed or changed by another program and is put back; pinholes that \
                 waited are lost: keep that program from `flush ruleset`",
                kernel.table
            )];
            notes.extend_from_slice(installed.notes());
            return Ok(notes);
        }
        let mut notes = vec![format!(
            "the policy routing (mark {:#x}, table {}) was removed by another program and is put back",
            kernel.packet_mark.value, kernel.routing_table
        )];
        routing::add(kernel, &mut notes)?;
        Ok(notes)
    }
}

/// Handles of the table's rules; `None` where nothing is known.
fn rules_of(settings: &Settings) -> Option<BTreeSet<u64>> {
    let rules = Connection::open(&settings.kernel.table).and_then(|mut table| table.rules());
    rules
        .inspect_err(|error| tracing::debug!(%error, "the rules of the table are not known"))
        .ok()
}

impl Presence {
    /// What is in place. Takes some 100 µs.
    fn look(settings: &Settings) -> Self {
        let kernel = &settings.kernel;
        // Where the kernel does not answer, nothing is known to be gone.
        let table =
            Connection::open(&kernel.table).and_then(|mut connection| connection.has_table());
        Self {
            table: table.unwrap_or(true),
            v4: routing::delivers(kernel, routing::INET).unwrap_or(true),
            v6: routing::delivers(kernel, routing::INET6).unwrap_or(true),
        }
    }

    fn has(self, wanted: Self) -> bool {
        self.table >= wanted.table && self.v4 >= wanted.v4 && self.v6 >= wanted.v6
    }
}

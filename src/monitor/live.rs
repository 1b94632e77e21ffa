//! One session as it is at this moment, followed from record to record.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::metrics::counter::Counter;

use crate::audit::{self, micros};
use crate::ftp::Verb;
use crate::inspect::{Event, Mode, Record};
use crate::pinhole::{Pinhole, PinholeId};
use crate::rules::{Decision, RuleName, Verdict};

use super::metrics::Metrics;

/// What a session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// The server has accepted no login.
    Login,
    /// No transfer command waits for its final reply.
    Idle,
    /// One does.
    Transfer,
    /// The control connection is encrypted and not read.
    Tls,
}

/// A session that can be shown. Times are microseconds since 1970 in UTC.
#[derive(Clone, Debug)]
pub struct LiveSession {
    /// Who talks to whom.
    pub about: Arc<audit::Session>,
    /// When it began.
    pub started: i64,
    /// When something of it was last put on the record.
    pub active: i64,
    /// What it is doing.
    pub state: SessionState,
    /// The name given in USER.
    pub user: Option<Arc<str>>,
    /// The last command that was decided on, and its path.
    pub command: Option<(Verb, Option<Arc<str>>)>,
    /// The rule that decided on it.
    pub rule: Option<Arc<RuleName>>,
    /// Transfers that are over.
    pub transfers: u64,
    /// Bytes of their data, whole IP packets, both directions.
    pub bytes: u64,
    /// Commands that were denied.
    pub denied: u64,
    /// The pinhole that is open for it, or whose connection stands.
    pub pinhole: Option<Box<LivePinhole>>,
}

/// A pinhole that can be shown.
#[derive(Clone, Debug)]
pub struct LivePinhole {
    /// Its name in the session.
    pub id: PinholeId,
    /// What it lets through.
    pub pinhole: Pinhole,
    /// Who dials.
    pub mode: Mode,
    /// The rule that allowed it.
    pub rule: Arc<RuleName>,
    /// When it was opened, in microseconds since 1970.
    pub opened: i64,
    /// Whether its one connection was seen.
    pub used: bool,
}

impl LivePinhole {
    /// Who may dial, and from which port where one is demanded.
    pub fn from(&self) -> String {
        let initiator: IpAddr = self.pinhole.initiator;
        match self.pinhole.from_port_20 {
            true => SocketAddr::new(initiator, 20).to_string(),
            false => initiator.to_string(),
        }
    }
}

/// A session being followed.
#[derive(Debug)]
pub(super) struct Live {
    shown: LiveSession,
    /// The counter of the rule that decided last: a rule mostly decides several times in turn.
    last: Option<(Arc<RuleName>, bool, Counter)>,
}

impl Live {
    pub(super) fn new(about: Arc<audit::Session>, at: SystemTime) -> Self {
        let at = micros(at);
        Self {
            shown: LiveSession {
                about,
                started: at,
                active: at,
                state: SessionState::Login,
                user: None,
                command: None,
                rule: None,
                transfers: 0,
                bytes: 0,
                denied: 0,
                pinhole: None,
            },
            last: None,
        }
    }

    pub(super) fn show(&self) -> LiveSession {
        self.shown.clone()
    }

    pub(super) fn take(&mut self, record: &Record, at: SystemTime) {
        let session = &mut self.shown;
        session.active = micros(at);
        if session.user != record.user {
            session.user.clone_from(&record.user);
        }
        match &record.event {
            Event::Decided { command, verdict } => {
                let allowed = verdict.decision == Decision::Allow;
                session.denied += u64::from(!allowed);
                session.rule = Some(Arc::clone(&verdict.rule));
                session.command = Some((command.verb.clone(), command.path.clone()));
                if allowed && session.state == SessionState::Idle && moves_data(&command.verb) {
                    session.state = SessionState::Transfer;
                }
                if matches!(command.verb, Verb::User | Verb::Rein) && allowed {
                    session.state = SessionState::Login;
                }
            }
            Event::Replied { command, code, .. } => {
                let login = matches!(command.verb, Verb::User | Verb::Pass | Verb::Acct);
                match session.state {
                    SessionState::Login if login && matches!(code, 230 | 232 | 202) => {
                        session.state = SessionState::Idle;
                    }
                    SessionState::Transfer if moves_data(&command.verb) => {
                        session.state = SessionState::Idle;
                    }
                    SessionState::Login
                    | SessionState::Idle
                    | SessionState::Transfer
                    | SessionState::Tls => {}
                }
            }
            Event::PinholeOpened {
                id,
                pinhole,
                mode,
                rule,
            } => {
                session.pinhole = Some(Box::new(LivePinhole {
                    id: *id,
                    pinhole: *pinhole,
                    mode: *mode,
                    rule: Arc::clone(rule),
                    opened: micros(at),
                    used: false,
                }));
            }
            Event::PinholeUsed { id, .. } => {
                if let Some(pinhole) = session.pinhole.as_mut().filter(|own| own.id == *id) {
                    pinhole.used = true;
                }
            }
            Event::PinholeUnused { id, .. } => session.close(*id),
            Event::Transferred(transferred) => {
                session.close(transferred.id);
                // Replies that say nothing of note are not on the record.
                if session.state == SessionState::Transfer {
                    session.state = SessionState::Idle;
                }
                session.transfers += 1;
                session.add(transferred.counters.as_ref());
            }
            Event::WindowMoved { counters, .. } => {
                session.transfers += 1;
                session.add(counters.as_ref());
            }
            Event::Secured { .. } => session.state = SessionState::Tls,
            Event::Unsecured => session.state = SessionState::Idle,
            Event::SessionStarted
            | Event::Rewrote { .. }
            | Event::PinholeRefused { .. }
            | Event::Converted { .. }
            | Event::WindowUsed { .. }
            | Event::ClientsUnheard { .. }
            | Event::Violated { .. }
            | Event::SessionEnded { .. } => {}
        }
    }

    /// The counter of what this rule decides in this way.
    pub(super) fn hits(&mut self, verdict: &Verdict, metrics: &Metrics) -> &Counter {
        let allowed = verdict.decision == Decision::Allow;
        let known = self.last.take().filter(|(rule, was_allowed, _)| {
            Arc::ptr_eq(rule, &verdict.rule) && *was_allowed == allowed
        });
        let (_, _, counter) = self.last.insert(known.unwrap_or_else(|| {
            let counter = metrics.decisions_of(&verdict.rule, allowed);
            (Arc::clone(&verdict.rule), allowed, counter)
        }));
        counter
    }
}

impl LiveSession {
    fn close(&mut self, id: PinholeId) {
        if self.pinhole.as_ref().is_some_and(|own| own.id == id) {
            self.pinhole = None;
        }
    }

    fn add(&mut self, counters: Option<&crate::pinhole::Counters>) {
        let bytes = counters.map_or(0, |counted| {
            counted.bytes_forth.saturating_add(counted.bytes_back)
        });
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Whether a final reply to the command is the end of a transfer.
fn moves_data(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Retr | Verb::Stor | Verb::Stou | Verb::Appe | Verb::List | Verb::Nlst | Verb::Mlsd
    )
}

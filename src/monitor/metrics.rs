//! The counts of sessions: their names, what each means, and which event moves which.

use std::time::SystemTime;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::audit::{RecordHealth, words};
use crate::config::Limits;
use crate::firewall::MAX_OPEN_REQUESTS;
use crate::inspect::Event;
use crate::net::Shortage;
use crate::rules::{Decision, RuleName};

use super::live::{LiveSession, SessionState};
use super::program::Program;
use super::{RulesLoaded, reasons};

/// Seconds, from what a cache gives to what a disk takes.
const LATENCIES: [f64; 14] = [
    0.000_002, 0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005,
    0.025, 0.1, 0.5, 2.0,
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfListener {
    listener: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct OfReason {
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfOutcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfTransfer {
    mode: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfRule {
    rule: String,
    file: String,
    decision: &'static str,
}

/// All counts of the program. What can be asked of others is set when it is scraped.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    sessions: Gauge,
    sessions_started: Family<OfListener, Counter>,
    sessions_ended: Family<OfReason, Counter>,
    transfers_running: Gauge,
    transfers: Family<OfTransfer, Counter>,
    data_bytes: Counter,
    data_packets: Counter,
    pinholes: Gauge,
    pinholes_opened: Counter,
    pinholes_ended: Family<OfOutcome, Counter>,
    decisions: Family<OfRule, Counter>,
    refusals: Family<OfReason, Counter>,
    accept_failures: Family<OfReason, Counter>,
    pub(super) program: Program,
    pub(super) pinhole_requests: Gauge,
    pub(super) pinhole_open: Histogram,
    pub(super) inspection: Histogram,
}

impl Metrics {
    pub(super) fn new(started: SystemTime, limits: &Limits) -> Self {
        let mut registry = Registry::default();
        let metrics = Self {
            registry: Registry::default(),
            sessions: Gauge::default(),
            sessions_started: Family::default(),
            sessions_ended: Family::default(),
            transfers_running: Gauge::default(),
            transfers: Family::default(),
            data_bytes: Counter::default(),
            data_packets: Counter::default(),
            pinholes: Gauge::default(),
            pinholes_opened: Counter::default(),
            pinholes_ended: Family::default(),
            decisions: Family::default(),
            refusals: Family::default(),
            accept_failures: Family::default(),
            program: Program::default(),
            pinhole_requests: Gauge::default(),
            pinhole_open: Histogram::new(LATENCIES),
            inspection: Histogram::new(LATENCIES),
        };
        let own = registry.sub_registry_with_prefix("portcullis");
        metrics.register_sessions(own);
        metrics.register_pinholes(own);
        metrics.register_decisions(own);
        for (name, help, limit) in [
            (
                "sessions_limit",
                "Sessions at one time at most (`limits: sessions`)",
                limits.sessions,
            ),
            (
                "pinholes_limit",
                "Pinholes at one time at most (`limits: pinholes`)",
                limits.pinholes,
            ),
            (
                "pinhole_requests_limit",
                "Pinholes that the kernel is asked for at one time at most",
                MAX_OPEN_REQUESTS,
            ),
        ] {
            let gauge: Gauge = Gauge::default();
            gauge.set(number(limit));
            own.register(name, help, gauge);
        }
        metrics.program.register(&mut registry, started);
        metrics.begin_at_zero();
        Self {
            registry,
            ..metrics
        }
    }

    /// What has not happened is told as 0: a first time is seen as an increase.
    fn begin_at_zero(&self) {
        for reason in reasons::REFUSALS {
            drop(self.refusals.get_or_create(&OfReason { reason }));
        }
        for reason in reasons::SHORTAGES {
            drop(self.accept_failures.get_or_create(&OfReason { reason }));
        }
        for outcome in reasons::PINHOLE_ENDS {
            drop(self.pinholes_ended.get_or_create(&OfOutcome { outcome }));
        }
        for mode in reasons::MODES {
            for outcome in reasons::OUTCOMES {
                let kind = OfTransfer { mode, outcome };
                drop(self.transfers.get_or_create(&kind));
            }
        }
    }

    fn register_sessions(&self, registry: &mut Registry) {
        registry.register("sessions", "Sessions at this moment", self.sessions.clone());
        registry.register(
            "sessions_started",
            "Sessions whose two control connections stood",
            self.sessions_started.clone(),
        );
        registry.register(
            "sessions_ended",
            "Sessions that are over, by reason; with those turned away before they began",
            self.sessions_ended.clone(),
        );
        registry.register(
            "transfers_running",
            "Transfer commands without a final reply at this moment",
            self.transfers_running.clone(),
        );
        registry.register(
            "transfers",
            "Transfers that are over, by who dialled and how they ended",
            self.transfers.clone(),
        );
        registry.register_with_unit(
            "data",
            "Bytes of data connections that are over, whole IP packets, both directions",
            Unit::Bytes,
            self.data_bytes.clone(),
        );
        registry.register(
            "data_packets",
            "Packets of data connections that are over, both directions",
            self.data_packets.clone(),
        );
    }

    fn register_pinholes(&self, registry: &mut Registry) {
        registry.register(
            "pinholes",
            "Pinholes that are open, or whose connection stands, at this moment",
            self.pinholes.clone(),
        );
        registry.register(
            "pinholes_opened",
            "Pinholes that were opened",
            self.pinholes_opened.clone(),
        );
        registry.register(
            "pinholes_ended",
            "Pinholes by what became of them: used, not opened (refused), or why they closed unused",
            self.pinholes_ended.clone(),
        );
        registry.register(
            "pinhole_requests",
            "Pinholes that the kernel is asked for and has not acknowledged",
            self.pinhole_requests.clone(),
        );
        registry.register_with_unit(
            "pinhole_open_duration",
            "Time from asking the kernel for a pinhole to its acknowledgement (netlink); relayed data needs none",
            Unit::Seconds,
            self.pinhole_open.clone(),
        );
    }

    fn register_decisions(&self, registry: &mut Registry) {
        registry.register(
            "decisions",
            "Commands that a rule decided on, by rule: its hits",
            self.decisions.clone(),
        );
        registry.register(
            "refusals",
            "What was refused, by reason: policy, pinhole, a session's limit or server, or a break of the protocol",
            self.refusals.clone(),
        );
        registry.register(
            "accept_failures",
            "Times that a connection could not be taken, by what the machine was short of",
            self.accept_failures.clone(),
        );
        registry.register_with_unit(
            "inspection_duration",
            "Time to read a piece of the control channel and to decide on it",
            Unit::Seconds,
            self.inspection.clone(),
        );
    }

    pub(super) fn session_started(&self, listener: &str) {
        let listener = listener.to_owned();
        self.sessions_started
            .get_or_create(&OfListener { listener })
            .inc();
    }

    /// The counter of one rule's decisions, to be kept: looking it up takes longer than counting.
    pub(super) fn decisions_of(&self, rule: &RuleName, allowed: bool) -> Counter {
        let file = rule.at.rsplit_once(':').map_or(&*rule.at, |(file, _)| file);
        self.decisions.get_or_create_owned(&OfRule {
            rule: rule.id.clone(),
            file: file.to_owned(),
            decision: if allowed { "allow" } else { "deny" },
        })
    }

    /// Takes one event; decisions are counted by [`Self::decisions_of`].
    pub(super) fn count(&self, event: &Event) {
        match event {
            Event::Decided { verdict, .. } => {
                if let Decision::Deny(_) = verdict.decision {
                    self.refused("policy");
                }
            }
            Event::PinholeOpened { .. } => {
                self.pinholes_opened.inc();
            }
            Event::PinholeUsed { .. } => self.pinhole_ended("used"),
            Event::PinholeUnused { reason, .. } => {
                self.pinhole_ended(words::pinhole_end(*reason));
            }
            Event::PinholeRefused { .. } => {
                self.pinhole_ended("refused");
                self.refused("pinhole");
            }
            Event::Transferred(transferred) => {
                let kind = OfTransfer {
                    mode: words::mode(transferred.mode),
                    outcome: words::outcome(transferred.outcome),
                };
                self.transfers.get_or_create(&kind).inc();
                self.moved(transferred.counters.as_ref());
            }
            Event::WindowMoved { counters, .. } => self.moved(counters.as_ref()),
            Event::Violated { violation, .. } => self.refused(reasons::violation(violation)),
            Event::SessionEnded { reason, .. } => {
                let ended = OfReason {
                    reason: reasons::session_end(reason),
                };
                self.sessions_ended.get_or_create(&ended).inc();
                if let Some(reason) = reasons::refused_session(reason) {
                    self.refused(reason);
                }
            }
            Event::SessionStarted
            | Event::Replied { .. }
            | Event::Rewrote { .. }
            | Event::Converted { .. }
            | Event::Secured { .. }
            | Event::Unsecured
            | Event::WindowUsed { .. }
            | Event::ClientsUnheard { .. } => {}
        }
    }

    /// A connection could not be taken.
    pub(super) fn accept_failed(&self, shortage: Option<Shortage>) {
        let reason = reasons::shortage(shortage);
        self.accept_failures
            .get_or_create(&OfReason { reason })
            .inc();
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&OfReason { reason }).inc();
    }

    fn pinhole_ended(&self, outcome: &'static str) {
        self.pinholes_ended
            .get_or_create(&OfOutcome { outcome })
            .inc();
    }

    fn moved(&self, counters: Option<&crate::pinhole::Counters>) {
        if let Some(counted) = counters {
            let bytes = counted.bytes_forth.saturating_add(counted.bytes_back);
            self.data_bytes.inc_by(bytes);
            let packets = counted.packets_forth.saturating_add(counted.packets_back);
            self.data_packets.inc_by(packets);
        }
    }

    /// All counts as OpenMetrics text.
    pub(super) fn scrape(
        &self,
        sessions: &[LiveSession],
        record: &RecordHealth,
        rules: &RulesLoaded,
    ) -> String {
        let count = |wanted: fn(&LiveSession) -> bool| {
            number(sessions.iter().filter(|session| wanted(session)).count())
        };
        self.sessions.set(number(sessions.len()));
        self.transfers_running
            .set(count(|session| session.state == SessionState::Transfer));
        self.pinholes
            .set(count(|session| session.pinhole.is_some()));
        self.program.set(record, rules);
        let mut page = String::new();
        match text::encode(&mut page, &self.registry) {
            Ok(()) => page,
            // Writing to a String does not fail; a page without an end is no page.
            Err(_) => String::new(),
        }
    }
}

pub(super) fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_scrape_names_every_count_and_ends_as_openmetrics_asks() {
        let metrics = Metrics::new(UNIX_EPOCH, &Limits::default());
        metrics.session_started("lan");
        metrics.refused("policy");
        let health = RecordHealth {
            state: crate::audit::RecordState::Failing,
            error: Some("the disk is full".to_owned()),
            waiting: 3,
            queue: 4096,
            written: 7,
            unrecorded: 0,
        };
        let rules = RulesLoaded {
            at: UNIX_EPOCH,
            ok: false,
            text: String::new(),
        };
        let page = metrics.scrape(&[], &health, &rules);
        for line in [
            "portcullis_sessions_started_total{listener=\"lan\"} 1",
            "portcullis_refusals_total{reason=\"policy\"} 1",
            "portcullis_record_failing 1",
            "portcullis_record_queue_length 3",
            "portcullis_record_queue_limit 4096",
            "portcullis_sessions_limit 10000",
            "portcullis_admin_connections{side=\"page\"} 0",
            "portcullis_record_events_written_total 7",
            "portcullis_rules_last_load_successful 0",
            "# TYPE portcullis_pinhole_open_duration_seconds histogram",
            "# UNIT portcullis_data_bytes bytes",
            "# TYPE process_cpu_seconds counter",
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
        assert!(page.ends_with("# EOF\n"));
    }
}

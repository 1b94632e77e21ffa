//! The counts: their names, what each means, and which event moves which.

use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::audit::RecordHealth;
use crate::inspect::Event;
use crate::rules::{Decision, RuleName};

use super::live::{LiveSession, SessionState};
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
struct OfReason {
    reason: &'static str,
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
    record_failing: Gauge,
    record_waiting: Gauge,
    record_written: Counter,
    record_unrecorded: Gauge,
    rules_rejected: Gauge,
    rules_loaded_at: Gauge,
    resident: Gauge,
    open_files: Gauge,
    pub(super) pinhole_open: Histogram,
    pub(super) inspection: Histogram,
}

impl Metrics {
    pub(super) fn new(started: SystemTime) -> Self {
        let mut registry = Registry::with_prefix("portcullis");
        let mut metrics = Self {
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
            record_failing: Gauge::default(),
            record_waiting: Gauge::default(),
            record_written: Counter::default(),
            record_unrecorded: Gauge::default(),
            rules_rejected: Gauge::default(),
            rules_loaded_at: Gauge::default(),
            resident: Gauge::default(),
            open_files: Gauge::default(),
            pinhole_open: Histogram::new(LATENCIES),
            inspection: Histogram::new(LATENCIES),
        };
        metrics.register_sessions(&mut registry);
        metrics.register_decisions(&mut registry);
        metrics.register_program(&mut registry, started);
        metrics.registry = registry;
        metrics
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
            "Sessions that are over, those turned away included, by reason",
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
            "Pinholes by what became of them: used, refused, or why they closed unused",
            self.pinholes_ended.clone(),
        );
    }

    fn register_decisions(&self, registry: &mut Registry) {
        registry.register(
            "decisions",
            "Commands that a rule decided on",
            self.decisions.clone(),
        );
        registry.register(
            "refusals",
            "What was refused, by reason: policy, a rule's limit, pinhole, a session's limit or server, or a break of the protocol",
            self.refusals.clone(),
        );
        registry.register_with_unit(
            "pinhole_open",
            "Time from asking for a pinhole to the kernel's word that it holds it",
            Unit::Seconds,
            self.pinhole_open.clone(),
        );
        registry.register_with_unit(
            "inspection",
            "Time to read a piece of the control channel and to decide on it",
            Unit::Seconds,
            self.inspection.clone(),
        );
    }

    fn register_program(&self, registry: &mut Registry, started: SystemTime) {
        registry.register(
            "record_failing",
            "1 while the record cannot be kept",
            self.record_failing.clone(),
        );
        registry.register(
            "record_waiting",
            "Events that wait for the writer of the record",
            self.record_waiting.clone(),
        );
        registry.register(
            "record_written",
            "Events that the writer has written since the start",
            self.record_written.clone(),
        );
        registry.register(
            "record_unrecorded",
            "Events missing in the record, of which it does not say so yet",
            self.record_unrecorded.clone(),
        );
        registry.register(
            "rules_rejected",
            "1 where the rules read last had errors, so that older ones are in force",
            self.rules_rejected.clone(),
        );
        registry.register_with_unit(
            "rules_loaded_time",
            "When rules were read last, since 1970",
            Unit::Seconds,
            self.rules_loaded_at.clone(),
        );
        let began: Gauge = Gauge::default();
        began.set(seconds(started));
        registry.register_with_unit(
            "start_time",
            "When the program was started, since 1970",
            Unit::Seconds,
            began,
        );
        registry.register_with_unit(
            "resident_memory",
            "Memory of the program that is in RAM",
            Unit::Bytes,
            self.resident.clone(),
        );
        registry.register(
            "open_files",
            "Files and sockets that the program has open",
            self.open_files.clone(),
        );
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", build);
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
                    self.refused(match verdict.limit {
                        Some(_) => "limit",
                        None => "policy",
                    });
                }
            }
            Event::PinholeOpened { .. } => {
                self.pinholes_opened.inc();
            }
            Event::PinholeUsed { .. } => self.pinhole_ended("used"),
            Event::PinholeUnused { reason, .. } => {
                self.pinhole_ended(reasons::pinhole_end(*reason));
            }
            Event::PinholeRefused { .. } => {
                self.pinhole_ended("refused");
                self.refused("pinhole");
            }
            Event::Transferred(transferred) => {
                let kind = OfTransfer {
                    mode: reasons::mode(transferred.mode),
                    outcome: reasons::outcome(transferred.outcome),
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
            | Event::WindowUsed { .. } => {}
        }
    }

    fn refused(&self, reason: &'static str) {
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
        self.record_failing.set(i64::from(record.error.is_some()));
        self.record_waiting.set(number(record.waiting));
        let written = self.record_written.inner();
        written.store(record.written, Ordering::Relaxed);
        let unrecorded = i64::try_from(record.unrecorded).unwrap_or(i64::MAX);
        self.record_unrecorded.set(unrecorded);
        self.rules_rejected.set(i64::from(!rules.ok));
        self.rules_loaded_at.set(seconds(rules.at));
        self.resident.set(resident_bytes().unwrap_or(0));
        self.open_files.set(open_files().unwrap_or(0));
        let mut page = String::new();
        match text::encode(&mut page, &self.registry) {
            Ok(()) => page,
            // Writing to a String does not fail; a page without an end is no page.
            Err(_) => String::new(),
        }
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// `VmRSS` of proc_pid_status(5).
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn open_files() -> Option<i64> {
    let files = std::fs::read_dir("/proc/self/fd").ok()?;
    Some(number(files.count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_names_every_count_and_ends_as_openmetrics_asks() {
        let metrics = Metrics::new(UNIX_EPOCH);
        metrics.session_started("lan");
        metrics.refused("policy");
        let health = RecordHealth {
            error: Some("the disk is full".to_owned()),
            waiting: 3,
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
            "portcullis_record_waiting 3",
            "portcullis_record_written_total 7",
            "portcullis_rules_rejected 1",
            "# TYPE portcullis_pinhole_open_seconds histogram",
            "# UNIT portcullis_data_bytes bytes",
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
        assert!(page.ends_with("# EOF\n"));
    }
}

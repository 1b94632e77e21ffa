//! The counts of the program itself: record, rules, who asks it, what it takes of the machine, and how much
//! room the kernel has for connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::audit::RecordHealth;
use crate::conntrack::Room;

use super::metrics::{OfReason, number};
use super::reasons;
use super::{AdminRefusal, AdminSide, RulesLoaded};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfSide {
    side: &'static str,
}

/// A gauge of a number that is not whole.
type Fractional = Gauge<f64, AtomicU64>;

/// What is set when the counts are asked for, and the counts of the admin interface.
#[derive(Debug, Default)]
pub(super) struct Program {
    record_failing: Gauge,
    record_queue: Gauge,
    record_queue_limit: Gauge,
    record_written: Counter,
    record_unrecorded: Counter,
    rules_successful: Gauge,
    rules_read_at: Fractional,
    admin_connections: Family<OfSide, Gauge>,
    admin_refusals: Family<OfReason, Counter>,
    conntrack_entries: Gauge,
    conntrack_entries_limit: Gauge,
    conntrack_drops: Counter,
    processor: Counter<f64, AtomicU64>,
    resident: Gauge,
    open_files: Gauge,
    max_files: Gauge,
}

impl Program {
    /// Names the counts; those of the process have the names that every Prometheus knows.
    pub(super) fn register(&self, registry: &mut Registry, started: SystemTime) {
        let own = registry.sub_registry_with_prefix("portcullis");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        own.register("build", "The version that runs, as a label", build);
        self.register_record(own);
        own.register(
            "rules_last_load_successful",
            "1 where the rules read last are in force, 0 where they had errors and older ones are",
            self.rules_successful.clone(),
        );
        own.register_with_unit(
            "rules_last_load_timestamp",
            "When rules were last read, well or not, since 1970",
            Unit::Seconds,
            self.rules_read_at.clone(),
        );
        own.register(
            "admin_connections",
            "Connections to the admin socket and to the page at this moment",
            self.admin_connections.clone(),
        );
        own.register(
            "admin_refusals",
            "Requests to the page that were turned away, by reason",
            self.admin_refusals.clone(),
        );
        self.register_conntrack(own);
        self.register_process(registry.sub_registry_with_prefix("process"), started);
        for side in [AdminSide::Socket, AdminSide::Page] {
            drop(self.connections(side));
        }
        for reason in AdminRefusal::ALL {
            drop(self.refusals(reason));
        }
    }

    fn register_record(&self, own: &mut Registry) {
        own.register(
            "record_failing",
            "1 while the record cannot be kept, else 0",
            self.record_failing.clone(),
        );
        own.register(
            "record_queue_length",
            "Events that wait for the writer of the record",
            self.record_queue.clone(),
        );
        own.register(
            "record_queue_limit",
            "Events that may wait for the writer; at that number sessions wait for it too",
            self.record_queue_limit.clone(),
        );
        own.register(
            "record_events_written",
            "Events that the writer has put on the record",
            self.record_written.clone(),
        );
        own.register(
            "record_events_unrecorded",
            "Events that are missing in the record",
            self.record_unrecorded.clone(),
        );
    }

    fn register_conntrack(&self, own: &mut Registry) {
        own.register(
            "conntrack_entries",
            "Connections that the kernel tracks at this moment, of whatever program",
            self.conntrack_entries.clone(),
        );
        own.register(
            "conntrack_entries_limit",
            "Connections that the kernel may track (net.netfilter.nf_conntrack_max); beyond, it drops new ones",
            self.conntrack_entries_limit.clone(),
        );
        own.register(
            "conntrack_drops",
            "Packets that the kernel dropped because it could not track their connection",
            self.conntrack_drops.clone(),
        );
    }

    fn register_process(&self, process: &mut Registry, started: SystemTime) {
        process.register_with_unit(
            "cpu",
            "Time of processors taken, in user and kernel mode",
            Unit::Seconds,
            self.processor.clone(),
        );
        process.register_with_unit(
            "resident_memory",
            "Memory that is in RAM",
            Unit::Bytes,
            self.resident.clone(),
        );
        process.register(
            "open_fds",
            "Files and sockets that are open",
            self.open_files.clone(),
        );
        process.register(
            "max_fds",
            "Files and sockets that may be open",
            self.max_files.clone(),
        );
        let began = Fractional::default();
        began.set(seconds(started));
        process.register_with_unit(
            "start_time",
            "When the program was started, since 1970",
            Unit::Seconds,
            began,
        );
    }

    pub(super) fn connections(&self, side: AdminSide) -> Gauge {
        let side = reasons::admin_side(side);
        self.admin_connections.get_or_create_owned(&OfSide { side })
    }

    pub(super) fn refusals(&self, reason: AdminRefusal) -> Counter {
        let reason = reasons::admin_refusal(reason);
        self.admin_refusals
            .get_or_create_owned(&OfReason { reason })
    }

    /// Takes what others know, right before the counts are told.
    pub(super) fn set(&self, record: &RecordHealth, rules: &RulesLoaded) {
        self.record_failing.set(i64::from(record.error.is_some()));
        let waiting = i64::try_from(record.waiting).unwrap_or(i64::MAX);
        self.record_queue.set(waiting);
        self.record_queue_limit.set(number(record.queue));
        let written = self.record_written.inner();
        written.store(record.written, Ordering::Relaxed);
        let unrecorded = self.record_unrecorded.inner();
        unrecorded.store(record.unrecorded, Ordering::Relaxed);
        self.rules_successful.set(i64::from(rules.ok));
        self.rules_read_at.set(seconds(rules.at));
        let room = Room::look().unwrap_or_default();
        self.conntrack_entries.set(signed(room.entries));
        self.conntrack_entries_limit.set(signed(room.limit));
        let drops = self.conntrack_drops.inner();
        drops.store(room.dropped, Ordering::Relaxed);
        let taken = clock_gettime(ClockId::ProcessCPUTime);
        if let Ok(taken) = std::time::Duration::try_from(taken) {
            let bits = taken.as_secs_f64().to_bits();
            self.processor.inner().store(bits, Ordering::Relaxed);
        }
        self.resident.set(resident_bytes().unwrap_or(0));
        self.open_files.set(open_files().unwrap_or(0));
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        self.max_files.set(signed(limit));
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64()
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

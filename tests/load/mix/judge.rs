//! What has to hold at the end, each with its figures.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use super::kinds::KINDS;
use super::ledger::{All, Asked, Kept};
use super::places::SIDES;
use super::tally::Tally;
use super::watch::{Open, Sample};
use super::{Play, edits};

/// Names a folder for the store and the log of a play that did not hold.
const KEEP: &str = "PORTCULLIS_LOAD_KEEP";
/// Whose memory is judged plays at least so long: what the first minutes fill is no leak.
const LONG: Duration = Duration::from_secs(600);
/// How long the first minutes are.
const WARM_UP: Duration = Duration::from_secs(120);
/// What the last third's memory may have over the first third's: both, kB and parts of a hundred.
const MORE_KB: u64 = 2048;
const MORE_PERCENT: u64 = 5;

/// Lines of the log that say what was done to the gate here.
const EXPLAINED: [&str; 7] = [
    edits::TABLE_BACK,
    edits::ROUTING_BACK,
    "nothing was reloaded, the rules in force stay",
    "clients beyond the limits come faster than they can be told",
    // A machine that is too slow for all of them; they are asked for.
    "Connection tracking events were lost",
    // What was asked of a table that was away.
    "pinhole not opened",
    "the table is not put back",
];

/// Says all, and fails where anything of it does not hold.
pub(super) fn judge(play: Play, samples: &[Sample], open: Open, length: Duration) {
    let mut judge = Judge::default();
    let metrics = play.metrics();
    edits::collect(&play);
    let Play {
        lab,
        gate,
        ledger,
        tally,
        ..
    } = play;
    let log = gate.output();
    let stopped = gate.terminate();
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.take(&lab.dir.join("eve.json"));
    let all = ledger.all();

    judge.transfers(&all);
    judge.holds(open == REST, format!("open at the end: {open:?}"));
    let of = |kb: fn(&Sample) -> u64| samples.iter().map(|one| (one.at, kb(one))).collect();
    judge.memory("the gate", of(|one| one.gate), length);
    judge.memory("its keeper", of(|one| one.keeper), length);
    judge.record(&all, &tally);
    judge.metrics(&metrics, &tally);
    judge.log(&log);
    let left = lab.kernel_state();
    let clean = stopped.success() && left.is_empty();
    judge.holds(
        clean,
        format!("stopped: {stopped}, left in the kernel: {left:?}"),
    );
    if let Some(folder) = std::env::var_os(KEEP).filter(|_| !judge.faults.is_empty()) {
        let kept = std::path::Path::new(&folder).join("audit.db");
        std::fs::copy(lab.dir.join("audit.db"), &kept).unwrap();
        std::fs::write(kept.with_extension("log"), &log).unwrap();
        eprintln!("the record and the log are in {}", kept.display());
    }
    assert!(judge.faults.is_empty(), "{}", judge.faults.join("\n"));
}

const REST: Open = Open {
    sessions: 0,
    pinholes: 0,
    told: 0,
    elements: 0,
};

#[derive(Default)]
struct Judge {
    faults: Vec<String>,
}

impl Judge {
    fn holds(&mut self, holds: bool, what: String) {
        eprintln!("{} {what}", if holds { "  ok   " } else { "  FAULT" });
        if !holds {
            self.faults.push(what);
        }
    }

    fn transfers(&mut self, all: &All) {
        let (done, attempts) = all.sums();
        let first = |kept: &Kept| {
            let lines: String = kept
                .first
                .iter()
                .map(|line| format!("\n    {line}"))
                .collect();
            format!("{}{lines}", kept.count)
        };
        let told = format!(
            "honest transfers: {done} done; sessions taken by {} edits: {}, failed without that: {}",
            all.edits(),
            all.taken.count,
            first(&all.failures)
        );
        self.holds(done > 0 && all.failures.count == 0, told);
        let told = format!(
            "hostile attempts: {attempts}, came through: {}",
            first(&all.falls)
        );
        self.holds(attempts > 0 && all.falls.count == 0, told);
        for kind in KINDS {
            let of = |side| all.attempts.get(&(side, kind.group)).copied().unwrap_or(0);
            let made = SIDES.map(of);
            self.holds(
                made.iter().all(|&count| count > 0),
                format!("{}: {made:?} attempts inside, outside", kind.word),
            );
        }
    }

    fn memory(&mut self, of: &str, samples: Vec<(Duration, u64)>, length: Duration) {
        let warm = match length >= LONG {
            true => WARM_UP,
            false => length / 6,
        };
        let mut warm: Vec<u64> = samples
            .into_iter()
            .filter(|(at, _)| *at >= warm)
            .map(|(_, kb)| kb)
            .collect();
        let third = warm.len() / 3;
        let median = |part: &mut [u64]| {
            part.sort_unstable();
            part.get(part.len() / 2).copied().unwrap_or(0)
        };
        let last = warm.len() - third;
        let (first, last) = (median(&mut warm[..third]), median(&mut warm[last..]));
        let most = first + MORE_KB.min(first * MORE_PERCENT / 100);
        let flat = length < LONG || last <= most;
        let judged = if length < LONG { ", not judged" } else { "" };
        self.holds(
            flat,
            format!(
                "RSS of {of}, medians after the first minutes: {first} kB in the first third, {last} kB in the last{judged}"
            ),
        );
    }

    fn record(&mut self, all: &All, tally: &Tally) {
        for (who, did) in &all.honest {
            let (sessions, transfers) = tally.honest.get(who).copied().unwrap_or_default();
            let within =
                |recorded: u64, done: u64, lost: u64| recorded >= done && recorded <= done + lost;
            let agrees = within(sessions, did.sessions, did.sessions_lost)
                && within(transfers, did.transfers, did.transfers_lost);
            self.holds(
                agrees,
                format!(
                    "{} {}: {did:?}, on record {sessions} sessions, {transfers} transfers",
                    who.side.word(),
                    who.number
                ),
            );
        }
        let mut sums: BTreeMap<(&str, &str), (Asked, u64)> = BTreeMap::new();
        for ((kind, word), asked) in &all.asked {
            let key = (*kind, (*word).to_owned());
            let recorded = tally.hostile.get(&key).copied().unwrap_or(0);
            let name = KINDS.iter().find(|one| one.group == kind.1).unwrap().word;
            if recorded < asked.heard || recorded > asked.sent {
                let side = kind.0.word();
                let told = format!("{name} {side}: {recorded} '{word}' on record, {asked:?}");
                self.holds(false, told);
            }
            let (sum, of_record) = sums.entry((name, word)).or_default();
            sum.sent += asked.sent;
            sum.heard += asked.heard;
            *of_record += recorded;
        }
        for ((name, word), (asked, recorded)) in sums {
            let Asked { sent, heard } = asked;
            let told =
                format!("{name}: '{word}' heard {heard}, on record {recorded}, provoked {sent}");
            self.holds((heard..=sent).contains(&recorded), told);
        }
        let (running, open) = (tally.running.len(), tally.open.len());
        self.holds(
            running == 0 && open == 0,
            format!(
                "{running} sessions without an end, {open} pinholes without one: {:?}",
                tally.open.iter().next()
            ),
        );
    }

    /// What is counted is what is on the record, event by event.
    fn metrics(&mut self, page: &str, tally: &Tally) {
        let sum = |name: &str, label: &str| -> u64 {
            let of = page.lines().filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                let (labels, value) = rest.rsplit_once(' ')?;
                let named = labels.is_empty() || labels.starts_with('{');
                (named && labels.contains(label)).then(|| value.parse::<u64>().ok())?
            });
            of.sum()
        };
        let mut pairs = vec![
            (
                "sessions started",
                sum("portcullis_sessions_started_total", ""),
                tally.events_of("session-start"),
            ),
            (
                "pinholes opened",
                sum("portcullis_pinholes_opened_total", ""),
                tally.events_of("pinhole-opened"),
            ),
            (
                "pinholes used",
                sum("portcullis_pinholes_ended_total", "\"used\""),
                tally.events_of("pinhole-used"),
            ),
            (
                "pinholes refused",
                sum("portcullis_pinholes_ended_total", "\"refused\""),
                tally.events_of("pinhole-refused"),
            ),
            (
                "denied by rules",
                sum("portcullis_refusals_total", "\"policy\""),
                tally.events_of("deny"),
            ),
            (
                "events on record",
                sum("portcullis_record_events_written_total", ""),
                tally.lines,
            ),
            (
                "events unrecorded",
                sum("portcullis_record_events_unrecorded_total", ""),
                0,
            ),
        ];
        for (mode, outcome) in [
            ("active", "completed"),
            ("active", "failed"),
            ("active", "abandoned"),
            ("passive", "completed"),
            ("passive", "failed"),
            ("passive", "abandoned"),
        ] {
            let label = format!("mode=\"{mode}\",outcome=\"{outcome}\"");
            let of_record = tally.events_of(&format!("transfer {mode} {outcome}"));
            pairs.push((
                "transfers",
                sum("portcullis_transfers_total", &label),
                of_record,
            ));
        }
        for (reason, own) in tally.events.iter().filter_map(|(word, count)| {
            let reason = word.strip_prefix("session-end ")?;
            Some((reason, *count))
        }) {
            let label = format!("reason=\"{reason}\"");
            pairs.push((
                "sessions ended",
                sum("portcullis_sessions_ended_total", &label),
                own,
            ));
        }
        for (what, counted, recorded) in pairs {
            let told = format!("{what}: {counted} counted, {recorded} on record");
            self.holds(counted == recorded, told);
        }
        let told: Vec<_> = tally.events.iter().collect();
        eprintln!("  the record: {} lines, {told:?}", tally.lines);
    }

    fn log(&mut self, log: &str) {
        let bad = log
            .lines()
            .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
        let (explained, unexplained): (Vec<_>, Vec<_>) =
            bad.partition(|line| EXPLAINED.iter().any(|word| line.contains(word)));
        for word in EXPLAINED {
            let count = explained.iter().filter(|line| line.contains(word)).count();
            eprintln!("  the log: {count} lines with '{word}'");
        }
        let first: String = unexplained
            .iter()
            .take(10)
            .map(|line| format!("\n    {line}"))
            .collect();
        let told = format!(
            "{} warnings and errors in the log without a reason{first}",
            unexplained.len()
        );
        self.holds(unexplained.is_empty(), told);
    }
}

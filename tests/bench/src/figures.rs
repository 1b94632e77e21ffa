//! The figures that systems are compared by: what each does in one measurement, and what it tells.

use regex::Regex;

use crate::lab::{Lab, Places, Server, System};
use crate::report::Sample;

/// One measurement, made anew for each system in each round.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its name in options; metrics begin with it.
    pub name: &'static str,
    kind: Kind,
    mode: &'static str,
    /// Whether it is part of a quick run.
    quick: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One session, all programs on one processor.
    Pinned,
    /// So many sessions, all processors.
    Sessions(usize),
}

const fn figure(name: &'static str, kind: Kind, mode: &'static str, quick: bool) -> Figure {
    Figure {
        name,
        kind,
        mode,
        quick,
    }
}

const ALL: [Figure; 6] = [
    figure("pinned-active", Kind::Pinned, "active", true),
    figure("pinned-passive", Kind::Pinned, "passive", true),
    figure("sessions-8-active", Kind::Sessions(8), "active", true),
    figure("sessions-8-passive", Kind::Sessions(8), "passive", true),
    figure("sessions-64-active", Kind::Sessions(64), "active", false),
    figure("sessions-64-passive", Kind::Sessions(64), "passive", false),
];

/// The figures of a run.
pub fn chosen(quick: bool, only: Option<&Regex>) -> Vec<Figure> {
    let wanted = |figure: &Figure| match only {
        Some(only) => only.is_match(figure.name),
        None => figure.quick || !quick,
    };
    ALL.into_iter().filter(wanted).collect()
}

impl Figure {
    /// Measures one system once.
    ///
    /// # Errors
    /// Says what failed; then nothing of it counts.
    pub fn measure(
        &self,
        places: &Places,
        system: System,
        seconds: f64,
    ) -> anyhow::Result<Vec<Sample>> {
        let seconds = seconds.to_string();
        match self.kind {
            Kind::Pinned => {
                let lab = Lab::standing(places, system, Server::Vsftpd, Some(last_processor()))?;
                self.small(&lab, 1, &seconds)
            }
            Kind::Sessions(count) => {
                let lab = Lab::standing(places, system, Server::Vsftpd, None)?;
                self.small(&lab, count, &seconds)
            }
        }
    }

    fn small(&self, lab: &Lab, sessions: usize, seconds: &str) -> anyhow::Result<Vec<Sample>> {
        let before = lab.gate().map(|gate| gate.cpu_seconds()).transpose()?;
        let count = sessions.to_string();
        let outcome = lab.load(&[
            "--mode",
            self.mode,
            "--sessions",
            &count,
            "--seconds",
            seconds,
            "--warm",
            "20",
        ])?;
        let mut samples = vec![self.sample("transfers", "/s", outcome.transfers_per_second)];
        if let Some(took) = outcome.took {
            samples.push(self.sample("p50", "µs", took.p50));
            samples.push(self.sample("p99", "µs", took.p99));
        }
        if let (Some(gate), Some(before)) = (lab.gate(), before) {
            let cpu = gate.cpu_seconds()? - before;
            let each = 1000.0 / outcome.transfers as f64;
            samples.push(self.sample("CPU of 1,000 transfers", "s", cpu * each));
        }
        Ok(samples)
    }

    fn sample(&self, what: &str, unit: &'static str, value: f64) -> Sample {
        Sample {
            metric: format!("{} {what}", self.name),
            unit,
            value,
        }
    }
}

/// The last of the processors this program may run on: the first ones serve more interrupts.
fn last_processor() -> usize {
    let allowed = rustix::thread::sched_getaffinity(None).ok();
    let last = allowed.and_then(|set| (0..1024).rev().find(|&cpu| set.is_set(cpu)));
    last.unwrap_or(0)
}

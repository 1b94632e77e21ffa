//! The figures that systems are compared by: what each does in one measurement, and what it tells.

use anyhow::Context;
use regex::Regex;

use crate::lab::{LARGE, Lab, Places, Server, System};
use crate::load::Outcome;
use crate::report::Sample;

/// Bytes that bulk figures are told in.
const GIGABYTE: f64 = 1e9;
/// The time that portcullis' own histogram has the kernel take for a pinhole.
const ACK: &str = "portcullis_pinhole_open_duration_seconds";

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
    /// One session that fetches a small file, all programs on one processor.
    Pinned,
    /// So many sessions that fetch a small file, on all processors.
    Sessions(usize),
    /// Sessions that begin and end.
    Logins,
    /// One session that fetches a large file.
    Down,
    /// One session that stores one.
    Up,
    /// How long replies that announce are on their way.
    Replies,
}

const fn figure(name: &'static str, kind: Kind, mode: &'static str, quick: bool) -> Figure {
    Figure {
        name,
        kind,
        mode,
        quick,
    }
}

const ALL: [Figure; 11] = [
    figure("pinned-active", Kind::Pinned, "active", true),
    figure("pinned-passive", Kind::Pinned, "passive", true),
    figure("sessions-8-active", Kind::Sessions(8), "active", true),
    figure("sessions-8-passive", Kind::Sessions(8), "passive", true),
    figure("sessions-64-active", Kind::Sessions(64), "active", false),
    figure("sessions-64-passive", Kind::Sessions(64), "passive", false),
    figure("logins", Kind::Logins, "passive", false),
    figure("bulk-down", Kind::Down, "passive", true),
    figure("bulk-up", Kind::Up, "passive", false),
    figure("reply-active", Kind::Replies, "active", false),
    figure("reply-passive", Kind::Replies, "passive", false),
];

/// The names of all.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|figure| figure.name)
}

/// The figures of a run.
pub fn chosen(quick: bool, only: Option<&Regex>) -> Vec<Figure> {
    let wanted = |figure: &Figure| match only {
        Some(only) => only.is_match(figure.name),
        None => figure.quick || !quick,
    };
    ALL.into_iter().filter(wanted).collect()
}

impl Figure {
    /// Whether there is anything to measure of this system.
    pub fn is_of(&self, system: System) -> bool {
        // Who carries the data announces itself, in replies of its own, without the server's stamp.
        let own_replies = matches!(
            system,
            System::ModProxy | System::FtpProxy | System::PortcullisRelay
        );
        self.kind != Kind::Replies || !own_replies
    }

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
        let cpu = (self.kind == Kind::Pinned).then(last_processor);
        let server = match self.kind {
            Kind::Replies => Server::Own,
            _ => Server::Vsftpd,
        };
        let lab = Lab::standing(places, system, server, cpu)?;
        let before = lab.gate().map(|gate| gate.cpu_seconds()).transpose()?;
        let outcome = self.load(&lab, &seconds.to_string())?;
        let cpu = match (lab.gate(), before) {
            (Some(gate), Some(before)) => Some(gate.cpu_seconds()? - before),
            _ => None,
        };
        let mut samples = self.samples(&outcome, cpu)?;
        if system == System::PortcullisKernel && self.kind == Kind::Sessions(64) {
            let metrics = lab.metrics()?;
            for (what, part) in [
                ("pinhole ack p50 within", 0.5),
                ("pinhole ack p99 within", 0.99),
            ] {
                samples.push(self.sample(what, "µs", metrics.quantile(ACK, part)? * 1e6));
            }
        }
        Ok(samples)
    }

    fn load(&self, lab: &Lab, seconds: &str) -> anyhow::Result<Outcome> {
        let large = LARGE.to_string();
        let sessions = match self.kind {
            Kind::Sessions(count) => count.to_string(),
            Kind::Logins => "8".to_owned(),
            _ => "1".to_owned(),
        };
        let more: &[&str] = match self.kind {
            Kind::Pinned | Kind::Sessions(_) => &["--warm", "20"],
            Kind::Logins => &["--work", "login", "--warm", "2"],
            Kind::Down => &["--file", "large", "--buffer", "262144"],
            Kind::Up => &["--upload", &large, "--buffer", "262144"],
            Kind::Replies => &["--file", "6", "--warm", "20"],
        };
        let common = [
            "--mode",
            self.mode,
            "--sessions",
            &sessions,
            "--seconds",
            seconds,
        ];
        lab.load(&[&common, more].concat())
    }

    /// What is told of an outcome and of the processor time that the gate took for it.
    fn samples(&self, outcome: &Outcome, cpu: Option<f64>) -> anyhow::Result<Vec<Sample>> {
        let took = outcome.took.context("nothing was done")?;
        // The gate has worked for all of them.
        let thousands = (outcome.transfers + outcome.uncounted) as f64 / 1000.0;
        let gigabytes = outcome.bytes as f64 / GIGABYTE;
        let mut samples = Vec::new();
        let mut tell = |what, unit, value| samples.push(self.sample(what, unit, value));
        match self.kind {
            Kind::Pinned | Kind::Sessions(_) => {
                tell("transfers", "/s", outcome.transfers_per_second);
                tell("p50", "µs", took.p50);
                tell("p99", "µs", took.p99);
                if let Some(cpu) = cpu {
                    tell("CPU of 1,000 transfers", "s", cpu / thousands);
                }
            }
            Kind::Logins => {
                tell("logins", "/s", outcome.transfers_per_second);
                tell("p50", "µs", took.p50);
                tell("p99", "µs", took.p99);
                if let Some(cpu) = cpu {
                    tell("CPU of 1,000 logins", "s", cpu / thousands);
                }
            }
            Kind::Down | Kind::Up => {
                tell("rate", "MB/s", outcome.bytes as f64 / 1e6 / outcome.seconds);
                if let Some(cpu) = cpu {
                    tell("CPU of 1 GB", "s", cpu / gigabytes);
                }
            }
            Kind::Replies => {
                let delay = outcome.reply_delay.context("the replies carry no stamp")?;
                tell("delay p50", "µs", delay.p50);
                tell("delay p99", "µs", delay.p99);
            }
        }
        Ok(samples)
    }

    fn sample(&self, what: &'static str, unit: &'static str, value: f64) -> Sample {
        Sample {
            figure: self.name,
            what,
            unit,
            at: None,
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

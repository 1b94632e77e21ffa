//! What portcullis should reach, beside what it does. Nothing fails by them: machines differ.

use super::Line;

/// What a value is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Against {
    /// A number in the metric's own unit.
    Number,
    /// The same of another system.
    System(&'static str),
    /// The same with so many of what grows.
    At(u64),
}

/// On which side of the bound a value should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
}

/// One target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) figure: &'static str,
    pub(super) what: &'static str,
    pub(super) at: Option<u64>,
    pub(super) system: &'static str,
    pub(super) against: Against,
    pub(super) bound: Bound,
}

const KERNEL: &str = "portcullis-kernel";
const RELAY: &str = "portcullis-relay";

/// Where growth has no peer to be compared with.
pub(super) const PORTCULLIS: &str = "portcullis";

const fn ratio(
    figure: &'static str,
    what: &'static str,
    system: &'static str,
    other: &'static str,
    least: f64,
) -> Target {
    Target {
        figure,
        what,
        at: None,
        system,
        against: Against::System(other),
        bound: Bound::AtLeast(least),
    }
}

const fn number(
    figure: &'static str,
    what: &'static str,
    at: Option<u64>,
    system: &'static str,
    bound: Bound,
) -> Target {
    Target {
        figure,
        what,
        at,
        system,
        against: Against::Number,
        bound,
    }
}

const fn grown(
    figure: &'static str,
    what: &'static str,
    at: u64,
    from: u64,
    bound: Bound,
) -> Target {
    Target {
        figure,
        what,
        at: Some(at),
        system: PORTCULLIS,
        against: Against::At(from),
        bound,
    }
}

/// All of them.
pub(super) const ALL: &[Target] = &[
    ratio("pinned-active", "transfers", KERNEL, "bare-relay", 0.97),
    ratio("pinned-active", "transfers", KERNEL, "helper", 0.83),
    ratio("pinned-passive", "transfers", KERNEL, "bare-relay", 0.97),
    ratio("pinned-passive", "transfers", KERNEL, "helper", 0.83),
    ratio("sessions-8-active", "transfers", KERNEL, "bare-relay", 0.97),
    ratio("sessions-8-active", "transfers", KERNEL, "helper", 0.90),
    ratio("sessions-8-active", "transfers", KERNEL, "mod_proxy", 1.5),
    ratio(
        "sessions-8-passive",
        "transfers",
        KERNEL,
        "bare-relay",
        0.97,
    ),
    ratio("sessions-8-passive", "transfers", KERNEL, "helper", 0.80),
    ratio("sessions-8-passive", "transfers", KERNEL, "mod_proxy", 1.5),
    ratio(
        "sessions-64-active",
        "transfers",
        KERNEL,
        "bare-relay",
        0.97,
    ),
    ratio("sessions-64-active", "transfers", KERNEL, "helper", 0.90),
    ratio("sessions-64-active", "transfers", KERNEL, "mod_proxy", 1.5),
    ratio(
        "sessions-64-passive",
        "transfers",
        KERNEL,
        "bare-relay",
        0.97,
    ),
    ratio("sessions-64-passive", "transfers", KERNEL, "helper", 0.80),
    ratio("sessions-64-passive", "transfers", KERNEL, "mod_proxy", 1.5),
    number(
        "sessions-64-active",
        "pinhole ack p50 within",
        None,
        KERNEL,
        Bound::AtMost(10.0),
    ),
    number(
        "sessions-64-active",
        "pinhole ack p99 within",
        None,
        KERNEL,
        Bound::AtMost(50.0),
    ),
    number(
        "sessions-64-passive",
        "pinhole ack p50 within",
        None,
        KERNEL,
        Bound::AtMost(10.0),
    ),
    number(
        "sessions-64-passive",
        "pinhole ack p99 within",
        None,
        KERNEL,
        Bound::AtMost(50.0),
    ),
    ratio("bulk-down", "rate", KERNEL, "helper", 0.99),
    ratio("bulk-up", "rate", KERNEL, "helper", 0.99),
    ratio("bulk-down", "rate", RELAY, "mod_proxy", 1.5),
    ratio("bulk-up", "rate", RELAY, "mod_proxy", 1.5),
    number("bulk-down", "CPU of 1 GB", None, RELAY, Bound::AtMost(0.35)),
    number("bulk-up", "CPU of 1 GB", None, RELAY, Bound::AtMost(0.35)),
    grown(
        "growth-pinholes",
        "opens",
        1_000_000,
        1_000,
        Bound::AtLeast(0.8),
    ),
    number(
        "growth-sessions",
        "RSS of one",
        Some(100_000),
        PORTCULLIS,
        Bound::AtMost(2048.0),
    ),
    number(
        "growth-sessions",
        "rate of others",
        Some(100_000),
        PORTCULLIS,
        Bound::AtLeast(0.9),
    ),
    grown("growth-decisions", "one", 10_000, 10, Bound::AtMost(1.5)),
    number(
        "growth-decisions",
        "one",
        Some(10_000),
        PORTCULLIS,
        Bound::AtMost(2000.0),
    ),
    number(
        "growth-records",
        "kept",
        None,
        PORTCULLIS,
        Bound::AtLeast(100_000.0),
    ),
    number(
        "growth-start",
        "ready after",
        Some(10),
        PORTCULLIS,
        Bound::AtMost(50.0),
    ),
    number(
        "growth-start",
        "reload",
        Some(10_000),
        PORTCULLIS,
        Bound::AtMost(100.0),
    ),
    number(
        "growth-start",
        "longest NOOP while reloading",
        Some(10_000),
        PORTCULLIS,
        Bound::AtMost(1.0),
    ),
];

impl Target {
    /// What was measured of it: the value, or its ratio to what it is held against.
    pub(super) fn measured(&self, lines: &[Line]) -> Option<f64> {
        let find = |system, at| {
            let mut lines = lines.iter();
            let is = |line: &&Line| {
                line.figure == self.figure
                    && line.what == self.what
                    && line.system == system
                    && line.at == at
            };
            lines.find(is).map(|line| line.median)
        };
        let own = find(self.system, self.at)?;
        match self.against {
            Against::Number => Some(own),
            Against::System(other) => Some(own / find(other, self.at)?),
            Against::At(from) => Some(own / find(self.system, Some(from))?),
        }
    }
}

impl Bound {
    /// Whether a value is on the right side.
    pub(super) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

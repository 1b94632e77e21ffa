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

/// How near a measurement came to a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reached {
    /// The value, or its ratio to what it is held against.
    Value(f64),
    /// The value with the most of what grows that there was; fewer than the target is about.
    Below(f64, u64),
    /// Nothing was measured.
    Nothing,
}

impl Target {
    /// What was measured of it.
    pub(super) fn reached(&self, lines: &[Line]) -> Reached {
        let of_target: Vec<&Line> = lines
            .iter()
            .filter(|line| line.figure == self.figure && line.what == self.what)
            .collect();
        let find = |system, at| {
            let mut lines = of_target.iter();
            let found = lines.find(|line| line.system == system && line.at == at);
            found.map(|line| line.median)
        };
        let other = match self.against {
            Against::Number => Some(1.0),
            Against::System(other) => find(other, self.at),
            Against::At(from) => find(self.system, Some(from)),
        };
        let Some(other) = other else {
            return Reached::Nothing;
        };
        if let Some(own) = find(self.system, self.at) {
            return Reached::Value(own / other);
        }
        let below = of_target
            .iter()
            .filter(|line| line.system == self.system && line.at < self.at);
        let most = below.max_by_key(|line| line.at);
        match most.and_then(|line| Some((line.median, line.at?))) {
            Some((own, at)) => Reached::Below(own / other, at),
            None => Reached::Nothing,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Report, Sample};

    fn measured(at: u64, value: f64) -> Sample {
        Sample {
            figure: "growth-sessions",
            what: "RSS of one",
            unit: "bytes",
            at: Some(at),
            value,
        }
    }

    #[test]
    fn fewer_than_a_target_is_about_do_not_meet_it() {
        let is = |target: &&Target| target.what == "RSS of one";
        let target = ALL.iter().find(is).unwrap();
        let mut report = Report::default();
        assert_eq!(target.reached(&report.lines()), Reached::Nothing);
        report.add(PORTCULLIS, &[measured(1_000, 1.0), measured(9_800, 2.0)]);
        assert_eq!(target.reached(&report.lines()), Reached::Below(2.0, 9_800));
        report.add(PORTCULLIS, &[measured(100_000, 3.0)]);
        assert_eq!(target.reached(&report.lines()), Reached::Value(3.0));
    }

    #[test]
    fn a_ratio_is_to_the_other_system() {
        let target = &ALL[0];
        let transfers = |value| Sample {
            figure: "pinned-active",
            what: "transfers",
            unit: "/s",
            at: None,
            value,
        };
        let mut report = Report::default();
        report.add("portcullis-kernel", &[transfers(50.0)]);
        assert_eq!(target.reached(&report.lines()), Reached::Nothing);
        report.add("bare-relay", &[transfers(100.0)]);
        assert_eq!(target.reached(&report.lines()), Reached::Value(0.5));
        assert!(!target.bound.is_met(0.5));
    }
}

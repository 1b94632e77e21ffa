//! `limits`: how often, how many at one time and how much a rule allows, as values. Counting is in
//! `meters`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Whom one count is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Per {
    /// Each address that dials.
    Client,
    /// Each name given in USER; before it, the address that dials.
    User,
    /// Everybody whom the rule allows something.
    Rule,
}

impl Per {
    /// Each with its name in policies.
    pub const NAMED: [(&'static str, Self); 3] = [
        ("client", Self::Client),
        ("user", Self::User),
        ("rule", Self::Rule),
    ];
}

/// What the number of a rate is counted over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// One second.
    Second,
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
}

impl Period {
    /// Each with its name in policies.
    pub const NAMED: [(&'static str, Self); 4] = [
        ("s", Self::Second),
        ("min", Self::Minute),
        ("h", Self::Hour),
        ("day", Self::Day),
    ];

    /// How long it is, in seconds.
    pub fn seconds(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        })
    }
}

/// So much in so long; what is used up comes back evenly over the period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Commands or bytes, at least 1; also what may be used at once.
    pub count: u64,
    /// What it is counted over.
    pub period: Period,
}

/// What is counted, and how much of it is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// `commands`: how many in so long.
    Commands(Rate),
    /// `transfers`: how many at one time, at least 1.
    Transfers(u32),
    /// `bytes`: the data of transfers, both directions together.
    Bytes(Rate),
}

impl Measure {
    /// The key that says it in policies.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Commands(_) => "commands",
            Self::Transfers(_) => "transfers",
            Self::Bytes(_) => "bytes",
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commands(Rate { count, period }) => write!(f, "{count} command(s) per {period}"),
            Self::Transfers(count) => write!(f, "{count} transfer(s) at one time"),
            Self::Bytes(Rate { count, period }) => {
                write!(f, "{} of data per {period}", size(*count))
            }
        }
    }
}

/// One limit of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The place of its entry in `limits`, from 1.
    pub number: usize,
    /// Whom one count is kept for.
    pub per: Per,
    /// What is counted.
    pub measure: Measure,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = match self.per {
            Per::Client => "each client",
            Per::User => "each user",
            Per::Rule => "everybody under this rule",
        };
        write!(f, "{} for {whom}", self.measure)
    }
}

/// The limits of one rule, in the order written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(super) rule: Arc<RuleKey>,
    pub(super) list: Vec<Limit>,
}

impl Limits {
    /// Each limit; an entry with several keys gives several.
    pub fn iter(&self) -> impl Iterator<Item = &Limit> {
        self.list.iter()
    }
}

/// The rule that counts belong to, whatever line it stands in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RuleKey {
    pub(super) file: String,
    pub(super) id: String,
}

/// Why a command is refused although its rule allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The limit that refuses it.
    pub limit: Limit,
    /// What is the matter with it.
    pub cause: Cause,
}

/// What a limit refuses a command for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is reached, and will not be after this time unless more is used.
    UsedUp(Duration),
    /// It is reached until one of the transfers ends.
    Running,
    /// There is no room to count for one more client or user.
    NoRoom,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = match self.limit.per {
            Per::Client => "this client",
            Per::User => "this user",
            Per::Rule => "all together",
        };
        let measure = self.limit.measure;
        match self.cause {
            Cause::UsedUp(wait) => {
                let wait = rounded_up(wait);
                write!(
                    f,
                    "Limit of {measure} for {whom} is reached; try again in {wait}"
                )
            }
            Cause::Running => write!(
                f,
                "Limit of {measure} for {whom} is reached; try again when one has ended"
            ),
            Cause::NoRoom => write!(
                f,
                "Limit of {measure} for {whom} cannot be counted: too many are counted already; \
                 try again later"
            ),
        }
    }
}

/// A time to wait, written no millisecond shorter than it is.
fn rounded_up(wait: Duration) -> String {
    let seconds = wait.as_millis().div_ceil(1000);
    match seconds {
        0..=119 => format!("{} s", seconds.max(1)),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        7200..172_800 => format!("{} h", seconds.div_ceil(3600)),
        _ => format!("{} days", seconds.div_ceil(86_400)),
    }
}

/// A size in the largest unit that leaves no rest.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 6] = [
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("kB", 1_000),
        ("KiB", 1 << 10),
    ];
    let whole = UNITS.iter().find(|(_, unit)| bytes.is_multiple_of(*unit));
    whole.map_or_else(
        || format!("{bytes}B"),
        |(name, unit)| format!("{}{name}", bytes / unit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_is_reached_and_when_to_try_again() {
        let refused = |measure, cause| {
            let per = Per::User;
            let limit = Limit {
                number: 1,
                per,
                measure,
            };
            Refusal { limit, cause }.to_string()
        };
        let day = |count| Rate {
            count,
            period: Period::Day,
        };
        assert_eq!(
            refused(Measure::Transfers(4), Cause::Running),
            "Limit of 4 transfer(s) at one time for this user is reached; try again when one has ended"
        );
        assert_eq!(
            refused(
                Measure::Bytes(day(50_000_000_000)),
                Cause::UsedUp(Duration::from_secs(7201))
            ),
            "Limit of 50GB of data per day for this user is reached; try again in 3 h"
        );
        assert!(refused(Measure::Bytes(day(4096)), Cause::NoRoom).starts_with("Limit of 4KiB of"));
    }

    #[test]
    fn a_time_to_wait_is_never_written_too_short() {
        for (millis, text) in [
            (0, "1 s"),
            (1, "1 s"),
            (1001, "2 s"),
            (119_001, "2 min"),
            (121_000, "3 min"),
            (86_400_000, "24 h"),
            (172_800_001, "3 days"),
        ] {
            assert_eq!(rounded_up(Duration::from_millis(millis)), text, "{millis}");
        }
    }
}

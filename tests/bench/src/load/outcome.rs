//! What came of a load, as one line of JSON.

use serde::{Deserialize, Serialize};

/// All that is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Sessions that stood at one time.
    pub sessions: usize,
    /// What was done with success: transfers, logins or NOOPs.
    pub transfers: u64,
    /// What was done before, and is in no other number here.
    pub uncounted: u64,
    /// From the first to the last of it; logins before it are not in it.
    pub seconds: f64,
    /// How many in a second.
    pub transfers_per_second: f64,
    /// How long one took, microseconds.
    pub took: Option<Spread>,
    /// How long a reply to PORT, PASV, EPRT or EPSV was on its way from the server, microseconds, where
    /// the server stamps them.
    pub reply_delay: Option<Spread>,
    /// What data connections carried.
    pub bytes: u64,
    /// Logins and transfers that did not succeed; the session of each did no more.
    pub failures: u64,
    /// What the first of them met.
    pub first_failure: Option<String>,
}

/// How measured times spread, microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// Half of them took no longer.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// Ninety-nine of a hundred.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Spread {
    /// From nanoseconds in any order; `None` of nothing.
    pub fn of(mut nanoseconds: Vec<u64>) -> Option<Self> {
        nanoseconds.sort_unstable();
        let last = nanoseconds.len().checked_sub(1)?;
        let at = |part: f64| nanoseconds[(last as f64 * part).round() as usize] as f64 / 1000.0;
        Some(Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: at(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_sorted_times() {
        let spread = Spread::of((0..=1000).rev().map(|n| n * 1000).collect()).unwrap();
        assert_eq!(
            (spread.p50, spread.p90, spread.p99, spread.max),
            (500.0, 900.0, 990.0, 1000.0)
        );
        assert!(Spread::of(Vec::new()).is_none());
    }
}

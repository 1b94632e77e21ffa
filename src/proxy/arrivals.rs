//! How often sessions begin, in all and for each client, against their limits.
//!
//! Leaky buckets, each kept as the one instant at which it will be empty (GCRA). Reads no clock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::rules::Rate;

/// Clients whose rate is known at most. Beyond it those that have not come for longest are forgotten,
/// and begin with an empty bucket again; an entry takes some 40 bytes.
const MAX_CLIENTS: usize = 65_536;

/// The rates; shared by all listeners.
#[derive(Debug)]
pub(super) struct Arrivals {
    all: Rate,
    each: Rate,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    /// When the bucket of all clients together is empty.
    all: Option<Instant>,
    /// The same of single clients, in two generations of half of [`MAX_CLIENTS`]: once the first is full,
    /// it becomes the second, and what was the second is forgotten.
    recent: HashMap<IpAddr, Instant>,
    older: HashMap<IpAddr, Instant>,
}

impl Arrivals {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            all: limits.session_rate,
            each: limits.session_rate_per_client,
            buckets: Mutex::default(),
        }
    }

    /// Counts one more session, unless that is too soon. One that is refused is not counted: a client
    /// that tries over and over uses up nothing of what all have.
    ///
    /// # Errors
    /// Says which limit is reached.
    pub(super) fn enter(&self, client: IpAddr, now: Instant) -> Result<(), String> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let known = buckets.recent.get(&client).copied();
        let own = known.or_else(|| buckets.older.get(&client).copied());
        let Some(own) = poured(own, self.each, now) else {
            return Err(told(self.each, "sessions begin from your address"));
        };
        let Some(all) = poured(buckets.all, self.all, now) else {
            return Err(told(self.all, "sessions begin"));
        };
        buckets.all = Some(all);
        if known.is_none() && buckets.recent.len() >= MAX_CLIENTS / 2 {
            buckets.older = std::mem::take(&mut buckets.recent);
        }
        buckets.recent.insert(client, own);
        Ok(())
    }
}

/// When a bucket with one more in it is empty; `None` where there is no room for one more.
fn poured(empty_at: Option<Instant>, rate: Rate, now: Instant) -> Option<Instant> {
    let period = Duration::from_secs(rate.period.seconds().into());
    let count = u32::try_from(rate.count).unwrap_or(u32::MAX).max(1);
    let empty_at = empty_at.map_or(now, |at| at.max(now)) + period / count;
    (empty_at.saturating_duration_since(now) <= period).then_some(empty_at)
}

fn told(rate: Rate, what: &str) -> String {
    let Rate { count, period } = rate;
    format!("too many {what}, limit {count} per {period}; try again later")
}

#[cfg(test)]
mod tests {
    use crate::rules::Period;

    use super::*;

    fn arrivals(all: u64, each: u64) -> Arrivals {
        let rate = |count| Rate {
            count,
            period: Period::Second,
        };
        Arrivals::new(&Limits {
            session_rate: rate(all),
            session_rate_per_client: rate(each),
            ..Limits::default()
        })
    }

    #[test]
    fn p41_sessions_begin_so_often_in_all_and_per_client() {
        let (arrivals, now) = (arrivals(5, 2), Instant::now());
        let [a, b, c] = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last]));
        assert!(arrivals.enter(a, now).is_ok() && arrivals.enter(a, now).is_ok());
        for _ in 0..100 {
            let refused = arrivals.enter(a, now).unwrap_err();
            assert!(refused.contains("from your address, limit 2 per second"));
        }
        assert!(arrivals.enter(b, now).is_ok() && arrivals.enter(b, now).is_ok());
        assert!(arrivals.enter(c, now).is_ok(), "refusals used up the rate");
        let refused = arrivals.enter(c, now).unwrap_err();
        assert!(refused.contains("begin, limit 5 per second"), "{refused}");
        let later = now + Duration::from_millis(500);
        assert!(arrivals.enter(a, later).is_ok());
        assert!(arrivals.enter(a, later).is_err());
    }

    #[test]
    fn clients_without_end_are_not_remembered_without_end() {
        let (arrivals, now) = (arrivals(1_000_000, 1), Instant::now());
        let first = IpAddr::from([9, 9, 9, 9]);
        arrivals.enter(first, now).unwrap();
        for number in 0..100_000_u32 {
            arrivals
                .enter(IpAddr::from(number.to_be_bytes()), now)
                .unwrap();
        }
        let buckets = arrivals.buckets.lock().unwrap();
        assert!(buckets.recent.len() + buckets.older.len() <= MAX_CLIENTS);
        assert!(!buckets.recent.contains_key(&first) && !buckets.older.contains_key(&first));
        drop(buckets);
        let last = IpAddr::from(99_999_u32.to_be_bytes());
        assert!(arrivals.enter(last, now).is_err());
    }
}

//! Clients that are reset because too many others are being told 421: how many, for one record of all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::audit::{self, Entry};
use crate::inspect::{Event, Record};

use super::Shared;

/// How long they are summed up. A record for each would be as much work as the answer that there is no
/// time for.
pub(super) const SUM_TIME: Duration = Duration::from_secs(10);

/// Those of one listener since the last record of them.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    sum: Mutex<Option<Sum>>,
}

/// How many, and from when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sum {
    count: u64,
    since: Instant,
}

impl Unheard {
    /// Counts one more; gives whether it is the first, who has to [`Self::take`] them all.
    pub(super) fn add(&self, now: Instant) -> bool {
        let mut sum = self.lock();
        let first = sum.is_none();
        let own = sum.get_or_insert(Sum {
            count: 0,
            since: now,
        });
        own.count = own.count.saturating_add(1);
        first
    }

    /// How many there were, and within which time; the next one is a first one again.
    pub(super) fn take(&self, now: Instant) -> (u64, Duration) {
        let sum = self.lock().take();
        sum.map_or((0, Duration::ZERO), |sum| {
            (sum.count, now.saturating_duration_since(sum.since))
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Sum>> {
        self.sum.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts them on the record; `about` is the first of them.
pub(super) async fn record(
    shared: &Shared,
    about: audit::Session,
    (count, within): (u64, Duration),
) {
    let record = Record {
        user: None,
        event: Event::ClientsUnheard { count, within },
    };
    let entry = Entry {
        timestamp: SystemTime::now(),
        session: Arc::new(about),
        record,
    };
    if let Err(error) = shared.audit.accept(entry).await {
        tracing::error!(count, "the record cannot be kept: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_takes_all() {
        let (unheard, now) = (Unheard::default(), Instant::now());
        assert!(unheard.add(now));
        for _ in 0..411 {
            assert!(!unheard.add(now + Duration::from_secs(1)));
        }
        let later = now + SUM_TIME;
        assert_eq!(unheard.take(later), (412, SUM_TIME));
        assert!(unheard.add(later), "the next is a first one");
        assert_eq!(unheard.take(later), (1, Duration::ZERO));
    }
}

//! How many sessions and pinholes there are, in all and for each client, against their limits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Limits;

/// The counts; shared by all sessions.
#[derive(Debug)]
pub(super) struct Counts {
    sessions: Mutex<Count>,
    pinholes: Mutex<Count>,
}

#[derive(Debug)]
struct Count {
    what: &'static str,
    limit: usize,
    limit_per_client: usize,
    all: usize,
    /// Clients with at least one; never longer than `limit`.
    by_client: HashMap<IpAddr, usize>,
}

/// One of something; gives its place back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    counts: Arc<Counts>,
    client: IpAddr,
    of: fn(&Counts) -> &Mutex<Count>,
}

impl Counts {
    pub(super) fn new(limits: &Limits) -> Self {
        let count = |what, limit, limit_per_client| {
            let by_client = HashMap::new();
            Mutex::new(Count {
                what,
                limit,
                limit_per_client,
                all: 0,
                by_client,
            })
        };
        Self {
            sessions: count("sessions", limits.sessions, limits.sessions_per_client),
            pinholes: count(
                "data connections",
                limits.pinholes,
                limits.pinholes_per_client,
            ),
        }
    }

    /// Counts one more session.
    ///
    /// # Errors
    /// Says which limit is reached.
    pub(super) fn enter_session(self: &Arc<Self>, client: IpAddr) -> Result<Place, String> {
        self.enter(client, |counts| &counts.sessions)
    }

    /// Counts one more pinhole.
    ///
    /// # Errors
    /// Says which limit is reached.
    pub(super) fn enter_pinhole(self: &Arc<Self>, client: IpAddr) -> Result<Place, String> {
        self.enter(client, |counts| &counts.pinholes)
    }

    fn enter(
        self: &Arc<Self>,
        client: IpAddr,
        of: fn(&Self) -> &Mutex<Count>,
    ) -> Result<Place, String> {
        of(self)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(client)?;
        Ok(Place {
            counts: Arc::clone(self),
            client,
            of,
        })
    }
}

impl Count {
    fn add(&mut self, client: IpAddr) -> Result<(), String> {
        if self.all >= self.limit {
            return Err(format!("too many {}, limit {}", self.what, self.limit));
        }
        let own = self.by_client.entry(client).or_insert(0);
        if *own >= self.limit_per_client {
            let (what, limit) = (self.what, self.limit_per_client);
            return Err(format!("too many {what} of your address, limit {limit}"));
        }
        *own += 1;
        self.all += 1;
        Ok(())
    }

    fn remove(&mut self, client: IpAddr) {
        self.all = self.all.saturating_sub(1);
        if let Some(own) = self.by_client.get_mut(&client) {
            *own -= 1;
            if *own == 0 {
                self.by_client.remove(&client);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut count = (self.of)(&self.counts)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        count.remove(self.client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p41_counts_in_all_and_per_client_and_gives_places_back() {
        let limits = Limits {
            pinholes: 3,
            pinholes_per_client: 2,
            ..Limits::default()
        };
        let counts = Arc::new(Counts::new(&limits));
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = counts.enter_pinhole(a).unwrap();
        let _second = counts.enter_pinhole(a).unwrap();
        assert!(
            counts
                .enter_pinhole(a)
                .unwrap_err()
                .contains("of your address, limit 2")
        );
        let _third = counts.enter_pinhole(b).unwrap();
        assert!(counts.enter_pinhole(b).unwrap_err().contains("limit 3"));
        drop(first);
        assert!(counts.enter_pinhole(b).is_ok());
    }
}

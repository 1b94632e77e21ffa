//! Brings the kernel's news of data connections to the sessions they belong to.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::conntrack::{FlowEvent, Key};
use crate::inspect::PinholeNews;
use crate::pinhole::PinholeId;

/// News of one session's pinholes.
pub(super) type News = (PinholeId, PinholeNews);

/// News a session can leave unread; a pinhole has two, and few pinholes are followed at a time.
pub(super) const MAX_UNREAD_NEWS: usize = 64;

/// Which session follows which data connection.
#[derive(Debug, Default)]
pub struct Flows {
    /// Bounded by the limit on pinholes and what each session waits for.
    followers_by_key: Mutex<HashMap<Key, Follower>>,
}

#[derive(Debug)]
struct Follower {
    session: u64,
    id: PinholeId,
    news: mpsc::Sender<News>,
}

impl Flows {
    /// Takes an event of the kernel; one that nobody follows is of an earlier run or session.
    pub fn handle_event(&self, event: FlowEvent) {
        let (key, news) = match event {
            FlowEvent::Opened { key } => (key, PinholeNews::Used),
            FlowEvent::Closed {
                key,
                counters,
                duration,
            } => (key, PinholeNews::Closed { counters, duration }),
        };
        let followers = self
            .followers_by_key
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(follower) = followers.get(&key)
            && follower.news.try_send((follower.id, news)).is_err()
        {
            tracing::debug!(
                session = follower.session,
                "session takes no news of its pinhole"
            );
        }
    }

    pub(super) fn follow(&self, key: Key, session: u64, id: PinholeId, news: mpsc::Sender<News>) {
        let mut followers = self
            .followers_by_key
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        followers.insert(key, Follower { session, id, news });
    }

    /// Ends what [`Self::follow`] began, unless another has taken the place.
    pub(super) fn leave(&self, key: Key, session: u64, id: PinholeId) {
        let mut followers = self
            .followers_by_key
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if followers
            .get(&key)
            .is_some_and(|own| own.session == session && own.id == id)
        {
            followers.remove(&key);
        }
    }
}

//! Brings the kernel's news of data connections to the sessions they belong to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::conntrack::{Audience, FlowEvent, Key};
use crate::inspect::{PinholeNews, WindowNews};
use crate::pinhole::PinholeId;

use super::mailbox::Mailbox;

/// What a session hears of its data connections.
#[derive(Debug)]
pub(super) enum News {
    /// Of a pinhole.
    Pinhole(PinholeId, PinholeNews),
    /// Of the window of a control connection that can't be read.
    Window(WindowNews),
}

/// Who dials, and which address: what a window is for.
pub(super) type Pair = (IpAddr, IpAddr);

/// Which session follows which data connection.
#[derive(Debug, Default)]
pub struct Flows {
    followers: Mutex<Followers>,
    /// Those who got news since the last pause; each event brings one.
    told: Mutex<Vec<Arc<Mailbox>>>,
}

#[derive(Debug, Default)]
struct Followers {
    /// Bounded by the limit on pinholes and what each session waits for.
    by_key: HashMap<Key, Follower>,
    /// Sessions with an open window, first come first; bounded by the limit on sessions.
    by_pair: HashMap<Pair, Vec<Follower>>,
}

#[derive(Debug)]
struct Follower {
    session: u64,
    id: Option<PinholeId>,
    news: Arc<Mailbox>,
    /// Nothing more is to come through its window; what came is still waited for.
    drains: bool,
}

impl Audience for Arc<Flows> {
    /// Takes an event of the kernel; one that nobody follows is of an earlier run or session. Its session
    /// is not woken for it, and finds it if it runs before the pause.
    fn hear(&self, event: FlowEvent) {
        let key = match &event {
            FlowEvent::Opened { key } | FlowEvent::Closed { key, .. } => *key,
        };
        let followers = self.lock();
        let pair = (key.initiator, key.announced.ip());
        // Of several sessions between one pair the kernel's word does not say which; the first hears.
        let window = || {
            followers
                .by_pair
                .get(&pair)
                .and_then(|sessions| sessions.first())
        };
        let Some(follower) = followers.by_key.get(&key).or_else(window) else {
            return;
        };
        let announced = key.announced;
        let news = match (follower.id, event) {
            (Some(id), FlowEvent::Opened { .. }) => News::Pinhole(id, PinholeNews::Used),
            (
                Some(id),
                FlowEvent::Closed {
                    counters, duration, ..
                },
            ) => News::Pinhole(
                id,
                PinholeNews::Closed {
                    counters,
                    duration,
                    cut: false,
                },
            ),
            (None, FlowEvent::Opened { .. }) => News::Window(WindowNews::Used { announced }),
            (
                None,
                FlowEvent::Closed {
                    counters, duration, ..
                },
            ) => News::Window(WindowNews::Closed {
                announced,
                counters,
                duration,
            }),
        };
        follower.news.put(news);
        lock(&self.told).push(Arc::clone(&follower.news));
    }

    fn pause(&self) {
        for mailbox in lock(&self.told).drain(..) {
            mailbox.wake();
        }
    }
}

impl Flows {
    pub(super) fn follow(&self, key: Key, session: u64, id: PinholeId, news: Arc<Mailbox>) {
        self.lock().by_key.insert(
            key,
            Follower {
                session,
                id: Some(id),
                news,
                drains: false,
            },
        );
    }

    /// Ends what [`Self::follow`] began, unless another has taken the place.
    pub(super) fn leave(&self, key: Key, session: u64, id: PinholeId) {
        let mut followers = self.lock();
        let own = followers.by_key.get(&key);
        if own.is_some_and(|own| own.session == session && own.id == Some(id)) {
            followers.by_key.remove(&key);
        }
    }

    /// Follows a window; how many sessions follow it from here on.
    pub(super) fn follow_window(&self, pair: Pair, session: u64, news: Arc<Mailbox>) -> usize {
        let mut followers = self.lock();
        let sessions = followers.by_pair.entry(pair).or_default();
        if let Some(own) = sessions.iter_mut().find(|own| own.session == session) {
            own.drains = false;
        } else {
            sessions.push(Follower {
                session,
                id: None,
                news,
                drains: false,
            });
        }
        sessions.len()
    }

    /// Follows it to the end of what came through it, behind all sessions that need it; how many of those
    /// there are.
    pub(super) fn drain_window(&self, pair: Pair, session: u64) -> usize {
        let mut followers = self.lock();
        let Some(sessions) = followers.by_pair.get_mut(&pair) else {
            return 0;
        };
        for own in sessions.iter_mut().filter(|own| own.session == session) {
            own.drains = true;
        }
        sessions.sort_by_key(|own| own.drains);
        sessions.iter().filter(|own| !own.drains).count()
    }

    /// Ends that; how many sessions still need it.
    pub(super) fn leave_window(&self, pair: Pair, session: u64) -> usize {
        let mut followers = self.lock();
        let Some(sessions) = followers.by_pair.get_mut(&pair) else {
            return 0;
        };
        sessions.retain(|own| own.session != session);
        let left = sessions.iter().filter(|own| !own.drains).count();
        if sessions.is_empty() {
            followers.by_pair.remove(&pair);
        }
        left
    }

    fn lock(&self) -> MutexGuard<'_, Followers> {
        lock(&self.followers)
    }
}

/// A panic elsewhere leaves the lists usable: every change to them is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Where a session's news wait for it.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::flows::News;

/// News a session can leave unread; a pinhole has two, and few are followed at a time.
const MAX_UNREAD: usize = 64;

/// News of one session. It takes them whenever it runs; who has news that can wait need not wake it.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    unread: VecDeque<News>,
    /// Some of what is unread is not to wait.
    woken: bool,
    /// The session, where it waits.
    sleeper: Option<Waker>,
}

impl Mailbox {
    /// Puts in news, behind those that are unread; they are lost where there are too many.
    pub(super) fn put(&self, news: News) {
        self.lock().put(news);
    }

    /// Puts them in, and wakes the session.
    pub(super) fn send(&self, news: News) {
        let mut inside = self.lock();
        inside.put(news);
        wake(inside);
    }

    /// Wakes the session if something is unread.
    pub(super) fn wake(&self) {
        let inside = self.lock();
        if !inside.unread.is_empty() {
            wake(inside);
        }
    }

    /// The oldest news.
    pub(super) fn take(&self) -> Option<News> {
        let mut inside = self.lock();
        let news = inside.unread.pop_front();
        inside.woken &= news.is_some();
        news
    }

    /// Whether such news are unread.
    pub(super) fn has(&self, such: impl FnMut(&News) -> bool) -> bool {
        self.lock().unread.iter().any(such)
    }

    /// Whether nothing is unread.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().unread.is_empty()
    }

    /// Ready once somebody wakes the session for what it has not read.
    pub(super) fn poll_woken(&self, context: &Context<'_>) -> Poll<()> {
        let mut inside = self.lock();
        if mem::take(&mut inside.woken) {
            return Poll::Ready(());
        }
        let known = inside.sleeper.as_ref();
        if !known.is_some_and(|known| known.will_wake(context.waker())) {
            inside.sleeper = Some(context.waker().clone());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn put(&mut self, news: News) {
        if self.unread.len() < MAX_UNREAD {
            self.unread.push_back(news);
        } else {
            tracing::debug!(?news, "a session takes no news of its data");
        }
    }
}

/// Wakes who waits, the lock let go of: woken, it takes the lock at once.
fn wake(mut inside: MutexGuard<'_, Inside>) {
    inside.woken = true;
    let sleeper = inside.sleeper.take();
    drop(inside);
    if let Some(sleeper) = sleeper {
        sleeper.wake();
    }
}

#[cfg(test)]
mod tests {
    use crate::inspect::PinholeNews;
    use crate::pinhole::PinholeId;

    use super::*;

    #[test]
    fn a_session_is_woken_once_for_what_it_has_not_read() {
        let mailbox = Mailbox::default();
        let context = Context::from_waker(Waker::noop());
        let woken = || mailbox.poll_woken(&context).is_ready();
        mailbox.wake();
        assert!(!woken());
        mailbox.put(News::Pinhole(PinholeId(1), PinholeNews::Used));
        assert!(!woken());
        mailbox.wake();
        assert!(woken());
        assert!(!woken());
        mailbox.send(News::Pinhole(PinholeId(2), PinholeNews::Used));
        while mailbox.take().is_some() {}
        assert!(!woken());
    }
}

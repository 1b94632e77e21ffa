//! Where a session's news wait for it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::flows::News;

/// News a session can leave unread; a pinhole has two, and few are followed at a time.
const MAX_UNREAD: usize = 64;

/// News of one session. It takes them whenever it runs; who has news that can wait need not wake it.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    unread: Mutex<VecDeque<News>>,
    woken: Notify,
}

impl Mailbox {
    /// Puts in news, behind those that are unread; they are lost where there are too many.
    pub(super) fn put(&self, news: News) {
        let mut unread = self.lock();
        if unread.len() < MAX_UNREAD {
            unread.push_back(news);
        } else {
            tracing::debug!(?news, "a session takes no news of its data");
        }
    }

    /// Puts them in, and wakes the session.
    pub(super) fn send(&self, news: News) {
        self.put(news);
        self.woken.notify_one();
    }

    /// Wakes the session if something is unread.
    pub(super) fn wake(&self) {
        if !self.lock().is_empty() {
            self.woken.notify_one();
        }
    }

    /// The oldest news.
    pub(super) fn take(&self) -> Option<News> {
        self.lock().pop_front()
    }

    /// Whether such news are unread.
    pub(super) fn has(&self, such: impl FnMut(&News) -> bool) -> bool {
        self.lock().iter().any(such)
    }

    /// Waits until somebody wakes the session.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<News>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

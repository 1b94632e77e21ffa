//! Where a session's news wait for it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::flows::News;

/// News a session can leave unread; a pinhole has two, and few are followed at a time.
const MAX_UNREAD: usize = 64;

/// News of one session. It takes them whenever it runs; who has news that can wait need not wake it.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    unread: VecDeque<News>,
    /// The session is to run, and has not since.
    due: bool,
    session: Option<Waker>,
}

impl Mailbox {
    /// Puts in news, behind those that are unread; they are lost where there are too many.
    pub(super) fn put(&self, news: News) {
        let mut state = self.lock();
        if state.unread.len() < MAX_UNREAD {
            state.unread.push_back(news);
        } else {
            tracing::debug!(?news, "a session takes no news of its data");
        }
    }

    /// Puts them in, and wakes the session.
    pub(super) fn send(&self, news: News) {
        self.put(news);
        self.wake();
    }

    /// Wakes the session if something is unread.
    pub(super) fn wake(&self) {
        let mut state = self.lock();
        if state.unread.is_empty() {
            return;
        }
        state.due = true;
        let session = state.session.take();
        drop(state);
        if let Some(session) = session {
            session.wake();
        }
    }

    /// The oldest news.
    pub(super) fn take(&self) -> Option<News> {
        self.lock().unread.pop_front()
    }

    /// Whether such news are unread.
    pub(super) fn has(&self, such: impl FnMut(&News) -> bool) -> bool {
        self.lock().unread.iter().any(such)
    }

    /// Whether nothing is unread.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().unread.is_empty()
    }

    /// Ready once somebody wakes the session, which is the only one to wait.
    pub(super) fn poll_woken(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if std::mem::take(&mut state.due) {
            return Poll::Ready(());
        }
        match &mut state.session {
            Some(known) => known.clone_from(context.waker()),
            none @ None => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

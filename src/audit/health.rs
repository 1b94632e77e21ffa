//! How the record is doing, for metrics and the status of the program.

use std::sync::atomic::{AtomicU64, Ordering};

use super::writer::Health;

/// How the record is doing at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHealth {
    /// Whether it is kept.
    pub state: RecordState,
    /// What is wrong; `None` while it is kept, and after an end with all written.
    pub error: Option<String>,
    /// Accepted entries that are not written so far: those in the queue and the batch at hand.
    pub waiting: u64,
    /// Entries that the queue holds at most (`audit: queue`).
    pub queue: usize,
    /// Entries written since the start, quiet decisions among them.
    pub written: u64,
    /// Entries since the start that went unrecorded under `on-failure: allow`.
    pub unrecorded: u64,
}

/// Whether the record is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// It is.
    Writing,
    /// An output takes nothing; it is tried again and again.
    Failing,
    /// The writer has ended, as the program does.
    Ended,
}

impl RecordState {
    /// Its word in answers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Writing => "writing",
            Self::Failing => "failing",
            Self::Ended => "ended",
        }
    }
}

/// What handles and writer count together.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Entries that were accepted.
    pub(super) accepted: AtomicU64,
    /// Entries in the output and in the store.
    pub(super) written: AtomicU64,
    /// Entries that were not accepted while the policy is to go on, and of which nothing is on the
    /// record so far.
    pub(super) unrecorded: AtomicU64,
    /// The same, those included that a line has told of since.
    pub(super) ever_unrecorded: AtomicU64,
}

impl Counts {
    /// Says how the record is doing.
    pub(super) fn health(&self, health: &Health, queue: usize) -> RecordHealth {
        let (state, error) = match health {
            Health::Writing => (RecordState::Writing, None),
            Health::Failing(error) => (RecordState::Failing, Some(error)),
            Health::Ended(result) => (RecordState::Ended, result.as_ref().err()),
        };
        // In this order: what is written in between is not counted as waiting.
        let accepted = self.accepted.load(Ordering::Acquire);
        let written = self.written.load(Ordering::Acquire);
        RecordHealth {
            state,
            error: error.map(ToString::to_string),
            waiting: accepted.saturating_sub(written),
            queue,
            written,
            unrecorded: self.ever_unrecorded.load(Ordering::Relaxed),
        }
    }
}

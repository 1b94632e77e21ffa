//! What clients did and heard, to be held against what the gate has on its record.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::places::{Side, Who};

/// Sentences of a kind that are kept; more are only counted.
const MAX_KEPT: usize = 20;

/// Hostile clients of one kind on one side.
pub(super) type Kind = (Side, u8);

/// What many clients write into at the same time.
#[derive(Default)]
pub(super) struct Ledger {
    all: Mutex<All>,
}

/// All of it.
#[derive(Clone, Default)]
pub(super) struct All {
    /// By client.
    pub(super) honest: BTreeMap<Who, Honest>,
    /// Attempts, by kind.
    pub(super) attempts: BTreeMap<Kind, u64>,
    /// By kind and the word of the record for what must follow.
    pub(super) asked: BTreeMap<(Kind, &'static str), Asked>,
    /// What went wrong for honest clients without an excuse.
    pub(super) failures: Kept,
    /// What did while an edit took pinholes.
    pub(super) taken: Kept,
    /// What was reached and must not be.
    pub(super) falls: Kept,
    /// When somebody took what is in the kernel, and until when it was missing.
    edits: Vec<(Instant, Option<Instant>)>,
}

/// Sentences, the first ones.
#[derive(Clone, Default)]
pub(super) struct Kept {
    pub(super) count: u64,
    pub(super) first: Vec<String>,
}

/// What an honest client did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Honest {
    /// Sessions that came to their end as they should.
    pub(super) sessions: u64,
    /// Transfers whose content was compared.
    pub(super) transfers: u64,
    /// Sessions that went wrong, and the transfers that were to be in them.
    pub(super) sessions_lost: u64,
    pub(super) transfers_lost: u64,
}

/// How often the gate was made to say something, and how often that was heard.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) sent: u64,
    pub(super) heard: u64,
}

/// How long after an edit is over a transfer may still be without its pinhole.
const GRACE: Duration = Duration::from_secs(1);

impl Ledger {
    pub(super) fn all(&self) -> All {
        self.all.lock().unwrap().clone()
    }

    pub(super) fn attempt(&self, kind: Kind) {
        *self.all.lock().unwrap().attempts.entry(kind).or_default() += 1;
    }

    pub(super) fn sent(&self, kind: Kind, word: &'static str, count: u64) {
        let mut all = self.all.lock().unwrap();
        all.asked.entry((kind, word)).or_default().sent += count;
    }

    pub(super) fn heard(&self, kind: Kind, word: &'static str, count: u64) {
        let mut all = self.all.lock().unwrap();
        all.asked.entry((kind, word)).or_default().heard += count;
    }

    pub(super) fn done(&self, who: Who, sessions: u64, transfers: u64) {
        let mut all = self.all.lock().unwrap();
        let own = all.honest.entry(who).or_default();
        own.sessions += sessions;
        own.transfers += transfers;
    }

    /// Something went wrong for an honest client that began at `began`: an edit took it, or it is a failure.
    pub(super) fn failed(&self, who: Who, began: Instant, transfers: u64, why: &str) {
        let mut all = self.all.lock().unwrap();
        let mut edits = all.edits.iter();
        let excused = edits.any(|(_, until)| until.is_none_or(|until| until + GRACE >= began));
        let own = all.honest.entry(who).or_default();
        own.sessions_lost += 1;
        own.transfers_lost += transfers;
        let Who { side, number, .. } = who;
        let sentence = format!("{} {number}: {why}", side.word());
        match excused {
            true => all.taken.add(sentence),
            false => all.failures.add(sentence),
        }
    }

    /// Something came through that must not.
    pub(super) fn fell(&self, how: String) {
        self.all.lock().unwrap().falls.add(how);
    }

    /// What is in the kernel is being taken; give what this gives to [`Self::mended`].
    pub(super) fn edited(&self) -> usize {
        let mut all = self.all.lock().unwrap();
        all.edits.push((Instant::now(), None));
        all.edits.len() - 1
    }

    pub(super) fn mended(&self, edit: usize) {
        self.all.lock().unwrap().edits[edit].1 = Some(Instant::now());
    }
}

impl All {
    /// Honest transfers done, and hostile attempts.
    pub(super) fn sums(&self) -> (u64, u64) {
        let done = self.honest.values().map(|own| own.transfers).sum();
        (done, self.attempts.values().sum())
    }

    pub(super) fn edits(&self) -> usize {
        self.edits.len()
    }
}

impl Kept {
    fn add(&mut self, sentence: String) {
        self.count += 1;
        if self.first.len() < MAX_KEPT {
            self.first.push(sentence);
        }
    }
}

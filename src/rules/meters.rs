//! The counts that `limits` are held against, shared by all sessions of all listeners.
//!
//! Rates and volumes are leaky buckets: one level for each rule, limit and client or user, which
//! drains evenly. What runs at one time is counted by permits, which give their places back when they
//! are dropped. Reads no clock; never waits for more than another count.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ftp::Verb;

use super::limits::{Cause, Limit, Limits, Measure, Per, Period, Rate, Refusal, RuleKey};

/// Counts that are kept at most. Those that are idle make room for others; while none is, who has no
/// count is refused.
pub const MAX_COUNTS: usize = 100_000;

/// Parts that the counts are kept in, so that sessions seldom wait for each other.
const SHARDS: usize = 16;

/// How often idle counts are looked for at most, once there is no room.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// Parts of one command or byte that levels are kept in.
const PARTS: u128 = 1_000_000_000;

/// All counts.
#[derive(Debug)]
pub struct Meters {
    shards: [Mutex<Shard>; SHARDS],
    /// Counts in all shards, reserved before they are put in.
    counts: AtomicUsize,
    max_counts: usize,
    swept: Mutex<Option<Instant>>,
}

type Shard = BTreeMap<Key, Meter>;

/// What one count is kept for. Numbers are no part of it: changed ones are held against what was
/// counted before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    rule: Arc<RuleKey>,
    per: Per,
    counted: Counted,
    who: Who,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Counted {
    Commands(Period),
    Transfers,
    Bytes(Period),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Who {
    Client(IpAddr),
    User(Arc<str>),
    Everybody,
}

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The address that dialled the control connection.
    pub client: IpAddr,
    /// The name given in USER.
    pub user: Option<&'a Arc<str>>,
    /// The command.
    pub verb: &'a Verb,
}

/// One count.
#[derive(Clone, Copy, Debug)]
struct Meter {
    /// Transfers that run; it is kept as long as there are some.
    running: u32,
    /// What is used and has not come back, in [`PARTS`], at this instant. More than the rate allows
    /// is a debt.
    level: u128,
    at: Instant,
    rate: Option<Rate>,
}

/// What a transfer holds of the limits of its rule; given back when dropped. The default holds nothing.
#[derive(Debug, Default)]
pub struct Permit {
    meters: Option<Arc<Meters>>,
    /// Places among the transfers at one time.
    places: Vec<Key>,
    /// Where its bytes are counted.
    volumes: Vec<(Key, Rate)>,
}

impl Default for Meters {
    fn default() -> Self {
        Self::with_room(MAX_COUNTS)
    }
}

impl Meters {
    /// Nothing is counted; there is room for so many counts.
    pub fn with_room(max_counts: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            counts: AtomicUsize::new(0),
            max_counts,
            swept: Mutex::new(None),
        }
    }

    /// Takes what a command needs of each limit of the rule that allows it. QUIT and ABOR, which end
    /// what is limited, need nothing; only commands with a data connection count as transfers.
    ///
    /// # Errors
    /// Gives the first limit that is reached; then nothing of the others is taken either.
    pub fn take(
        self: &Arc<Self>,
        limits: &Limits,
        asking: &Asking<'_>,
        now: Instant,
    ) -> Result<Permit, Refusal> {
        let wanted: Vec<(&Limit, Key)> = limits
            .iter()
            .filter(|limit| applies(limit, asking.verb))
            .map(|limit| (limit, key(&limits.rule, limit, asking)))
            .collect();
        if wanted.is_empty() {
            return Ok(Permit::default());
        }
        if self.counts.load(Ordering::Relaxed) + wanted.len() > self.max_counts {
            self.sweep(now);
        }
        let mut shards = self.lock_all(wanted.iter().map(|(_, key)| key));
        let mut first_missing = None;
        let mut missing = 0;
        for (limit, key) in &wanted {
            match shards.get(&place(key)).and_then(|shard| shard.get(key)) {
                Some(meter) => meter
                    .check(limit.measure, now)
                    .map_err(|cause| refusal(limit, cause))?,
                None => {
                    first_missing.get_or_insert(*limit);
                    missing += 1;
                }
            }
        }
        if let Some(limit) = first_missing
            && !self.reserve(missing)
        {
            return Err(refusal(limit, Cause::NoRoom));
        }
        let mut permit = Permit::default();
        for (limit, key) in wanted {
            let Some(shard) = shards.get_mut(&place(&key)) else {
                continue;
            };
            let meter = shard
                .entry(key.clone())
                .or_insert_with(|| Meter::unused(now));
            match limit.measure {
                Measure::Commands(rate) => meter.add(1, rate, now),
                Measure::Transfers(_) => {
                    meter.running = meter.running.saturating_add(1);
                    permit.places.push(key);
                }
                Measure::Bytes(rate) => {
                    meter.running = meter.running.saturating_add(1);
                    permit.volumes.push((key, rate));
                }
            }
        }
        if !permit.is_empty() {
            permit.meters = Some(Arc::clone(self));
        }
        Ok(permit)
    }

    /// How many counts are kept.
    pub fn counts(&self) -> usize {
        self.counts.load(Ordering::Relaxed)
    }

    /// How many transfers hold something of a limit; one that holds of several counts several times.
    pub fn held(&self) -> usize {
        let running = |meter: &Meter| usize::try_from(meter.running).unwrap_or(usize::MAX);
        let of_shard = |shard: &Mutex<Shard>| lock(shard).values().map(running).sum::<usize>();
        self.shards.iter().map(of_shard).sum()
    }

    /// Room for so many more counts, or for none.
    fn reserve(&self, counts: usize) -> bool {
        let more = |kept: usize| {
            let kept = kept.checked_add(counts)?;
            (kept <= self.max_counts).then_some(kept)
        };
        self.counts
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Forgets the counts that are idle.
    fn sweep(&self, now: Instant) {
        {
            let mut swept = lock(&self.swept);
            let recent = |then: Instant| now.saturating_duration_since(then) < SWEEP_PAUSE;
            if swept.is_some_and(recent) {
                return;
            }
            *swept = Some(now);
        }
        for shard in &self.shards {
            let mut shard = lock(shard);
            let before = shard.len();
            shard.retain(|_, meter| !meter.is_idle(now));
            self.counts
                .fetch_sub(before - shard.len(), Ordering::Relaxed);
        }
    }

    /// The shards of these keys, locked in one order, so that nobody waits for somebody who waits.
    fn lock_all<'a>(
        &self,
        keys: impl Iterator<Item = &'a Key>,
    ) -> BTreeMap<usize, MutexGuard<'_, Shard>> {
        let mut places: Vec<usize> = keys.map(place).collect();
        places.sort_unstable();
        places.dedup();
        let locked = |place: usize| Some((place, lock(self.shards.get(place)?)));
        places.into_iter().filter_map(locked).collect()
    }

    /// One transfer less, and what it moved.
    fn give_back(&self, key: &Key, moved: Option<(u64, Rate, Instant)>) {
        let Some(shard) = self.shards.get(place(key)) else {
            return;
        };
        let mut shard = lock(shard);
        let Some(meter) = shard.get_mut(key) else {
            return;
        };
        meter.running = meter.running.saturating_sub(1);
        if let Some((bytes, rate, now)) = moved {
            meter.add(bytes, rate, now);
        }
        if meter.running == 0 && meter.level == 0 {
            shard.remove(key);
            self.counts.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Permit {
    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty() && self.volumes.is_empty()
    }

    /// The transfer is over: its places are free. Its bytes may still be counted.
    pub fn release(&mut self) {
        let Some(meters) = &self.meters else { return };
        for key in self.places.drain(..) {
            meters.give_back(&key, None);
        }
    }

    /// Counts what the transfer moved, and gives everything back.
    pub fn settle(mut self, bytes: u64, now: Instant) {
        if let Some(meters) = &self.meters {
            for (key, rate) in self.volumes.drain(..) {
                meters.give_back(&key, Some((bytes, rate, now)));
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release();
        let Some(meters) = &self.meters else { return };
        for (key, _) in self.volumes.drain(..) {
            meters.give_back(&key, None);
        }
    }
}

impl Meter {
    fn unused(now: Instant) -> Self {
        Self {
            running: 0,
            level: 0,
            at: now,
            rate: None,
        }
    }

    /// Whether a command may be carried out.
    fn check(&self, measure: Measure, now: Instant) -> Result<(), Cause> {
        match measure {
            Measure::Commands(rate) => within(rate, self.level_by(rate, now).saturating_add(PARTS)),
            // What a transfer will move is not known: it may begin while anything is left.
            Measure::Bytes(rate) => within(rate, self.level_by(rate, now).saturating_add(1)),
            Measure::Transfers(most) if self.running < most => Ok(()),
            Measure::Transfers(_) => Err(Cause::Running),
        }
    }

    fn add(&mut self, count: u64, rate: Rate, now: Instant) {
        let level = self.level_by(rate, now);
        self.level = level.saturating_add(u128::from(count) * PARTS);
        self.at = self.at.max(now);
        self.rate = Some(rate);
    }

    /// The level at an instant, drained by this rate since it was last changed.
    fn level_by(&self, rate: Rate, now: Instant) -> u128 {
        let passed = now.saturating_duration_since(self.at).as_nanos();
        let drained = u128::from(rate.count).saturating_mul(passed);
        self.level
            .saturating_sub(drained / u128::from(rate.period.seconds()))
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.running == 0 && self.rate.is_none_or(|rate| self.level_by(rate, now) == 0)
    }
}

/// Whether a level is allowed; else after how long it will be.
fn within(rate: Rate, level: u128) -> Result<(), Cause> {
    let count = u128::from(rate.count);
    let over = level.saturating_sub(count * PARTS);
    if over == 0 {
        return Ok(());
    }
    let wait = over
        .saturating_mul(rate.period.seconds().into())
        .div_ceil(count.max(1));
    let wait = u64::try_from(wait).unwrap_or(u64::MAX);
    Err(Cause::UsedUp(Duration::from_nanos(wait)))
}

fn applies(limit: &Limit, verb: &Verb) -> bool {
    match limit.measure {
        Measure::Commands(_) => !matches!(verb, Verb::Quit | Verb::Abor),
        Measure::Transfers(_) | Measure::Bytes(_) => verb.transfers(),
    }
}

fn key(rule: &Arc<RuleKey>, limit: &Limit, asking: &Asking<'_>) -> Key {
    Key {
        rule: Arc::clone(rule),
        per: limit.per,
        counted: match limit.measure {
            Measure::Commands(rate) => Counted::Commands(rate.period),
            Measure::Transfers(_) => Counted::Transfers,
            Measure::Bytes(rate) => Counted::Bytes(rate.period),
        },
        who: match (limit.per, asking.user) {
            (Per::Rule, _) => Who::Everybody,
            (Per::User, Some(user)) => Who::User(Arc::clone(user)),
            // Without a name nobody shall use up what belongs to all who have none.
            (Per::User, None) | (Per::Client, _) => Who::Client(asking.client),
        },
    }
}

/// The shard of a key; the same in every run.
fn place(key: &Key) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let shards = u64::try_from(SHARDS).unwrap_or(1);
    usize::try_from(hasher.finish() % shards).unwrap_or(0)
}

fn refusal(limit: &Limit, cause: Cause) -> Refusal {
    Refusal {
        limit: *limit,
        cause,
    }
}

/// Counts are whole at every moment, so that those of a thread that panicked are as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The oracle's own count of what limits hold back, across all sessions of a party: every command that was
//! allowed with its instant, every transfer from its command to the last reply to it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use portcullis::pinhole::PinholeId;

use crate::Held;
use crate::scene::{Facts, Limit, Per};

/// What is counted for whom: the policy, whose rule has the limits, and who it is.
type Key = (usize, Who);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Client(IpAddr),
    User(String),
    Everybody,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) session: usize,
    pub(crate) client: IpAddr,
    /// Once logged in.
    pub(crate) user: Option<&'a str>,
    pub(crate) verb: &'a str,
    pub(crate) at: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    said: BTreeMap<Key, Vec<Instant>>,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    session: usize,
    keys: Vec<Key>,
    pinhole: Option<PinholeId>,
    /// Its session is over; only its data may be on its way.
    over: bool,
}

impl Ledger {
    /// A command was allowed by the rule with the limits.
    pub(crate) fn allowed(&mut self, facts: &Facts, asking: &Asking<'_>) -> Held {
        if let Some(limit) = self.reached(facts, asking, false) {
            return Err(format!("{} is allowed beyond {limit:?}", asking.verb));
        }
        for key in keys(facts, asking) {
            if !is_free(asking.verb) {
                self.said.entry(key).or_default().push(asking.at);
            }
        }
        Ok(())
    }

    /// A command was refused for a limit.
    pub(crate) fn refused(&self, facts: &Facts, asking: &Asking<'_>) -> Held {
        match self.reached(facts, asking, true) {
            Some(_) => Ok(()),
            None => Err(format!(
                "{} is refused, and no limit is reached",
                asking.verb
            )),
        }
    }

    /// A transfer begins; what any rule allowed is kept, so that replies are matched.
    pub(crate) fn begins(&mut self, facts: Option<&Facts>, asking: &Asking<'_>) {
        self.running.push(Running {
            session: asking.session,
            keys: facts.map_or_else(Vec::new, |facts| keys(facts, asking)),
            pinhole: None,
            over: false,
        });
    }

    /// The transfer that began last takes this pinhole.
    pub(crate) fn serves(&mut self, session: usize, id: PinholeId) {
        let mut last = self.running.iter_mut().rev();
        if let Some(running) = last.find(|running| running.session == session) {
            running.pinhole = Some(id);
        }
    }

    /// The oldest transfer has its last reply.
    pub(crate) fn ends(&mut self, session: usize) {
        let oldest = |running: &Running| running.session == session && !running.over;
        if let Some(at) = self.running.iter().position(oldest) {
            self.running.remove(at);
        }
    }

    /// No reply comes any more; data may still move.
    pub(crate) fn closes(&mut self, session: usize, stands: impl Fn(PinholeId) -> bool) {
        self.running.retain_mut(|running| {
            running.over |= running.session == session;
            running.session != session || running.pinhole.is_some_and(&stands)
        });
    }

    /// Nothing more comes of a pinhole, such as one that expired unused: its transfer holds nothing.
    pub(crate) fn forgets(&mut self, session: usize, id: PinholeId) {
        let served = |running: &Running| running.session == session && running.pinhole == Some(id);
        self.running
            .retain(|running| !(running.over && served(running)));
        for running in self.running.iter_mut().filter(|running| served(running)) {
            running.keys.clear();
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// The limit that holds the command back; `at_most` counts what may still run as well.
    fn reached(&self, facts: &Facts, asking: &Asking<'_>, at_most: bool) -> Option<Limit> {
        let reached = |limit: &&Limit| {
            let key = (facts.number, who(limit.per, asking));
            let runs =
                |running: &&Running| (at_most || !running.over) && running.keys.contains(&key);
            let transfers = limit.transfers.is_some_and(|most| {
                transfers(asking.verb) && self.running.iter().filter(runs).count() >= most
            });
            let commands = limit.commands.is_some_and(|(count, seconds)| {
                let said = self.said.get(&key).map_or(&[][..], Vec::as_slice);
                let level = level(said, count / seconds, asking.at) + 1.0;
                // Rounding, to the side that finds nothing.
                let slack = if at_most { 1e-6 } else { -1e-6 };
                !is_free(asking.verb) && level + slack > count
            });
            transfers || commands
        };
        facts.limits.iter().find(reached).copied()
    }
}

/// How much of a rate is used up: since one of the commands, those since then less what has come back.
fn level(said: &[Instant], each_second: f64, at: Instant) -> f64 {
    let (mut since, mut most) = (0.0, 0.0_f64);
    for earlier in said.iter().rev() {
        since += 1.0;
        let passed = at.saturating_duration_since(*earlier).as_secs_f64();
        most = most.max(since - passed * each_second);
    }
    most
}

fn keys(facts: &Facts, asking: &Asking<'_>) -> Vec<Key> {
    let mut keys: Vec<Key> = facts
        .limits
        .iter()
        .map(|limit| (facts.number, who(limit.per, asking)))
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

fn who(per: Per, asking: &Asking<'_>) -> Who {
    match (per, asking.user) {
        (Per::Rule, _) => Who::Everybody,
        (Per::User, Some(user)) => Who::User(user.to_owned()),
        (Per::User, None) | (Per::Client, _) => Who::Client(asking.client),
    }
}

/// What ends what is limited is not held back.
fn is_free(verb: &str) -> bool {
    matches!(verb, "QUIT" | "ABOR")
}

fn transfers(verb: &str) -> bool {
    ["RETR", "STOR", "STOU", "APPE", "LIST", "NLST", "MLSD"].contains(&verb)
}

//! The model packet filter: which holes stand, for whom, and for how long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use portcullis::inspect::PinholeNews;
use portcullis::pinhole::{Counters, Pinhole, PinholeId};

use crate::chance::Chance;

/// What became of one hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Ordered; no answer was given.
    Ordered,
    /// One connection may come.
    Open,
    /// It came: nothing else may.
    Used,
}

#[derive(Clone, Debug)]
pub(crate) struct Hole {
    pub(crate) pinhole: Pinhole,
    pub(crate) state: State,
    pub(crate) until: Instant,
    /// Taken out by the session; a connection that stands goes on.
    pub(crate) closed: bool,
    pub(crate) counters: Option<Counters>,
    moving: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// Until the session forgets them.
    pub(crate) holes: BTreeMap<PinholeId, Hole>,
}

impl Filter {
    pub(crate) fn order(
        &mut self,
        id: PinholeId,
        pinhole: Pinhole,
        until: Instant,
    ) -> Result<(), String> {
        let hole = Hole {
            pinhole,
            state: State::Ordered,
            until,
            closed: false,
            counters: None,
            moving: false,
        };
        match self.holes.insert(id, hole) {
            None => Ok(()),
            Some(_) => Err(format!("pinhole {id} was ordered twice")),
        }
    }

    /// The holes through which a connection could come.
    pub(crate) fn standing(&self) -> impl Iterator<Item = (PinholeId, &Hole)> {
        let stands = |hole: &Hole| !hole.closed && hole.state != State::Used;
        self.holes
            .iter()
            .filter(move |(_, hole)| stands(hole))
            .map(|(id, hole)| (*id, hole))
    }

    /// Holes that are closed and still waited for.
    pub(crate) fn finishing(&self) -> usize {
        self.holes
            .values()
            .filter(|hole| hole.closed && hole.state != State::Ordered)
            .count()
    }

    /// Something happens at one of the holes; gives the kernel's news of it.
    pub(crate) fn happen(
        &mut self,
        chance: &mut Chance,
        now: Instant,
    ) -> Option<(PinholeId, PinholeNews)> {
        let place = chance.below(self.holes.len());
        let (&id, hole) = self.holes.iter_mut().nth(place)?;
        if hole.state == State::Open && !hole.closed && now < hole.until {
            hole.state = State::Used;
            hole.moving = true;
            return Some((id, PinholeNews::Used));
        }
        if hole.moving {
            hole.moving = false;
            let counters = Counters {
                packets_forth: chance.number() % 1000,
                bytes_forth: chance.number() % 100_000,
                packets_back: 1,
                bytes_back: 40,
            };
            let counters = chance.percent(85).then_some(counters);
            return Some((
                id,
                PinholeNews::Closed {
                    counters,
                    duration: counters.map(|_| Duration::from_millis(7)),
                    cut: chance.one_in(20),
                },
            ));
        }
        None
    }
}

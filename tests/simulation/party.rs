//! Sessions that share one clock and one count of limits: mostly one, sometimes several in turns.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use portcullis::rules::Meters;

use crate::Held;
use crate::chance::Chance;
use crate::ledger::Ledger;
use crate::scene::Scene;
use crate::transcript::Transcript;
use crate::world::World;

/// The most sessions of one party.
pub(crate) const MOST: usize = 4;

pub(crate) struct Party {
    chance: Chance,
    now: Instant,
    pub(crate) worlds: Vec<World>,
    meters: Arc<Meters>,
    ledger: Rc<RefCell<Ledger>>,
}

impl Party {
    pub(crate) fn new(seed: u64, began: Instant, transcript: &Transcript) -> Self {
        let mut chance = Chance::new(seed);
        let scene = Scene::any(&mut chance);
        let meters = Arc::<Meters>::default();
        let ledger = Rc::<RefCell<Ledger>>::default();
        let count = chance.weighted(&[(6, 1), (1, 2), (1, 3), (1, MOST)]);
        let worlds = (0..count).map(|session| {
            let mut own = scene.clone();
            if session > 0 && chance.one_in(2) {
                // Another client, by the same rules.
                own = Scene::any(&mut chance);
                own.book = scene.book.clone();
            }
            let shared = (Arc::clone(&meters), Rc::clone(&ledger));
            let seed = chance.number();
            World::new(seed, session, own, shared, began, transcript.of(session))
        });
        Self {
            worlds: worlds.collect(),
            chance,
            now: began,
            meters,
            ledger,
        }
    }

    /// Plays until every session is over or `most` steps were taken, and then to the end; gives the steps.
    pub(crate) fn play(&mut self, most: usize) -> Held<usize> {
        for world in &mut self.worlds {
            world.drain()?;
        }
        let mut steps = 0;
        let mut going: Vec<usize> = (0..self.worlds.len()).collect();
        while !going.is_empty() {
            let place = self.chance.below(going.len());
            let Some(world) = self.worlds.get_mut(going[place]) else {
                break;
            };
            world.catch_up(self.now)?;
            if steps < most && world.goes_on() {
                steps += usize::from(world.step()?);
            } else {
                world.conclude()?;
                going.remove(place);
            }
            self.now = world.now;
        }
        if self.meters.held() != 0 || !self.ledger.borrow().is_idle() {
            let (held, ledger) = (self.meters.held(), self.ledger.borrow());
            return Err(format!(
                "{held} transfers are held behind the end of all, {ledger:?}"
            ));
        }
        Ok(steps)
    }
}

//! Who is connected: a bounded number of places, of which the one that nobody misses is taken where all are in use.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::monitor::{AdminConnected, AdminSide, Monitor};
use crate::net::Shortage;

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Places {
    side: AdminSide,
    /// Connections at one time.
    room: usize,
    monitor: Arc<Monitor>,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    /// Counts what connections do, so that they have an order.
    steps: u64,
    seats: BTreeMap<u64, Seat>,
}

#[derive(Debug)]
struct Seat {
    /// Strangers go first.
    trusted: bool,
    /// When it last did something, in steps.
    active: u64,
    /// An answer to somebody trusted is being made.
    busy: bool,
    task: Option<AbortHandle>,
}

/// A connection's place; gives it back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    _counted: AdminConnected,
}

/// Keeps a place from being taken while an answer is made.
#[derive(Debug)]
pub(super) struct Busy(Arc<Place>);

impl Places {
    pub(super) fn new(side: AdminSide, room: usize, monitor: Arc<Monitor>) -> Arc<Self> {
        Arc::new(Self {
            side,
            room,
            monitor,
            taken: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Takes a place. Where none is free, the connection that was idle longest is closed, strangers
    /// before those that have shown the token; where answers are made on all, waits for one to end.
    pub(super) async fn take(self: &Arc<Self>) -> Arc<Place> {
        loop {
            let freed = self.freed.notified();
            if let Some(id) = self.try_take() {
                return Arc::new(Place {
                    places: Arc::clone(self),
                    id,
                    _counted: self.monitor.admin_connected(self.side),
                });
            }
            freed.await;
        }
    }

    /// A connection to this side could not be taken.
    pub(super) fn accept_failed(&self, error: &io::Error) {
        self.monitor.accept_failed(Shortage::of(error));
    }

    fn try_take(&self) -> Option<u64> {
        let mut taken = self.lock();
        if taken.seats.len() >= self.room {
            let idle = taken.seats.iter().filter(|(_, seat)| !seat.busy);
            let first = idle.min_by_key(|(_, seat)| (seat.trusted, seat.active));
            let id = first.map(|(id, _)| *id)?;
            if let Some(task) = taken.seats.remove(&id).and_then(|seat| seat.task) {
                task.abort();
            }
        }
        taken.steps += 1;
        let id = taken.steps;
        let seat = Seat {
            // The mode of the socket's file has let them in.
            trusted: self.side == AdminSide::Socket,
            active: id,
            busy: false,
            task: None,
        };
        taken.seats.insert(id, seat);
        Some(id)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Names the task that ends when the place is taken from it.
    pub(super) fn belongs_to(&self, task: AbortHandle) {
        match self.places.lock().seats.get_mut(&self.id) {
            Some(seat) => seat.task = Some(task),
            None => task.abort(),
        }
    }

    /// Something was asked: the connection is not the idlest.
    pub(super) fn moved(&self) {
        let mut taken = self.places.lock();
        taken.steps += 1;
        let now = taken.steps;
        if let Some(seat) = taken.seats.get_mut(&self.id) {
            seat.active = now;
        }
    }

    /// Whoever is connected may ask; the place stays theirs until the answer is made.
    pub(super) fn trust(self: &Arc<Self>) -> Busy {
        if let Some(seat) = self.places.lock().seats.get_mut(&self.id) {
            seat.trusted = true;
            seat.busy = true;
        }
        Busy(Arc::clone(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().seats.remove(&self.id);
        self.places.freed.notify_one();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(seat) = self.0.places.lock().seats.get_mut(&self.0.id) {
            seat.busy = false;
        }
        self.0.places.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::{Duration, SystemTime};

    use tokio::task::{JoinHandle, yield_now};
    use tokio::time::timeout;

    use crate::config::Limits;

    use super::*;

    const ROOM: usize = 64;

    /// A connection that does nothing.
    struct Silent {
        place: Arc<Place>,
        task: JoinHandle<()>,
    }

    impl Silent {
        async fn on(places: &Arc<Places>) -> Self {
            let place = places.take().await;
            let task = tokio::spawn(pending());
            place.belongs_to(task.abort_handle());
            Self { place, task }
        }

        async fn is_open(&self) -> bool {
            yield_now().await;
            !self.task.is_finished()
        }
    }

    fn places(side: AdminSide) -> Arc<Places> {
        let monitor = Monitor::new(SystemTime::UNIX_EPOCH, &Limits::default());
        Places::new(side, ROOM, Arc::new(monitor))
    }

    async fn full(places: &Arc<Places>) -> Vec<Silent> {
        let mut all = Vec::new();
        for _ in 0..ROOM {
            all.push(Silent::on(places).await);
        }
        all
    }

    #[tokio::test]
    async fn the_one_that_was_idle_longest_makes_room() {
        let places = places(AdminSide::Socket);
        let all = full(&places).await;
        let (first, second) = (all.first().unwrap(), all.get(1).unwrap());
        first.place.moved();
        let next = Silent::on(&places).await;
        assert!(first.is_open().await && next.is_open().await);
        assert!(!second.is_open().await);
    }

    #[tokio::test]
    async fn strangers_make_room_before_those_with_the_token() {
        let places = places(AdminSide::Page);
        let all = full(&places).await;
        let (first, second) = (all.first().unwrap(), all.get(1).unwrap());
        drop(first.place.trust());
        let _more = full(&places).await;
        assert!(first.is_open().await);
        assert!(!second.is_open().await);
    }

    #[tokio::test]
    async fn nobody_makes_room_while_answers_are_made() {
        let places = places(AdminSide::Socket);
        let all = full(&places).await;
        let mut busy: Vec<_> = all.iter().map(|one| one.place.trust()).collect();
        let moment = Duration::from_millis(10);
        assert!(timeout(moment, places.take()).await.is_err());
        busy.pop();
        let next = Silent::on(&places).await;
        assert!(next.is_open().await);
        let last = all.last().map(Silent::is_open);
        assert!(!last.unwrap().await);
    }

    #[tokio::test]
    async fn a_place_given_back_is_free() {
        let places = places(AdminSide::Page);
        let mut all = full(&places).await;
        drop(all.pop());
        let _next = Silent::on(&places).await;
        for one in &all {
            assert!(one.is_open().await);
        }
    }
}

//! The threads that sessions run on: one for each processor, and a session stays on the one it began on.
//!
//! Both legs of a session, and all that it waits for, are on one thread: a line is passed on without
//! another thread being woken. Connections are taken elsewhere, so that a thread which is busy for a
//! moment keeps nobody waiting at the door.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

thread_local! {
    static HERE: Cell<usize> = const { Cell::new(0) };
}

/// The number of the session thread that runs this, counted from 0; 0 on any other.
pub(super) fn here() -> usize {
    HERE.get()
}

/// The threads; they end when this is dropped, with whatever still runs on them.
#[derive(Debug)]
pub struct Cores {
    seats: Seats,
    threads: Vec<JoinHandle<()>>,
    /// Ends the threads.
    ending: watch::Sender<bool>,
}

/// Where sessions find a place on a thread. Apart from [`Cores`], which must not be dropped by a session:
/// its thread would wait for itself.
#[derive(Clone, Debug)]
pub struct Seats {
    cores: Arc<[Core]>,
}

#[derive(Debug)]
struct Core {
    handle: Handle,
    sessions: Arc<AtomicUsize>,
}

/// One session on a thread; gives its place back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    sessions: Arc<AtomicUsize>,
}

impl Cores {
    /// Starts as many threads as there are processors for this program. They have the privileges of the
    /// thread that calls.
    ///
    /// # Errors
    /// Passes on what the system says to another thread or event queue.
    pub fn start() -> io::Result<Self> {
        let (ending, ended) = watch::channel(false);
        let (mut cores, mut threads) = (Vec::new(), Vec::new());
        for number in 0..Self::count() {
            let (core, thread) = Core::start(number, ended.clone())?;
            cores.push(core);
            threads.push(thread);
        }
        let seats = Seats {
            cores: cores.into(),
        };
        Ok(Self {
            seats,
            threads,
            ending,
        })
    }

    /// How many there are: as many as there are processors for this program.
    pub fn count() -> usize {
        thread::available_parallelism().map_or(1, usize::from)
    }

    /// The runtime of one, by its number; those beyond the last begin anew.
    pub fn runtime(&self, number: usize) -> Option<&Handle> {
        let cores = &self.seats.cores;
        let core = cores.get(number.checked_rem(cores.len())?)?;
        Some(&core.handle)
    }

    /// Where sessions find a place.
    pub fn seats(&self) -> Seats {
        self.seats.clone()
    }
}

impl Seats {
    /// Takes a place on the thread with the fewest sessions, and gives the thread's runtime with it; `None`
    /// where there is no thread.
    pub(super) fn seat(&self) -> Option<(Seat, &Handle)> {
        let fewest = |core: &&Core| core.sessions.load(Ordering::Relaxed);
        let core = self.cores.iter().min_by_key(fewest)?;
        core.sessions.fetch_add(1, Ordering::Relaxed);
        let sessions = Arc::clone(&core.sessions);
        Some((Seat { sessions }, &core.handle))
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.ending.send_replace(true);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of sessions panicked");
            }
        }
    }
}

impl Core {
    fn start(
        number: usize,
        mut ended: watch::Receiver<bool>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let wait = move || {
            HERE.set(number);
            // An error means that the sender is gone, which is the end as well.
            runtime.block_on(async { drop(ended.wait_for(|ended| *ended).await) });
        };
        let thread = thread::Builder::new()
            .name("portcullis".to_owned())
            .spawn(wait)?;
        let sessions = Arc::default();
        Ok((Self { handle, sessions }, thread))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_spread_evenly_and_stay_on_their_thread() {
        let cores = Cores::start().unwrap();
        let all = cores.seats();
        let sessions = || {
            let counts = all.cores.iter().map(|core| &core.sessions);
            let counts = counts.map(|sessions| sessions.load(Ordering::Relaxed));
            counts.collect::<Vec<_>>()
        };
        let seats: Vec<_> = all.cores.iter().map(|_| all.seat().unwrap()).collect();
        assert_eq!(sessions(), vec![1; seats.len()]);
        for (_, handle) in &seats {
            let thread = || async { thread::current().id() };
            let (first, then) = (handle.spawn(thread()), handle.spawn(thread()));
            let both = Builder::new_current_thread()
                .build()
                .unwrap()
                .block_on(async { (first.await.unwrap(), then.await.unwrap()) });
            assert_eq!(both.0, both.1);
        }
        drop(seats);
        assert!(sessions().iter().all(|&count| count == 0));
    }
}

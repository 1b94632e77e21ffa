//! The thread that listens to connection tracking, and the questions put to it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};
use rustix::net::sockopt;

use super::ask::{Answering, MAX_ASKED, Questions, questions};
use super::flows::{Flows, Now};
use super::message::{Entry, Flow, Kind, TcpState};
use super::source::{GATHERING, Round, Source};
use super::{ConntrackError, FlowEvent, Key, filter};
use crate::config::Mark;
use crate::net::netlink::{Family, Socket};
use crate::pinhole::Counters;
use crate::sandbox::{Capabilities, NETLINK, keep_only};

/// Groups NEW, UPDATE and DESTROY: NFNLGRP_CONNTRACK_NEW is 1, which is bit 0.
const GROUPS: u32 = 0b111;
/// Room for events, bytes; where the machine does not grant it, as much as it does.
const RECEIVE_BUFFER: usize = 8 << 20;
/// How often the thread looks whether it shall end.
const STOP_CHECK: Duration = Duration::from_millis(500);
/// Keeps the watch going; cheap to clone. When the last one is dropped, the thread ends within half a
/// second.
#[derive(Clone, Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    /// Stops the thread with the last handle; the thread holds `shared` as well.
    _stop: Arc<StopOnDrop>,
}

/// Who is told. Called by the thread that listens, and by those who look with [`Watcher::look`].
pub trait Audience: Send + Sync + 'static {
    /// Takes an event. Must not block: events are lost meanwhile, though made up for afterwards.
    fn hear(&self, event: FlowEvent);

    /// Events gather for 2 ms from here on, and what was told so far may be acted on.
    fn pause(&self) {}
}

impl<Tell: Fn(FlowEvent) + Send + Sync + 'static> Audience for Tell {
    fn hear(&self, event: FlowEvent) {
        self(event);
    }
}

struct Shared {
    flows: Mutex<Flows>,
    questions: Questions,
    source: Mutex<Source>,
    audience: Box<dyn Audience>,
    stop: AtomicBool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Tells `audience`, on a thread of its own, every data connection with `mark` that begins or ends from
/// here on, 2 ms late where several come and go. Another thread asks, which keeps CAP_NET_ADMIN for it.
///
/// # Errors
/// [`ConntrackError::Unprivileged`] without CAP_NET_ADMIN; [`ConntrackError::Netlink`].
pub fn watch(mark: Mark, audience: impl Audience) -> Result<Watcher, ConntrackError> {
    let failed = |source| ConntrackError::Netlink {
        doing: "ask connection tracking",
        source,
    };
    let (questions, asked) = questions().map_err(failed)?;
    let answering = Answering::new(asked, mark).map_err(failed)?;
    let answer = move || {
        keep(NETLINK);
        if let Err(error) = answering.run() {
            tracing::error!("connection tracking is not asked any longer: {error}");
        }
    };
    thread::Builder::new()
        .name("conntrack-ask".to_owned())
        .spawn(answer)
        .map_err(failed)?;
    watch_asking(questions, mark, audience)
}

/// The same with one who may ask elsewhere: its thread keeps no capability, but takes CAP_NET_ADMIN to
/// begin with.
///
/// # Errors
/// As [`watch`].
pub fn watch_asking(
    questions: Questions,
    mark: Mark,
    audience: impl Audience,
) -> Result<Watcher, ConntrackError> {
    let doing = "listen to connection tracking";
    let fail = |source: io::Error| match Errno::from_io_error(&source) {
        Some(Errno::PERM) => ConntrackError::Unprivileged { doing },
        _ => ConntrackError::Netlink { doing, source },
    };
    let events = Socket::open(Family::Netfilter, GROUPS, STOP_CHECK, |fd| {
        prepare(fd, mark)
    })
    .map_err(fail)?;
    let shared = Arc::new(Shared {
        flows: Mutex::new(Flows::default()),
        questions,
        source: Mutex::new(Source::new(events).map_err(fail)?),
        audience: Box::new(audience),
        stop: AtomicBool::new(false),
    });
    let listener = Listener {
        shared: Arc::clone(&shared),
    };
    thread::Builder::new()
        .name("conntrack".to_owned())
        .spawn(move || {
            // To read what comes takes none.
            keep(Capabilities::default());
            listener.run();
        })
        .map_err(fail)?;
    let stop = Arc::new(StopOnDrop(Arc::clone(&shared)));
    Ok(Watcher {
        shared,
        _stop: stop,
    })
}

impl Watcher {
    /// Asks how much went over a running data connection so far, and for how long it has run. Answers
    /// within some 100 µs, so it may be called from async code.
    ///
    /// `None` where no such connection runs, or where the kernel does not count.
    pub fn measure(&self, key: &Key) -> Option<(Counters, Duration)> {
        // Of two with the same key the later one is the pinhole's.
        let (flow, seen_at) = lock(&self.shared.flows)
            .find(key)
            .max_by_key(|&(_, seen_at)| seen_at)?;
        let entry = self.shared.questions.ask(&[flow]).pop()??;
        Some((entry.counters?, seen_at.elapsed()))
    }
}

impl Watcher {
    /// Tells, on this thread, the beginnings that the kernel has announced and the thread did not take so far,
    /// up to that of `wanted`: for a session that must know at once whether its pinhole was used. Takes 1 µs
    /// where there are none.
    pub fn look(&self, wanted: &Key) {
        let shared = &*self.shared;
        let mut source = lock(&shared.source);
        source.take_beginnings(wanted, |entry| {
            let event = lock(&shared.flows).handle_new(&entry, Now::read());
            if let Some(event) = event {
                shared.audience.hear(event);
            }
        });
    }
}

fn keep(wanted: Capabilities) {
    if let Err(error) = keep_only(wanted) {
        tracing::warn!("a connection tracking thread: {error}");
    }
}

struct Listener {
    shared: Arc<Shared>,
}

impl Listener {
    fn run(self) {
        if let Err(error) = self.listen() {
            tracing::error!(%error, "Lost the connection tracking socket; ends of transfers are not seen");
        }
    }

    fn listen(&self) -> io::Result<()> {
        // To wait on without the lock, which others need.
        let awaited = lock(&self.shared.source).awaited()?;
        while !self.shared.stop.load(Ordering::Relaxed) {
            wait(&awaited)?;
            self.tell_all()?;
        }
        Ok(())
    }

    /// Tells what there is, round by round, until nothing comes.
    fn tell_all(&self) -> io::Result<()> {
        let shared = &*self.shared;
        loop {
            let round = lock(&shared.source).round()?;
            let Round::Busy { lost } = round else {
                shared.audience.pause();
                return Ok(());
            };
            let mut counted = Counted::new();
            loop {
                let next = lock(&shared.source).next();
                let Some((kind, entry)) = next else {
                    break;
                };
                if let Some(event) = handle(shared, kind, entry, &mut counted) {
                    shared.audience.hear(event);
                }
                lock(&shared.source).told();
            }
            if lost {
                tracing::warn!("Connection tracking events were lost; asking for all connections");
                self.reconcile();
            }
            thread::sleep(GATHERING);
            shared.audience.pause();
        }
    }

    fn reconcile(&self) {
        match self.shared.questions.list() {
            Ok(entries) => {
                let events = lock(&self.shared.flows).reconcile(&entries, Now::read());
                let audience = &self.shared.audience;
                events.into_iter().for_each(|event| audience.hear(event));
            }
            Err(error) => {
                tracing::warn!(%error, "Could not list tracked connections; some ends may be told late");
            }
        }
    }
}

/// Waits for an event, or for the bell, at most until the next look whether the thread shall end.
fn wait([events, bell]: &[OwnedFd; 2]) -> io::Result<()> {
    let timeout = Timespec::try_from(STOP_CHECK).map_err(io::Error::other)?;
    let mut awaited = [events, bell].map(|fd| PollFd::new(fd, PollFlags::IN));
    while let Err(error) = poll(&mut awaited, Some(&timeout)) {
        if error != Errno::INTR {
            return Err(error.into());
        }
    }
    let [_, rung] = awaited;
    if rung.revents().contains(PollFlags::IN) {
        read(bell, &mut [0; 8])?;
    }
    Ok(())
}

/// What the kernel counted on connections that ended, asked for at one time.
type Counted = BTreeMap<Flow, Option<Entry>>;

fn handle(
    shared: &Shared,
    kind: Kind,
    mut entry: Entry,
    counted: &mut Counted,
) -> Option<FlowEvent> {
    let now = Now::read();
    match (kind, entry.state) {
        (Kind::New, _) => lock(&shared.flows).handle_new(&entry, now),
        (Kind::Update, TcpState::Running) => None,
        (Kind::Update, TcpState::Ended) => {
            if !lock(&shared.flows).awaits_end(&entry) {
                return None;
            }
            if !counted.contains_key(&entry.flow) {
                let flows = lock(&shared.source).ends_ahead(MAX_ASKED);
                let answers = shared.questions.ask(&flows);
                counted.extend(flows.into_iter().zip(answers));
            }
            // The event has no counters, the entry has; it stays for 10 s or more. A connection that took
            // its place has another id.
            if let Some(Some(answer)) = counted.get(&entry.flow)
                && answer.id == entry.id
            {
                entry.counters = answer.counters;
                entry.started = answer.started;
            }
            lock(&shared.flows).handle_ended(&entry, now)
        }
        (Kind::Destroyed, _) => lock(&shared.flows).handle_destroyed(&entry, now),
    }
}

fn prepare(fd: &OwnedFd, mark: Mark) -> io::Result<()> {
    // The forced size needs CAP_NET_ADMIN of the whole machine.
    if sockopt::set_socket_recv_buffer_size_force(fd, RECEIVE_BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(fd, RECEIVE_BUFFER)?;
    }
    socket2::SockRef::from(&fd.as_fd()).attach_filter(&filter::events_with(mark))
}

/// A panic elsewhere leaves the table usable: every change to it is made by one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

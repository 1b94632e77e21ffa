//! The thread that listens to connection tracking, and the questions put to it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;

use super::flows::{Flows, Now};
use super::message::{Entry, Flow, Kind, TcpState, ask_for, ask_for_all, decode};
use super::source::{GATHERING, Round, Source};
use super::{ConntrackError, FlowEvent, Key, filter};
use crate::config::Mark;
use crate::net::netlink::{Builder, DONE, DUMP_INTERRUPTED, Family, Socket, messages};
use crate::pinhole::Counters;
use crate::sandbox::{NETLINK, keep_only};

/// Groups NEW, UPDATE and DESTROY: NFNLGRP_CONNTRACK_NEW is 1, which is bit 0.
const GROUPS: u32 = 0b111;
/// Room for events, bytes; where the machine does not grant it, as much as it does.
const RECEIVE_BUFFER: usize = 8 << 20;
/// How often the thread looks whether it shall end.
const STOP_CHECK: Duration = Duration::from_millis(500);
/// How long the kernel may take to answer a question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// How often an interrupted dump is begun anew.
const MAX_DUMPS: usize = 3;

/// Keeps the watch going; cheap to clone. When the last one is dropped, the thread ends within half a
/// second.
#[derive(Clone, Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    /// To the thread that may ask: others have no right to.
    questions: Sender<Question>,
    /// Stops the thread with the last handle; the thread holds `shared` as well.
    _stop: Arc<StopOnDrop>,
}

/// A connection, and where its entry goes.
type Question = (Flow, SyncSender<Option<Entry>>);

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
    questions: Mutex<Socket>,
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
/// here on, 2 ms late where several come and go.
///
/// # Errors
/// [`ConntrackError::Unprivileged`] without CAP_NET_ADMIN; [`ConntrackError::Netlink`].
pub fn watch(mark: Mark, audience: impl Audience) -> Result<Watcher, ConntrackError> {
    let doing = "listen to connection tracking";
    let fail = |source: io::Error| match Errno::from_io_error(&source) {
        Some(Errno::PERM) => ConntrackError::Unprivileged { doing },
        _ => ConntrackError::Netlink { doing, source },
    };
    let events = Socket::open(Family::Netfilter, GROUPS, STOP_CHECK, |fd| {
        prepare(fd, mark)
    })
    .map_err(fail)?;
    let questions = Socket::open(Family::Netfilter, 0, ANSWER_TIMEOUT, |_| Ok(())).map_err(fail)?;
    let shared = Arc::new(Shared {
        flows: Mutex::new(Flows::default()),
        questions: Mutex::new(questions),
        source: Mutex::new(Source::new(events)),
        audience: Box::new(audience),
        stop: AtomicBool::new(false),
    });
    let listener = Listener {
        mark,
        shared: Arc::clone(&shared),
    };
    thread::Builder::new()
        .name("conntrack".to_owned())
        .spawn(move || {
            keep_netlink();
            listener.run();
        })
        .map_err(fail)?;
    let (questions, asked) = mpsc::channel::<Question>();
    let answering = Arc::clone(&shared);
    thread::Builder::new()
        .name("conntrack-ask".to_owned())
        .spawn(move || {
            keep_netlink();
            for (flow, answer) in asked {
                // Whoever asked may have given up.
                let _ = answer.try_send(ask(&answering.questions, &flow));
            }
        })
        .map_err(fail)?;
    let stop = Arc::new(StopOnDrop(Arc::clone(&shared)));
    Ok(Watcher {
        shared,
        questions,
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
        let (answer, answered) = mpsc::sync_channel(1);
        self.questions.send((flow, answer)).ok()?;
        let entry = answered.recv_timeout(ANSWER_TIMEOUT).ok()??;
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

fn keep_netlink() {
    if let Err(error) = keep_only(NETLINK) {
        tracing::warn!("a connection tracking thread: {error}");
    }
}

struct Listener {
    mark: Mark,
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
        let fd = lock(&self.shared.source).fd().try_clone_to_owned()?;
        while !self.shared.stop.load(Ordering::Relaxed) {
            wait(&fd)?;
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
            loop {
                let next = lock(&shared.source).next();
                let Some((kind, entry)) = next else {
                    break;
                };
                if let Some(event) = handle(shared, kind, entry) {
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
        match dump(&self.shared.questions, self.mark) {
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

/// Waits for an event, at most until the next look whether the thread shall end.
fn wait(fd: &OwnedFd) -> io::Result<()> {
    let timeout = Timespec::try_from(STOP_CHECK).map_err(io::Error::other)?;
    loop {
        let mut awaited = [PollFd::new(fd, PollFlags::IN)];
        match poll(&mut awaited, Some(&timeout)) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn handle(shared: &Shared, kind: Kind, mut entry: Entry) -> Option<FlowEvent> {
    let now = Now::read();
    match (kind, entry.state) {
        (Kind::New, _) => lock(&shared.flows).handle_new(&entry, now),
        (Kind::Update, TcpState::Running) => None,
        (Kind::Update, TcpState::Ended) => {
            if !lock(&shared.flows).awaits_end(&entry) {
                return None;
            }
            // The event has no counters, the entry has; it stays for 10 s or more. A connection that took
            // its place has another id.
            if let Some(answer) = ask(&shared.questions, &entry.flow)
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

fn ask(questions: &Mutex<Socket>, flow: &Flow) -> Option<Entry> {
    let mut socket = lock(questions);
    let sequence = socket.reserve(1);
    let mut builder = Builder::default();
    ask_for(&mut builder, sequence, flow);
    socket.send(builder.bytes()).ok()?;
    loop {
        // Answers to an earlier question may come after its timeout.
        let answer = messages(socket.receive().ok()?)
            .find(|message| message.sequence == sequence)
            .map(|message| decode(&message));
        if let Some(answer) = answer {
            return answer;
        }
    }
}

fn dump(questions: &Mutex<Socket>, mark: Mark) -> io::Result<Vec<Entry>> {
    let mut socket = lock(questions);
    for _ in 0..MAX_DUMPS {
        if let Some(entries) = dump_once(&mut socket, mark)? {
            return Ok(entries);
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

/// `None` where the table changed in a way that may have hidden entries.
fn dump_once(socket: &mut Socket, mark: Mark) -> io::Result<Option<Vec<Entry>>> {
    let sequence = socket.reserve(1);
    let mut builder = Builder::default();
    ask_for_all(&mut builder, sequence, mark);
    socket.send(builder.bytes())?;
    let mut entries = Vec::new();
    let mut whole = true;
    let begun = Instant::now();
    while begun.elapsed() < ANSWER_TIMEOUT * 5 {
        for message in messages(socket.receive()?) {
            if message.sequence != sequence {
                continue;
            }
            whole &= message.flags & DUMP_INTERRUPTED == 0;
            match message.errno() {
                Some(0) if message.kind == DONE => return Ok(whole.then_some(entries)),
                Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
                None => entries.extend(decode(&message)),
            }
        }
    }
    Err(io::ErrorKind::TimedOut.into())
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

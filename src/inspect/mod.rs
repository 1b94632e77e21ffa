//! The session state machine: bytes and instants in, actions out.
//!
//! Pure: no socket, no clock, no randomness, no async. The live proxy and the tests drive the same
//! type. After every `handle_…` the driver drains [`Inspector::poll_action`]; the same input gives
//! the same actions, however it was cut into pieces.

mod action;
mod announce;
mod ask;
mod checks;
mod client;
mod directory;
mod event;
mod foreign;
mod forms;
mod held;
mod limits;
mod login;
mod pending;
mod room;
mod secure;
mod server;
mod settle;
mod setup;
mod shown;
mod transfer;
mod veil;
mod waits;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::ftp::{LineBuffer, ReplyReader, TelnetFilter};
use crate::nat::Legs;
use crate::pinhole::PinholeId;
use crate::rules::{DataPath, Meters, Policy};

pub use action::{Action, Carriage, PinholeNews, WindowNews};
pub use ask::{QuestionError, ask};
pub use event::{
    Command, Direction, EndReason, Event, Mode, PinholeEnd, Record, Side, TransferOutcome,
    Transferred, Violation,
};
pub use room::Room;
pub use secure::WINDOW_LIFETIME;
pub(crate) use settle::{hidden_features, hides, settle};

use directory::Directory;
use forms::Lacks;
use login::HeldBack;
use pending::Pending;
use secure::Channel;
use setup::Setup;
use shown::shown_line;
use transfer::Transfers;

/// What a session is held to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the listener that took it.
    pub listener: Arc<str>,
    /// The addresses of its control connections.
    pub legs: Legs,
    /// The rules that decide.
    pub rules: ListenerRules,
    /// What limits are held against; shared with all sessions.
    pub meters: Arc<Meters>,
    /// Who carries data where no rule says otherwise.
    pub data: DataPath,
    /// Whether a server that refuses one form of PORT or PASV is asked in the other.
    pub convert: bool,
    /// How long an unused pinhole stays open.
    pub pinhole_lifetime: Duration,
    /// How long the client may take to log in, while its commands can be read.
    pub login_timeout: Duration,
    /// How long both sides may be silent while no transfer runs.
    pub idle_timeout: Duration,
    /// Whether the client runs on the edge itself: no data connection can be forwarded to it.
    pub client_is_edge: bool,
}

/// The rules of one listener.
#[derive(Clone, Debug)]
pub struct ListenerRules {
    /// Those that hold until HOST names a host.
    pub policy: Arc<Policy>,
    /// Those of the hosts that HOST names, by name in lower case.
    pub hosts: Arc<BTreeMap<String, Arc<Policy>>>,
}

impl ListenerRules {
    /// The rules of a host, or the listener's own.
    fn of(&self, host: Option<&str>) -> Arc<Policy> {
        let own = host.and_then(|host| self.hosts.get(host));
        Arc::clone(own.unwrap_or(&self.policy))
    }
}

/// Bytes of each direction that are held unread; reading stops above it.
const MAX_HELD: usize = 16 * 1024;

/// Bytes of room that a session keeps for the next line, whatever the last one took.
const MAX_KEPT: usize = 256;

/// One session, from the greeting to the last record.
#[derive(Debug)]
pub struct Inspector {
    settings: Settings,
    client: Stream,
    server: Stream,
    /// Where the line at hand is, which is the same memory for each.
    line: Vec<u8>,
    replies: ReplyReader,
    /// Commands without a final reply, oldest first; never longer than `max-unanswered`.
    pending: VecDeque<Pending>,
    /// The pinhole on its way, if one is.
    setup: Setup,
    transfers: Transfers,
    /// The rules that hold: the listener's, or those of the host that HOST named.
    policy: Arc<Policy>,
    /// The host that HOST named, where the server took it.
    host: Option<Arc<str>>,
    channel: Channel,
    lacks: Lacks,
    /// The client sent urgent data that no command has taken with it.
    urgent: bool,
    held_back: Option<Box<HeldBack>>,
    bad_passwords: u32,
    /// CCC was used: TLS is behind this session.
    cleared: bool,
    /// Features that the rules hide from this user; `None` until they are asked.
    hidden_features: Option<Vec<String>>,
    user: Option<Arc<str>>,
    /// What a clock on the wall showed at one instant; rules with `when` need it.
    clock: Option<(Instant, Timestamp)>,
    logged_in: bool,
    /// Since when nobody is logged in, if nobody is.
    anonymous_since: Instant,
    /// EPSV ALL was sent and not refused (RFC 2428 §4).
    epsv_all: bool,
    directory: Directory,
    actions: VecDeque<Action>,
    started: Instant,
    moved: Instant,
    finished_first: Option<Side>,
    ending: Option<EndReason>,
    ended: bool,
}

/// One direction as it comes in.
#[derive(Debug, Default)]
struct Stream {
    telnet: TelnetFilter,
    buffer: LineBuffer,
    taken: u64,
    finished: bool,
    finish_passed_on: bool,
}

impl Inspector {
    /// Begins a session whose two control connections stand.
    pub fn new(settings: Settings, now: Instant) -> Self {
        let mut inspector = Self {
            pending: VecDeque::from([Pending::greeting(&settings.rules.policy)]),
            policy: Arc::clone(&settings.rules.policy),
            host: None,
            channel: Channel::default(),
            lacks: Lacks::default(),
            urgent: false,
            held_back: None,
            bad_passwords: 0,
            cleared: false,
            hidden_features: None,
            settings,
            client: Stream::default(),
            server: Stream::default(),
            line: Vec::new(),
            replies: ReplyReader::default(),
            setup: Setup::default(),
            transfers: Transfers::default(),
            user: None,
            clock: None,
            logged_in: false,
            anonymous_since: now,
            epsv_all: false,
            directory: Directory::default(),
            actions: VecDeque::new(),
            started: now,
            moved: now,
            finished_first: None,
            ending: None,
            ended: false,
        };
        inspector.record(Event::SessionStarted);
        inspector
    }

    /// Takes the time of day, from which later instants are counted until it is told again. Without
    /// it, rules with `when` deny whenever they would.
    pub fn handle_clock(&mut self, at: Timestamp, now: Instant) {
        self.clock = Some((now, at));
    }

    /// Takes bytes of the client.
    pub fn handle_client(&mut self, bytes: &[u8], now: Instant) {
        // What is said to a server that has closed leads nowhere, and keeps nothing alive.
        if !self.server.finished {
            self.moved = now;
        }
        self.client.count(bytes);
        let text = self.carry_client(bytes, now);
        let answers = self.client.take(text);
        if !answers.is_empty() {
            self.send_client(answers);
        }
        self.advance(now);
    }

    /// The client's next byte comes as TCP urgent data. The command that it belongs to goes on with a
    /// Synch: servers look at ABOR during a transfer only when they are interrupted by it. Inside TLS
    /// it means nothing.
    pub fn handle_urgent(&mut self) {
        self.urgent |= !matches!(self.channel, Channel::Opaque(_));
    }

    /// Takes bytes of the server.
    pub fn handle_server(&mut self, bytes: &[u8], now: Instant) {
        self.moved = now;
        self.server.count(bytes);
        let text = self.carry_server(bytes, now);
        let answers = self.server.take(text);
        if !answers.is_empty() {
            self.send_server(answers);
        }
        if self.server.telnet.take_synch() {
            self.actions.push_back(Action::Synch(Side::Client));
        }
        self.advance(now);
    }

    /// Takes the end of one side's stream: it sends no more, but may still read.
    pub fn handle_finish(&mut self, side: Side, now: Instant) {
        self.moved = now;
        self.finished_first.get_or_insert(side);
        match side {
            Side::Client => self.client.finished = true,
            Side::Server => self.server.finished = true,
        }
        self.advance(now);
    }

    /// One side's connection broke; the other is to be broken in the same way.
    pub fn handle_reset(&mut self, side: Side, now: Instant) {
        let reason = match side {
            Side::Client => EndReason::ClientReset,
            Side::Server => EndReason::ServerReset,
        };
        self.end(reason, now);
        self.advance(now);
    }

    /// Takes the answer to [`Action::LeasePort`]: the port, or `None` where none could be had.
    pub fn handle_port(&mut self, id: PinholeId, port: Option<u16>, now: Instant) {
        self.port_leased(id, port, now);
        self.advance(now);
    }

    /// Takes news of a pinhole.
    pub fn handle_pinhole(&mut self, id: PinholeId, news: PinholeNews, now: Instant) {
        self.pinhole_changed(id, news, now);
        self.advance(now);
    }

    /// Takes news of a window.
    pub fn handle_window(&mut self, news: WindowNews, now: Instant) {
        self.window_changed(news, now);
        self.advance(now);
    }

    /// Takes new rules: they decide from the next command on.
    pub fn handle_rules(&mut self, rules: ListenerRules, now: Instant) {
        self.policy = rules.of(self.host.as_deref());
        self.settings.rules = rules;
        self.hidden_features = None;
        self.advance(now);
    }

    /// Ends the session from outside: the client is told `421` with `text`.
    pub fn handle_stop(&mut self, reason: EndReason, text: &str, now: Instant) {
        if self.ending.is_none() {
            self.say_goodbye(text);
            self.end(reason, now);
        }
        self.hurry_transfers(now);
        self.transfers_timed_out(now);
        self.advance(now);
    }

    /// Takes the passing of time; to be called at [`Self::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.transfers_timed_out(now);
        self.window_timed_out(now);
        self.held_back_timed_out(now);
        self.login_timed_out(now);
        self.idle_timed_out(now);
        self.advance(now);
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Self::handle_timeout`] is to be called; `None` once all is said.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        [
            self.transfers.deadline(),
            self.idle_deadline(),
            self.login_deadline(),
            self.window_deadline(),
            self.held_back_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether more bytes of this side are wanted; while not, its socket is left unread.
    pub fn wants(&self, side: Side) -> bool {
        let stream = match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        };
        self.ending.is_none() && !stream.finished && stream.buffer.len() < MAX_HELD
    }

    /// Whether the session is over and all is on the record.
    pub fn is_over(&self) -> bool {
        self.ended && self.actions.is_empty()
    }

    /// Does all that can be done with what is there.
    fn advance(&mut self, now: Instant) {
        // The client first, so that what both had said before is ordered in one way, however it came.
        while self.ending.is_none() && (self.step_client(now) || self.step_server(now)) {}
        if self.ending.is_none() {
            self.pass_on_finish(now);
        }
        if let Some(reason) = &self.ending
            && !self.ended
            && self.transfers.is_empty()
            && self.window_is_drained()
        {
            let ended = Event::SessionEnded {
                reason: reason.clone(),
                lasted: now.saturating_duration_since(self.started),
                bytes_from_client: self.client.taken,
                bytes_from_server: self.server.taken,
            };
            self.ended = true;
            self.record(ended);
        }
    }

    fn pass_on_finish(&mut self, now: Instant) {
        if self.server.finished && !self.server_is_held() && !self.server.finish_passed_on {
            self.server.finish_passed_on = true;
            // The client's time to close begins when it hears of the end.
            self.moved = now;
            self.retire_pinhole(PinholeEnd::SessionClosed, now);
            self.actions.push_back(Action::FinishToClient);
        }
        if self.client.finished && !self.client_is_held() && !self.client.finish_passed_on {
            self.client.finish_passed_on = true;
            self.actions.push_back(Action::FinishToServer);
        }
        if self.server.finish_passed_on && self.client.finished {
            let reason = match self.finished_first {
                Some(Side::Client) => EndReason::ClientClosed,
                Some(Side::Server) | None => EndReason::ServerClosed,
            };
            self.end(reason, now);
        }
    }

    /// Closes both connections and every pinhole; what is still being counted is waited for.
    fn end(&mut self, reason: EndReason, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        self.abandon_setup();
        self.abandon_channel(now);
        self.held_back = None;
        // No reply comes any more: what has been counted waits for none.
        self.pending.clear();
        self.retire_pinhole(PinholeEnd::SessionClosed, now);
        self.settle_counted(now);
        self.client.buffer.clear();
        self.server.buffer.clear();
        self.actions.push_back(Action::Close);
        self.ending = Some(reason);
    }

    /// Tells the client that the session ends; inside TLS nothing can be said.
    fn say_goodbye(&mut self, text: &str) {
        if !matches!(self.channel, Channel::Opaque(_)) {
            self.send_client(format!("421 {text}\r\n").into_bytes());
        }
    }

    /// Lends the memory for one line.
    fn with_line(&mut self, take: impl FnOnce(&mut Self, &mut Vec<u8>) -> bool) -> bool {
        let mut line = std::mem::take(&mut self.line);
        let taken = take(self, &mut line);
        line.clear();
        line.shrink_to(MAX_KEPT);
        self.line = line;
        taken
    }

    /// The time of day when bytes last came; `None` as well where no rule looks at it.
    fn wall_clock(&self) -> Option<Timestamp> {
        let (then, at) = self.clock.filter(|_| self.policy.uses_times())?;
        at.checked_add(self.moved.saturating_duration_since(then))
            .ok()
    }

    fn send_client(&mut self, line: Vec<u8>) {
        self.actions.push_back(Action::ToClient(line));
    }

    fn send_server(&mut self, line: Vec<u8>) {
        self.actions.push_back(Action::ToServer(line));
    }

    fn record(&mut self, event: Event) {
        let record = Record {
            user: self.user.clone(),
            event,
        };
        self.actions.push_back(Action::Record(Box::new(record)));
    }

    fn violated(&mut self, by: Side, violation: Violation, line: &[u8]) {
        self.record(Event::Violated {
            by,
            violation,
            line: shown_line(line),
        });
    }
}

impl Stream {
    fn count(&mut self, bytes: &[u8]) {
        self.taken = self
            .taken
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }

    /// Takes bytes, Telnet removed; gives the answers to its options.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        self.telnet.take(bytes, self.buffer.space(), &mut answers);
        answers
    }
}

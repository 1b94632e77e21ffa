//! The world of one session: what happens next is chance, what follows is checked after every step.

mod driver;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use portcullis::inspect::{EndReason, Inspector, PinholeNews, Side, WindowNews};
use portcullis::pinhole::PinholeId;
use portcullis::rules::Meters;

use crate::Held;
use crate::SESSION;
use crate::chance::Chance;
use crate::client::{Client, Mood};
use crate::filter::Filter;
use crate::ledger::Ledger;
use crate::oracle::{Channel, Hold, Oracle};
use crate::record::Record;
use crate::scene::{RuleBook, Scene};
use crate::server::Server;
use crate::transcript::Transcript;

/// The limits that the inspector and its driver keep.
const MAX_HELD: usize = 16 * 1024;
const MAX_PIECE: usize = 8 * 1024;
const MAX_FINISHING: usize = 16;

pub(crate) struct World {
    chance: Chance,
    scene: Scene,
    inspector: Inspector,
    began: Instant,
    pub(crate) now: Instant,
    client: Client,
    server: Server,
    /// Bytes on their way to the gate.
    from_client: VecDeque<u8>,
    from_server: VecDeque<u8>,
    finished: [bool; 2],
    filter: Filter,
    oracle: Oracle,
    pub(crate) record: Record,
    /// A port that was asked for and not given.
    lease: Option<PinholeId>,
    /// A pinhole whose answer is late.
    ordered: Option<PinholeId>,
    late: Vec<(PinholeId, PinholeNews)>,
    next_port: u16,
    /// Answers of the filter never come in this session.
    loses_answers: bool,
    pub(crate) transcript: Transcript,
    /// Something was delivered, or happened.
    busy: bool,
    steps: usize,
    idle: usize,
}

impl World {
    pub(crate) fn new(
        seed: u64,
        session: usize,
        scene: Scene,
        (meters, ledger): (Arc<Meters>, Rc<RefCell<Ledger>>),
        began: Instant,
        transcript: Transcript,
    ) -> Self {
        let mut chance = Chance::new(seed);
        let client = Client::new(Mood::any(&mut chance), scene.legs);
        let mood = Mood::any(&mut chance);
        let server = Server::new(mood, scene.legs, &mut chance);
        Self {
            inspector: Inspector::new(scene.settings(meters), began),
            oracle: Oracle::new(&scene, session, ledger, began),
            loses_answers: chance.one_in(20),
            chance,
            scene,
            began,
            now: began,
            client,
            server,
            from_client: VecDeque::new(),
            from_server: VecDeque::new(),
            finished: [false; 2],
            filter: Filter::default(),
            record: Record::default(),
            lease: None,
            ordered: None,
            late: Vec::new(),
            next_port: 50_000,
            transcript,
            busy: false,
            steps: 0,
            idle: 0,
        }
    }

    pub(crate) fn about(&self) -> String {
        format!(
            "client {:?}, server {:?}, {:?}",
            self.client.mood, self.server.mood, self.scene
        )
    }

    /// Whether the session is to be played on.
    pub(crate) fn goes_on(&self) -> bool {
        // Where nobody says anything, time passes, and that is no step.
        !self.inspector.is_over() && self.steps < SESSION && self.idle <= SESSION / 2
    }

    /// Time has passed in other sessions.
    pub(crate) fn catch_up(&mut self, now: Instant) -> Held {
        self.now = self.now.max(now);
        self.pass_time(true)
    }

    /// Something happens; true if it was a step.
    pub(crate) fn step(&mut self) -> Held<bool> {
        self.busy = false;
        self.happen()?;
        self.steps += usize::from(self.busy);
        self.idle += usize::from(!self.busy);
        Ok(self.busy)
    }

    fn happen(&mut self) -> Held {
        match self.chance.below(1000) {
            0..430 => self.deliver(Side::Client),
            430..860 => self.deliver(Side::Server),
            860..930 => self.data(),
            930..945 => self.tell_late(),
            945..970 => self.answer_late(),
            970..985 => self.wait(),
            985..988 => self.reload(),
            988..991 => self.urgent(),
            991..993 => self.finish(),
            993..995 => self.window_news(),
            995 => self.reset(),
            996 => self.stop(),
            _ => self.foreign_news(),
        }
    }

    fn deliver(&mut self, side: Side) -> Held {
        if !self.inspector.wants(side) || self.finished[usize::from(side == Side::Server)] {
            return self.wait_a_moment();
        }
        self.fill(side);
        let queue = match side {
            Side::Client => &mut self.from_client,
            Side::Server => &mut self.from_server,
        };
        if queue.is_empty() {
            return self.wait_a_moment();
        }
        let whole = queue.len().min(MAX_PIECE);
        let line = queue.iter().position(|&byte| byte == b'\n');
        let size = match self.chance.below(10) {
            0 => 1,
            1 | 2 => 1 + self.chance.below(whole),
            3..=5 => whole,
            _ => line.map_or(whole, |end| end + 1).min(whole),
        };
        let piece: Vec<u8> = queue.drain(..size).collect();
        self.hand_over(side, &piece)
    }

    fn hand_over(&mut self, side: Side, piece: &[u8]) -> Held {
        self.transcript
            .say(|| format!("{side:?} says {}", piece.escape_ascii()));
        self.record.count(side == Side::Client, piece.len());
        self.oracle.hear(side, piece);
        match side {
            Side::Client => self.inspector.handle_client(piece, self.now),
            Side::Server => self.inspector.handle_server(piece, self.now),
        }
        self.drain()
    }

    /// Lets a side speak, if it has something to say.
    fn fill(&mut self, side: Side) {
        let opaque = matches!(self.oracle.channel, Channel::Opaque(..));
        let tries = if self.chance.one_in(4) { 3 } else { 1 };
        for _ in 0..tries {
            let said = match side {
                _ if opaque && self.chance.percent(90) => Some(self.record_of_tls()),
                Side::Client => self.client.speak(&mut self.chance),
                Side::Server if self.server.gone => None,
                Side::Server => self.server.speak(&mut self.chance),
            };
            match side {
                Side::Client => self.from_client.extend(said.into_iter().flatten()),
                Side::Server => self.from_server.extend(said.into_iter().flatten()),
            }
        }
    }

    fn record_of_tls(&mut self) -> Vec<u8> {
        let length = self.chance.byte() % 40;
        let mut record = vec![self.chance.pick(&[22, 23, 23, 21, 20]), 3, 3, 0, length];
        record.extend((0..length).map(|_| self.chance.byte()));
        record
    }

    fn data(&mut self) -> Held {
        let Some((id, news)) = self.filter.happen(&mut self.chance, self.now) else {
            return self.deliver(Side::Client);
        };
        match self.chance.below(12) {
            // Lost.
            0 => Ok(()),
            // Late.
            1 => {
                self.late.push((id, news));
                Ok(())
            }
            // Twice.
            2 => {
                self.tell(id, news.clone())?;
                self.tell(id, news)
            }
            _ => self.tell(id, news),
        }
    }

    fn tell_late(&mut self) -> Held {
        match self.late.is_empty() {
            true => self.deliver(Side::Server),
            false => {
                let place = self.chance.below(self.late.len());
                let (id, news) = self.late.remove(place);
                self.tell(id, news)
            }
        }
    }

    fn tell(&mut self, id: PinholeId, news: PinholeNews) -> Held {
        self.transcript.say(|| format!("kernel: {id} {news:?}"));
        self.record.told(id, &news);
        let counts = matches!(
            &news,
            PinholeNews::Closed {
                counters: Some(_),
                ..
            }
        );
        if (news == PinholeNews::Used || counts)
            && let Some(open) = self.oracle.open.as_mut().filter(|open| open.id == id)
        {
            open.used = true;
        }
        self.inspector.handle_pinhole(id, news, self.now);
        self.drain()
    }

    /// News of pinholes that were never asked for, or are long gone.
    fn foreign_news(&mut self) -> Held {
        let id = PinholeId(900 + self.chance.number() % 4);
        let news = match self.chance.below(3) {
            0 => PinholeNews::Opened,
            1 => PinholeNews::Refused("no".into()),
            _ => PinholeNews::Used,
        };
        self.tell(id, news)?;
        self.inspector.handle_port(id, Some(40_000), self.now);
        self.drain()
    }

    fn answer_late(&mut self) -> Held {
        if let Some(id) = self.lease.take() {
            return self.give_port(id);
        }
        match self.ordered.take() {
            Some(id) => self.give_answer(id),
            None => self.deliver(Side::Server),
        }
    }

    fn wait_a_moment(&mut self) -> Held {
        self.now += Duration::from_millis(self.chance.number() % 200);
        self.pass_time(false)
    }

    fn wait(&mut self) -> Held {
        let seconds = self
            .chance
            .weighted(&[(6, 1), (4, 3), (3, 30), (2, 61), (1, 1200)]);
        self.now += Duration::from_secs(seconds);
        let jump = self.chance.one_in(2);
        self.pass_time(jump)
    }

    /// The inspector is called at its deadlines, or only once behind all of them.
    fn pass_time(&mut self, jump: bool) -> Held {
        let end = self.now;
        let mut calls = 0;
        while let Some(due) = self.inspector.poll_timeout().filter(|due| *due <= end) {
            self.now = if jump { end } else { due.max(self.began) };
            let passed = self.now.saturating_duration_since(self.began);
            self.transcript.say(|| format!("after {passed:?}"));
            self.oracle.expire(self.now);
            self.inspector.handle_timeout(self.now);
            self.drain()?;
            calls += 1;
            if self
                .inspector
                .poll_timeout()
                .is_some_and(|next| next <= self.now)
                && jump
            {
                return Err("called at its deadline, it wants to be called again at once".into());
            }
            if calls > 200 {
                return Err("it wants to be called without end".into());
            }
        }
        self.now = end;
        Ok(())
    }

    fn reload(&mut self) -> Held {
        let book = RuleBook::any(&mut self.chance);
        self.transcript.say(|| format!("rules: {book:?}"));
        self.scene.book = book.clone();
        let rules = book.listener();
        self.oracle.reload(book);
        self.inspector.handle_rules(rules, self.now);
        self.drain()
    }

    fn urgent(&mut self) -> Held {
        self.inspector.handle_urgent();
        self.inspector.handle_clock(Timestamp::UNIX_EPOCH, self.now);
        self.deliver(Side::Client)
    }

    fn finish(&mut self) -> Held {
        let side = self.chance.pick(&[Side::Client, Side::Server]);
        self.finish_side(side)
    }

    fn finish_side(&mut self, side: Side) -> Held {
        let finished = &mut self.finished[usize::from(side == Side::Server)];
        if std::mem::replace(finished, true) {
            return Ok(());
        }
        self.transcript.say(|| format!("{side:?} finishes"));
        self.oracle.finish(side);
        self.inspector.handle_finish(side, self.now);
        self.drain()
    }

    fn window_news(&mut self) -> Held {
        if self.inspector.is_over() {
            return Ok(());
        }
        let announced = (self.scene.legs.dialled, 50_001).into();
        let news = match self.chance.below(3) {
            0 => WindowNews::Used { announced },
            1 => WindowNews::Refused("no".into()),
            _ => WindowNews::Closed {
                announced,
                counters: None,
                duration: None,
            },
        };
        self.inspector.handle_window(news, self.now);
        self.drain()
    }

    fn reset(&mut self) -> Held {
        let side = self.chance.pick(&[Side::Client, Side::Server]);
        self.transcript.say(|| format!("{side:?} resets"));
        self.inspector.handle_reset(side, self.now);
        self.drain()
    }

    fn stop(&mut self) -> Held {
        self.transcript.say(|| "stop".to_owned());
        self.inspector
            .handle_stop(EndReason::Stopping, "Stopping.", self.now);
        self.drain()
    }

    /// Both sides end, late answers come or never do, and the session must be over in bounded time.
    pub(crate) fn conclude(&mut self) -> Held {
        if self.chance.one_in(2) {
            self.answer_late()?;
        }
        if self.chance.one_in(4) && self.oracle.hold == Hold::Nothing {
            return self.server_leaves();
        }
        let sides = match self.chance.one_in(2) {
            true => [Side::Client, Side::Server],
            false => [Side::Server, Side::Client],
        };
        for side in sides {
            self.finish_side(side)?;
        }
        for _ in 0..100 {
            if self.inspector.is_over() {
                break;
            }
            let Some(due) = self.inspector.poll_timeout() else {
                return Err("it waits for ever, though both sides have ended".into());
            };
            self.now = self.now.max(due);
            self.pass_time(true)?;
        }
        if !self.inspector.is_over() {
            return Err("it is not over, though both sides have ended".into());
        }
        match self.filter.holes.is_empty() {
            true => Ok(()),
            false => Err(format!("never forgotten: {:?}", self.filter.holes)),
        }
    }

    /// The server ends, and the client talks on: the session must not live from that.
    fn server_leaves(&mut self) -> Held {
        self.finish_side(Side::Server)?;
        for _ in 0..40 {
            self.now += Duration::from_secs(5);
            self.pass_time(true)?;
            if self.inspector.is_over() {
                return Ok(());
            }
            if self.inspector.wants(Side::Client) {
                self.hand_over(Side::Client, b"NOOP\r\n")?;
            }
        }
        Err("a client keeps its session alive without a server".into())
    }
}

//! Sessions: what both sides say, with times and the kernel's news between, as lines of text.
//!
//! The first three bytes choose addresses, rules and switches. Each line behind them is one step, by its first byte:
//!
//! ```text
//! C text   the client says a line        S text   the server does
//! L text   the same, ended by LF alone   l text   the server
//! c bytes  the client's bytes as is      s bytes  the server's
//! *N       the step before, N times      U        the client's next byte is urgent
//! T N      N milliseconds pass           t N      N seconds pass
//! K x      the kernel opens pinholes (o), refuses them (r), or says nothing so far (w)
//! P x      the newest pinhole: opened (o), refused (r), used (u), closed (c), cut (k)
//! W x      the window: refused (r), used (u), closed (c)
//! N N      the next leased port; 0 for none
//! F x      the client (c) or the server (s) sends no more      X x      it breaks
//! R N      other rules                   Z        the time of day       Q        the gate stops
//! ```

mod scene;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use portcullis::inspect::{Action, EndReason, Inspector, PinholeNews, Record, Side, WindowNews};
use portcullis::pinhole::{Counters, Pinhole, PinholeId};

use scene::Scene;

/// Steps of one input.
const MAX_STEPS: usize = 4_000;
/// Bytes that the gate takes in one read.
const PIECE: usize = 8 * 1024;
/// Bytes that a session may hold of each side: reading stops at 16 KiB, after a whole piece.
const MAX_HELD: usize = 16 * 1024 + PIECE;
/// Bytes that the input may make of itself by `*`.
const MAX_SAID: usize = 256 * 1024;
/// A password; where it stands behind PASS alone, no record holds it.
const SECRET: &str = "s3cr3t-mark";

/// Plays one input.
pub fn run(data: &[u8]) {
    let Some((head, script)) = data.split_first_chunk::<3>() else {
        return;
    };
    let mut play = Play::new(&Scene::of(*head));
    let mut before: &[u8] = b"";
    for step in script.split(|&byte| byte == b'\n').take(MAX_STEPS) {
        if let Some((b'*', count)) = step.split_first() {
            for _ in 0..number(count).min(400) {
                play.step(before);
            }
        } else {
            play.step(step);
            before = step;
        }
    }
    play.end();
    if hides_its_secret(script) {
        for record in &play.records {
            assert!(
                !format!("{record:?}").contains(SECRET),
                "a password on the record: {record:?}"
            );
        }
    }
}

/// The records of one whole session, for those who need some.
pub(super) fn recorded() -> Vec<Record> {
    let script = "S 220 hi\nC USER ann\nS 331 go\nC PASS x\nS 230 in\nC PORT 10,0,0,5,4,1\nS 200 ok\nC RETR /pub/a\n\
        S 150 go\nP u\nS 226 done\nP c\nC PASV\nS 227 (192,0,2,20,200,10)\nC LIST\nS 550 no\nC QUIT\nS 221 bye\nF s\nF c";
    let mut play = Play::new(&Scene::of([0, 0, 0]));
    for step in script.lines() {
        play.step(step.as_bytes());
    }
    play.end();
    play.records
}

/// Whether the secret stands behind PASS at the beginning of a line and nowhere else, with nothing around that makes
/// another line of it.
fn hides_its_secret(script: &[u8]) -> bool {
    let steps = || script.split(|&byte| byte == b'\n');
    let text = |step: &[u8]| String::from_utf8_lossy(step).into_owned();
    let plain = |step: &[u8]| !matches!(step.first(), Some(b'c' | b's')) && !step.contains(&0xff);
    steps().all(plain)
        && steps().all(|step| {
            let step = text(step);
            let behind = step.strip_prefix("C PASS ").unwrap_or(&step);
            !behind.contains(SECRET) || (step.starts_with("C PASS ") && !step.contains('\r'))
        })
}

struct Play {
    inspector: Inspector,
    scene: Scene,
    now: Instant,
    /// Said, and not taken so far.
    waiting: [VecDeque<u8>; 2],
    said: usize,
    /// Pinholes that were ordered, and neither used nor closed.
    standing: BTreeMap<PinholeId, Pinhole>,
    newest: Option<PinholeId>,
    kernel: u8,
    port: u16,
    partners: bool,
    closed: bool,
    records: Vec<Record>,
}

impl Play {
    fn new(scene: &Scene) -> Self {
        let now = Instant::now();
        let mut play = Self {
            inspector: Inspector::new(scene.settings(), now),
            now,
            waiting: [VecDeque::new(), VecDeque::new()],
            said: 0,
            standing: BTreeMap::new(),
            newest: None,
            kernel: b'o',
            port: 50_000,
            partners: scene::have_partners(scene.policy),
            closed: false,
            records: Vec::new(),
            scene: scene.clone(),
        };
        play.drain();
        play
    }

    fn step(&mut self, step: &[u8]) {
        let Some((&kind, rest)) = step.split_first() else {
            return;
        };
        let rest = rest.strip_prefix(b" ").unwrap_or(rest);
        let what = rest.first().copied().unwrap_or_default();
        match kind {
            b'C' => self.say(0, &[rest, b"\r\n"].concat()),
            b'S' => self.say(1, &[rest, b"\r\n"].concat()),
            b'L' => self.say(0, &[rest, b"\n"].concat()),
            b'l' => self.say(1, &[rest, b"\n"].concat()),
            b'c' => self.say(0, rest),
            b's' => self.say(1, rest),
            b'T' => self.pass(Duration::from_millis(number(rest))),
            b't' => self.pass(Duration::from_secs(number(rest))),
            b'U' => self.inspector.handle_urgent(),
            b'K' => self.kernel = what,
            b'P' => self.pinhole_news(what),
            b'W' => self.window_news(what),
            b'N' => self.port = u16::try_from(number(rest)).unwrap_or(u16::MAX),
            b'F' => self.inspector.handle_finish(side(what), self.now),
            b'X' => self.inspector.handle_reset(side(what), self.now),
            b'R' => {
                let number = usize::try_from(number(rest)).unwrap_or_default();
                self.partners |= scene::have_partners(number);
                self.inspector.handle_rules(scene::rules(number), self.now);
            }
            b'Z' => {
                let at = "2026-11-20T12:00:00Z".parse().unwrap();
                self.inspector.handle_clock(at, self.now);
            }
            b'Q' => self
                .inspector
                .handle_stop(EndReason::Stopping, "Stopping.", self.now),
            _ => return,
        }
        self.settle();
    }

    fn say(&mut self, side: usize, bytes: &[u8]) {
        if self.said + bytes.len() <= MAX_SAID {
            self.said += bytes.len();
            self.waiting[side].extend(bytes);
        }
    }

    /// Delivers what is wanted of what waits.
    fn settle(&mut self) {
        self.drain();
        loop {
            let wanted = |(at, side): (usize, Side)| {
                !self.waiting[at].is_empty() && self.inspector.wants(side)
            };
            let Some((at, _)) = [(0, Side::Client), (1, Side::Server)]
                .into_iter()
                .find(|&next| wanted(next))
            else {
                return;
            };
            let length = self.waiting[at].len().min(PIECE);
            let piece: Vec<u8> = self.waiting[at].drain(..length).collect();
            match at {
                0 => self.inspector.handle_client(&piece, self.now),
                _ => self.inspector.handle_server(&piece, self.now),
            }
            self.drain();
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time.min(Duration::from_secs(100_000));
        for _ in 0..200 {
            let Some(due) = self.inspector.poll_timeout().filter(|due| *due <= end) else {
                break;
            };
            self.now = due.max(self.now);
            self.inspector.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// Everybody goes home; the session must come to its end.
    fn end(&mut self) {
        for side in [Side::Client, Side::Server] {
            self.inspector.handle_reset(side, self.now);
            self.drain();
        }
        for _ in 0..200 {
            let Some(due) = self.inspector.poll_timeout() else {
                break;
            };
            self.now = due.max(self.now);
            self.inspector.handle_timeout(self.now);
            self.drain();
        }
        assert!(self.inspector.is_over(), "the session does not end");
        assert!(self.standing.is_empty(), "left open: {:?}", self.standing);
    }

    fn pinhole_news(&mut self, what: u8) {
        let Some(id) = self.newest else {
            return;
        };
        let news = match what {
            b'o' => PinholeNews::Opened,
            b'r' => PinholeNews::Refused("no room".to_owned()),
            b'u' => PinholeNews::Used,
            b'c' | b'k' => PinholeNews::Closed {
                counters: Some(Counters {
                    packets_forth: 3,
                    bytes_forth: 900,
                    ..Counters::default()
                }),
                duration: Some(Duration::from_millis(20)),
                cut: what == b'k',
            },
            _ => return,
        };
        if news != PinholeNews::Opened {
            self.standing.remove(&id);
        }
        self.inspector.handle_pinhole(id, news, self.now);
    }

    fn window_news(&mut self, what: u8) {
        let announced = (self.scene.legs.dialled, 50_001).into();
        let news = match what {
            b'r' => WindowNews::Refused("no room".to_owned()),
            b'u' => WindowNews::Used { announced },
            b'c' => WindowNews::Closed {
                announced,
                counters: None,
                duration: None,
            },
            _ => return,
        };
        self.inspector.handle_window(news, self.now);
    }

    fn drain(&mut self) {
        while let Some(action) = self.inspector.poll_action() {
            match action {
                Action::ToClient(_) | Action::ToServer(_) | Action::Synch(_) => {
                    assert!(!self.closed, "said behind the end: {action:?}");
                }
                Action::LeasePort { id, address } => {
                    let legs = self.scene.legs;
                    assert!(
                        [legs.seen, legs.dialled].contains(&address),
                        "a port leased at {address}"
                    );
                    let port = (self.port >= 1024).then_some(self.port);
                    self.inspector.handle_port(id, port, self.now);
                }
                Action::OpenPinhole { id, pinhole, .. } => self.open(id, pinhole),
                Action::ClosePinhole { id, .. } => drop(self.standing.remove(&id)),
                Action::OpenWindow { window, .. } => {
                    assert_eq!(
                        (window.first, window.last),
                        (50_000, 50_010),
                        "a window of no rule"
                    );
                    assert!(!self.closed, "a window behind the end");
                }
                Action::Record(record) => self.records.push(*record),
                Action::Close => self.closed = true,
                Action::ForgetPinhole { .. }
                | Action::MeasurePinhole { .. }
                | Action::BoundPinhole { .. }
                | Action::CloseWindow { .. }
                | Action::FinishToServer
                | Action::FinishToClient => {}
            }
        }
        let held = self.inspector.held();
        assert!(held <= 2 * MAX_HELD, "{held} bytes are held");
    }

    fn open(&mut self, id: PinholeId, pinhole: Pinhole) {
        let legs = self.scene.legs;
        let partner = |address| self.partners && scene::is_partner(address);
        let ends = [legs.client, legs.server];
        assert!(!self.closed, "opened behind the end: {pinhole}");
        assert!(ends.contains(&pinhole.initiator), "initiator: {pinhole}");
        let (target, announced) = (pinhole.target, pinhole.announced);
        assert!(
            ends.contains(&target.ip()) || partner(target.ip()),
            "target: {pinhole}"
        );
        let via = [legs.dialled, legs.seen].contains(&announced.ip());
        assert!(via || partner(announced.ip()), "announced: {pinhole}");
        assert!(pinhole.initiator != target.ip(), "to itself: {pinhole}");
        assert!(
            target.port() >= 1024 && announced.port() >= 1024,
            "port: {pinhole}"
        );
        self.standing.insert(id, pinhole);
        assert!(
            self.standing.len() <= 1,
            "more than one stands: {:?}",
            self.standing
        );
        self.newest = Some(id);
        let news = match self.kernel {
            b'r' => PinholeNews::Refused("no room".to_owned()),
            b'w' => return,
            _ => PinholeNews::Opened,
        };
        if news != PinholeNews::Opened {
            self.standing.remove(&id);
        }
        self.inspector.handle_pinhole(id, news, self.now);
    }
}

fn side(what: u8) -> Side {
    if what == b's' {
        Side::Server
    } else {
        Side::Client
    }
}

/// The digits at the start as a number.
fn number(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).take(9);
    digits.fold(0, |number, &digit| number * 10 + u64::from(digit - b'0'))
}

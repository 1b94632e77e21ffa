//! A dialogue between a client, the inspector and a server, on virtual time.
//!
//! Lines go in, and what comes out is compared as short text: `S< ` goes to the server, `C< ` to the
//! client, `port …`, `open …`, `close …` are asked of the kernel, `! …` is a violation, `deny …` a
//! denied command, and so on. Ports and pinholes are granted as the test says.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::inspect::{
    Action, Event, Inspector, ListenerRules, PinholeNews, Room, Settings, Side, Transferred,
};
use portcullis::nat::Legs;
use portcullis::pinhole::{Counters, Pinhole, PinholeId};
use portcullis::rules::{DataPath, Decision, Meters, Policy};

/// Client behind NAT: 10.0.0.5 talks to 192.0.2.20 and is seen as 198.51.100.1.
pub(crate) const BEHIND_NAT: [&str; 4] = ["10.0.0.5", "192.0.2.20", "192.0.2.20", "198.51.100.1"];
/// The same over IPv6, nothing translated.
pub(crate) const ROUTED_V6: [&str; 4] =
    ["2001:db8::5", "2001:db8::20", "2001:db8::20", "2001:db8::5"];
/// Published server that sees the client.
pub(crate) const PUBLISHED: [&str; 4] = ["203.0.113.5", "198.51.100.1", "10.0.0.20", "203.0.113.5"];
/// Nothing translated.
pub(crate) const ROUTED: [&str; 4] = ["10.0.0.5", "192.0.2.20", "192.0.2.20", "10.0.0.5"];

thread_local! {
    /// All sessions of a test work in it, as those of a thread do.
    static ROOM: RefCell<Room> = RefCell::default();
}

pub(crate) struct Dialogue {
    pub(crate) inspector: Inspector,
    pub(crate) now: Instant,
    heard: Vec<String>,
    pub(crate) pinholes: Vec<(PinholeId, Pinhole)>,
    pub(crate) forgotten: Vec<PinholeId>,
    /// Ports that are free at the edge, given out in order.
    pub(crate) free_ports: Vec<u16>,
    /// Whether the kernel takes pinholes; `None` leaves them unanswered.
    pub(crate) kernel: Option<bool>,
    pub(crate) records: Vec<Event>,
    pub(crate) users: Vec<Option<String>>,
}

impl Dialogue {
    pub(crate) fn new(addresses: [&str; 4]) -> Self {
        Self::with_policy(addresses, "rules: [{id: all, allow: true}]")
    }

    pub(crate) fn with_policy(addresses: [&str; 4], policy: &str) -> Self {
        Self::with_hosts(addresses, policy, &[])
    }

    pub(crate) fn with_hosts(addresses: [&str; 4], policy: &str, hosts: &[(&str, &str)]) -> Self {
        Self::begin(Self::settings(addresses, policy, hosts))
    }

    /// One of several sessions that are held to the same limits.
    pub(crate) fn sharing(meters: &Arc<Meters>, addresses: [&str; 4], policy: &str) -> Self {
        Self::begin(Settings {
            meters: Arc::clone(meters),
            ..Self::settings(addresses, policy, &[])
        })
    }

    /// The same, where no server is asked in another form than the client's.
    pub(crate) fn unconverted(addresses: [&str; 4]) -> Self {
        Self::begin(Settings {
            convert: false,
            ..Self::settings(addresses, "rules: [{id: all, allow: true}]", &[])
        })
    }

    fn settings(addresses: [&str; 4], policy: &str, hosts: &[(&str, &str)]) -> Settings {
        let [client, dialled, server, seen] =
            addresses.map(|address| address.parse().expect("an address"));
        let read = |policy: &str| match Policy::parse("test.yaml", policy) {
            Ok(policy) => Arc::new(policy),
            Err(problems) => panic!("{problems}"),
        };
        let hosts: BTreeMap<_, _> = hosts
            .iter()
            .map(|(name, policy)| ((*name).to_owned(), read(policy)))
            .collect();
        Settings {
            listener: Arc::from("lan"),
            legs: Legs {
                client,
                dialled,
                server,
                seen,
            },
            pinhole_lifetime: Duration::from_secs(60),
            login_timeout: Duration::from_secs(120),
            idle_timeout: Duration::from_secs(900),
            client_is_edge: false,
            rules: ListenerRules {
                policy: read(policy),
                hosts: Arc::new(hosts),
            },
            meters: Arc::default(),
            data: DataPath::Kernel,
            convert: true,
        }
    }

    fn begin(settings: Settings) -> Self {
        let now = Instant::now();
        let mut dialogue = Self {
            inspector: Inspector::new(settings, now),
            now,
            heard: Vec::new(),
            pinholes: Vec::new(),
            forgotten: Vec::new(),
            free_ports: vec![50_000, 50_001, 50_002, 50_003],
            kernel: Some(true),
            records: Vec::new(),
            users: Vec::new(),
        };
        dialogue.drain();
        dialogue
    }

    /// Gives the session new rules.
    pub(crate) fn reload(&mut self, policy: &str) -> &mut Self {
        let policy = Arc::new(Policy::parse("test.yaml", policy).expect("a policy"));
        let hosts = Arc::new(BTreeMap::new());
        self.inspector
            .handle_rules(ListenerRules { policy, hosts }, self.now);
        self.drain();
        self
    }

    /// Past greeting and login, nothing left to hear.
    pub(crate) fn logged_in(mut self) -> Self {
        self.server("220 ready")
            .client("USER ann")
            .server("331 password");
        self.client("PASS secret").server("230 in");
        self.heard.clear();
        self
    }

    pub(crate) fn client(&mut self, line: &str) -> &mut Self {
        self.client_bytes(format!("{line}\r\n").as_bytes())
    }

    pub(crate) fn server(&mut self, line: &str) -> &mut Self {
        self.server_bytes(format!("{line}\r\n").as_bytes())
    }

    pub(crate) fn client_bytes(&mut self, bytes: &[u8]) -> &mut Self {
        ROOM.with_borrow_mut(|room| self.inspector.lend(room));
        self.inspector.handle_client(bytes, self.now);
        self.drain();
        ROOM.with_borrow_mut(|room| self.inspector.give_back(room));
        self
    }

    pub(crate) fn server_bytes(&mut self, bytes: &[u8]) -> &mut Self {
        ROOM.with_borrow_mut(|room| self.inspector.lend(room));
        self.inspector.handle_server(bytes, self.now);
        self.drain();
        ROOM.with_borrow_mut(|room| self.inspector.give_back(room));
        self
    }

    pub(crate) fn finish(&mut self, side: Side) -> &mut Self {
        self.inspector.handle_finish(side, self.now);
        self.drain();
        self
    }

    pub(crate) fn news(&mut self, news: PinholeNews) -> &mut Self {
        let (id, _) = *self.pinholes.last().expect("a pinhole");
        self.inspector.handle_pinhole(id, news, self.now);
        self.drain();
        self
    }

    /// The data connection through the newest pinhole comes and goes.
    pub(crate) fn data(&mut self, bytes: u64) -> &mut Self {
        let counters = Counters {
            packets_forth: 3,
            bytes_forth: bytes,
            ..Counters::default()
        };
        self.news(PinholeNews::Used);
        self.news(PinholeNews::Closed {
            counters: Some(counters),
            duration: Some(Duration::from_millis(20)),
            cut: false,
        })
    }

    /// Lets time pass, with every deadline on the way.
    pub(crate) fn after(&mut self, duration: Duration) -> &mut Self {
        let end = self.now + duration;
        while let Some(due) = self.inspector.poll_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.inspector.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self
    }

    /// Compares all that was heard since the last time.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &[&str]) -> &mut Self {
        let heard = std::mem::take(&mut self.heard);
        assert_eq!(heard, expected, "\nheard:\n  {}\n", heard.join("\n  "));
        self
    }

    pub(crate) fn forget(&mut self) -> &mut Self {
        self.heard.clear();
        self
    }

    /// The same, in pieces of all actions, for comparisons between dialogues.
    pub(crate) fn take_heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.heard)
    }

    pub(crate) fn drain(&mut self) {
        while let Some(action) = self.inspector.poll_action() {
            if let Some(text) = self.hear(&action) {
                self.heard.push(text);
            }
            match action {
                Action::LeasePort { id, .. } => {
                    let port = match self.free_ports.is_empty() {
                        true => None,
                        false => Some(self.free_ports.remove(0)),
                    };
                    self.inspector.handle_port(id, port, self.now);
                }
                Action::OpenPinhole { id, pinhole, .. } => {
                    self.pinholes.push((id, pinhole));
                    let news = match self.kernel {
                        Some(true) => PinholeNews::Opened,
                        Some(false) => PinholeNews::Refused("no".into()),
                        None => continue,
                    };
                    self.inspector.handle_pinhole(id, news, self.now);
                }
                Action::ForgetPinhole { id } => self.forgotten.push(id),
                Action::ToClient(_)
                | Action::ToServer(_)
                | Action::ClosePinhole { .. }
                | Action::MeasurePinhole { .. }
                | Action::BoundPinhole { .. }
                | Action::Record(_)
                | Action::FinishToServer
                | Action::FinishToClient
                | Action::Close
                | Action::Synch(_)
                | Action::OpenWindow { .. }
                | Action::CloseWindow { .. } => {}
            }
        }
    }

    fn hear(&mut self, action: &Action) -> Option<String> {
        let line = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let text = text.strip_suffix("\r\n").map(str::to_owned);
            text.unwrap_or_else(|| format!("{bytes:?} (no line end)"))
        };
        Some(match action {
            Action::ToClient(bytes) => format!("C< {}", line(bytes)),
            Action::ToServer(bytes) => format!("S< {}", line(bytes)),
            Action::LeasePort { address, .. } => format!("port at {address}"),
            Action::OpenPinhole {
                pinhole, carriage, ..
            } => {
                let from = if pinhole.from_port_20 {
                    " from port 20"
                } else {
                    ""
                };
                let by = if carriage.path == DataPath::Relay {
                    " by relay"
                } else {
                    ""
                };
                let most = carriage
                    .max_bytes
                    .map(|most| format!(" up to {most} bytes"));
                format!("open {pinhole}{from}{by}{}", most.unwrap_or_default())
            }
            Action::Synch(side) => {
                format!("{}< (synch)", if *side == Side::Client { 'C' } else { 'S' })
            }
            Action::OpenWindow { window, .. } => {
                format!("open window {}-{}", window.first, window.last)
            }
            Action::CloseWindow { window } => {
                format!("close window {}-{}", window.first, window.last)
            }
            Action::ClosePinhole { id, .. } => format!("close {id}"),
            Action::MeasurePinhole { id } => format!("measure {id}"),
            Action::BoundPinhole { id, max_bytes } => format!("bound {id} to {max_bytes} bytes"),
            Action::ForgetPinhole { .. } => return None,
            Action::FinishToServer => "S< (end)".into(),
            Action::FinishToClient => "C< (end)".into(),
            Action::Close => "close both".into(),
            Action::Record(record) => {
                self.records.push(record.event.clone());
                self.users.push(record.user.as_deref().map(str::to_owned));
                return shown(&record.event);
            }
        })
    }
}

/// The events that dialogues speak of; the others are looked at through `records`.
fn shown(event: &Event) -> Option<String> {
    Some(match event {
        Event::Violated { by, violation, .. } => {
            let by = if *by == Side::Client {
                "client"
            } else {
                "server"
            };
            format!("! {by} {violation}")
        }
        Event::Decided { command, verdict } => match &verdict.decision {
            Decision::Allow => return None,
            Decision::Deny(_) => format!("deny {} by {}", command.verb, verdict.rule.id),
        },
        Event::PinholeUnused { reason, .. } => format!("unused: {reason:?}"),
        Event::PinholeRefused { reason, .. } => format!("refused: {reason}"),
        Event::Transferred(transferred) => transfer_text(transferred),
        Event::Converted { from, to, .. } => format!("{from} becomes {to}"),
        Event::Secured { .. } => "secured".into(),
        Event::Unsecured => "plain again".into(),
        Event::SessionEnded { reason, .. } => format!("ended: {reason:?}"),
        Event::SessionStarted
        | Event::Replied { .. }
        | Event::Rewrote { .. }
        | Event::PinholeOpened { .. }
        | Event::WindowUsed { .. }
        | Event::ClientsUnheard { .. }
        | Event::WindowMoved { .. }
        | Event::PinholeUsed { .. } => return None,
    })
}

fn transfer_text(transferred: &Transferred) -> String {
    let mut text = format!("moved {}", transferred.command.verb);
    if let Some(path) = &transferred.command.path {
        let _ = write!(text, " {path}");
    }
    if let Some(counters) = transferred.counters {
        let _ = write!(
            text,
            " {} bytes",
            counters.bytes_forth + counters.bytes_back
        );
    }
    let _ = write!(text, " {:?}", transferred.outcome);
    text
}

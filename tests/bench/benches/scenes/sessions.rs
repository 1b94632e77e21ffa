//! Sessions played through the inspector as the proxy plays them, on virtual time: a client behind NAT and a
//! server outside, under the rules that the shipped configuration names.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use portcullis::inspect::{Action, Inspector, ListenerRules, PinholeNews, Record, Settings};
use portcullis::nat::Legs;
use portcullis::pinhole::{Counters, PinholeId};
use portcullis::rules::{DataPath, Policy};

/// The rules that `deploy/portcullis.yaml` names.
const RULES: &str = include_str!("../../../../rules/active-clients.yaml");

/// Ports that the edge has free, given out in turn.
const PORTS: std::ops::Range<u16> = 50_000..60_000;

/// The addresses of the control connections: client behind NAT.
pub fn legs() -> Legs {
    let [client, server, seen] =
        ["10.60.1.2", "198.51.100.20", "198.51.100.1"].map(|text| text.parse().unwrap());
    Legs {
        client,
        dialled: server,
        server,
        seen,
    }
}

/// One session and its driver.
pub struct Session {
    inspector: Inspector,
    now: Instant,
    clock: Timestamp,
    port: u16,
    pinhole: Option<PinholeId>,
    /// What has gone out, as a socket's buffer takes it.
    sent: Vec<u8>,
    /// Bytes of the control connection that have come in, from both sides.
    pub taken: u64,
    /// What is done with records; they are dropped where this is not said.
    keep: Option<Vec<Record>>,
}

impl Session {
    /// Begins one that is logged in.
    pub fn logged_in() -> Self {
        let mut session = Self::connected();
        session.log_in();
        session
    }

    /// Begins one whose two connections stand.
    pub fn connected() -> Self {
        let now = Instant::now();
        let policy = Policy::parse("active-clients.yaml", RULES).unwrap();
        let settings = Settings {
            listener: Arc::from("lan"),
            legs: legs(),
            rules: ListenerRules {
                policy: Arc::new(policy),
                hosts: Arc::new(BTreeMap::new()),
            },
            meters: Arc::default(),
            data: DataPath::Kernel,
            convert: true,
            pinhole_lifetime: Duration::from_secs(60),
            login_timeout: Duration::from_secs(120),
            idle_timeout: Duration::from_secs(900),
            client_is_edge: false,
        };
        let mut session = Self {
            inspector: Inspector::new(settings, now),
            now,
            clock: "2026-11-20T15:12:44Z".parse().unwrap(),
            port: PORTS.start,
            pinhole: None,
            sent: Vec::with_capacity(1 << 16),
            taken: 0,
            keep: None,
        };
        session.carry_out();
        session
    }

    /// Says what every session begins with.
    pub fn log_in(&mut self) {
        self.server(b"220 ready\r\n");
        self.client(b"USER anna\r\n");
        self.server(b"331 password\r\n");
        self.client(b"PASS secret\r\n");
        self.server(b"230 in\r\n");
        self.client(b"TYPE I\r\n");
        self.server(b"200 binary\r\n");
    }

    /// One file by PORT, to the last count.
    pub fn active(&mut self) {
        self.client(b"PORT 10,60,1,2,160,40\r\n");
        self.server(b"200 PORT command successful. Consider using PASV.\r\n");
        self.retrieve();
    }

    /// One file by PASV, to the last count.
    pub fn passive(&mut self) {
        self.client(b"PASV\r\n");
        self.server(b"227 Entering Passive Mode (198,51,100,20,200,10).\r\n");
        self.retrieve();
    }

    /// A command that is only passed on, and its reply.
    pub fn noop(&mut self) {
        self.client(b"NOOP\r\n");
        self.server(b"200 NOOP ok.\r\n");
    }

    /// A command with a path, and its reply.
    pub fn size(&mut self) {
        self.client(b"SIZE /pub/releases/file.bin\r\n");
        self.server(b"213 1048576\r\n");
    }

    fn retrieve(&mut self) {
        self.client(b"RETR /pub/releases/file.bin\r\n");
        self.server(
            b"150 Opening BINARY mode data connection for /pub/releases/file.bin (6 bytes).\r\n",
        );
        self.news(PinholeNews::Used);
        self.server(b"226 Transfer complete.\r\n");
        self.news(PinholeNews::Closed {
            counters: Some(Counters {
                packets_forth: 5,
                bytes_forth: 274,
                packets_back: 4,
                bytes_back: 216,
            }),
            duration: Some(Duration::from_millis(3)),
            cut: false,
        });
    }

    fn client(&mut self, line: &[u8]) {
        self.begin(line);
        self.inspector.handle_client(black_box(line), self.now);
        self.carry_out();
    }

    fn server(&mut self, line: &[u8]) {
        self.begin(line);
        self.inspector.handle_server(black_box(line), self.now);
        self.carry_out();
    }

    fn begin(&mut self, line: &[u8]) {
        self.taken += u64::try_from(line.len()).unwrap();
        self.now += Duration::from_micros(200);
        self.inspector.handle_clock(self.clock, self.now);
    }

    fn news(&mut self, news: PinholeNews) {
        let id = self.pinhole.expect("a pinhole that stands");
        self.inspector.handle_pinhole(id, news, self.now);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.inspector.poll_action() {
            match action {
                Action::ToClient(bytes) | Action::ToServer(bytes) => {
                    self.sent.extend_from_slice(&bytes);
                }
                Action::LeasePort { id, .. } => {
                    let port = self.port;
                    self.port = if port + 1 < PORTS.end {
                        port + 1
                    } else {
                        PORTS.start
                    };
                    self.inspector.handle_port(id, Some(port), self.now);
                }
                Action::OpenPinhole { id, pinhole, .. } => {
                    black_box(&pinhole);
                    self.pinhole = Some(id);
                    self.inspector
                        .handle_pinhole(id, PinholeNews::Opened, self.now);
                }
                Action::Record(record) => match &mut self.keep {
                    Some(kept) => kept.push(*record),
                    None => drop(black_box(record)),
                },
                Action::Synch(_)
                | Action::BoundPinhole { .. }
                | Action::OpenWindow { .. }
                | Action::CloseWindow { .. }
                | Action::ClosePinhole { .. }
                | Action::MeasurePinhole { .. }
                | Action::ForgetPinhole { .. }
                | Action::FinishToServer
                | Action::FinishToClient
                | Action::Close => {
                    black_box(&action);
                }
            }
        }
        black_box(self.inspector.poll_timeout());
        black_box(&self.sent);
        self.sent.clear();
    }
}

/// The records of one transfer, as the inspector gives them.
pub fn records(transfer: fn(&mut Session)) -> Vec<Record> {
    let mut session = Session::logged_in();
    session.keep = Some(Vec::new());
    transfer(&mut session);
    session.keep.take().unwrap_or_default()
}

//! Honest and hostile sessions through one gate at the same time, between hosts in namespaces: what `tests/load/mixed`
//! plays for as long as it is asked, and the test here for half a minute.
//!
//! One gate has all: transparent listeners for clients behind NAT and published ones, each by the kernel's data path and
//! by the relay, with record, store and sandbox as it ships. The inside host has clients and the published servers, the
//! outside host has clients and the servers that those inside dial; on each, vsftpd and a hostile server.

mod edits;
mod honest;
mod hostile;
mod judge;
mod kinds;
mod ledger;
mod manners;
mod places;
mod tally;
mod watch;
mod wire;

use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use tokio::task::LocalSet;

use crate::lab::{self, Gate, Lab, Vsftpd};
use honest::{CLIENTS, Honest, LARGE, ORIGINAL};
use ledger::Ledger;
use places::{SIDES, Side};
use tally::Tally;

crate::claims![honest_transfers_go_on_among_hostile_sessions];

/// Asks for so many minutes of play.
const MINUTES: &str = "PORTCULLIS_LOAD_MINUTES";
/// Set for the process that plays, to the seconds that it plays for.
pub(crate) const SECONDS: &str = "PORTCULLIS_LOAD_MIXED";
/// Seconds where nobody asks.
const SHORT: u64 = 25;

/// How long an unused pinhole lives here.
const PINHOLE_LIFETIME: Duration = Duration::from_secs(10);

/// `login-timeout` and `idle-timeout` are what ends the sessions that nobody else does.
const CONFIG: &str = r#"listeners:
  - name: lan
    transparent: { interfaces: [lan0], ports: [21, 2021], bind-port: 2121 }
    server-sees: edge
    rules: policy.yaml
  - name: lan-relayed
    transparent: { interfaces: [lan0], ports: [2100, 2022], bind-port: 2122 }
    server-sees: edge
    data: relay
    rules: policy.yaml
PUBLISHED
limits:
  sessions: 1500
  sessions-per-client: 40
  session-rate: 2000/s
  session-rate-per-client: 10/s
  pinholes-per-client: 20
  pinhole-lifetime: 10s
  connect-timeout: 10s
  login-timeout: 10s
  idle-timeout: 20s
audit: { output: AUDIT, store: FOLDER/audit.db, keep-size: 20MB }
admin: { socket: FOLDER/admin.sock, page: "127.0.0.1:8021", token-file: FOLDER/token }
"#;

/// The published listeners: name, port outside, port inside, data path.
const PUBLISHED: [(&str, u16, u16, &str); 4] = [
    ("published", 21, 21, "kernel"),
    ("published-relayed", 2100, 21, "relay"),
    ("hostile", 2021, 2021, "kernel"),
    ("hostile-relayed", 2022, 2022, "relay"),
];

/// All that takes part.
pub(crate) struct Play {
    lab: Lab,
    gate: Gate,
    /// On the host of each side.
    servers: [Vsftpd; 2],
    ledger: Ledger,
    tally: Mutex<Tally>,
    /// Clients are to end.
    stop: AtomicBool,
    /// Hostile servers are to end.
    done: AtomicBool,
    /// Sides whose hostile clients have not ended.
    attacking: AtomicUsize,
}

/// The policy of one round: what matters stays, the rest changes.
fn policy(round: u32) -> String {
    let changing = match round % 2 {
        0 => "  - { id: no-help, deny: 502 Not now, command: HELP }\n",
        _ => "  - { id: no-site, deny: 500 Not ever, command: SITE }\n",
    };
    format!(
        "rules:\n{changing}  \
         - {{ id: window, allow: true, client: [10.61.11.128/25, 198.18.11.128/25], command: AUTH, tls: {{ window: {{ ports: \
         40100-40110, at-most: 2 }} }} }}\n  \
         - {{ id: encryption, allow: true, command: AUTH, tls: pass }}\n  \
         - {{ id: no-delete, deny: 550 Nobody deletes here, command: [delete] }}\n  \
         - {{ id: all, allow: true }}\n"
    )
}

/// Plays in a process of its own.
fn honest_transfers_go_on_among_hostile_sessions() {
    let minutes = std::env::var(MINUTES).map(|text| text.parse::<u64>().unwrap());
    let seconds = minutes.map_or(SHORT, |minutes| 60 * minutes);
    let played = Command::new(std::env::current_exe().unwrap())
        .env(SECONDS, seconds.to_string())
        .status();
    assert!(played.unwrap().success(), "see above");
}

/// Enters the namespaces and plays.
pub(crate) fn inside(seconds: &str) -> ExitCode {
    let seconds = Duration::from_secs(seconds.parse().unwrap());
    let play = Trial::test("mixed", move || {
        play(seconds);
        Ok(())
    });
    lab::enter(vec![play], Some(1))
}

fn play(length: Duration) {
    let play = Arc::new(Play::new());
    let samples = thread::scope(|scope| {
        for (number, side) in SIDES.into_iter().enumerate() {
            let play = &play;
            scope.spawn(move || {
                side.host(&play.lab)
                    .within(|| be_hostile(play, side, number))
            });
        }
        let mut ending = Vec::new();
        for side in SIDES {
            for (number, act) in (0..).zip(CLIENTS) {
                let client = Honest::new(&play, side, number);
                ending.push(scope.spawn(move || act(&client)));
            }
        }
        let troubling = &play;
        ending.push(scope.spawn(move || edits::trouble(troubling, length)));
        let samples = watch::until(&play, length);
        play.stop.store(true, Ordering::Relaxed);
        // Whoever panics has said why; the others are not to wait for it.
        let ended = ending.into_iter().map(thread::ScopedJoinHandle::join);
        let ended: Vec<_> = ended.collect();
        while play.attacking.load(Ordering::Relaxed) > 0 {
            thread::sleep(Duration::from_millis(50));
        }
        let drained = watch::drained(&play);
        play.done.store(true, Ordering::Relaxed);
        if let Some(panic) = ended.into_iter().find_map(Result::err) {
            std::panic::resume_unwind(panic);
        }
        (samples, drained)
    });
    let play = Arc::into_inner(play).expect("nobody else has it any more");
    judge::judge(play, &samples.0, samples.1, length);
}

/// Hostile clients of a side, and the hostile servers of the other one, on one thread in the host's network.
fn be_hostile(play: &Arc<Play>, side: Side, number: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let seed = u64::from(std::process::id()) + 1_000_000 * number as u64;
    runtime.block_on(LocalSet::new().run_until(async {
        manners::serve(play, side);
        hostile::attack(play, side, seed).await;
        play.attacking.fetch_sub(1, Ordering::Relaxed);
        while !play.done.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }));
}

impl Play {
    fn new() -> Self {
        let lab = Lab::behind_nat();
        lab.extend("mixed");
        lab.accept_data_ports();
        lab.random_file("original", ORIGINAL);
        lab.random_file("large", LARGE);
        // The edge is one address for many clients. An upload whose pinhole an edit has taken keeps no later one of
        // the same file waiting, as it would while vsftpd dials in vain with the file locked; and the server says so
        // before lftp gives up and dials once more by itself.
        let options = [
            "max_clients=0",
            "max_per_ip=0",
            "log_ftp_protocol=NO",
            "lock_upload_files=NO",
            "connect_timeout=10",
            "accept_timeout=10",
        ];
        let servers = [&lab.client, &lab.server].map(|host| lab.vsftpd_on(host, &options));
        for server in &servers {
            for name in ["original", "large"] {
                std::fs::copy(lab.dir.join(name), server.file(name)).unwrap();
            }
        }
        let published: String = PUBLISHED.map(listener).concat();
        let config = CONFIG
            .replace("PUBLISHED\n", &published)
            .replace("FOLDER", &lab.dir.display().to_string());
        let quiet = ["env", "PORTCULLIS_LOG=warn,portcullis::app=info"];
        let gate = lab.portcullis_under(&quiet, &config, &policy(0));
        Self {
            lab,
            gate,
            servers,
            ledger: Ledger::default(),
            tally: Mutex::default(),
            stop: AtomicBool::new(false),
            done: AtomicBool::new(false),
            attacking: AtomicUsize::new(SIDES.len()),
        }
    }

    /// The real server that a side's clients use: the other side has it.
    fn server_of(&self, side: Side) -> &Vsftpd {
        let [inside, outside] = &self.servers;
        match side.other() {
            Side::Inside => inside,
            Side::Outside => outside,
        }
    }

    /// How often the gate has said something.
    fn said(&self, word: &str) -> usize {
        self.gate.output().matches(word).count()
    }
}

fn listener((name, outside, inside, data): (&str, u16, u16, &str)) -> String {
    format!(
        "  - name: {name}\n    published: {{ listen: [\"198.51.100.1:{outside}\", \"[2001:db8:51::1]:{outside}\"], \
         server: [\"10.60.1.2:{inside}\", \"[fd60:1::2]:{inside}\"] }}\n    server-sees: client\n    data: {data}\n    \
         rules: policy.yaml\n"
    )
}

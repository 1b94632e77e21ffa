//! Honest clients: curl, lftp, Python's ftplib and a script of the lab, which move files both ways, in both modes and
//! both families, by both data paths, and compare each with what it has to be.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Play;
use super::places::{FAMILIES, HONEST, HONEST_PORTS, Side, Who};
use crate::lab::{Family, Peer};

/// Between two sessions of a client: there are to be many of them, not as many as can be.
const PAUSE: Duration = Duration::from_millis(150);
/// How long a data connection may take: far more than it does, and no longer where an edit took its pinhole.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of the file `original`.
pub(super) const ORIGINAL: u64 = 60_000;
/// Bytes of the file `large`.
pub(super) const LARGE: u64 = 2_000_000;

/// What runs on each side, each in a thread of its own.
pub(super) const CLIENTS: [fn(&Honest); 6] = [
    Honest::curl,
    Honest::curl,
    Honest::lftp,
    Honest::python,
    Honest::script,
    Honest::script,
];

/// An honest client.
pub(super) struct Honest {
    play: Arc<Play>,
    who: Who,
    /// Its own folder.
    dir: PathBuf,
}

/// One way to move files.
#[derive(Clone, Copy, Debug)]
struct Way {
    family: Family,
    port: u16,
    active: bool,
    upload: bool,
    large: bool,
    /// EPSV and EPRT, also where PASV and PORT would do.
    extended: bool,
}

impl Way {
    /// Each of them in turn.
    fn of(round: usize) -> Self {
        let bit = |number: usize| round >> number & 1 == 1;
        Self {
            active: bit(0),
            upload: bit(1),
            port: HONEST_PORTS[usize::from(bit(2))],
            family: FAMILIES[usize::from(bit(3))],
            extended: bit(4),
            large: round.is_multiple_of(7),
        }
    }

    fn file(self) -> &'static str {
        if self.large { "large" } else { "original" }
    }
}

impl Honest {
    pub(super) fn new(play: &Arc<Play>, side: Side, number: u8) -> Self {
        let who = Who {
            side,
            group: HONEST,
            number: number + 1,
        };
        let dir = play.lab.dir.join(format!("{}-{number}", side.word()));
        std::fs::create_dir(&dir).unwrap();
        Self {
            play: Arc::clone(play),
            who,
            dir,
        }
    }

    /// A name for uploads that nobody else uses.
    fn kept(&self) -> String {
        format!("kept-{}", self.who.number)
    }

    fn original(&self, name: &str) -> PathBuf {
        self.play.lab.dir.join(name)
    }

    fn on_server(&self, name: &str) -> PathBuf {
        self.play.server_of(self.who.side).file(name)
    }

    fn url(&self, way: Way) -> String {
        format!("ftp://{}", self.who.side.dialled(way.family, way.port))
    }

    /// Does this over and over, with a fresh round each time: the transfers that it stands for, or why it failed.
    fn again(&self, transfers: u64, act: impl Fn(usize) -> Result<(), String>) {
        for round in usize::from(self.who.number).. {
            if self.play.is_over() {
                return;
            }
            let began = Instant::now();
            let ledger = &self.play.ledger;
            match act(round) {
                Ok(()) => ledger.done(self.who, 1, transfers),
                Err(why) => ledger.failed(self.who, began, transfers, &why),
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn sh(&self, command: &str) -> Result<(), String> {
        let output = self.who.side.host(&self.play.lab).sh(command);
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("{command}: {}, {}", output.status, said.trim()))
    }

    fn curl(&self) {
        let got = self.dir.join("got");
        self.again(1, |round| {
            let way = Way::of(round);
            let (url, original) = (self.url(way), self.original(way.file()));
            let from = self.who.address(way.family);
            let mode = match (way.active, way.extended || way.family == Family::V6) {
                (true, true) => "--ftp-port -",
                (true, false) => "--ftp-port - --disable-eprt",
                (false, true) => "",
                (false, false) => "--disable-epsv",
            };
            let files = match way.upload {
                true => format!("-T {} {url}/{}", original.display(), self.kept()),
                false => format!("-o {} {url}/{}", got.display(), way.file()),
            };
            self.sh(&format!(
                "curl -sS -m 60 --connect-timeout 20 --interface {from} {mode} {files}"
            ))?;
            let ended = match way.upload {
                true => self.on_server(&self.kept()),
                false => got.clone(),
            };
            match same(&original, &ended) {
                true => Ok(()),
                false => Err(format!("{way:?}: the files differ")),
            }
        });
    }

    /// Three transfers in a session, its commands pipelined.
    fn lftp(&self) {
        let (got, names) = (self.dir.join("got"), self.dir.join("names"));
        self.again(3, |round| {
            let way = Way::of(round);
            let from = self.who.address(way.family);
            let bound = match way.family {
                Family::V4 => format!("set net:socket-bind-ipv4 {from}"),
                Family::V6 => format!("set net:socket-bind-ipv6 {from}"),
            };
            let passive = if way.active { "no" } else { "yes" };
            let script = format!(
                "set cmd:fail-exit yes; set net:max-retries 1; set net:timeout 20; set ftp:ssl-allow no; set ftp:passive-mode {passive}; \
                 set ftp:prefer-epsv {}; set xfer:clobber yes; {bound}; open {}; get original -o {}; put {} -o {}; \
                 nlist > {}",
                if way.extended { "yes" } else { "no" },
                self.url(way),
                got.display(),
                self.original("original").display(),
                self.kept(),
                names.display(),
            );
            for old in [&got, &names] {
                drop(std::fs::remove_file(old));
            }
            self.sh(&format!("lftp -c '{script}'"))?;
            let original = self.original("original");
            let whole = same(&original, &got) && same(&original, &self.on_server(&self.kept()));
            let listed = std::fs::read_to_string(&names).unwrap_or_default();
            match whole && listed.contains("original") {
                true => Ok(()),
                false => Err(format!("{way:?}: the files differ, or a listing lacks one")),
            }
        });
    }

    /// A process that goes on until it is told to end, and says what it has done.
    fn python(&self) {
        let side = self.who.side;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/load/honest.py");
        let [from, to] = [
            FAMILIES.map(|family| self.who.address(family)),
            FAMILIES.map(|family| side.dialled(family, 0).ip()),
        ];
        let mut command = side.host(&self.play.lab).command("python3");
        command.arg(script).arg(self.original("original"));
        for address in from.into_iter().chain(to) {
            command.arg(address.to_string());
        }
        command.arg(self.on_server(&self.kept()));
        command.args(HONEST_PORTS.map(|port| port.to_string()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take();
        let mut began = Instant::now();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|count| count > 0) {
            self.python_said(line.trim_end(), &mut began);
            line.clear();
            if self.play.is_over() {
                drop(input.take());
            }
        }
        let mut rest = String::new();
        drop(lines.read_to_string(&mut rest));
        let ended = child.wait().unwrap();
        if !ended.success() {
            let why = format!("{ended}, {rest}");
            self.play.ledger.failed(self.who, began, 0, &why);
        }
    }

    fn python_said(&self, line: &str, began: &mut Instant) {
        let ledger = &self.play.ledger;
        match line {
            "begin" => *began = Instant::now(),
            "session" => ledger.done(self.who, 1, 0),
            "transfer" => ledger.done(self.who, 0, 1),
            _ => ledger.failed(self.who, *began, 1, line),
        }
    }

    /// A client that takes its time, announces in all four ways in one session, and aborts.
    fn script(&self) {
        self.again(5, |round| {
            let way = Way::of(round);
            let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.talk(way)));
            played.unwrap_or_else(|panic| {
                let said = panic.downcast_ref::<String>().cloned();
                Err(format!("{way:?}: {}", said.unwrap_or_default()))
            })
        });
    }

    fn talk(&self, way: Way) -> Result<(), String> {
        let host = self.who.side.host(&self.play.lab);
        let from = self.who.address(way.family);
        let to = self.who.side.dialled(way.family, way.port);
        let mut client = Peer::dial_from(host, &at(from, 0), &to.to_string());
        client.log_in();
        client.ask("TYPE I", "200");
        let original = std::fs::read(self.original("original")).unwrap();
        for step in 0..4 {
            let active = step % 2 == 1;
            let data = match active {
                true => Err(host.listen(&at(from, 0))),
                false => {
                    let port = passive(&mut client, way.family, step == 0);
                    let to = std::net::SocketAddr::new(to.ip(), port);

                    let dialled = host.connect_from(&at(from, 0), &to.to_string(), PATIENCE);
                    Ok(dialled.map_err(|error| format!("{way:?}: the data port {to}: {error}"))?)
                }
            };
            if let Err(listener) = &data {
                let port = listener.local_addr().unwrap().port();
                let own = std::net::SocketAddr::new(from, port);
                client.ask(&announce(own, step == 1), "200");
            }
            let kept = self.kept();
            let upload = step >= 2;
            match upload {
                true => client.ask(&format!("STOR {kept}"), "150"),
                false => client.ask("RETR original", "150"),
            };
            let mut data = match data {
                Ok(stream) => stream,
                Err(listener) => listener.accept().unwrap().0,
            };
            data.set_read_timeout(Some(PATIENCE)).unwrap();
            if upload {
                std::io::Write::write_all(&mut data, &original)
                    .map_err(|error| error.to_string())?;
                drop(data);
            } else {
                let mut got = Vec::new();
                data.read_to_end(&mut got)
                    .map_err(|error| error.to_string())?;
                if got != original {
                    return Err(format!("{way:?}: step {step}: {} bytes", got.len()));
                }
            }
            client.expect("226");
            if upload && std::fs::read(self.on_server(&kept)).unwrap_or_default() != original {
                return Err(format!("{way:?}: step {step}: the upload differs"));
            }
        }
        // A file that the gate refuses: the session goes on, and its last transfer is as good as any.
        client.ask("DELE original", "550");
        let port = passive(&mut client, way.family, way.extended);
        let to = std::net::SocketAddr::new(to.ip(), port);

        let mut data = host
            .connect_from(&at(from, 0), &to.to_string(), PATIENCE)
            .map_err(|error| format!("{way:?}: the data port {to}: {error}"))?;
        client.ask("NLST", "150");
        let mut names = String::new();
        drop(data.read_to_string(&mut names));
        client.expect("226");
        client.ask("QUIT", "221");
        match names.contains("original") {
            true => Ok(()),
            false => Err(format!("{way:?}: a listing of {} bytes", names.len())),
        }
    }
}

/// Whether two files are there and hold the same bytes.
fn same(one: &Path, other: &Path) -> bool {
    let [one, other] = [one, other].map(|file| std::fs::read(file).ok());
    one.is_some() && one == other
}

fn at(ip: std::net::IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(ip, port).to_string()
}

/// The port that PASV or EPSV is answered with; IPv6 has EPSV alone.
fn passive(client: &mut Peer, family: Family, extended: bool) -> u16 {
    if extended || family == Family::V6 {
        let told = client.ask("EPSV", "229");
        portcullis::ftp::parse_229(told.as_bytes()).unwrap()
    } else {
        let told = client.ask("PASV", "227");
        portcullis::ftp::parse_227(told.as_bytes()).unwrap().port()
    }
}

/// EPRT, or PORT where the family has it.
fn announce(own: std::net::SocketAddr, extended: bool) -> String {
    match own.ip() {
        std::net::IpAddr::V4(ip) if extended => format!("EPRT |1|{ip}|{}|", own.port()),
        std::net::IpAddr::V4(_) | std::net::IpAddr::V6(_) => super::wire::announce(own),
    }
}

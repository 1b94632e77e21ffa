//! The real program on loopback, with a folder, an address and an FTP server of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ftp::{Client, PATIENCE, Server};
use crate::http::{self, Answer};

/// Rules that allow all but removals; `spare` never decides.
pub(crate) const RULES: &str = "rules:
  - { id: spare, deny: true, client: 203.0.113.9 }
  - id: no-removals
    deny: 550 Nothing is removed here
    command: DELE
  - { id: rest, allow: true }
";

/// The program, running; ended with its folder when dropped.
pub(crate) struct Gate {
    pub(crate) folder: Folder,
    pub(crate) server: Server,
    ip: Ipv4Addr,
    process: Child,
    log: Arc<Mutex<String>>,
}

/// A folder that goes away with its test.
pub(crate) struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

impl Folder {
    pub(crate) fn new() -> Self {
        // Short, because the name of a socket may have 107 bytes.
        let [_, a, b, c] = own_address().octets();
        let folder = std::env::temp_dir().join(format!("portcullis-admin-{a}-{b}-{c}"));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }
}

/// An address of loopback that no other test has: tests need no free ports then.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [a, b] = u16::try_from(std::process::id() % 65_000)
        .unwrap()
        .to_be_bytes();
    Ipv4Addr::new(127, a.max(1), b, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What a configuration says beside its listener.
pub(crate) struct Setup {
    pub(crate) rules: &'static str,
    /// Lines of `admin`; FOLDER and ADDRESS are put in.
    pub(crate) admin: &'static str,
    pub(crate) store: bool,
    /// Whether the FTP server is there.
    pub(crate) server: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            rules: RULES,
            admin: "{ socket: FOLDER/admin.sock, page: 'ADDRESS:8021', token-file: FOLDER/token }",
            store: true,
            server: true,
        }
    }
}

impl Setup {
    fn write(&self, folder: &Folder, ip: Ipv4Addr) -> PathBuf {
        let place = folder.0.display().to_string();
        folder.write("rules.yaml", self.rules);
        let store = match self.store {
            true => format!(", store: {place}/audit.db"),
            false => String::new(),
        };
        let admin = self.admin.replace("FOLDER", &place);
        let admin = admin.replace("ADDRESS", &ip.to_string());
        let text = format!(
            "listeners:\n  - name: pub\n    published: {{ listen: ['{ip}:2121'], server: ['{ip}:2100'] }}\n    \
             server-sees: edge\n    data: relay\n    rules: rules.yaml\n\
             audit: {{ output: {place}/eve.json{store} }}\nadmin: {admin}\n"
        );
        folder.write("portcullis.yaml", &text)
    }
}

impl Gate {
    pub(crate) fn start() -> Self {
        Self::with(&Setup::default())
    }

    pub(crate) fn with(setup: &Setup) -> Self {
        Self::within(Folder::new(), setup).unwrap_or_else(|said| panic!("not started:\n{said}"))
    }

    /// Starts in a folder that is there.
    ///
    /// # Errors
    /// What it said, where it ended instead of being ready.
    pub(crate) fn within(folder: Folder, setup: &Setup) -> Result<Self, String> {
        let ip = own_address();
        let config = setup.write(&folder, ip);
        let mut process = run(&config).spawn().unwrap();
        let log = Arc::<Mutex<String>>::default();
        let (shared, lines) = (
            Arc::clone(&log),
            BufReader::new(process.stderr.take().unwrap()),
        );
        let reader = thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                shared.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let server = Server::start(ip, setup.server);
        let mut gate = Self {
            folder,
            server,
            ip,
            process,
            log,
        };
        let ready = wait_for("the program", || {
            if gate.process.try_wait().unwrap().is_some() {
                return Some(false);
            }
            gate.log().contains(" ready").then_some(true)
        });
        match ready {
            true => Ok(gate),
            false => {
                // To its last word.
                reader.join().unwrap();
                Err(gate.log())
            }
        }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where FTP clients connect.
    pub(crate) fn ftp(&self) -> SocketAddr {
        (self.ip, 2121).into()
    }

    pub(crate) fn login(&self, user: &str) -> Client {
        Client::login(self.ftp(), user)
    }

    /// Where the page is.
    pub(crate) fn page(&self) -> SocketAddr {
        (self.ip, 8021).into()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path("admin.sock")
    }

    pub(crate) fn token(&self) -> String {
        let text = fs::read_to_string(self.folder.path("token")).unwrap();
        text.trim().to_owned()
    }

    /// Asks by the socket.
    pub(crate) fn get(&self, route: &str) -> Answer {
        http::on_socket(&self.socket(), "GET", route)
    }

    /// Asks by the socket; the answer has to be good.
    pub(crate) fn json(&self, route: &str) -> Value {
        let answer = self.get(route);
        assert_eq!(answer.status, 200, "{route}: {}", answer.body);
        answer.json()
    }

    /// Asks until the answer fits: the record reaches the store a moment after the event.
    pub(crate) fn json_when(&self, route: &str, fits: impl Fn(&Value) -> bool) -> Value {
        wait_for(route, || {
            Some(self.json(route)).filter(|answer| fits(answer))
        })
    }

    /// Runs a command of the program on this gate.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        let config = self.folder.path("portcullis.yaml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(arguments).arg("--config").arg(config);
        command.output().unwrap()
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        signal(self.process.id(), "TERM");
        wait_for("the end of the program", || {
            self.process.try_wait().unwrap()
        })
    }

    /// Ends it at once, as a crash would, and gives its folder.
    pub(crate) fn kill(mut self) -> Folder {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::mem::replace(&mut self.folder, Folder(PathBuf::new()))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The program with a configuration, on this machine as it is.
pub(crate) fn run(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["run", "--config"]).arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::piped());
    command
}

pub(crate) fn signal(pid: u32, name: &str) {
    let mut kill = Command::new("kill");
    let sent = kill.args(["-s", name, &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

/// Looks until there is something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Both outputs of a command, as text.
pub(crate) fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Reads all that comes until the end, or until it is broken off.
pub(crate) fn rest(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

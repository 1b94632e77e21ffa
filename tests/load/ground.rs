//! The real program on loopback, with an FTP server behind it, and what it takes of the machine.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::scrape;
use crate::server::Server;

/// How long anything is waited for: far more than it takes, so that only a fault reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Names another build of the program, whose memory is to be measured.
const PROGRAM: &str = "PORTCULLIS_LOAD_PROGRAM";

/// The program, running; ended with its folder when dropped.
pub(crate) struct Gate {
    folder: PathBuf,
    ip: Ipv4Addr,
    process: Child,
    log: Arc<Mutex<String>>,
    _server: Server,
}

impl Gate {
    /// Starts it with these lines as the sections `limits`, more of `audit` and more of `admin`.
    pub(crate) fn start(limits: &str, audit: &str, admin: &str) -> Self {
        Self::under(None, limits, audit, admin)
    }

    /// Starts it where at most so many files may be open.
    pub(crate) fn with_files(files: u32, limits: &str) -> Self {
        Self::under(Some(files), limits, "", "")
    }

    fn under(files: Option<u32>, limits: &str, audit: &str, admin: &str) -> Self {
        let ip = own_address();
        let folder = std::env::temp_dir().join(format!("portcullis-load-{ip}"));
        fs::create_dir(&folder).unwrap();
        let place = folder.display();
        let rules = "rules:\n  - { id: all, allow: true }\n";
        fs::write(folder.join("rules.yaml"), rules).unwrap();
        let config = folder.join("portcullis.yaml");
        let text = format!(
            "listeners:\n  - name: pub\n    published: {{ listen: ['{ip}:2121'], server: ['{ip}:2100'] }}\n    \
             server-sees: edge\n    data: relay\n    rules: rules.yaml\nlimits: {{ {limits} }}\n\
             audit: {{ output: {place}/eve.json{audit} }}\n\
             admin: {{ page: '{ip}:8021', token-file: {place}/token{admin} }}\n"
        );
        let text = text.replace("FOLDER", &place.to_string());
        fs::write(&config, text).unwrap();
        let server = Server::start((ip, 2100).into());
        let program = std::env::var(PROGRAM);
        let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_portcullis").to_owned());
        let mut command = match files {
            // Both limits: the program raises the lower to the higher one.
            Some(files) => {
                let mut command = Command::new("prlimit");
                command
                    .arg(format!("--nofile={files}:{files}"))
                    .arg(&program);
                command
            }
            None => Command::new(program),
        };
        command.args(["run", "--config"]).arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::<Mutex<String>>::default();
        let shared = Arc::clone(&log);
        let lines = BufReader::new(process.stderr.take().unwrap());
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                shared.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let mut gate = Self {
            folder,
            ip,
            process,
            log,
            _server: server,
        };
        wait_for("the program", || {
            let ended = gate.process.try_wait().unwrap();
            assert!(ended.is_none(), "not started:\n{}", gate.log());
            gate.log().contains(" ready").then_some(())
        });
        gate
    }

    /// Where FTP clients connect.
    pub(crate) fn ftp(&self) -> SocketAddr {
        (self.ip, 2121).into()
    }

    /// Where the page is.
    pub(crate) fn page(&self) -> SocketAddr {
        (self.ip, 8021).into()
    }

    /// Where its files are; FOLDER in what it is started with.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The record as it is.
    pub(crate) fn record(&self) -> String {
        fs::read_to_string(self.folder.join("eve.json")).unwrap()
    }

    /// Bytes of its memory that are in RAM.
    pub(crate) fn resident(&self) -> u64 {
        scrape::resident(self.process.id())
    }

    /// A count that it tells, with its labels, such as `portcullis_refusals_total{reason="policy"}`.
    pub(crate) fn count(&self, name: &str) -> f64 {
        let token = fs::read_to_string(self.folder.join("token")).unwrap();
        let stream = TcpStream::connect(self.page()).unwrap();
        scrape::count(&scrape::metrics(stream, self.page(), &token), name)
    }

    /// What was refused for a reason.
    pub(crate) fn refused(&self, reason: &str) -> f64 {
        self.count(&format!("portcullis_refusals_total{{reason=\"{reason}\"}}"))
    }

    /// Waits until the record says so.
    pub(crate) fn recorded(&self, words: &str) {
        wait_for(words, || self.record().contains(words).then_some(()));
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        if thread::panicking() {
            let log = self.log();
            eprintln!(
                "portcullis said at its end:\n{}",
                &log[log.len().saturating_sub(4000)..]
            );
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// An address of loopback that no other test has: tests need no free ports then.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let id = u16::try_from(std::process::id() % 25_000).unwrap();
    let [a, b] = id.to_be_bytes();
    Ipv4Addr::new(127, 128 + a, b, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// As many files as the system lets this process have.
pub(crate) fn raise_file_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
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

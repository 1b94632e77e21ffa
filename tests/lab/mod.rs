//! The lab: a client, an edge and a server as network namespaces, with real programs in them.
//!
//! Owns entering the private namespaces ([`enter`]), the three hosts ([`Lab`]) and what runs on them:
//! [`Host`] for commands and sockets, [`Vsftpd`], [`Gate`] for portcullis, [`Peer`] for scripted ends of a
//! control connection. Everything lives inside one PID namespace and disappears with the test process,
//! however that ends. What is missing is an error that names it, never a skipped test.

mod enter;
mod gate;
mod host;
mod peer;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) use enter::enter;
pub(crate) use gate::Gate;
pub(crate) use host::Host;
pub(crate) use peer::Peer;
pub(crate) use server::Vsftpd;

/// How long anything that the lab waits for may take: far more than it does, so that only a fault reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection that must not come about is tried: two SYNs of Linux (at 0 and 1 s).
pub(crate) const REFUSAL: Duration = Duration::from_millis(1500);

/// Where the edge stands between the client and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// The client's network is behind the edge; the server has no route to it.
    BehindNat,
    /// The server's network is behind the edge, which stands for it.
    Published,
    /// The client has IPv6 alone, the server IPv4 alone; a NAT64 prefix stands for the server's network.
    Nat64,
}

/// An IP version, to pick one of a host's two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Three hosts and a scratch directory of one test; gone when dropped.
pub(crate) struct Lab {
    /// Where the edge stands.
    pub(crate) topology: Topology,
    /// Who dials.
    pub(crate) client: Host,
    /// Where portcullis runs.
    pub(crate) edge: Host,
    /// Who is dialled.
    pub(crate) server: Host,
    /// A directory of this lab alone.
    pub(crate) dir: PathBuf,
}

impl Lab {
    /// Makes a lab in which the client is behind NAT.
    pub(crate) fn behind_nat() -> Self {
        Self::new(Topology::BehindNat)
    }

    /// Makes a lab in which the edge publishes the server.
    pub(crate) fn published() -> Self {
        Self::new(Topology::Published)
    }

    /// Makes a lab; see `tests/lab/topology` for its addresses and the operator's firewall.
    pub(crate) fn new(topology: Topology) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = enter::scratch().join(format!("lab-{number}"));
        std::fs::create_dir(&dir).expect("the scratch directory is ours");
        let [client, edge, server] = ["client", "edge", "server"].map(Host::new);
        let word = match topology {
            Topology::BehindNat => "behind-nat",
            Topology::Published => "published",
            Topology::Nat64 => "nat64",
        };
        succeed(Command::new(script("topology")).arg(word).args([
            client.pid(),
            edge.pid(),
            server.pid(),
        ]));
        Self {
            topology,
            client,
            edge,
            server,
            dir,
        }
    }

    /// The address that clients dial, the server's or the edge's, as it stands in a URL.
    pub(crate) fn dialled(&self, family: Family) -> &'static str {
        match (self.topology, family) {
            (Topology::BehindNat, Family::V4) => "198.51.100.20",
            (Topology::BehindNat, Family::V6) => "[2001:db8:51::20]",
            (Topology::Published, Family::V4) => "198.51.100.1",
            (Topology::Published, Family::V6) => "[2001:db8:51::1]",
            (Topology::Nat64, Family::V6) => "[64:ff9b::c633:6414]",
            (Topology::Nat64, Family::V4) => panic!("the client has no IPv4 address"),
        }
    }

    /// The server's own address, as it stands in a URL.
    pub(crate) fn server_address(&self, family: Family) -> &'static str {
        match (self.topology, family) {
            (Topology::BehindNat | Topology::Nat64, Family::V4) => "198.51.100.20",
            (Topology::Nat64, Family::V6) => panic!("the server has no IPv6 address"),
            (Topology::BehindNat, Family::V6) => "[2001:db8:51::20]",
            (Topology::Published, Family::V4) => "10.70.0.2",
            (Topology::Published, Family::V6) => "[fd70::2]",
        }
    }

    /// Starts vsftpd on the server, port 21, both families.
    pub(crate) fn vsftpd(&self) -> Vsftpd {
        self.vsftpd_with(&[])
    }

    /// Like [`Lab::vsftpd`], with more lines in its configuration, such as `port_promiscuous=YES`.
    pub(crate) fn vsftpd_with(&self, options: &[&str]) -> Vsftpd {
        self.vsftpd_on(&self.server, options)
    }

    /// The same on another host.
    pub(crate) fn vsftpd_on(&self, host: &Host, options: &[&str]) -> Vsftpd {
        let dir = self.dir.join(format!("vsftpd-{}", host.name()));
        Vsftpd::start(host, &dir, 21, options)
    }

    /// A file with a key and a certificate for it that nobody has signed.
    pub(crate) fn certificate(&self) -> PathBuf {
        let path = self.dir.join("certificate.pem");
        let file = path.display();
        self.client(&format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=lab \
             -keyout {file} -out {file}.signed 2>/dev/null && cat {file}.signed >>{file}"
        ));
        path
    }

    /// Lets everybody reach the edge's data ports, as an operator does whose listener relays data.
    pub(crate) fn accept_data_ports(&self) {
        succeed(
            Command::new(script("topology"))
                .arg("relay")
                .arg(self.edge.pid()),
        );
    }

    /// Starts portcullis on the edge with the topology's ordinary listener and a policy that allows everything.
    pub(crate) fn gate(&self) -> Gate {
        self.gate_with("")
    }

    /// Like [`Lab::gate`], with more lines at the end of the configuration.
    pub(crate) fn gate_with(&self, more: &str) -> Gate {
        self.portcullis(&gate::ordinary(self.topology, more), gate::ALLOW_ALL)
    }

    /// The ordinary listener with a policy of its own.
    pub(crate) fn gate_by(&self, policy: &str) -> Gate {
        self.portcullis(&gate::ordinary(self.topology, ""), policy)
    }

    /// Starts portcullis with this configuration and a policy (`policy.yaml`), and waits until it is ready.
    ///
    /// `AUDIT` in the configuration becomes the path that [`Gate::records`] reads.
    pub(crate) fn portcullis(&self, config: &str, policy: &str) -> Gate {
        Gate::start(self, &[], config, policy)
    }

    /// The same as a process that has no capability and can get none.
    pub(crate) fn portcullis_without_privilege(&self, config: &str, policy: &str) -> Gate {
        let wrapped = [
            "setpriv",
            "--bounding-set=-all",
            "--inh-caps=-all",
            "--ambient-caps=-all",
            "--no-new-privs",
        ];
        self.portcullis_under(&wrapped, config, policy)
    }

    /// The same, started by a program with arguments, such as `env` with a variable.
    pub(crate) fn portcullis_under(&self, wrapped: &[&str], config: &str, policy: &str) -> Gate {
        Gate::start(self, wrapped, config, policy)
    }

    /// Runs a shell command on the edge that has to end by itself, `PORTCULLIS` in it being the program and
    /// `CONFIG` the ordinary configuration with more lines; gives the exit code and all that was said.
    pub(crate) fn run_to_end(&self, command: &str, more: &str) -> (Option<i32>, String) {
        Gate::run_to_end(self, command, &gate::ordinary(self.topology, more))
    }

    /// Runs a shell command on the client; fails the test where it fails; gives what it wrote to stdout.
    pub(crate) fn client(&self, command: &str) -> String {
        let output = self.client.sh(command);
        assert!(output.status.success(), "{}", told(command, &output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Opens the edge's forward chain to everything: the positive control of a refused connection.
    pub(crate) fn open_firewall(&self) {
        succeed(
            Command::new(script("topology"))
                .arg("open")
                .arg(self.edge.pid()),
        );
    }

    /// A file of `len` bytes that do not repeat, in the lab's directory.
    pub(crate) fn random_file(&self, name: &str, len: u64) -> PathBuf {
        use std::io::Read;
        let path = self.dir.join(name);
        let mut source = std::fs::File::open("/dev/urandom")
            .expect("there is randomness")
            .take(len);
        let mut file = std::fs::File::create(&path).expect("the directory is ours");
        std::io::copy(&mut source, &mut file).expect("the disk has room");
        path
    }

    /// Elements of portcullis' sets and maps in the edge's kernel.
    pub(crate) fn open_elements(&self) -> usize {
        let table = self.edge.sh("nft list table inet portcullis").stdout;
        String::from_utf8_lossy(&table).matches(" expires ").count()
    }

    /// Adds to the hosts what one of the topologies adds to another, such as `crowd-inside`.
    pub(crate) fn extend(&self, word: &str) {
        succeed(Command::new(script("topology")).arg(word).args([
            self.client.pid(),
            self.edge.pid(),
            self.server.pid(),
        ]));
    }

    /// What portcullis could have left in the edge's kernel: tables, rules, routes, each on a line.
    pub(crate) fn kernel_state(&self) -> Vec<String> {
        let commands = "nft list tables | grep -v 'inet filter'; ip rule; ip -6 rule;
            ip route show table 121 2>&1; ip -6 route show table 121 2>&1";
        let ordinary = [
            "lookup local",
            "lookup main",
            "lookup default",
            "FIB table does not exist",
            "Dump terminated",
        ];
        let output = self.edge.sh(commands);
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter(|line| !ordinary.iter().any(|word| line.contains(word)))
            .map(|line| line.trim().to_owned())
            .collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// Asks every few milliseconds until there is an answer; fails the test after [`PATIENCE`].
pub(crate) fn wait_until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "waited {PATIENCE:?} in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether two files hold the same bytes.
pub(crate) fn same(one: &Path, other: &Path) -> bool {
    let read = |path: &Path| {
        std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    read(one) == read(other)
}

/// The path of one of the lab's scripts.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/lab")
        .join(name)
}

/// Runs a command that has to succeed; gives what it wrote to stdout.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{}",
        told(&format!("{command:?}"), &output)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A command and all that it said, for a failure's message.
fn told(command: &str, output: &Output) -> String {
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{command}\n{}\n{stdout}{stderr}", output.status)
}

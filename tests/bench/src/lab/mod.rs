//! The ground of a measurement: three hosts, a server, what stands on the edge, and their end.
//!
//! `tests/bench/run` has entered private namespaces before; all that is made here goes with them.

mod gate;
mod host;
mod metrics;
mod peers;
mod process;
mod system;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};

pub use gate::Setting;
pub use host::Host;
pub use metrics::Metrics;
pub use peers::LARGE;
pub use process::Process;
pub use system::System;

use crate::load::Outcome;

/// The addresses of `tests/lab/topology`.
pub const SERVER: &str = "198.51.100.20";
/// The edge as the server sees it.
pub const EDGE_OUTSIDE: &str = "198.51.100.1";
/// The edge as clients see it.
pub const EDGE_INSIDE: &str = "10.60.1.1";
/// The one client of ordinary measurements.
pub const CLIENT: &str = "10.60.1.2";
/// More addresses of the client, for many sessions.
pub const CROWD: &str = "10.61.0.0/16";
/// More addresses of the server: the edge has so many ports for each, and no more.
const MORE_SERVERS: [&str; 3] = ["198.51.100.21", "198.51.100.22", "198.51.100.23"];

/// Source ports of all hosts: what lies above is for pinholes.
const LOCAL_PORTS: &str = "10000 49151";

/// Where things lie on this machine, as `tests/bench/run` says.
#[derive(Clone, Debug)]
pub struct Places {
    /// The repository.
    pub repository: PathBuf,
    /// The release build of portcullis.
    pub portcullis: PathBuf,
    /// The folder with `load` and `ftpd`.
    pub tools: PathBuf,
    /// The bare relay.
    pub relay: PathBuf,
    /// Where `tests/lab/fetch` unpacks.
    pub cache: PathBuf,
    /// A folder in memory.
    pub scratch: PathBuf,
    /// A folder on a disk, for records.
    pub disk: PathBuf,
    /// Where reports go.
    pub out: PathBuf,
}

impl Places {
    /// Reads the environment.
    ///
    /// # Errors
    /// Names the variable that is missing.
    pub fn from_environment() -> anyhow::Result<Self> {
        let place = |name: &str| {
            let value = std::env::var_os(name);
            let value = value.with_context(|| format!("{name} is not set; start tests/bench/run"));
            value.map(PathBuf::from)
        };
        Ok(Self {
            repository: place("BENCH_REPOSITORY")?,
            portcullis: place("BENCH_PORTCULLIS")?,
            tools: place("BENCH_TOOLS")?,
            relay: place("BENCH_RELAY")?,
            cache: place("BENCH_CACHE")?,
            scratch: place("BENCH_SCRATCH")?,
            disk: place("BENCH_DISK")?,
            out: place("BENCH_OUT")?,
        })
    }

    /// A script of `tests/lab`.
    fn script(&self, name: &str) -> PathBuf {
        self.repository.join("tests/lab").join(name)
    }
}

/// Who serves the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// vsftpd, with a file `small` of 6 bytes and a file `large`.
    Vsftpd,
    /// `ftpd` of this package: any number of sessions, stamped replies.
    Own,
}

/// One system between a client and a server, in namespaces of its own.
pub struct Lab {
    places: Places,
    system: System,
    /// The processor that all programs are bound to, where they are.
    cpu: Option<usize>,
    /// Where clients are.
    pub client: Host,
    /// Where the system is.
    pub edge: Host,
    /// Where the server is.
    pub server: Host,
    dir: PathBuf,
    disk: PathBuf,
    serving: Option<Process>,
    gate: Option<Process>,
    ready_after: Option<Duration>,
}

impl Lab {
    /// Makes the hosts; nothing runs on them yet. With `cpu`, all programs are bound to that processor.
    ///
    /// # Errors
    /// Says what could not be made.
    pub fn new(places: &Places, system: System, cpu: Option<usize>) -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{system}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let (dir, disk) = (places.scratch.join(&name), places.disk.join(&name));
        for made in [&dir, &disk] {
            std::fs::create_dir(made).with_context(|| format!("making {}", made.display()))?;
        }
        let lab = Self {
            places: places.clone(),
            system,
            cpu,
            client: Host::new()?,
            edge: Host::new()?,
            server: Host::new()?,
            dir,
            disk,
            serving: None,
            gate: None,
            ready_after: None,
        };
        let hosts = [&lab.client, &lab.edge, &lab.server].map(Host::pid);
        succeed(
            Command::new(places.script("topology"))
                .arg(system.topology())
                .args(&hosts),
        )?;
        for host in [&lab.client, &lab.edge, &lab.server] {
            host.set("net.ipv4.ip_local_port_range", LOCAL_PORTS)?;
            host.set("net.core.somaxconn", "4096")?;
            // Else whoever binds before it dials looks for a free port among thousands that wait, which after
            // a few seconds takes longer than all else.
            host.set("net.ipv4.tcp_max_tw_buckets", "0")?;
        }
        Ok(lab)
    }

    /// Makes the ground of one ordinary measurement: hosts, server, and the system as it is set up for use.
    ///
    /// # Errors
    /// Says what did not start.
    pub fn standing(
        places: &Places,
        system: System,
        server: Server,
        cpu: Option<usize>,
    ) -> anyhow::Result<Self> {
        let mut lab = Self::new(places, system, cpu)?;
        lab.serve(server)?;
        lab.stand(&Setting::default())?;
        Ok(lab)
    }

    /// Gives the client all addresses of [`CROWD`], and the server more; gives what `--to` says then.
    ///
    /// # Errors
    /// Says what could not be set.
    pub fn crowd(&self) -> anyhow::Result<String> {
        for address in MORE_SERVERS {
            self.server
                .sh(&format!("ip addr add {address}/24 dev eth0"))?;
        }
        self.client
            .sh(&format!("ip route add local {CROWD} dev lo"))?;
        self.edge
            .sh(&format!("ip route add {CROWD} via {CLIENT}"))?;
        if self.system == System::Routing {
            self.server
                .sh(&format!("ip route add {CROWD} via {EDGE_OUTSIDE}"))?;
        }
        let more = MORE_SERVERS.map(|address| format!("{address}:21"));
        Ok(format!("{},{}", self.system.dialled(), more.join(",")))
    }

    /// Starts a server and waits until it listens.
    ///
    /// # Errors
    /// Says why it did not.
    pub fn serve(&mut self, server: Server) -> anyhow::Result<()> {
        let process = match server {
            Server::Vsftpd => peers::vsftpd(self)?,
            Server::Own => {
                let mut command = self.command(&self.server, self.places.tools.join("ftpd"));
                Process::start("ftpd", command.args(["--listen", "[::]:21"]))?
            }
        };
        self.serving = Some(process);
        self.listening(&self.server, "127.0.0.1:21", self.serving.as_ref())
    }

    /// Puts the system on the edge and waits until it is ready.
    ///
    /// # Errors
    /// Says why it is not.
    pub fn stand(&mut self, setting: &Setting) -> anyhow::Result<()> {
        self.gate = match self.system {
            System::Routing => None,
            System::Helper => {
                self.topology("helper")?;
                None
            }
            System::BareRelay => Some(peers::bare_relay(self)?),
            System::ModProxy => Some(peers::mod_proxy(self)?),
            System::FtpProxy => Some(peers::ftp_proxy(self)?),
            System::PortcullisKernel | System::PortcullisRelay => {
                let (process, took) = gate::start(self, setting)?;
                self.ready_after = Some(took);
                Some(process)
            }
        };
        Ok(())
    }

    /// The process on the edge, where there is one.
    pub fn gate(&self) -> Option<&Process> {
        self.gate.as_ref()
    }

    /// How long portcullis took from its start to its being ready.
    pub fn ready_after(&self) -> Option<Duration> {
        self.ready_after
    }

    /// The unix socket that portcullis is asked by.
    pub fn admin_socket(&self) -> PathBuf {
        self.disk.join("admin.sock")
    }

    /// A folder of this lab, in memory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A folder of this lab, on a disk.
    pub fn disk(&self) -> &Path {
        &self.disk
    }

    /// Asks portcullis for its counts.
    ///
    /// # Errors
    /// Says why it gave none.
    pub fn metrics(&self) -> anyhow::Result<Metrics> {
        Metrics::ask(&self.edge, &self.disk.join("page.token"))
    }

    /// Runs the client with these arguments.
    ///
    /// # Errors
    /// Says what failed of it; whatever failed, there is no figure.
    pub fn load(&self, arguments: &[&str]) -> anyhow::Result<Outcome> {
        let output = self
            .client_command(arguments)
            .output()
            .context("starting the client")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap_or_default();
        read_outcome(last).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The client with these arguments, to be started.
    pub fn client_command(&self, arguments: &[&str]) -> Command {
        self.client_command_to(&self.system.dialled(), arguments)
    }

    /// The same for the servers of [`Lab::crowd`].
    pub fn client_command_to(&self, servers: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.client, self.places.tools.join("load"));
        command.arg("--to").arg(servers);
        if let Some(address) = self.system.announced() {
            command.args(["--announce", address]);
        }
        command.args(arguments);
        command
    }

    /// A program on a host, on the processor of this lab.
    fn command(&self, host: &Host, program: impl AsRef<Path>) -> Command {
        match self.cpu {
            None => host.command(program.as_ref()),
            Some(cpu) => {
                let mut command = host.command(Path::new("taskset"));
                command.arg("-c").arg(cpu.to_string()).arg(program.as_ref());
                command
            }
        }
    }

    fn topology(&self, word: &str) -> anyhow::Result<()> {
        let mut command = Command::new(self.places.script("topology"));
        succeed(command.arg(word).arg(self.edge.pid()))
    }

    /// Waits until somebody takes connections there.
    fn listening(&self, host: &Host, at: &str, who: Option<&Process>) -> anyhow::Result<()> {
        let address: std::net::SocketAddr = at.parse()?;
        for _ in 0..1000 {
            if host
                .within(|| std::net::TcpStream::connect(address))?
                .is_ok()
            {
                return Ok(());
            }
            if let Some(process) = who {
                process.lives()?;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("nobody listens at {at}")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.gate.take());
        drop(self.serving.take());
        for made in [&self.dir, &self.disk] {
            // What cannot be removed goes with the namespaces, or is told by the script.
            let _ = std::fs::remove_dir_all(made);
        }
    }
}

/// Reads the client's last line; a failure in it is an error.
///
/// # Errors
/// As said.
pub fn read_outcome(line: &str) -> anyhow::Result<Outcome> {
    let outcome: Outcome = serde_json::from_str(line).context("the client told nothing")?;
    ensure!(
        outcome.failures == 0,
        "{} failed beside {} that succeeded: {}",
        outcome.failures,
        outcome.transfers,
        outcome.first_failure.unwrap_or_default()
    );
    Ok(outcome)
}

/// Runs a command to its end.
fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}

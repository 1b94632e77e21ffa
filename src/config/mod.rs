//! The configuration file, usable: every value checked, every policy compiled.
//!
//! Owns the types that the rest of the program is started with, and the reading of files into them.
//! Reads no clock and opens no socket; the names of the machine's interfaces are passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

use crate::rules::{DataPath, Period, Policy, Rate, Window};

mod admin;
mod audit;
mod interfaces;
mod keys;
mod listeners;
mod load;
mod settings;

pub use admin::{AdminSettings, PageSettings, SocketSettings};
pub use audit::{AuditSettings, OnFailure, OnUnusable, StoreSettings, SyslogPeer};
pub use interfaces::interface_names;
pub use load::{Places, load, places};

/// Gives the JSON Schema of configuration files.
pub fn schema() -> serde_json::Value {
    keys::CONFIGURATION.document("Configuration of portcullis")
}

/// All that `portcullis run` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where sessions come from.
    pub listeners: Vec<Listener>,
    /// Bounds on everything that grows.
    pub limits: Limits,
    /// Where the record goes.
    pub audit: AuditSettings,
    /// How it is asked while it runs.
    pub admin: AdminSettings,
    /// What portcullis calls its own in the kernel.
    pub kernel: Kernel,
    /// `sandbox`: whether the program gives up, once it is started, what serving does not need. Default:
    /// true.
    pub sandbox: bool,
}

impl Config {
    /// Whether anything is asked of the kernel that takes privilege: interception, pinholes,
    /// addresses that are not the edge's. Without, every listener is published, relays its data and
    /// lets the server see the edge.
    pub fn needs_kernel(&self) -> bool {
        self.listeners.iter().any(Listener::needs_kernel)
    }

    /// The windows that rules open beside TLS, of all policies, sorted, each once.
    pub fn windows(&self) -> Vec<Window> {
        let policies = self.listeners.iter().flat_map(Listener::policies);
        let windows: BTreeSet<Window> = policies.flat_map(|policy| policy.windows()).collect();
        windows.into_iter().collect()
    }
}

/// One source of sessions.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name, unique in the file; rules and records use it.
    pub name: String,
    /// How sessions reach it.
    pub kind: ListenerKind,
    /// The address that the server sees as its client.
    pub server_sees: ServerSees,
    /// The rules that decide.
    pub policy: Arc<Policy>,
    /// `hosts`: the rules for the virtual hosts that HOST names (RFC 7151), by name in lower case.
    /// An IPv6 address stands in brackets, as RFC 5952 writes it. Empty: HOST goes to the server like
    /// any command.
    pub hosts: BTreeMap<String, Arc<Policy>>,
    /// `data`: who carries data where no rule says otherwise. Default: the kernel; the relay where no
    /// server is of the family of its clients.
    pub data: DataPath,
    /// `convert`: whether a server that knows only the old or only the new commands (PASV, PORT;
    /// EPSV, EPRT) is asked in the ones it knows. Default: true.
    pub convert: bool,
    /// `nat64`: on a transparent listener, the prefix whose addresses stand for IPv4 servers
    /// (RFC 6052, /96). Default: none.
    pub nat64: Option<Ipv6Net>,
}

impl Listener {
    /// The policies that may decide on its sessions: its own, then those of its virtual hosts.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        std::iter::once(&self.policy).chain(self.hosts.values())
    }

    fn needs_kernel(&self) -> bool {
        let published = matches!(self.kind, ListenerKind::Published { .. });
        !published
            || self.data == DataPath::Kernel
            || self.server_sees == ServerSees::Client
            || self.policies().any(|policy| policy.asks_for_kernel())
    }
}

/// How sessions reach a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// Connections that cross the edge are taken on their way (TPROXY); the server is whom they dialled.
    Transparent {
        /// Interfaces they come in by.
        interfaces: Vec<String>,
        /// Destination ports that are taken. Default: 21.
        ports: Vec<u16>,
        /// The local port they are handed to, both families. Default: 2121.
        bind_port: u16,
    },
    /// Clients dial the edge, which stands for one server.
    Published {
        /// Addresses of the edge that clients dial.
        listen: Vec<SocketAddr>,
        /// The server, at most one per family and at least one; an address in `listen` without one of
        /// its family is served by the other, and its data goes by the relay.
        servers: Vec<SocketAddr>,
    },
}

/// The address that the server sees as its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerSees {
    /// The edge's, as routing chooses it.
    Edge,
    /// The client's own.
    Client,
    /// A named address of the edge, per family.
    Address {
        /// For servers dialled over IPv4.
        v4: Option<Ipv4Addr>,
        /// For servers dialled over IPv6.
        v6: Option<Ipv6Addr>,
    },
}

/// Bounds on everything that grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at one time; the next is answered 421. 1 to 1,000,000. Default: 10,000.
    pub sessions: usize,
    /// Sessions at one time of one client address. Default: 100.
    pub sessions_per_client: usize,
    /// Sessions that may begin in so long; the next is answered 421. Default: 200/s.
    pub session_rate: Rate,
    /// The same for one client address. Default: 20/s.
    pub session_rate_per_client: Rate,
    /// Pinholes open at one time. 1 to 1,000,000. Default: 10,000.
    pub pinholes: usize,
    /// Pinholes open at one time for one client address. Default: 100.
    pub pinholes_per_client: usize,
    /// How long an unused pinhole stays open. 1 s to 10 min. Default: 60 s.
    pub pinhole_lifetime: Duration,
    /// How long connecting to a server may take. 1 s to 5 min. Default: 10 s.
    pub connect_timeout: Duration,
    /// How long a client may take to log in, where its commands can be read. 1 s to 1 h. Default: 120 s.
    pub login_timeout: Duration,
    /// How long a control connection may be silent while no transfer runs. 5 s to 24 h. Default: 15 min.
    pub idle_timeout: Duration,
}

/// Where the EVE lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditOutput {
    /// EVE JSON lines on standard output.
    Stdout,
    /// EVE JSON lines appended to a file.
    File(PathBuf),
}

/// What portcullis calls its own in the kernel; to be changed where another program uses the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// The name of the nftables table (family inet). Default: `portcullis`.
    pub table: String,
    /// Bits of the packet mark that say "for a local socket". Default: 0x21 under mask 0xff.
    pub packet_mark: Mark,
    /// Bits of the connection mark that say "admitted". Default: 0x2100 under mask 0xff00.
    pub connection_mark: Mark,
    /// The routing table that delivers marked packets locally, 1 to 252 or from 256 up. Default: 121.
    pub routing_table: u32,
    /// Ports that portcullis announces for others, all ≥ 1024. Default: 49152–65535.
    pub data_ports: RangeInclusive<u16>,
}

/// Some bits of a mark that is shared with other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The bits that are set; a subset of `mask`.
    pub value: u32,
    /// The bits that are ours.
    pub mask: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 10_000,
            sessions_per_client: 100,
            session_rate: Rate {
                count: 200,
                period: Period::Second,
            },
            session_rate_per_client: Rate {
                count: 20,
                period: Period::Second,
            },
            pinholes: 10_000,
            pinholes_per_client: 100,
            pinhole_lifetime: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            login_timeout: Duration::from_secs(120),
            idle_timeout: Duration::from_secs(15 * 60),
        }
    }
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            table: "portcullis".to_owned(),
            packet_mark: Mark {
                value: 0x21,
                mask: 0xff,
            },
            connection_mark: Mark {
                value: 0x2100,
                mask: 0xff00,
            },
            routing_table: 121,
            data_ports: 49152..=65535,
        }
    }
}

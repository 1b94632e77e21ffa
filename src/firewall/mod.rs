//! The kernel's side of portcullis: one nftables table, its pinholes, and the routes it needs.
//!
//! [`ruleset`] and the plans are pure; [`install`] puts the table and the policy routing in place once;
//! after that [`Server`] changes nothing but set elements, over one netlink socket, as many a [`Firewall`]
//! asks for it, from the same process or another. The one module that knows nftables. Decides nothing:
//! whoever calls it has decided, within what its guard lets pass.

mod guard;
mod handle;
mod healer;
mod install;
mod order;
mod outbox;
mod plan;
mod privilege;
mod routing;
mod ruleset;
mod subject;
mod ways;
mod window;
mod wire;
mod worker;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::Kernel;
use crate::rules::Window;

pub use guard::Guard;
pub use handle::{Firewall, MAX_OPEN_REQUESTS};
pub use healer::{CHECK_INTERVAL, HEAL_PAUSE, Healer};
pub use install::{Installed, install};
pub use plan::{Change, Element, TRANSLATION_GRACE, plan_close, plan_open};
pub use privilege::{missing_nft, missing_privilege, share_with_children};
pub use ruleset::{MAX_SET_SIZE, MIN_SET_SIZE, SET_HEADROOM, ruleset, set_size};
pub use subject::Subject;
pub use ways::{Asking, MAX_WAYS, Serving, ways};
pub use window::WindowSpec;
pub use wire::encode;
pub use worker::{FULL_PAUSE, MAX_BATCH, Server};

/// What the table is built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Names, marks and numbers.
    pub kernel: Kernel,
    /// The transparent listeners; empty where there is none.
    pub intercepts: Vec<Intercept>,
    /// The windows of all policies, each once; [`WindowSpec::window`] counts them from 0.
    pub windows: Vec<Window>,
    /// Pinholes open at one time, and windows as well ([`crate::config::Limits::pinholes`]).
    pub capacity: usize,
    /// How long a pinhole may be open at most ([`crate::config::Limits::pinhole_lifetime`]).
    pub pinhole_lifetime: Duration,
    /// Servers of which each data connection has one at an end; empty where clients choose theirs.
    pub servers: BTreeSet<IpAddr>,
}

/// Control connections to take on their way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intercept {
    /// Interfaces they come in by; none of them need exist yet. Empty: nothing is taken.
    pub interfaces: Vec<String>,
    /// Destination ports that are taken. Empty: nothing is taken.
    pub ports: Vec<u16>,
    /// The local port they are handed to, both families.
    pub bind_port: u16,
}

/// What can go wrong between portcullis and the kernel.
#[derive(Debug, Error)]
pub enum FirewallError {
    /// CAP_NET_ADMIN is missing, or does not reach this network namespace.
    #[error(
        "the kernel refused {doing}: CAP_NET_ADMIN is missing, or not valid in this network \
         namespace; run as root, or give it by AmbientCapabilities= in a systemd unit or by \
         `setcap cap_net_admin,cap_net_raw,cap_net_bind_service+ep`"
    )]
    Unprivileged {
        /// What was being done.
        doing: &'static str,
    },
    /// The table is another program's, or the privilege is one over another network namespace.
    #[error(
        "the kernel lets nobody but its owner change the table inet {table}: another program has made it \
         with `flags owner` (`nft list table inet {table}` names it), or CAP_NET_ADMIN is not valid in \
         this network namespace; end that program, or set `kernel: {{ table: … }}` to another name"
    )]
    Owned {
        /// The table's name.
        table: String,
    },
    /// No `nft` program.
    #[error(
        "the program nft is neither in PATH nor in /usr/sbin; install the package nftables, 1.0.6 or later"
    )]
    NftMissing,
    /// `nft` refused the table.
    #[error("nft refused the table inet {table}: {stderr}")]
    NftRefused {
        /// The table's name.
        table: String,
        /// What nft wrote, trimmed.
        stderr: String,
    },
    /// A name that cannot stand in a ruleset.
    #[error(
        "{what} {name:?} cannot stand in an nftables ruleset; allowed are 1 to {limit} characters: {allowed}"
    )]
    UnusableName {
        /// What is named.
        what: &'static str,
        /// The name.
        name: String,
        /// The longest allowed, characters.
        limit: usize,
        /// The characters that are allowed.
        allowed: &'static str,
    },
    /// The policy routing could not be made.
    #[error("could not {doing} (routing table {table}): {source}")]
    Routing {
        /// What was being done.
        doing: &'static str,
        /// The routing table's number.
        table: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// What must never be open, whoever asks.
    #[error("{subject} must never be open: {why}")]
    Denied {
        /// What was to be opened.
        subject: Box<Subject>,
        /// Which bound it is beyond.
        why: String,
    },
    /// The addresses of a pinhole or window are of two families.
    #[error("{subject} mixes IPv4 and IPv6; all its addresses must be of one family")]
    MixedFamilies {
        /// What was to be opened or closed.
        subject: Box<Subject>,
    },
    /// The sets had no room for as long as a client can wait.
    #[error(
        "the sets of the nftables table had no room for {subject} for {waited_ms} ms; \
         raise the limit on pinholes, or see what fills them with `nft list table inet {table}`"
    )]
    Full {
        /// What was to be opened or closed.
        subject: Box<Subject>,
        /// How long it was tried, milliseconds.
        waited_ms: u128,
        /// The table's name.
        table: String,
    },
    /// Somebody deleted the table.
    #[error(
        "the table inet {table} is gone or changed, so {subject} could not be opened; another \
         program flushed the ruleset: keep it from `flush ruleset`"
    )]
    TableMissing {
        /// What was to be opened or closed.
        subject: Box<Subject>,
        /// The table's name.
        table: String,
    },
    /// The kernel refused a change.
    #[error("the kernel refused to {doing} {subject}: {source}")]
    Refused {
        /// `open` or `close`.
        doing: &'static str,
        /// What was to be opened or closed.
        subject: Box<Subject>,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No socket, or no answer on it.
    #[error("could not {doing}: {source}")]
    Netlink {
        /// What was being done.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Nobody is there who may change the table.
    #[error("who may change nftables has ended, so no pinhole can be opened or closed")]
    Stopped,
}

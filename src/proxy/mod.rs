//! The live proxy: listeners, one task a session, sockets in, actions out.
//!
//! Knows no FTP: what a line means and what follows from it is the inspector's.

mod arrivals;
mod cores;
mod counts;
mod door;
mod flows;
mod holes;
mod legs;
mod listener;
mod mailbox;
mod orders;
mod session;
mod unheard;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Semaphore, watch};

use crate::audit::Audit;
use crate::config::Limits;
use crate::conntrack::Watcher;
use crate::firewall::Firewall;
use crate::monitor::Monitor;
use crate::net::{Ports, Seldom};
use crate::rules::{Meters, Window};

pub use cores::{Cores, Seats};
pub use flows::Flows;
pub use listener::{Gate, rules_of};
pub use orders::RulesSender;

use arrivals::Arrivals;
use counts::Counts;

/// Clients that are told at one time that a limit is reached; each holds a file, and waits for the record.
/// Who comes beyond it is reset, and goes on the record as a number.
const MAX_TURNED_AWAY: usize = 256;

/// What all sessions share.
#[derive(Debug)]
pub struct Shared {
    limits: Limits,
    kernel: Option<KernelSide>,
    windows: Vec<Window>,
    ports: Ports,
    audit: Audit,
    monitor: Arc<Monitor>,
    flows: Arc<Flows>,
    counts: Arc<Counts>,
    arrivals: Arrivals,
    /// Places for clients that are being told that they cannot be served.
    refusals: Semaphore,
    refusals_log: Seldom,
    meters: Arc<Meters>,
    sessions_begun: AtomicU64,
    /// Half of every flow id, so that ids of different runs differ in one file.
    run: u32,
    stop: watch::Receiver<bool>,
    seats: Seats,
}

/// The ways into the kernel.
#[derive(Debug)]
pub struct KernelSide {
    /// Opens and closes: one for each thread of sessions, by its number, and one at least.
    pub firewalls: Vec<Firewall>,
    /// Counts.
    pub watcher: Watcher,
}

impl KernelSide {
    /// That of the thread that runs this; `None` where there is none at all.
    fn firewall(&self) -> Option<&Firewall> {
        let number = cores::here().checked_rem(self.firewalls.len())?;
        self.firewalls.get(number)
    }
}

/// What [`Shared::new`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// Bounds on everything that grows.
    pub limits: Limits,
    /// The kernel's data path; `None` where the configuration has no use for it.
    pub kernel: Option<KernelSide>,
    /// The windows that the firewall was installed with, in its order.
    pub windows: Vec<Window>,
    /// Where free ports come from.
    pub ports: Ports,
    /// Where records go.
    pub audit: Audit,
    /// Who watches.
    pub monitor: Arc<Monitor>,
    /// Where the kernel's news of data connections arrive.
    pub flows: Arc<Flows>,
    /// A number that differs from run to run.
    pub run: u32,
    /// Becomes true when portcullis stops.
    pub stop: watch::Receiver<bool>,
    /// Where sessions run.
    pub seats: Seats,
}

impl Shared {
    /// Puts together what sessions share.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            limits,
            kernel,
            windows,
            ports,
            audit,
            monitor,
            flows,
            run,
            stop,
            seats,
        } = parts;
        let counts = Arc::new(Counts::new(&limits));
        let arrivals = Arrivals::new(&limits);
        Self {
            limits,
            kernel,
            windows,
            ports,
            audit,
            monitor,
            flows,
            counts,
            arrivals,
            refusals: Semaphore::new(MAX_TURNED_AWAY),
            refusals_log: Seldom::default(),
            meters: Arc::default(),
            sessions_begun: AtomicU64::new(0),
            run,
            stop,
            seats,
        }
    }

    /// The way to the kernel's data path, where there is one.
    fn firewall(&self) -> Option<&Firewall> {
        self.kernel.as_ref()?.firewall()
    }

    fn next_session(&self) -> (u64, u64) {
        let session = self.sessions_begun.fetch_add(1, Ordering::Relaxed) + 1;
        // 53 bits, so that readers that keep JSON numbers as doubles keep it exact.
        let run = u64::from(self.run & 0x1f_ffff);
        (session, (run << 32) | (session & 0xffff_ffff))
    }
}

/// Waits until portcullis stops.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    drop(stop.wait_for(|stop| *stop).await);
}

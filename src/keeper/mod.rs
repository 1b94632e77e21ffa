//! The keeper: the one process that may change the kernel's side. It puts table and routing in place, opens
//! and closes pinholes, counts connections, puts back what another program took, and takes all away at the
//! end.
//!
//! It reads nothing but the words of the process that started it, which reads what peers send and has no
//! right to any of this: three orders ([`Keeper`]), pinholes and windows, each of which its guard sees
//! ([`crate::firewall::Server`]), and questions about connections with the gate's mark
//! ([`crate::conntrack::Answering`]). It ends when that process does, however that ends, and leaves the table
//! then: a transfer that runs goes on.

mod process;

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::conntrack::{self, Questions};
use crate::firewall::{self, Asking, Settings, ways};
use crate::net::line::hand_over;

pub use process::keep;

/// The word on the command line that makes a keeper of a process.
pub const KEEPER_TASK: &str = "keep-table";

/// How long the keeper may take to answer: what `nft` needs for a table of a million elements, and more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of one order or answer; a table has some hundred interfaces and ports at most.
const MAX_MESSAGE: u64 = 4 << 20;
/// How often [`Keeper::watch`] looks.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// What the keeper is told.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Puts all in place, and serves from there on. Taken once: it comes before anybody else is heard.
    Install(Box<Settings>),
    /// Takes all away.
    Remove,
}

/// What it answers: sentences for the operator, or why it could not be done.
type Answer = Result<Vec<String>, String>;

/// Why the keeper did not do what it was told.
#[derive(Debug, Error)]
pub enum KeeperError {
    /// It is not there.
    #[error("could not start the process that keeps the nftables table: {0}")]
    NotStarted(#[source] io::Error),
    /// Its own words.
    #[error("{0}")]
    Refused(String),
}

/// The ways to what the keeper does while sessions run.
#[derive(Debug)]
pub struct KeptWays {
    /// To pinholes and windows.
    pub firewall: Asking,
    /// To connection tracking.
    pub questions: Questions,
}

/// The keeper as the process that started it has it; cheap to clone. When the last one is dropped, the
/// keeper ends and leaves everything in place.
#[derive(Clone, Debug)]
pub struct Keeper {
    wire: Arc<Mutex<Wire>>,
}

#[derive(Debug)]
struct Wire {
    child: Child,
    orders: UnixStream,
    answers: BufReader<ChildStdout>,
}

impl Keeper {
    /// Starts the process, which does nothing so far, with a way for each of `asking` threads. Call it before
    /// the right to run programs is given up.
    ///
    /// # Errors
    /// [`KeeperError::NotStarted`].
    pub fn start(asking: usize) -> Result<(Self, KeptWays), KeeperError> {
        Self::spawn(asking).map_err(KeeperError::NotStarted)
    }

    fn spawn(asking: usize) -> io::Result<(Self, KeptWays)> {
        let (orders, taken) = UnixStream::pair()?;
        let (firewall, serving) = ways(asking)?;
        let (questions, answering) = conntrack::questions()?;
        firewall::share_with_children();
        let mut child = Command::new("/proc/self/exe")
            .arg(KEEPER_TASK)
            .stdin(Stdio::from(OwnedFd::from(taken)))
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut lines = vec![&answering];
        lines.extend(serving.lines());
        hand_over(&orders, &lines)?;
        let wire = Wire {
            child,
            orders,
            answers: BufReader::new(answers),
        };
        let keeper = Self {
            wire: Arc::new(Mutex::new(wire)),
        };
        Ok((
            keeper,
            KeptWays {
                firewall,
                questions,
            },
        ))
    }

    /// As [`firewall::install`], and serves its ways from there on; gives the notes. May block for seconds.
    ///
    /// # Errors
    /// [`KeeperError::Refused`]; then nothing of it stays.
    pub fn install(&self, settings: &Settings) -> Result<Vec<String>, KeeperError> {
        self.order(&Order::Install(Box::new(settings.clone())))
    }

    /// Takes table and routing away, for good. May block for seconds.
    ///
    /// # Errors
    /// [`KeeperError::Refused`].
    pub fn remove(&self) -> Result<(), KeeperError> {
        self.order(&Order::Remove).map(drop)
    }

    /// Waits for the process to end, which it does by itself only with this one. Needs a tokio runtime.
    pub async fn ended(&self) {
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // While it is busy with an order, whoever gave that hears of its end.
            let Ok(mut wire) = self.wire.try_lock() else {
                continue;
            };
            if !matches!(wire.child.try_wait(), Ok(None)) {
                return;
            }
        }
    }

    fn order(&self, order: &Order) -> Result<Vec<String>, KeeperError> {
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = wire.exchange(order).unwrap_or_else(|error| {
            Err(format!(
                "the process that keeps the nftables table does not answer ({error}); restart portcullis"
            ))
        });
        answer.map_err(KeeperError::Refused)
    }
}

impl Wire {
    fn exchange(&mut self, order: &Order) -> io::Result<Answer> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.orders.write_all(&line)?;
        let mut line = String::new();
        if self.answers.buffer().is_empty() {
            let timeout = Timespec::try_from(ANSWER_TIMEOUT).map_err(io::Error::other)?;
            let mut ready = [PollFd::new(self.answers.get_ref(), PollFlags::IN)];
            if poll(&mut ready, Some(&timeout))? == 0 {
                // What it would say later answered another order.
                let _ = self.child.kill();
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        io::Read::take(&mut self.answers, MAX_MESSAGE).read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Waited for without a limit by nobody: closing its input ends it.
        let _ = self.child.try_wait();
    }
}

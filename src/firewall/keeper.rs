//! The keeper: a process of its own that puts table and routing in place, puts them back when another
//! program took them, and takes them away at the end.
//!
//! It alone runs `nft`, and it reads nothing but the words of the process that started it: `install`
//! with the settings, `heal`, `remove`. So that process, which reads what peers send, needs no right
//! to run programs. It ends when that process does, however that ends, and leaves the table then: a
//! transfer that runs goes on.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader as AsyncBufReader};
use tokio::signal::unix::{SignalKind, signal};

use super::healer::{CHECK_INTERVAL, Healer};
use super::install::{Installed, install};
use super::{FirewallError, Settings};
use crate::sandbox::{NETLINK, drop_bounding, keep_only};

/// The word on the command line that makes a keeper of a process.
pub const KEEPER_TASK: &str = "keep-table";

/// How long the keeper may take to answer: what `nft` needs for a table of a million elements, and more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of one message; a table has some hundred interfaces and ports at most.
const MAX_MESSAGE: u64 = 4 << 20;

/// What the keeper is told.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Install(Box<Settings>),
    Heal,
    Remove,
}

/// What it answers: sentences for the operator, or why it could not be done.
type Answer = Result<Vec<String>, String>;

/// The keeper as the process that started it has it; cheap to clone. When the last one is dropped, the
/// keeper ends and leaves everything in place.
#[derive(Clone, Debug)]
pub struct Keeper {
    wire: Arc<Mutex<Wire>>,
}

#[derive(Debug)]
struct Wire {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Keeper {
    /// Starts the process, which does nothing so far. Call it before the right to run programs is given up.
    ///
    /// # Errors
    /// Gives what the system said.
    pub fn start() -> Result<Self, FirewallError> {
        let failed = |source| FirewallError::Netlink {
            doing: "start the process that keeps the nftables table",
            source,
        };
        super::privilege::share_with_children();
        let mut child = Command::new("/proc/self/exe")
            .arg(KEEPER_TASK)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        let answers = BufReader::new(answers);
        let wire = Wire {
            child,
            orders,
            answers,
        };
        Ok(Self {
            wire: Arc::new(Mutex::new(wire)),
        })
    }

    /// As [`install`]; gives its notes. May block for seconds.
    ///
    /// # Errors
    /// [`FirewallError::Kept`]; then nothing of it stays.
    pub fn install(&self, settings: &Settings) -> Result<Vec<String>, FirewallError> {
        self.order(&Order::Install(Box::new(settings.clone())))
    }

    /// Takes table and routing away, for good. May block for seconds.
    ///
    /// # Errors
    /// [`FirewallError::Kept`].
    pub fn remove(&self) -> Result<(), FirewallError> {
        self.order(&Order::Remove).map(drop)
    }

    /// Looks every [`CHECK_INTERVAL`] whether the process is there, and says when it is not; ends then.
    /// Needs a tokio runtime.
    pub async fn watch(&self) {
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // While it is busy with an order, whoever gave that hears of its end.
            let Ok(mut wire) = self.wire.try_lock() else {
                continue;
            };
            if !matches!(wire.child.try_wait(), Ok(None)) {
                tracing::error!(
                    "the process that keeps the nftables table has ended: what another program removes from \
                     the kernel is not put back; restart portcullis"
                );
                return;
            }
        }
    }

    /// Puts the table back. Gives whether it is worth trying the change again.
    pub(super) async fn heal_table(&self) -> bool {
        let keeper = self.clone();
        let healed = tokio::task::spawn_blocking(move || keeper.order(&Order::Heal)).await;
        healed.is_ok_and(|healed| {
            healed
                .inspect_err(|error| tracing::error!("the table is not put back: {error}"))
                .is_ok()
        })
    }

    fn order(&self, order: &Order) -> Result<Vec<String>, FirewallError> {
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = wire.exchange(order).unwrap_or_else(|error| {
            Err(format!(
                "the process that keeps the nftables table does not answer ({error}); restart portcullis"
            ))
        });
        answer.map_err(FirewallError::Kept)
    }
}

impl Wire {
    fn exchange(&mut self, order: &Order) -> io::Result<Answer> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.orders.write_all(&line)?;
        self.orders.flush()?;
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

/// Is the keeper, until the input ends. Needs CAP_NET_ADMIN, and keeps nothing else.
///
/// # Errors
/// Gives what the system said.
pub fn keep() -> io::Result<()> {
    drop_bounding(NETLINK);
    keep_only(NETLINK).map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve())
}

async fn serve() -> io::Result<()> {
    // Whoever stops portcullis may signal all its processes; the other one says when it is over.
    let mut signals = Vec::new();
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        signals.push(signal(kind)?);
    }
    let mut orders = AsyncBufReader::new(tokio::io::stdin()).lines();
    let mut kept: Option<(Installed, Healer)> = None;
    loop {
        let watching = async {
            match &kept {
                Some((_, healer)) => healer.watch().await,
                None => std::future::pending().await,
            }
        };
        let line = tokio::select! {
            line = orders.next_line() => line?,
            () = watching => continue,
        };
        let Some(line) = line else {
            return Ok(());
        };
        let order = serde_json::from_str(&line)?;
        let answer = carry_out(order, &mut kept).await;
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        let mut out = io::stdout().lock();
        out.write_all(&text)?;
        out.flush()?;
    }
}

async fn carry_out(order: Order, kept: &mut Option<(Installed, Healer)>) -> Answer {
    match order {
        Order::Install(settings) => {
            let installed = install(&settings).map_err(|error| error.to_string())?;
            let notes = installed.notes().to_owned();
            *kept = Some((installed, Healer::new(*settings)));
            Ok(notes)
        }
        Order::Heal => match kept {
            Some((_, healer)) if healer.heal_table().await => Ok(Vec::new()),
            _ => Err("it was put back a moment ago, or cannot be".to_owned()),
        },
        Order::Remove => match kept.take() {
            Some((installed, healer)) => {
                healer.stop().await;
                let removed = installed.remove().map_err(|error| error.to_string());
                removed.map(|()| Vec::new())
            }
            None => Ok(Vec::new()),
        },
    }
}

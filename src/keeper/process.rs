//! What the keeper does, in its own process.

use std::io::{self, Write};
use std::thread;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{Answer, MAX_MESSAGE, Order};
use crate::conntrack::Answering;
use crate::firewall::{Healer, Installed, Server, Serving, install};
use crate::net::line::{Line, take_over};
use crate::sandbox::{NETLINK, drop_bounding, keep_only};

/// Is the keeper, until the input ends. Needs CAP_NET_ADMIN, and keeps nothing else.
///
/// # Errors
/// Gives what the system said, or that what came is no order.
pub fn keep() -> io::Result<()> {
    drop_bounding(NETLINK);
    keep_only(NETLINK).map_err(io::Error::other)?;
    let mut lines = take_over(io::stdin())?.into_iter();
    let questions = lines.next();
    let (Some(questions), Some(serving)) = (questions, Serving::from_lines(lines)) else {
        return Err(io::Error::other("the keeper was given no lines"));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (failed, failures) = mpsc::channel(1);
    let served = runtime.block_on(serve(Process {
        ways: Some((questions, serving)),
        kept: None,
        failed,
        failures,
    }));
    // A thread may wait for the next order still.
    runtime.shutdown_background();
    served
}

struct Process {
    /// Until they are served, which is once.
    ways: Option<(Line, Serving)>,
    kept: Option<(Installed, Healer)>,
    /// What serves them could not read what came over them.
    failed: mpsc::Sender<io::Error>,
    failures: mpsc::Receiver<io::Error>,
}

async fn serve(mut process: Process) -> io::Result<()> {
    // Whoever stops portcullis may signal all its processes; the other one says when it is over.
    let mut signals = Vec::new();
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        signals.push(signal(kind)?);
    }
    let mut input = BufReader::new(tokio::io::stdin());
    let mut line = String::new();
    loop {
        let watching = async {
            match &process.kept {
                Some((_, healer)) => healer.watch().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Nothing of a line is lost: no other branch goes on.
            read = read_line(&mut input, &mut line) => if !read? {
                return Ok(());
            },
            () = watching => continue,
            Some(error) = process.failures.recv() => return Err(error),
        }
        let order = serde_json::from_str(&line)?;
        line.clear();
        let answer = process.carry_out(order).await;
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        let mut out = io::stdout().lock();
        out.write_all(&text)?;
        out.flush()?;
    }
}

/// Reads on to the end of a line; false at the end of all.
async fn read_line(input: &mut (impl AsyncBufRead + Unpin), line: &mut String) -> io::Result<bool> {
    let left = MAX_MESSAGE.saturating_sub(u64::try_from(line.len()).unwrap_or(u64::MAX));
    let read = input.take(left).read_line(line).await?;
    match line.ends_with('\n') {
        true => Ok(true),
        false if read == 0 && line.is_empty() => Ok(false),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

impl Process {
    async fn carry_out(&mut self, order: Order) -> Answer {
        match order {
            Order::Install(settings) => {
                let Some((questions, serving)) = self.ways.take() else {
                    return Err("the table is put in place once".to_owned());
                };
                let installed = install(&settings).map_err(|error| error.to_string())?;
                let notes = installed.notes().to_owned();
                let healer = Healer::new((*settings).clone());
                self.kept = Some((installed, healer.clone()));
                let started = Server::new(serving, &settings, Some(healer))
                    .map_err(|error| error.to_string())
                    .and_then(|server| {
                        let answering = Answering::new(questions, settings.kernel.connection_mark);
                        let answering = answering.map_err(|error| error.to_string())?;
                        self.start("nftables", move || server.run())
                            .and_then(|()| self.start("conntrack-ask", move || answering.run()))
                            .map_err(|error| error.to_string())
                    });
                match started {
                    Ok(()) => Ok(notes),
                    Err(error) => {
                        // The first error is the one worth telling.
                        let _ = self.remove().await;
                        Err(error)
                    }
                }
            }
            Order::Remove => self.remove().await.map(|()| Vec::new()),
        }
    }

    async fn remove(&mut self) -> Result<(), String> {
        match self.kept.take() {
            Some((installed, healer)) => {
                healer.stop().await;
                installed.remove().map_err(|error| error.to_string())
            }
            None => Ok(()),
        }
    }

    fn start(
        &self,
        name: &str,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let failed = self.failed.clone();
        let work = move || {
            if let Err(error) = work() {
                // There is room for one, and one is enough.
                let _ = failed.try_send(error);
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(())
    }
}

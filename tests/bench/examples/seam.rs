//! What it costs to ask another thread for a pinhole, and what it would cost to ask another process: the ways
//! there and back alone, nothing is opened.
//!
//! `cargo run --release --manifest-path tests/bench/Cargo.toml --example seam`, from the root of the repository;
//! `taskset -c 0` before the program shows it on one processor. Prints the median of the round trips, the processor
//! time of both sides and the context switches, for one round trip each.

use std::env;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Instant;

use rustix::param::clock_ticks_per_second;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Round trips that are counted, and those before them that are not.
const ROUNDS: usize = 100_000;
const WARM: usize = 5_000;

/// Bytes of an order: four addresses with ports, flags, and a lifetime.
const ORDER: usize = 96;

/// The argument that makes this the process at the other end.
const OTHER_END: &str = "--other-end";

fn main() -> anyhow::Result<()> {
    if env::args().nth(1).as_deref() == Some(OTHER_END) {
        return answer_orders();
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    println!("| one round trip | median, µs | p99, µs | processor time, µs |");
    println!("|---|---|---|---|");
    let asked = by_thread();
    runtime.block_on(measure("to a thread", None, async || {
        let (reply, answer) = oneshot::channel();
        asked.send(([0; ORDER], reply))?;
        Ok(answer.await?)
    }))?;
    let (socket, mut child) = by_process()?;
    let pid = child.id();
    let mut socket = runtime.block_on(async { UnixStream::from_std(socket) })?;
    runtime.block_on(measure("to a process", Some(pid), async || {
        socket.write_all(&[0; ORDER]).await?;
        Ok(socket.read_u8().await?)
    }))?;
    drop(socket);
    child.wait()?;
    Ok(())
}

async fn measure(
    name: &str,
    other: Option<u32>,
    mut ask: impl AsyncFnMut() -> anyhow::Result<u8>,
) -> anyhow::Result<()> {
    for _ in 0..WARM {
        ask().await?;
    }
    let before = processor_time(other)?;
    let mut took = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        ask().await?;
        took.push(began.elapsed());
    }
    let spent = processor_time(other)? - before;
    took.sort_unstable();
    let micros = |at: usize| took[at].as_secs_f64() * 1e6;
    println!(
        "| {name} | {:.1} | {:.1} | {:.1} |",
        micros(ROUNDS / 2),
        micros(ROUNDS / 100 * 99),
        spent / ROUNDS as f64 * 1e6
    );
    Ok(())
}

/// Answers on a thread, as the one that talks to nftables does.
fn by_thread() -> Sender<([u8; ORDER], oneshot::Sender<u8>)> {
    let (orders, taken) = channel::<([u8; ORDER], oneshot::Sender<u8>)>();
    thread::spawn(move || {
        for (order, reply) in taken {
            let _ = reply.send(order[0]);
        }
    });
    orders
}

/// Starts this program again, one end of a socket as its standard input.
fn by_process() -> anyhow::Result<(net::UnixStream, Child)> {
    let (here, there) = net::UnixStream::pair()?;
    here.set_nonblocking(true)?;
    let mut child = Command::new(env::current_exe()?);
    let child = child
        .arg(OTHER_END)
        .stdin(Stdio::from(OwnedFd::from(there)))
        .spawn()?;
    Ok((here, child))
}

fn answer_orders() -> anyhow::Result<()> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let mut socket = net::UnixStream::from(stdin);
    let mut order = [0; ORDER];
    while socket.read_exact(&mut order).is_ok() {
        socket.write_all(&order[..1])?;
    }
    Ok(())
}

/// Seconds of processor time of this process and of another.
fn processor_time(other: Option<u32>) -> anyhow::Result<f64> {
    let mut all = 0.0;
    for pid in [Some(std::process::id()), other].into_iter().flatten() {
        let mut text = String::new();
        std::fs::File::open(format!("/proc/{pid}/stat"))?.read_to_string(&mut text)?;
        let behind = text.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = behind
            .split_whitespace()
            .skip(11)
            .take(2)
            .flat_map(str::parse::<u64>)
            .sum();
        all += ticks as f64 / clock_ticks_per_second() as f64;
    }
    Ok(all)
}

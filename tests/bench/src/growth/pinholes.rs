//! How fast pinholes open while others are held, and how many the kernel's own helper can hold.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use portcullis::config::Kernel;
use portcullis::firewall::{Firewall, Settings, install};
use portcullis::pinhole::Pinhole;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::PORTCULLIS;
use super::sessions::slab;
use crate::lab::{Host, Places};
use crate::load::Spread;
use crate::report::{Report, Sample};

pub(super) const NAME: &str = "growth-pinholes";

/// How many are held.
const COUNTS: [usize; 3] = [1_000, 100_000, 1_000_000];
/// The same where it has to be quick.
const QUICK: [usize; 2] = [1_000, 20_000];
/// Opened beside those that are held, together, to see how fast.
const BESIDE: usize = 20_000;
/// Opened beside them one by one, to see how long one takes.
const ALONE: usize = 5_000;
/// Asked for at one time, as by so many sessions.
const AT_A_TIME: usize = 64;
/// `limits: pinholes`, the most there is.
const CAPACITY: usize = 1_000_000;
/// Longer than it takes.
const LIFETIME: Duration = Duration::from_secs(600);

pub(super) fn measure(_: &Places, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let counts: &[usize] = if quick { &QUICK } else { &COUNTS };
    for &held in counts {
        let edge = Host::new()?;
        let told = edge.within(|| hold(held))??;
        report.add(PORTCULLIS, &told.samples(held as u64));
    }
    if let Ok(text) = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_expect_max") {
        let value = text.trim().parse().context("nf_conntrack_expect_max")?;
        let most = sample("held at most", "", None, value);
        report.add("helper", &[most]);
        report.note(format!(
            "{NAME}: the helper holds nf_conntrack_expect_max expectations, {} here, of all namespaces together.",
            text.trim()
        ));
    }
    Ok(())
}

/// What was measured beside the pinholes that are held.
struct Told {
    first: f64,
    opens: f64,
    ack: Spread,
    kernel_bytes: f64,
}

impl Told {
    fn samples(&self, held: u64) -> [Sample; 5] {
        let at = Some(held);
        [
            sample("opens", "/s", at, self.opens),
            sample("ack p50", "µs", at, self.ack.p50),
            sample("ack p99", "µs", at, self.ack.p99),
            sample("opens up to there", "/s", at, self.first),
            sample("kernel memory of one", "bytes", at, self.kernel_bytes),
        ]
    }
}

fn sample(what: &'static str, unit: &'static str, at: Option<u64>, value: f64) -> Sample {
    Sample {
        figure: NAME,
        what,
        unit,
        at,
        value,
    }
}

/// Holds so many in this network namespace, and opens more beside them.
fn hold(held: usize) -> anyhow::Result<Told> {
    let settings = Settings {
        kernel: Kernel {
            data_ports: 1024..=65_535,
            ..Kernel::default()
        },
        intercepts: Vec::new(),
        windows: Vec::new(),
        capacity: CAPACITY,
        pinhole_lifetime: LIFETIME,
        servers: std::collections::BTreeSet::new(),
    };
    let installed = install(&settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let told = runtime.block_on(async {
        let firewall = Firewall::start(&settings)?;
        let before = slab()?;
        let first = open(&firewall, 0, held).await?;
        let kernel_bytes = slab()?.saturating_sub(before) as f64 / held as f64;
        let opens = open(&firewall, held, BESIDE).await?;
        let mut took = Vec::with_capacity(ALONE);
        for number in held + BESIDE..held + BESIDE + ALONE {
            let began = Instant::now();
            firewall.open(pinhole(number), LIFETIME).await?;
            took.push(u64::try_from(began.elapsed().as_nanos())?);
        }
        anyhow::Ok(Told {
            first,
            opens,
            ack: Spread::of(took).context("none was opened")?,
            kernel_bytes,
        })
    })?;
    installed.remove()?;
    Ok(told)
}

/// Opens so many, a few at a time; gives how many in a second.
async fn open(firewall: &Firewall, from: usize, count: usize) -> anyhow::Result<f64> {
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let mut opening = JoinSet::new();
    let began = Instant::now();
    for number in from..from + count {
        let turn = Arc::clone(&turns).acquire_owned().await?;
        let firewall = firewall.clone();
        opening.spawn(async move {
            let opened = firewall.open(pinhole(number), LIFETIME).await;
            drop(turn);
            opened
        });
        while let Some(opened) = opening.try_join_next() {
            opened??;
        }
    }
    while let Some(opened) = opening.join_next().await {
        opened??;
    }
    let took = began.elapsed();
    ensure!(count > 0, "there is nothing to open");
    Ok(count as f64 / took.as_secs_f64())
}

/// A passive data connection of one of many clients behind the edge: permission, and the source translated.
fn pinhole(number: usize) -> Pinhole {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let client: IpAddr = Ipv4Addr::from_bits(0x0a00_0000 | number >> 2).into();
    let port = 40_000 + u16::try_from(number & 3).unwrap_or(0);
    let server = (Ipv4Addr::new(198, 51, 100, 20), port).into();
    Pinhole {
        initiator: client,
        announced: server,
        target: server,
        source: Ipv4Addr::new(198, 51, 100, 1).into(),
        from_port_20: false,
    }
}

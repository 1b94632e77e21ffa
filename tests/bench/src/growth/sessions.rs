//! What idle sessions take of the machine, and what they leave to others.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Resource, getrlimit};

use super::PORTCULLIS;
use crate::lab::{CROWD, Lab, Places, Server, Setting, System, read_outcome};
use crate::report::{Report, Sample};

pub(super) const NAME: &str = "growth-sessions";

/// How many.
const COUNTS: [u64; 3] = [1_000, 10_000, 100_000];
/// The same where it has to be quick.
const QUICK: [u64; 2] = [500, 2_000];
/// Files of the gate beside two for each session.
const OTHER_FILES: u64 = 400;
/// Sessions that move files meanwhile.
const OTHERS: &str = "8";

pub(super) fn measure(places: &Places, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let counts: &[u64] = if quick { &QUICK } else { &COUNTS };
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let most = files.saturating_sub(OTHER_FILES) / 2;
    let mut done = 0;
    for &wanted in counts {
        let count = wanted.min(most);
        if count < wanted {
            report.note(format!(
                "{NAME}: {wanted} sessions were asked for; {files} files to a process let {count} stand, and no more are told."
            ));
        }
        if count <= done {
            continue;
        }
        done = count;
        // What the two ends take of the kernel, which the gate's share is told without.
        let ends = hold(places, System::Routing, count, quick)?;
        let gate = hold(places, System::PortcullisKernel, count, quick)?;
        let of_gate = gate.kernel_bytes - ends.kernel_bytes;
        let told = [
            ("RSS of one", "bytes", gate.resident),
            ("kernel memory of one", "bytes", of_gate),
            ("CPU while idle", "% of one", gate.idle_cpu * 100.0),
            ("rate of others", "× alone", gate.beside / gate.alone),
            ("others alone", "/s", gate.alone),
            ("logins while growing", "/s", gate.logins),
        ];
        let samples = told.map(|(what, unit, value)| Sample {
            figure: NAME,
            what,
            unit,
            at: Some(count),
            value,
        });
        report.add(PORTCULLIS, &samples);
        let of_ends = Sample {
            figure: NAME,
            what: "kernel memory of one",
            unit: "bytes",
            at: Some(count),
            value: ends.kernel_bytes,
        };
        let rate = Sample {
            what: "rate of others",
            unit: "× alone",
            value: ends.beside / ends.alone,
            ..of_ends.clone()
        };
        report.add("client and server alone", &[of_ends, rate]);
    }
    report.note(format!(
        "{NAME}: addresses of {CROWD}, the server of this package; kernel memory is `Slab` of /proc/meminfo, of portcullis \
         without what client and server take on a plain route."
    ));
    Ok(())
}

/// What sessions took while they were held.
struct Held {
    resident: f64,
    kernel_bytes: f64,
    idle_cpu: f64,
    alone: f64,
    beside: f64,
    logins: f64,
}

fn hold(places: &Places, system: System, count: u64, quick: bool) -> anyhow::Result<Held> {
    let mut lab = Lab::new(places, system, None)?;
    lab.serve(Server::Own)?;
    lab.stand(&Setting::default())?;
    let servers = lab.crowd()?;
    let seconds = if quick { "0.5" } else { "3" };
    let others = [
        "--sessions",
        OTHERS,
        "--seconds",
        seconds,
        "--warm",
        "20",
        "--file",
        "6",
    ];
    let alone = lab.load(&others)?.transfers_per_second;
    let resident = |lab: &Lab| lab.gate().map_or(Ok(0), |gate| gate.resident());
    let (rss, kernel) = (resident(&lab)?, slab()?);
    let began = Instant::now();
    let number = count.to_string();
    let idle = Idle::start(
        &lab,
        &[
            "--work",
            "idle",
            "--sessions",
            &number,
            "--from",
            CROWD,
            "--dialling",
            "128",
        ],
        &servers,
        count,
    )?;
    let logins = count as f64 / began.elapsed().as_secs_f64();
    // What logins leave to be done, the record above all, is not the sessions'.
    thread::sleep(Duration::from_millis(if quick { 300 } else { 2000 }));
    let each = |now: u64, before: u64| now.saturating_sub(before) as f64 / count as f64;
    let (resident, kernel_bytes) = (each(resident(&lab)?, rss), each(slab()?, kernel));
    let span = Duration::from_secs(if quick { 1 } else { 10 });
    let cpu = |lab: &Lab| lab.gate().map_or(Ok(0.0), |gate| gate.cpu_seconds());
    let before = cpu(&lab)?;
    thread::sleep(span);
    let idle_cpu = (cpu(&lab)? - before) / span.as_secs_f64();
    let beside = lab.load(&others)?.transfers_per_second;
    idle.end()?;
    Ok(Held {
        resident,
        kernel_bytes,
        idle_cpu,
        alone,
        beside,
        logins,
    })
}

/// The client that holds idle sessions.
struct Idle {
    client: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Idle {
    /// Starts it and waits until all are logged in.
    fn start(lab: &Lab, arguments: &[&str], servers: &str, count: u64) -> anyhow::Result<Self> {
        let mut command = lab.client_command_to(servers, arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = command.spawn().context("starting the client")?;
        let output = client.stdout.take().context("it is piped")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let told: serde_json::Value =
            serde_json::from_str(&line).context("the client told nothing")?;
        let mut idle = Self { client, output };
        if told["held"].as_u64() != Some(count) {
            // Its last words say why.
            let error = idle.finish().err();
            anyhow::bail!(
                "{line}{}",
                error.map_or(String::new(), |error| format!("{error:#}"))
            );
        }
        Ok(idle)
    }

    /// Lets all go; an error where one was not held to the end.
    fn end(mut self) -> anyhow::Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        drop(self.client.stdin.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest)?;
        self.client.wait()?;
        ensure!(!rest.is_empty(), "the client ended without a word");
        read_outcome(rest.trim_end()).map(drop)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// Bytes of the kernel's own memory for things like sockets.
pub(super) fn slab() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no Slab in /proc/meminfo")?.parse::<u64>()? * 1024)
}

//! How long a start and a reload take, by how many rules there are, and whether anybody waits for a decision
//! meanwhile.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::{PORTCULLIS, rules};
use crate::lab::{Lab, Places, Server, Setting, System, read_outcome};
use crate::report::{Report, Sample};

pub(super) const NAME: &str = "growth-start";

/// How many rules.
const COUNTS: [u64; 3] = [10, 10_000, 100_000];
/// The same where it has to be quick.
const QUICK: [u64; 2] = [10, 10_000];
/// Reloads of one start.
const RELOADS: usize = 3;
/// How long a session says NOOP while nothing is reloaded.
const CALM: &str = "2";

pub(super) fn measure(places: &Places, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let counts: &[u64] = if quick { &QUICK } else { &COUNTS };
    for &count in counts {
        let sample = |what, value: f64| Sample {
            figure: NAME,
            what,
            unit: "ms",
            at: Some(count),
            value,
        };
        let mut lab = Lab::new(places, System::PortcullisKernel, None)?;
        let path = lab.disk().join("rules.yaml");
        std::fs::write(&path, rules::policy(count))?;
        lab.serve(Server::Own)?;
        lab.stand(&Setting {
            rules: Some(path),
            ..Setting::default()
        })?;
        let ready = lab.ready_after().context("it is portcullis")?;
        let noop = ["--work", "noop", "--warm", "100", "--seconds"];
        let calm = lab.load(&[&noop[..], &[CALM]].concat())?;
        let calm = calm.took.context("nobody said NOOP")?;

        let seconds = if count > 50_000 { "12" } else { "2" };
        let mut command = lab.client_command(&[&noop[..], &[seconds]].concat());
        let client = command
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the client")?;
        thread::sleep(Duration::from_millis(300));
        let reloads: anyhow::Result<Vec<Duration>> =
            (0..RELOADS).map(|_| reload(&lab.admin_socket())).collect();
        let output = client.wait_with_output()?;
        let outcome = read_outcome(String::from_utf8_lossy(&output.stdout).trim_end())?;
        let busy = outcome.took.context("nobody said NOOP")?;
        let mut samples = vec![
            sample("ready after", ready.as_secs_f64() * 1e3),
            sample("longest NOOP otherwise", calm.max / 1e3),
            sample("longest NOOP while reloading", busy.max / 1e3),
        ];
        let reloads = reloads?;
        let mut sorted: Vec<f64> = reloads
            .iter()
            .map(|took| took.as_secs_f64() * 1e3)
            .collect();
        sorted.sort_by(f64::total_cmp);
        samples.extend(
            sorted
                .get(RELOADS / 2)
                .map(|&middle| sample("reload", middle)),
        );
        report.add(PORTCULLIS, &samples);
    }
    report.note(format!(
        "{NAME}: from the start of the program, nsenter(1) included, to `ready`; a reload is one request at the admin socket."
    ));
    Ok(())
}

/// Asks for new rules, and waits until they are in force.
fn reload(socket: &Path) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut stream = UnixStream::connect(socket).context("connecting to the admin socket")?;
    stream.write_all(
        b"POST /api/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let took = began.elapsed();
    ensure!(
        answer.starts_with("HTTP/1.1 200"),
        "the reload failed: {answer}"
    );
    Ok(took)
}

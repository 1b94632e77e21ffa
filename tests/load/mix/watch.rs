//! Looks at the gate while it plays, and until it is at rest.

use std::time::{Duration, Instant};

use super::Play;
use crate::lab::Gate;
use crate::scrape;

/// Seconds of a long run between two lines of report, and of a short one.
const LINES: [u64; 2] = [60, 5];
/// Between two looks at its memory.
const LOOK: Duration = Duration::from_secs(1);
/// How long everything may take to close by itself: more than the longest of the lifetimes.
const REST: Duration = Duration::from_secs(90);

/// Memory in kB, at a time since the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Duration,
    pub(super) gate: u64,
    /// Of the process that may change the kernel.
    pub(super) keeper: u64,
}

/// What is open at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) sessions: u64,
    pub(super) pinholes: u64,
    /// As `portcullis pinholes` tells them.
    pub(super) told: usize,
    pub(super) elements: usize,
}

/// Watches for so long; gives what it saw.
pub(super) fn until(play: &Play, length: Duration) -> Vec<Sample> {
    let [long, short] = LINES.map(Duration::from_secs);
    let period = if length >= 3 * long { long } else { short };
    let began = Instant::now();
    let (mut samples, mut line) = (Vec::new(), period);
    let keeper = play.gate.keeper();
    while began.elapsed() < length {
        std::thread::sleep(LOOK);
        samples.push(Sample {
            at: began.elapsed(),
            gate: scrape::resident(play.gate.pid()) / 1024,
            keeper: scrape::resident(keeper) / 1024,
        });
        if began.elapsed() >= line {
            line += period;
            say(play, began.elapsed());
        }
    }
    samples
}

/// Waits until nothing is open any more; gives the last look.
pub(super) fn drained(play: &Play) -> Open {
    let began = Instant::now();
    loop {
        let open = Open::look(play);
        let nothing = open.sessions == 0 && open.pinholes == 0 && open.elements == 0;
        if nothing || began.elapsed() > REST {
            say(play, began.elapsed());
            if !nothing {
                eprintln!("open still:\n{}", play.ask("sessions"));
            }
            return open;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn say(play: &Play, since: Duration) {
    let all = play.ledger.all();
    let (done, attempts) = all.sums();
    let open = Open::look(play);
    let pid = play.gate.pid();
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    eprintln!(
        "{:5} s: honest transfers {done} done, {} failed, {} taken by edits; {attempts} hostile attempts; RSS {} kB and {} kB, \
         {files} files, {} sessions, {} pinholes ({} listed), {} elements",
        since.as_secs(),
        all.failures.count,
        all.taken.count,
        scrape::resident(pid) / 1024,
        scrape::resident(play.gate.keeper()) / 1024,
        open.sessions,
        open.pinholes,
        open.told,
        open.elements,
    );
}

impl Open {
    fn look(play: &Play) -> Self {
        let page = play.metrics();
        let count = |name| scrape::whole(&page, name);
        Self {
            sessions: count("portcullis_sessions"),
            pinholes: count("portcullis_pinholes"),
            told: play.listed(),
            elements: play.lab.open_elements(),
        }
    }
}

impl Play {
    /// What the page tells.
    pub(super) fn metrics(&self) -> String {
        let at = "127.0.0.1:8021";
        let token = std::fs::read_to_string(self.lab.dir.join("token")).unwrap();
        let stream = self.lab.edge.connect(at).unwrap();
        scrape::metrics(stream, at.parse().unwrap(), &token)
    }

    /// The pinholes that `portcullis pinholes` lists.
    fn listed(&self) -> usize {
        self.ask("pinholes").lines().count()
    }

    /// What a command says of the running gate, an object on each line.
    fn ask(&self, about: &str) -> String {
        let config = self.lab.dir.join("portcullis.yaml");
        let (program, config) = (Gate::program(), config.display());
        let said = self
            .lab
            .edge
            .sh(&format!("{program} {about} --json --config {config}"));
        assert!(said.status.success(), "{said:?}");
        String::from_utf8_lossy(&said.stdout).into_owned()
    }
}

//! A program that runs until it is told to end: what it says, what processor time it takes, its end.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take to do what it does in a moment.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to end in order, before it is killed.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// A running program; ended when dropped, in order where it lets itself.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    said: Arc<Mutex<String>>,
    lines: Receiver<(Instant, String)>,
}

impl Process {
    /// Starts it; its input stays open until it is to end.
    ///
    /// # Errors
    /// Says that it could not be started.
    pub fn start(name: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let said = Arc::<Mutex<String>>::default();
        let (tell, lines) = channel();
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as _),
            child.stderr.take().map(|pipe| Box::new(pipe) as _),
        ];
        for pipe in outputs.into_iter().flatten() {
            let (tell, said) = (tell.clone(), Arc::clone(&said));
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let now = Instant::now();
                    if let Ok(mut said) = said.lock() {
                        *said += &line;
                        said.push('\n');
                    }
                    // Nobody waits for a line any more.
                    let _ = tell.send((now, line));
                }
            });
        }
        Ok(Self {
            name,
            child,
            said,
            lines,
        })
    }

    /// Its process number, in the namespace of this program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has said.
    pub fn said(&self) -> String {
        self.said
            .lock()
            .map(|said| said.clone())
            .unwrap_or_default()
    }

    /// Waits for the next line that has these words; gives the moment it came, and the line.
    ///
    /// # Errors
    /// Where the program ends, or is silent for too long; with what it said.
    pub fn wait_for(&self, words: &str) -> anyhow::Result<(Instant, String)> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok((when, line)) if line.contains(words) => return Ok((when, line)),
                Ok(_) => {}
                Err(_) => bail!("{} did not say '{words}' but:\n{}", self.name, self.said()),
            }
        }
    }

    /// Is an error where the program has ended.
    ///
    /// # Errors
    /// With what it said.
    pub fn lives(&self) -> anyhow::Result<()> {
        match fs::read_to_string(format!("/proc/{}/stat", self.pid())) {
            Ok(stat) if !stat.contains(") Z ") => Ok(()),
            _ => bail!("{} has ended:\n{}", self.name, self.said()),
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// Passes on what the kernel says.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?).context("no process")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Processor time that it, its children and their ended children have taken, as the kernel attributes
    /// it: in steps of 10 ms, without what softirqs do for others.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let all = processes()?;
        let mut of_tree = vec![self.pid()];
        let mut looked = 0;
        let mut ticks = 0;
        while let Some(&pid) = of_tree.get(looked) {
            looked += 1;
            ticks += all
                .iter()
                .filter(|stat| stat.pid == pid)
                .map(|stat| stat.ticks)
                .sum::<u64>();
            of_tree.extend(
                all.iter()
                    .filter(|stat| stat.parent == pid)
                    .map(|stat| stat.pid),
            );
        }
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(ticks as f64 / per_second as f64)
    }

    /// Bytes of its memory that are in RAM, children aside.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn resident(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.context("no VmRSS")?.parse::<u64>()? * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.signal(Signal::TERM);
        let end = Instant::now() + END_PATIENCE;
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `/proc/PID/stat` says of one process.
struct Stat {
    pid: u32,
    parent: u32,
    ticks: u64,
}

fn processes() -> anyhow::Result<Vec<Stat>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may have ended meanwhile; then its parent counts it.
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The name in brackets may have anything in it.
        let Some((_, fields)) = text.rsplit_once(") ") else {
            continue;
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let number = |place: usize| {
            fields
                .get(place)
                .and_then(|field| field.parse::<u64>().ok())
        };
        // proc_pid_stat(5), counted from the third field: 14 utime, 15 stime, 16 cutime, 17 cstime.
        let ticks = (11..15).filter_map(number).sum();
        let parent = number(1).and_then(|parent| u32::try_from(parent).ok());
        found.push(Stat {
            pid,
            parent: parent.unwrap_or(0),
            ticks,
        });
    }
    Ok(found)
}

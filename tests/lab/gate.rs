//! Portcullis itself, on the edge: started, observed through its record, stopped in several ways.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Lab, Topology, wait_until};

/// Names another build of the program, which is to be measured.
const PROGRAM: &str = "PORTCULLIS_LOAD_PROGRAM";

/// How long the record has to stand still to be whole.
const STILL: Duration = Duration::from_millis(60);

/// A policy that allows every command.
pub(super) const ALLOW_ALL: &str = "rules:\n  - id: all\n    allow: true\n";

/// The listener that a topology calls for.
const BEHIND_NAT: &str = r#"listeners:
  - name: lan
    transparent: { interfaces: [lan0], ports: [21], bind-port: 2121 }
    server-sees: edge
    rules: policy.yaml
audit: { output: AUDIT }
"#;
const PUBLISHED: &str = r#"listeners:
  - name: published
    published:
      listen: ["198.51.100.1:21", "[2001:db8:51::1]:21"]
      server: ["10.70.0.2:21", "[fd70::2]:21"]
    server-sees: client
    rules: policy.yaml
audit: { output: AUDIT }
"#;
const NAT64: &str = r"listeners:
  - name: six
    transparent: { interfaces: [lan0] }
    server-sees: edge
    nat64: 64:ff9b::/96
    rules: policy.yaml
audit: { output: AUDIT }
";

/// The topology's ordinary configuration, with more lines at its end.
pub(super) fn ordinary(topology: Topology, more: &str) -> String {
    let listener = match topology {
        Topology::BehindNat => BEHIND_NAT,
        Topology::Published => PUBLISHED,
        Topology::Nat64 => NAT64,
    };
    format!("{listener}{more}")
}

/// A running portcullis; killed when dropped.
pub(crate) struct Gate {
    process: Child,
    audit: PathBuf,
    output: Arc<Mutex<String>>,
}

impl Gate {
    /// Starts it and waits for its `ready`; `wrapped` is a program with arguments that starts it, or nothing.
    pub(super) fn start(lab: &Lab, wrapped: &[&str], config: &str, policy: &str) -> Self {
        let mut gate = Self::launch(lab, wrapped, config, policy);
        let output = Arc::clone(&gate.output);
        wait_until("portcullis to be ready", || {
            let said = output.lock().expect("no test panics with it").clone();
            if let Ok(Some(status)) = gate.process.try_wait() {
                panic!("portcullis ended before it was ready, {status}:\n{said}");
            }
            said.split(|c: char| !c.is_alphanumeric())
                .any(|word| word == "ready")
                .then_some(())
        });
        gate
    }

    /// Starts it and waits for nothing.
    fn launch(lab: &Lab, wrapped: &[&str], config: &str, policy: &str) -> Self {
        let (path, audit) = write(lab, config, policy);
        let own = Self::program();
        let program = [wrapped, &[own.as_str()]].concat();
        let mut process = lab
            .edge
            .command(program[0])
            .args(&program[1..])
            .args(["run", "--config"])
            .arg(path)
            .env("PORTCULLIS_LOG", "portcullis=trace")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nsenter is there");
        let output = Arc::default();
        collect(process.stdout.take(), &output);
        collect(process.stderr.take(), &output);
        Self {
            process,
            audit,
            output,
        }
    }

    /// Runs a command that calls it and has to end by itself: the exit code and what it said.
    pub(super) fn run_to_end(lab: &Lab, command: &str, config: &str) -> (Option<i32>, String) {
        let (path, _) = write(lab, config, ALLOW_ALL);
        let command = command
            .replace("PORTCULLIS", env!("CARGO_BIN_EXE_portcullis"))
            .replace("CONFIG", &path.display().to_string());
        let output = lab.edge.sh(&format!("exec 2>&1; timeout 10 {command}"));
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    /// The program that is tried.
    pub(crate) fn program() -> String {
        std::env::var(PROGRAM).unwrap_or_else(|_| env!("CARGO_BIN_EXE_portcullis").to_owned())
    }

    /// All that it has written to stdout and stderr.
    pub(crate) fn output(&self) -> String {
        self.output.lock().expect("no test panics with it").clone()
    }

    /// The whole record, as written. Events that come close together are written together, 20 ms after
    /// the ones before: it is read once it stands still for longer.
    pub(crate) fn audit_text(&self) -> String {
        let read = || std::fs::read_to_string(&self.audit).unwrap_or_default();
        let mut text = read();
        loop {
            thread::sleep(STILL);
            let later = read();
            if later.len() == text.len() {
                return later;
            }
            text = later;
        }
    }

    /// The records, oldest first; a line still being written is left out.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text = self.audit_text();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line: &str| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{error} in the record {line}"))
        };
        whole.lines().map(parse).collect()
    }

    /// The records of one event, such as `transfer`, oldest first.
    pub(crate) fn events(&self, event: &str) -> Vec<Value> {
        self.records()
            .into_iter()
            .filter(|record| record["portcullis"]["event"] == event)
            .collect()
    }

    /// Waits for the first record of an event.
    pub(crate) fn event(&self, event: &str) -> Value {
        wait_until(&format!("a record of the event {event}"), || {
            self.events(event).into_iter().next()
        })
    }

    /// Asks it to stop by SIGTERM and waits for its end.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        wait_until("portcullis to stop", || {
            self.process.try_wait().expect("it is our child")
        })
    }

    /// Waits for it to end by itself, and to have said `word`; gives how it ended.
    pub(crate) fn end(mut self, word: &str) -> ExitStatus {
        let ended = wait_until("portcullis to end", || {
            self.process.try_wait().expect("it is our child")
        });
        wait_until(&format!("portcullis to have said {word:?}"), || {
            self.output().contains(word).then_some(())
        });
        ended
    }

    /// Gives it another policy and tells it by SIGHUP; waits until it says `word`.
    pub(crate) fn reload(&self, policy: &str, word: &str) {
        let rules = self.audit.with_file_name("policy.yaml");
        std::fs::write(rules, policy).expect("the directory is ours");
        self.signal(Signal::HUP);
        wait_until("portcullis to reload", || {
            self.output().contains(word).then_some(())
        });
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The process of its own that may change the kernel.
    pub(crate) fn keeper(&self) -> u32 {
        let pid = self.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.expect("it runs");
        let [child] = children.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("not one child: {children:?}");
        };
        child.parse().expect("it is a pid")
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
    }

    /// Sends it SIGHUP, as a rotation of the record does.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a child has a pid");
        kill_process(pid, signal).expect("it is our child");
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        if thread::panicking() {
            eprintln!(
                "portcullis said:\n{}\nand recorded:\n{}",
                self.output(),
                self.audit_text()
            );
        }
    }
}

/// Writes the two files; gives the paths of the configuration and of the record it names.
fn write(lab: &Lab, config: &str, policy: &str) -> (PathBuf, PathBuf) {
    let [path, audit, rules] =
        ["portcullis.yaml", "eve.json", "policy.yaml"].map(|name| lab.dir.join(name));
    let config = config.replace("AUDIT", &audit.display().to_string());
    std::fs::write(&path, config).expect("the directory is ours");
    std::fs::write(rules, policy).expect("the directory is ours");
    (path, audit)
}

/// Gathers what comes out of a pipe, on a thread that ends with it.
fn collect(pipe: Option<impl Read + Send + 'static>, into: &Arc<Mutex<String>>) {
    let mut pipe = pipe.expect("it is piped");
    let into = Arc::clone(into);
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(len @ 1..) = pipe.read(&mut chunk) {
            into.lock()
                .expect("no test panics with it")
                .push_str(&String::from_utf8_lossy(&chunk[..len]));
        }
    });
}

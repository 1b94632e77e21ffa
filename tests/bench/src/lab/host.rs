//! One host: a network namespace, and what runs in it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace, kept by a process that does nothing; it ends when this is dropped.
#[derive(Debug)]
pub struct Host {
    keeper: Child,
}

impl Host {
    /// Makes an empty one.
    ///
    /// # Errors
    /// Says why there is none.
    pub fn new() -> anyhow::Result<Self> {
        // `cat` ends by itself when the pipe to its input closes, however this process ends.
        let mut keeper = Command::new("unshare")
            .args(["-n", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting unshare")?;
        let output = keeper.stdout.take().context("it is piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line == "\n", "unshare -n made no network namespace");
        Ok(Self { keeper })
    }

    /// The process that names the namespace.
    pub fn pid(&self) -> String {
        self.keeper.id().to_string()
    }

    /// A program that will run here, with nothing on its input.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid()));
        command.arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a shell command here; gives what it wrote.
    ///
    /// # Errors
    /// Gives what it said where it failed.
    pub fn sh(&self, script: &str) -> anyhow::Result<String> {
        let output = self
            .command(Path::new("sh"))
            .args(["-ec", script])
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{script}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Sets one of the kernel's settings of this namespace.
    ///
    /// # Errors
    /// Says that it could not be set.
    pub fn set(&self, name: &str, value: &str) -> anyhow::Result<()> {
        self.sh(&format!("sysctl -qw {name}='{value}'")).map(drop)
    }

    /// Feeds rules to nft here.
    ///
    /// # Errors
    /// Gives what nft said.
    pub fn nft(&self, rules: &str) -> anyhow::Result<()> {
        self.sh(&format!("nft -f - <<'RULES'\n{rules}\nRULES"))
            .map(drop)
    }

    /// Runs `action` on a thread that stands in this network: sockets and processes it makes stay there.
    ///
    /// # Errors
    /// Says that the namespace could not be entered.
    pub fn within<T: Send>(&self, action: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        let namespace = File::open(format!("/proc/{}/ns/net", self.pid()))?;
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                anyhow::Ok(action())
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

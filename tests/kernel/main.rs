//! The kernel's side, tried on the running kernel: firewall, connection tracking, transparent sockets,
//! the relay.
//!
//! Re-enters itself through `unshare`, so that an ordinary user can run it and nothing outside is
//! touched; needs nft, ip, conntrack and unshare. Fails, never skips, where it cannot run.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a failed unwrap is a failed test"
)]

mod control;
mod following;
mod healing;
mod installing;
mod keeping;
mod lab;
mod opening;
mod pinholes;
mod relaying;
mod windows;

use std::env;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};

/// Set in the process inside the namespaces.
const INSIDE: &str = "PORTCULLIS_TEST_INSIDE";

fn main() -> ExitCode {
    if env::var_os(INSIDE).is_none() {
        return reenter();
    }
    let mut arguments = Arguments::from_args();
    // Some checks measure time.
    arguments.test_threads = Some(1);
    let trials = [
        pinholes::trials(),
        opening::trials(),
        installing::trials(),
        keeping::trials(),
        following::trials(),
        control::trials(),
        windows::trials(),
        relaying::trials(),
        healing::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}

/// A trial that passes when `check` returns.
fn trial(name: &str, check: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        check();
        Ok(())
    })
}

fn reenter() -> ExitCode {
    let root = rustix::process::geteuid().is_root();
    let mut unshare = Command::new("unshare");
    if !root {
        unshare.args(["--user", "--map-root-user"]);
    }
    let status = unshare
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
        ])
        .arg(env::current_exe().unwrap())
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("could not run unshare (package util-linux): {error}");
            ExitCode::FAILURE
        }
    }
}

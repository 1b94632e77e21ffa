//! Entering the private namespaces: the test program starts itself again through `unshare`.
//!
//! Outside, it looks for what is missing and fetches the server; inside, it runs the tests.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Trial};

use super::script;

/// Set inside the namespaces, to the directory that holds the labs.
const SCRATCH: &str = "PORTCULLIS_LAB_SCRATCH";
/// Set inside the namespaces, to the directory that vsftpd is unpacked in.
const VSFTPD: &str = "PORTCULLIS_LAB_VSFTPD";

/// Programs that the lab calls, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 9] = [
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("curl", "curl"),
    ("lftp", "lftp"),
    ("openssl", "openssl"),
    ("python3", "python3"),
];

/// PID 1 of the namespaces. The labs' files are in memory and go with the mount namespace; an interrupt
/// is taken here because the kernel spares a PID 1 that has no handler for it.
const INIT: &str = r#"mount -t tmpfs lab "$PORTCULLIS_LAB_SCRATCH" || exit 1
trap 'exit 130' INT TERM HUP
"$0" "$@" & wait $!"#;

/// Runs the tests inside the namespaces, entering them first; `at_a_time` says how many run at once where the
/// command line does not, one for each processor otherwise.
pub(crate) fn enter(tests: Vec<Trial>, at_a_time: Option<usize>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(at_a_time);
    if arguments.list || std::env::var_os(SCRATCH).is_some() {
        return libtest_mimic::run(&arguments, tests).exit_code();
    }
    let missing = restart_inside();
    eprintln!("the tests at the edge cannot run: {missing}");
    ExitCode::FAILURE
}

/// The directory that holds the labs of this run.
pub(super) fn scratch() -> PathBuf {
    std::env::var_os(SCRATCH)
        .expect("tests run inside the namespaces")
        .into()
}

/// The directory that vsftpd is unpacked in.
pub(super) fn vsftpd() -> PathBuf {
    std::env::var_os(VSFTPD)
        .expect("tests run inside the namespaces")
        .into()
}

/// Replaces this process by the same program inside namespaces; comes back only to say what is missing for that.
fn restart_inside() -> String {
    match prepare_restart() {
        Ok(mut command) => format!("unshare: {}", command.exec()),
        Err(missing) => missing,
    }
}

/// Looks whether the machine has and allows what the lab needs, and fetches what it may fetch.
fn prepare_restart() -> Result<Command, String> {
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    for (program, package) in PROGRAMS {
        if !path
            .split(':')
            .any(|dir| PathBuf::from(dir).join(program).is_file())
        {
            return Err(format!(
                "'{program}' is missing; install the package '{package}'"
            ));
        }
    }
    // Root needs no user namespace, and in one it could not bind what the machine's root may.
    let root = rustix::process::geteuid().is_root();
    let flags = if root { "-nm" } else { "-Urnm" };
    let unshare = || {
        let mut command = Command::new("unshare");
        command
            .args([flags, "--fork", "--kill-child", "--pid", "--mount-proc"])
            .env("PATH", &path);
        command
    };
    let trial = unshare()
        .arg("true")
        .output()
        .map_err(|error| format!("unshare: {error}"))?;
    if !trial.status.success() {
        return Err(format!(
            "'unshare {flags} --pid --mount-proc' is not permitted here ({}); user namespaces may be switched off \
             (sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces, \
             kernel.apparmor_restrict_unprivileged_userns), or a container may forbid them",
            String::from_utf8_lossy(&trial.stderr).trim()
        ));
    }
    let fetched = Command::new(script("fetch"))
        .arg("vsftpd")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("tests/lab/fetch: {error}"))?;
    if !fetched.status.success() {
        return Err("vsftpd could not be fetched, see above".to_owned());
    }
    let unpacked = String::from_utf8_lossy(&fetched.stdout).trim().to_owned();

    let program =
        std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
    let mut command = unshare();
    command
        .args(["sh", "-c", INIT])
        .arg(program)
        .args(std::env::args_os().skip(1));
    command
        .env(SCRATCH, env!("CARGO_TARGET_TMPDIR"))
        .env(VSFTPD, unpacked);
    Ok(command)
}

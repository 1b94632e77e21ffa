//! Files (Landlock, landlock(7)): which ones a thread can still reach.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::SandboxError;

/// The newest rules that are asked for; an older kernel holds what it knows of them (Linux 6.12).
const NEWEST: ABI = ABI::V6;

/// What the system's own libraries read while the program runs: names of hosts, zones of time.
const SYSTEM: [&str; 14] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/localtime",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
    "/usr/lib",
    "/lib",
    "/lib64",
    "/proc",
    "/sys/fs/cgroup",
];

/// Files that are written by name on every system.
const DEVICES: [&str; 1] = ["/dev/null"];

/// What can still be reached.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// Files, and folders with all in them, to be read.
    pub read: Vec<PathBuf>,
    /// Folders in which files are made, written, renamed and removed.
    pub write: Vec<PathBuf>,
}

/// Takes all other files from this thread and those that it starts, and the right to run programs and to
/// send signals to others. What does not exist is left out. Gives a sentence for the operator where the
/// kernel holds less than was asked for.
///
/// # Errors
/// Gives what the kernel said.
pub fn restrict_files(paths: &Paths) -> Result<Option<String>, SandboxError> {
    let status = restrict(paths).map_err(|error| SandboxError::Files(error.to_string()))?;
    Ok(match status {
        RulesetStatus::FullyEnforced => None,
        RulesetStatus::PartiallyEnforced => Some(
            "this kernel knows only a part of Landlock: the program can reach its own files alone, and \
             may still signal others"
                .to_owned(),
        ),
        RulesetStatus::NotEnforced => Some(
            "this kernel has no Landlock: the program can reach all files that its user can".to_owned(),
        ),
    })
}

fn restrict(paths: &Paths) -> Result<RulesetStatus, RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeSock
        | AccessFs::RemoveFile;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?
        .no_new_privs(true);
    let system = SYSTEM.iter().map(PathBuf::from);
    let devices = DEVICES.iter().map(PathBuf::from);
    let rules = system
        .chain(paths.read.iter().cloned())
        .map(|path| (path, read))
        .chain(devices.map(|path| (path, read | AccessFs::WriteFile)))
        .chain(paths.write.iter().cloned().map(|path| (path, write)));
    for (path, access) in rules {
        let Ok(opened) = PathFd::new(&path) else {
            continue;
        };
        ruleset = ruleset.add_rule(PathBeneath::new(opened, fitting(&path, access)))?;
    }
    Ok(ruleset.restrict_self()?.ruleset)
}

/// What can be allowed of a file that is no folder.
fn fitting(path: &std::path::Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    match path.is_dir() {
        true => access,
        false => access & AccessFs::from_file(NEWEST),
    }
}

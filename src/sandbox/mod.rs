//! What the program gives up once it has what it needs: capabilities, files, system calls.
//!
//! Capabilities and files belong to a thread and go on to those that it starts, so the main thread
//! gives up before it starts the others, and a thread with a task of its own keeps what that takes.

mod calls;
mod caps;
mod files;

use std::io;

use thiserror::Error;

pub use calls::{ALLOWED, restrict_calls};
pub use caps::{Capabilities, drop_bounding, keep_only, may_have};
pub use files::{Paths, restrict_files};

/// What threads keep that talk to the kernel's firewall.
pub const NETLINK: Capabilities = Capabilities {
    net_admin: true,
    net_raw: false,
    bind_service: false,
    dac_override: false,
};

/// What threads keep that write the record.
pub const RECORD: Capabilities = Capabilities {
    net_admin: false,
    net_raw: false,
    bind_service: false,
    dac_override: true,
};

/// What could not be given up.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// Capabilities, or the right to gain some.
    #[error("the program could not give up its capabilities: {0}")]
    Capabilities(#[source] io::Error),
    /// Files.
    #[error("the program could not give up the files that it does not need (Landlock): {0}")]
    Files(String),
    /// System calls.
    #[error("the program could not give up the system calls that it does not need (seccomp): {0}")]
    Calls(String),
}

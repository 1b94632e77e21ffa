//! Whether portcullis may do what it is for, and how to give it what is missing.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;

use rustix::thread::{
    CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities,
};

use super::FirewallError;

/// What is missing to change nftables and routing, in one sentence for the operator; `None` if nothing is.
pub fn missing_privilege() -> Option<String> {
    let held =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN));
    (!held).then(|| {
        "CAP_NET_ADMIN is missing, without which no pinhole can be opened: start portcullis by its systemd \
         unit (AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE), give the program the capability with \
         `setcap cap_net_admin,cap_net_raw,cap_net_bind_service+ep /usr/bin/portcullis`, or use sudo"
            .to_owned()
    })
}

/// What EPERM from nftables means: with the privilege at hand, that the table is somebody else's.
pub(super) fn not_permitted(table: &str) -> FirewallError {
    match missing_privilege() {
        Some(_) => FirewallError::Unprivileged {
            doing: "to change nftables",
        },
        None => FirewallError::Owned {
            table: table.to_owned(),
        },
    }
}

/// What is missing to install the table, in one sentence for the operator; `None` if `nft` is found.
pub fn missing_nft() -> Option<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    find_nft(&path).is_none().then(|| {
        format!(
            "the program nft is neither in PATH ({}) nor in {}: install the package nftables, 1.0.6 or later",
            path.display(),
            SYSTEM_DIRECTORIES.join(", ")
        )
    })
}

/// Where the `nft` program is.
pub(super) fn nft_program() -> Option<PathBuf> {
    find_nft(&env::var_os("PATH").unwrap_or_default())
}

/// Where `nft` is installed; the PATH of ordinary users lacks these on some systems.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

fn find_nft(path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path)
        .chain(SYSTEM_DIRECTORIES.iter().map(PathBuf::from))
        // A relative directory would let the working directory choose what runs with our rights.
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("nft"))
        .find(|program| program.is_file())
}

/// Lets child processes of this thread inherit CAP_NET_ADMIN, where it came by `setcap` on the program.
pub fn share_with_children() {
    let Ok(mut sets) = capabilities(None) else {
        return;
    };
    if !sets.permitted.contains(CapabilitySet::NET_ADMIN) {
        return;
    }
    sets.inheritable |= CapabilitySet::NET_ADMIN;
    let shared = set_capabilities(None, sets)
        .and_then(|()| configure_capability_in_ambient_set(CapabilitySet::NET_ADMIN, true));
    if let Err(error) = shared {
        // Root's children have it anyway; where it is needed, nft says what it lacks.
        tracing::debug!(%error, "Could not share CAP_NET_ADMIN with child processes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nft_is_never_taken_from_the_working_directory() {
        for path in ["", ".", "bin:/nonexistent"] {
            let found = find_nft(OsStr::new(path));
            assert!(found.is_none_or(|program| program.is_absolute()), "{path}");
        }
    }
}

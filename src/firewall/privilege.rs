//! Whether portcullis may do what it is for, and how to give it what is missing.

use std::env;
use std::ffi::OsStr;
use std::path::Path;

use rustix::thread::{
    CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities,
};

/// What is missing to change nftables and routing, in one sentence for the operator; `None` if nothing is.
pub fn missing_privilege() -> Option<String> {
    let held =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN));
    (!held).then(|| {
        "CAP_NET_ADMIN is missing, without which no pinhole can be opened: start portcullis by its systemd \
         unit (AmbientCapabilities=CAP_NET_ADMIN CAP_NET_BIND_SERVICE), give the program the capability with \
         `setcap cap_net_admin,cap_net_bind_service+ep /usr/bin/portcullis`, or use sudo"
            .to_owned()
    })
}

/// What is missing to install the table, in one sentence for the operator; `None` if `nft` is in PATH.
pub fn missing_nft() -> Option<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    (!is_in_path(&path)).then(|| {
        format!(
            "the program nft is in none of the directories of PATH ({}): install the package nftables, \
             1.0.6 or later",
            path.display()
        )
    })
}

fn is_in_path(path: &OsStr) -> bool {
    env::split_paths(path).any(|directory| Path::new(&directory).join("nft").is_file())
}

/// Lets child processes of this thread inherit CAP_NET_ADMIN, where it came by `setcap` on the program.
pub(super) fn share_with_children() {
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
    fn nft_is_looked_for_in_every_directory_of_path() {
        assert!(!is_in_path(OsStr::new("/nonexistent:/proc")));
        assert!(!is_in_path(OsStr::new("")));
    }
}

//! Capabilities (capabilities(7)): which ones a thread keeps.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

use super::SandboxError;

/// The capabilities that some part of the program has a use for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// CAP_NET_ADMIN: nftables, policy routing, connection tracking.
    pub net_admin: bool,
    /// CAP_NET_RAW: sockets with the addresses of others (`IP_TRANSPARENT`).
    pub net_raw: bool,
    /// CAP_NET_BIND_SERVICE: ports under 1024.
    pub bind_service: bool,
    /// CAP_DAC_OVERRIDE: files of the record that belong to another user, where root writes them.
    pub dac_override: bool,
}

impl Capabilities {
    fn set(self) -> CapabilitySet {
        let mut set = CapabilitySet::empty();
        set.set(CapabilitySet::NET_ADMIN, self.net_admin);
        set.set(CapabilitySet::NET_RAW, self.net_raw);
        set.set(CapabilitySet::NET_BIND_SERVICE, self.bind_service);
        set.set(CapabilitySet::DAC_OVERRIDE, self.dac_override);
        set
    }
}

/// Has this thread, and those that it starts, keep these capabilities of the ones it has, and gain none
/// by running a program (`no_new_privs`).
///
/// # Errors
/// Gives what the kernel said.
pub fn keep_only(wanted: Capabilities) -> Result<(), SandboxError> {
    let failed = |error: Errno| SandboxError::Capabilities(error.into());
    set_no_new_privs(true).map_err(failed)?;
    clear_ambient_capability_set().map_err(failed)?;
    let mut sets = capabilities(None).map_err(failed)?;
    sets.permitted &= wanted.set();
    sets.effective = sets.permitted;
    sets.inheritable = CapabilitySet::empty();
    set_capabilities(None, sets).map_err(failed)
}

/// Whether this thread has one of these capabilities at least.
pub fn may_have(wanted: Capabilities) -> bool {
    capabilities(None).is_ok_and(|sets| sets.permitted.intersects(wanted.set()))
}

/// Takes all other capabilities out of what this thread, and those that it starts, could ever have
/// again. Needs CAP_SETPCAP; without it `no_new_privs` has the same effect.
pub fn drop_bounding(wanted: Capabilities) {
    for capability in CapabilitySet::all().difference(wanted.set()).iter() {
        if let Err(error) = remove_capability_from_bounding_set(capability) {
            tracing::debug!(%error, "the bounding set stays as it is");
            return;
        }
    }
}

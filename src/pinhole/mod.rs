//! The pinhole: the kernel's permission for one data connection, as a value.
//!
//! Owns the type alone. What makes one is decided in `nat`; what puts it into the kernel is in
//! `firewall`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Names one pinhole within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PinholeId(pub u64);

impl fmt::Display for PinholeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The permission for exactly one TCP connection, and how its addresses are translated.
///
/// All addresses are of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pinhole {
    /// Who opens the data connection: the source address of its SYN.
    pub initiator: IpAddr,
    /// Where the initiator dials.
    pub announced: SocketAddr,
    /// Where the connection ends; equal to `announced` where nothing is translated.
    pub target: SocketAddr,
    /// The source address that the target sees; equal to `initiator` where it is unchanged.
    pub source: IpAddr,
    /// Whether the initiator's source port must be 20 (RFC 959 §3.2).
    pub from_port_20: bool,
}

impl Pinhole {
    /// Whether the destination is translated.
    pub fn redirects(&self) -> bool {
        self.announced != self.target
    }

    /// Whether the source is translated.
    pub fn translates_source(&self) -> bool {
        self.source != self.initiator
    }
}

impl fmt::Display for Pinhole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}", self.initiator, self.announced)?;
        if self.redirects() {
            write!(f, " → {}", self.target)?;
        }
        if self.translates_source() {
            write!(f, " as {}", self.source)?;
        }
        Ok(())
    }
}

/// What the kernel counted on one data connection, both directions together and apart.
///
/// Bytes are those of whole IP packets, headers included, as `nf_conntrack_acct` counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets from the initiator to the target.
    pub packets_forth: u64,
    /// Bytes from the initiator to the target.
    pub bytes_forth: u64,
    /// Packets from the target to the initiator.
    pub packets_back: u64,
    /// Bytes from the target to the initiator.
    pub bytes_back: u64,
}

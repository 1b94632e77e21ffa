//! What is measured: the ways from a client to a server.

use std::fmt;
use std::str::FromStr;

use anyhow::bail;

use super::{EDGE_INSIDE, EDGE_OUTSIDE, SERVER};

/// A way from the client to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// A router that translates nothing and has no firewall.
    Routing,
    /// The kernel's own helper, `nf_conntrack_ftp`, with masquerading.
    Helper,
    /// `relay.c`: copies the control connection, reads nothing of it; data passes by static rules.
    BareRelay,
    /// ProFTPD's mod_proxy, which clients dial; it carries the data.
    ModProxy,
    /// Debian's ftp-proxy, which clients dial; it carries the data.
    FtpProxy,
    /// portcullis, data in the kernel.
    PortcullisKernel,
    /// portcullis, data carried by itself.
    PortcullisRelay,
}

impl System {
    /// All, in the order of the report.
    pub const ALL: [Self; 7] = [
        Self::Routing,
        Self::Helper,
        Self::BareRelay,
        Self::ModProxy,
        Self::FtpProxy,
        Self::PortcullisKernel,
        Self::PortcullisRelay,
    ];

    /// Its name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Routing => "routing",
            Self::Helper => "helper",
            Self::BareRelay => "bare-relay",
            Self::ModProxy => "mod_proxy",
            Self::FtpProxy => "ftp-proxy",
            Self::PortcullisKernel => "portcullis-kernel",
            Self::PortcullisRelay => "portcullis-relay",
        }
    }

    /// Whether it is portcullis.
    pub fn is_portcullis(self) -> bool {
        matches!(self, Self::PortcullisKernel | Self::PortcullisRelay)
    }

    /// The topology of `tests/lab/topology` that it stands in.
    pub(super) fn topology(self) -> &'static str {
        match self {
            Self::Routing => "plain",
            _ => "behind-nat",
        }
    }

    /// Whom clients dial: the server, or the edge where it is no transparent gate.
    pub(super) fn dialled(self) -> String {
        match self {
            Self::ModProxy | Self::FtpProxy => format!("{EDGE_INSIDE}:21"),
            _ => format!("{SERVER}:21"),
        }
    }

    /// What clients announce instead of their own address: the bare relay does not rewrite PORT.
    pub(super) fn announced(self) -> Option<&'static str> {
        (self == Self::BareRelay).then_some(EDGE_OUTSIDE)
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for System {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match Self::ALL.into_iter().find(|system| system.name() == text) {
            Some(system) => Ok(system),
            None => bail!(
                "there is no system {text}; there are {}",
                Self::ALL.map(Self::name).join(", ")
            ),
        }
    }
}

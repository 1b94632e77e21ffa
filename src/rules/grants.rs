//! What an allowing rule grants beyond the command that it allows.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::Limits;

/// What goes with a rule's allow; the default grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// `source-port-20`: the data connection of an active transfer must come from port 20.
    pub source_port_20: bool,
    /// `tls`: what becomes of AUTH.
    pub tls: Tls,
    /// `data`: who carries the data of PORT, EPRT, PASV and EPSV; `None` leaves it to the listener.
    pub data: Option<DataPath>,
    /// `mask-text`, `hide-features`: what the reply does not say.
    pub mask: Option<Arc<Mask>>,
    /// `max-bytes`: bytes that one transfer may carry, both directions together; needs the relay.
    pub max_bytes: Option<u64>,
    /// `limits`: how often, how many at one time and how much.
    pub limits: Option<Arc<Limits>>,
}

/// What becomes of a control connection that asks for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tls {
    /// AUTH is answered 534, and FEAT does not name it.
    #[default]
    Refuse,
    /// The control connection is carried unread from the byte on where TLS begins; no data
    /// connection is let through.
    Pass,
    /// The same, and passive data connections are let through while it lives.
    Window(Window),
}

/// Which passive data connections may come while a control connection cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// First port of the server, ≥ 1024.
    pub first: u16,
    /// Last port of the server.
    pub last: u16,
    /// Connections at one time between one client and one server.
    pub at_most: u16,
}

impl Window {
    /// The ports as a range.
    pub fn ports(&self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

/// Who carries the data of a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataPath {
    /// The kernel forwards it.
    #[default]
    Kernel,
    /// Portcullis carries it between two connections of its own.
    Relay,
}

impl DataPath {
    /// Each with its name in policies and configurations.
    pub const NAMED: [(&'static str, Self); 2] = [("kernel", Self::Kernel), ("relay", Self::Relay)];
}

/// What a reply does not say (protocol rules 46, 58 and 68): the text changes, never the code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// The text of the final reply; `None` leaves it.
    pub text: Option<String>,
    /// Features that FEAT does not list, in upper case; each is also refused when used.
    pub hidden_features: Vec<String>,
}

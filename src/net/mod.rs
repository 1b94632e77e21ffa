//! Sockets that an edge needs and the standard library does not make: transparent listeners and
//! connections, ports held for others, netlink, lines between processes.
//!
//! Knows addresses and sockets; knows no FTP, no policy and no firewall.

pub mod line;
pub mod netlink;
mod ports;
mod shortage;
mod socket;
mod urgent;

pub use ports::{MAX_TRIES, PortLease, Ports};
pub use shortage::{Seldom, Shortage, failed_for_one};
pub use socket::{
    BACKLOG, MAX_SOURCE_TRIES, Source, TRANSPARENT_PORTS, canonical, connect, is_local, listen,
    listen_transparent, reset,
};
pub use urgent::at_mark;

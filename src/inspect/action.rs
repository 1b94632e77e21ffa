//! What the inspector asks of its driver, and what the driver tells it back.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::pinhole::{Counters, Pinhole, PinholeId};
use crate::rules::{DataPath, Window};

use super::{Record, Side};

/// Who carries the data of a transfer, and how much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carriage {
    /// The kernel, or portcullis itself.
    pub path: DataPath,
    /// Bytes of both directions together; `None` for no limit. Only kept by the relay.
    pub max_bytes: Option<u64>,
}

/// Something for the driver to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these bytes to the client.
    ToClient(Vec<u8>),
    /// Send these bytes to the server.
    ToServer(Vec<u8>),
    /// Send a Telnet Synch to this side, its mark as urgent data (RFC 959 §4.1.3).
    Synch(Side),
    /// Find a free port at this address and keep it until the pinhole is closed;
    /// answered by [`super::Inspector::handle_port`].
    LeasePort {
        /// The pinhole it is for.
        id: PinholeId,
        /// Where the port must be free.
        address: IpAddr,
    },
    /// Put the pinhole into the kernel; answered by [`PinholeNews::Opened`] or
    /// [`PinholeNews::Refused`].
    OpenPinhole {
        /// Its name.
        id: PinholeId,
        /// What it lets through.
        pinhole: Pinhole,
        /// Who carries the data.
        carriage: Carriage,
        /// How long it stays open unused.
        lifetime: Duration,
    },
    /// Let the pinhole's connection carry no more than this, whether it has come or not; where it is
    /// bounded already, the smaller bound holds. Only kept by the relay.
    BoundPinhole {
        /// Its name.
        id: PinholeId,
        /// Bytes of both directions together.
        max_bytes: u64,
    },
    /// Let passive data connections of this session's client to its server through, or go on doing
    /// so; answered only by [`WindowNews`].
    OpenWindow {
        /// Which.
        window: Window,
        /// How long it stands unless this action comes again.
        lifetime: Duration,
    },
    /// Let no more of them through.
    CloseWindow {
        /// Which.
        window: Window,
    },
    /// Take the pinhole out of the kernel, if it is there, and free its port, if it has one.
    ClosePinhole {
        /// Its name.
        id: PinholeId,
        /// Whether its one connection was seen: then nothing more comes through it, and what follows need
        /// not wait until it is closed.
        used: bool,
    },
    /// Ask the kernel what it has counted so far; answered by [`PinholeNews::Closed`].
    MeasurePinhole {
        /// Its name.
        id: PinholeId,
    },
    /// Nothing more is wanted about this pinhole.
    ForgetPinhole {
        /// Its name.
        id: PinholeId,
    },
    /// Put this on the record before anything that follows.
    Record(Box<Record>),
    /// Tell the server that the client sends no more.
    FinishToServer,
    /// Tell the client that the server sends no more.
    FinishToClient,
    /// Send what is waiting, then close both connections.
    Close,
}

/// What happened in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowNews {
    /// It could not be opened; the reason, in words for the operator.
    Refused(String),
    /// A data connection came.
    Used {
        /// Where the client dialled.
        announced: SocketAddr,
    },
    /// A data connection is over.
    Closed {
        /// Where the client dialled.
        announced: SocketAddr,
        /// What the kernel counted; `None` where its word was lost.
        counters: Option<Counters>,
        /// How long it stood.
        duration: Option<Duration>,
    },
}

/// What happened to a pinhole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinholeNews {
    /// The kernel holds it.
    Opened,
    /// It could not be opened; the reason, in words for operator and client.
    Refused(String),
    /// Its one connection was seen.
    Used,
    /// That connection is over, or was measured.
    Closed {
        /// What the kernel counted; `None` where its word was lost.
        counters: Option<Counters>,
        /// How long the connection stood.
        duration: Option<Duration>,
        /// Whether it was cut off at its limit on bytes.
        cut: bool,
    },
}

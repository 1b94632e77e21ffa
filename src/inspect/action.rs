//! What the inspector asks of its driver, and what the driver tells it back.

use std::net::IpAddr;
use std::time::Duration;

use crate::pinhole::{Counters, Pinhole, PinholeId};

use super::Record;

/// Something for the driver to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these bytes to the client.
    ToClient(Vec<u8>),
    /// Send these bytes to the server.
    ToServer(Vec<u8>),
    /// Find a free port at this address of the edge and keep it until the pinhole is closed;
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
        /// How long it stays open unused.
        lifetime: Duration,
    },
    /// Take the pinhole out of the kernel, if it is there, and free its port, if it has one.
    ClosePinhole {
        /// Its name.
        id: PinholeId,
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
    },
}

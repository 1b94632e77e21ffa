//! The userspace data path: takes one data connection, makes another, and moves the bytes between them.
//!
//! For where the kernel path cannot serve: two address families, an edge without nftables, a limit on the
//! bytes of a transfer. Knows no FTP and no policy; whoever calls it has decided.

mod bound;
mod carry;
mod pipe;
mod wait;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

use crate::net::PortLease;
use crate::pinhole::{Counters, Pinhole};

use bound::Bound;

pub use carry::MAX_SILENCE;
pub use pipe::PIPE_SIZE;
pub use wait::strays;

/// One data connection to take and carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Who comes where, and where it goes as whom. Initiator and announced address are of one family,
    /// target and source of one, which may be the other. A source that is not this machine's is bound by
    /// `IP_TRANSPARENT`; the unspecified address (`0.0.0.0`, `::`) leaves it to routing.
    pub pinhole: Pinhole,
    /// How long the initiator may take to come.
    pub lifetime: Duration,
    /// Bytes that may be carried, both directions together; at one more, both connections are reset.
    pub max_bytes: Option<u64>,
    /// How long the target may take to answer.
    pub connect_timeout: Duration,
}

/// Something that happened to the data connection. Where the initiator never comes, nothing does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayEvent {
    /// The initiator came; always followed by `Closed`.
    Used,
    /// Both connections ended.
    Closed {
        /// The bytes of payload handed on, without headers; packets are not seen here and are 0. All zero
        /// where the target could not be reached.
        counters: Counters,
        /// From the initiator's coming to the end.
        duration: Duration,
        /// Whether [`Order::max_bytes`] ended it.
        truncated: bool,
    },
}

/// Why a data connection cannot be waited for.
#[derive(Debug, Error)]
pub enum RelayError {
    /// The lease is for another address or port.
    #[error("{announced} is announced, but the port that is held is {leased}")]
    OtherPort {
        /// What the initiator is told to dial.
        announced: SocketAddr,
        /// What the lease holds.
        leased: SocketAddr,
    },
    /// Two addresses of one connection are of two families.
    #[error("{from} cannot dial {to}, an address of the other family")]
    MixedFamilies {
        /// Who dials: the initiator, or portcullis from the source.
        from: IpAddr,
        /// What it dials.
        to: SocketAddr,
    },
    /// The kernel refused to listen.
    #[error("could not listen on {announced} for the data connection: {source}")]
    Listen {
        /// What the initiator is told to dial.
        announced: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A data connection that is waited for. Dropping it ends the waiting; a connection that came goes on.
#[derive(Debug)]
pub struct Expected {
    /// Never sent to: the waiting ends with it.
    _waiting: oneshot::Sender<()>,
    bound: Bound,
}

impl Expected {
    /// Lets the connection carry no more than this, both directions together, whether it has come or
    /// not. The smallest bound of all that it was given holds.
    pub fn bound(&self, max_bytes: u64) {
        self.bound.lower(max_bytes);
    }

    /// Ends the waiting; a connection that came goes on.
    pub fn close(self) {}
}

/// Listens on the leased port and carries exactly one connection of the expected initiator; others are
/// reset, counted ([`strays`]), and do not end the waiting. `tell` is called from a task and must not
/// block. Needs a tokio runtime.
///
/// Takes one file while it waits, and while it carries two, and two more for each direction in which
/// bytes flow.
///
/// # Errors
/// Any [`RelayError`]; then nothing listens, and the lease is given back.
pub fn expect(
    order: Order,
    lease: PortLease,
    tell: impl Fn(RelayEvent) + Send + 'static,
) -> Result<Expected, RelayError> {
    let pinhole = &order.pinhole;
    let (announced, leased) = (pinhole.announced, lease.address());
    if announced != leased {
        return Err(RelayError::OtherPort { announced, leased });
    }
    for (from, to) in [
        (pinhole.initiator, announced),
        (pinhole.source, pinhole.target),
    ] {
        if from.is_ipv4() != to.is_ipv4() {
            return Err(RelayError::MixedFamilies { from, to });
        }
    }
    let listener = lease
        .listen()
        .map_err(|source| RelayError::Listen { announced, source })?;
    let (waiting, given_up) = oneshot::channel();
    let bound = Bound::new(order.max_bytes);
    tokio::spawn(wait::serve(order, bound.clone(), listener, given_up, tell));
    Ok(Expected {
        _waiting: waiting,
        bound,
    })
}

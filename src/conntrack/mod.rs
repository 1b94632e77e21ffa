//! Follows the data connections that carry our connection mark: when they begin and end, and how much
//! went over them.
//!
//! Listens to connection tracking over netlink and asks it questions; looks how full it is; changes nothing.
//! To listen, and to ask, takes CAP_NET_ADMIN: the one when it begins, the other each time. So questions go
//! over a line to one who may ask them ([`Answering`]), from the same process or another. Knows no session:
//! whoever watches matches a [`Key`] to its pinhole.

mod ask;
mod filter;
mod flows;
mod message;
mod room;
mod source;
mod watch;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::pinhole::{Counters, Pinhole};

pub use ask::{Answering, Questions, questions};
pub use flows::{MAX_ENDED, MAX_FLOWS};
pub use message::{Entry, Flow, TcpState, decode};
pub use room::{ROOM_CHECK, Room, watch_room};
pub use watch::{Audience, Watcher, watch, watch_asking};

/// What a data connection looks like to the one who dials it, source port left out, as a pinhole has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Who dialled.
    pub initiator: IpAddr,
    /// What was dialled, before any translation.
    pub announced: SocketAddr,
}

impl From<&Pinhole> for Key {
    fn from(pinhole: &Pinhole) -> Self {
        Self {
            initiator: pinhole.initiator,
            announced: pinhole.announced,
        }
    }
}

/// Something that happened to a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEvent {
    /// Its first packet passed the edge.
    Opened {
        /// Which.
        key: Key,
    },
    /// It ended: both sides closed it, one reset it, or it was silent until connection tracking forgot it.
    Closed {
        /// Which.
        key: Key,
        /// What the kernel counted; `None` where its word was lost or counting is off.
        counters: Option<Counters>,
        /// From the first packet to the last; `None` where the beginning was not seen.
        duration: Option<Duration>,
    },
}

/// Why connection tracking cannot be followed.
#[derive(Debug, Error)]
pub enum ConntrackError {
    /// CAP_NET_ADMIN is missing, or not valid here.
    #[error(
        "the kernel refused to {doing}: CAP_NET_ADMIN is missing, or not valid in this network namespace"
    )]
    Unprivileged {
        /// What was being done.
        doing: &'static str,
    },
    /// No socket, or no thread.
    #[error("could not {doing}: {source}")]
    Netlink {
        /// What was being done.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

//! What is said between those who ask for pinholes and the one who may open them, as values.
//!
//! Whoever carries orders out takes them from a process that reads what strangers send: nothing in an order
//! is trusted, see [`super::guard`].

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::FirewallError;
use super::subject::Subject;

/// Orders of one message at most: those that go along with an order to open are closings.
pub(super) const MAX_ORDERS: usize = 64;

/// Which answer belongs to which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Ticket {
    /// On which line the answer goes, counted from 0.
    pub(super) line: u16,
    /// Which one there.
    pub(super) number: u64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// Opens, for at most a lifetime.
    Open {
        ticket: Ticket,
        subject: Subject,
        lifetime: Duration,
    },
    /// Closes what an order opened or would open, whose answer nobody awaits any longer.
    Cancel { ticket: Ticket, subject: Subject },
    /// Closes; nobody awaits that where there is no ticket.
    Close {
        ticket: Option<Ticket>,
        subject: Subject,
    },
}

/// One message to the one who may: carried out in its order.
pub(super) type Orders = Vec<Order>;

/// One message back.
pub(super) type Answers = Vec<(u64, Outcome)>;

/// How an order ended.
pub(super) type Outcome = Result<(), Refusal>;

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Refusal {
    /// It must never be; why.
    Denied(String),
    /// Its addresses are of two families.
    MixedFamilies,
    /// CAP_NET_ADMIN is missing.
    Unprivileged,
    /// The table is another program's.
    Owned,
    /// The table is gone.
    TableMissing,
    /// The sets had no room for so long.
    Full { waited: Duration },
    /// What the kernel said, as it names it.
    Kernel { errno: i32 },
    /// No answer of the kernel, or none that counts.
    Unknown(String),
}

impl Refusal {
    /// The error for the one who asked.
    pub(super) fn into_error(
        self,
        doing: &'static str,
        subject: Subject,
        table: &str,
    ) -> FirewallError {
        let (subject, table) = (Box::new(subject), table.to_owned());
        match self {
            Self::Denied(why) => FirewallError::Denied { subject, why },
            Self::MixedFamilies => FirewallError::MixedFamilies { subject },
            Self::Unprivileged => FirewallError::Unprivileged {
                doing: "to change nftables",
            },
            Self::Owned => FirewallError::Owned { table },
            Self::TableMissing => FirewallError::TableMissing { subject, table },
            Self::Full { waited } => FirewallError::Full {
                subject,
                waited_ms: waited.as_millis(),
                table,
            },
            Self::Kernel { errno } => FirewallError::Refused {
                doing,
                subject,
                source: io::Error::from_raw_os_error(errno),
            },
            Self::Unknown(text) => FirewallError::Refused {
                doing,
                subject,
                source: io::Error::other(text),
            },
        }
    }
}

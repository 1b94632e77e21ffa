//! What waits for a reply of the server, in the order it was sent.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::pinhole::{Pinhole, PinholeId};
use crate::rules::RuleName;

use super::Command;

/// One place in the order of replies.
#[derive(Debug)]
pub(super) enum Pending {
    /// The connection itself: 220, or 120 and then 220.
    Greeting {
        /// The 120 came.
        preliminary: bool,
    },
    /// A command that waits for the server.
    Forwarded(Box<Forwarded>),
    /// PWD of our own making, whose reply the client never sees.
    Locating,
    /// A reply of our own that waits for its turn.
    Answered(Vec<u8>),
}

/// A command that went to the server.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) command: Command,
    pub(super) rule: Arc<RuleName>,
    pub(super) expects: Expects,
    /// A 1yz came (protocol rule 24: at most one).
    pub(super) preliminary: bool,
}

/// What the final reply decides.
#[derive(Debug)]
pub(super) enum Expects {
    /// Nothing beyond itself.
    Anything,
    /// USER, PASS, ACCT: 230 means logged in.
    Login,
    /// REIN: 220 means nobody is logged in.
    Reinitialised,
    /// CWD, CDUP: 2yz means that this is the directory.
    Entered(Vec<u8>),
    /// PWD: 257 names the directory.
    Located,
    /// EPSV ALL: 4yz and 5yz take it back.
    EpsvAll,
    /// PORT or EPRT: 2yz opens the pinhole.
    Acceptance(Announcement),
    /// PASV or EPSV: 227 or 229 opens the pinhole.
    PassiveReply {
        /// EPSV, so 229.
        extended: bool,
    },
    /// A command with a data connection: its end, and the pinhole for it.
    TransferEnd(Option<PinholeId>),
}

/// What PORT or EPRT announced and what it became.
#[derive(Clone, Debug)]
pub(super) struct Announcement {
    pub(super) id: PinholeId,
    pub(super) pinhole: Pinhole,
    pub(super) announced: SocketAddr,
    /// It is in the kernel although the server has not accepted (`pinhole-opens: immediate`).
    pub(super) opened: bool,
}

impl Pending {
    /// What the reply to a forwarded command decides.
    pub(super) fn expects(&self) -> Option<&Expects> {
        match self {
            Self::Forwarded(forwarded) => Some(&forwarded.expects),
            Self::Greeting { .. } | Self::Locating | Self::Answered(_) => None,
        }
    }

    pub(super) fn is_transfer(&self) -> bool {
        self.expects()
            .is_some_and(|expects| matches!(expects, Expects::TransferEnd(_)))
    }

    /// Whether what follows depends on this reply, so that no later command may be looked at first.
    pub(super) fn holds_client(&self) -> bool {
        match self {
            Self::Answered(_) => false,
            Self::Greeting { .. } | Self::Locating => true,
            Self::Forwarded(forwarded) => match forwarded.expects {
                Expects::Login
                | Expects::Reinitialised
                | Expects::Entered(_)
                | Expects::Located
                | Expects::Acceptance(_)
                | Expects::PassiveReply { .. } => true,
                Expects::Anything | Expects::EpsvAll | Expects::TransferEnd(_) => false,
            },
        }
    }
}

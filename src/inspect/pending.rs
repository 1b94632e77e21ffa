//! What waits for a reply of the server, in the order it was sent.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::ftp::Verb;
use crate::pinhole::{Pinhole, PinholeId};
use crate::rules::{Permit, Policy, RuleName, Tls};

use super::action::Carriage;
use super::forms::{ActiveForm, PassiveForm};
use super::login::Before;
use super::veil::Veil;
use super::{Command, Inspector};

/// One place in the order of replies.
#[derive(Debug)]
pub(super) enum Pending {
    /// The connection itself: 220, or 120 and then 220.
    Greeting {
        /// The 120 came.
        preliminary: bool,
        /// What the client does not see of it, by the rules that the session began with.
        veil: Option<Veil>,
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
    /// What the client does not see of the reply.
    pub(super) veil: Option<Arc<Veil>>,
    /// What a transfer without a pinhole holds of its rule's limits.
    pub(super) permit: Permit,
    /// A 1yz came (protocol rule 24: at most one).
    pub(super) preliminary: bool,
}

/// What the final reply decides.
#[derive(Debug)]
pub(super) enum Expects {
    /// Nothing beyond itself.
    Anything,
    /// USER, PASS, ACCT: 230 means logged in. USER that is refused leaves who was there before.
    Login(Option<Box<Before>>),
    /// REIN: 220 means nobody is logged in.
    Reinitialised,
    /// HOST: 220 means that these rules hold.
    HostTaken(Arc<str>),
    /// AUTH: 234 means that TLS begins.
    Secured(Tls),
    /// CWD, CDUP: 2yz means that this is the directory.
    Entered(Vec<u8>),
    /// PWD: 257 names the directory.
    Located,
    /// EPSV ALL: 4yz and 5yz take it back, unless it held before.
    EpsvAll { held: bool },
    /// PORT or EPRT: 2yz opens the pinhole.
    Acceptance(Announcement),
    /// PASV or EPSV: 227 or 229 opens the pinhole.
    PassiveReply(PassiveRequest),
    /// A command with a data connection: its end, and the pinhole for it.
    TransferEnd(Option<PinholeId>),
}

/// What PORT or EPRT announced and what it became.
#[derive(Clone, Debug)]
pub(super) struct Announcement {
    pub(super) id: PinholeId,
    pub(super) pinhole: Pinhole,
    pub(super) carriage: Carriage,
    pub(super) announced: SocketAddr,
    /// In which form the server was told.
    pub(super) form: ActiveForm,
    /// It stands although the server has not accepted (`pinhole-opens: immediate`).
    pub(super) opened: bool,
}

/// What the client asked and what the server was asked.
#[derive(Clone, Debug)]
pub(super) struct PassiveRequest {
    pub(super) command: Command,
    pub(super) asked: PassiveForm,
    pub(super) sent: PassiveForm,
    pub(super) carriage: Carriage,
    /// Ports that the server announced and the rules refuse.
    pub(super) refused: u8,
}

impl Pending {
    /// The greeting, which is waited for first.
    pub(super) fn greeting(policy: &Policy) -> Self {
        Self::Greeting {
            preliminary: false,
            veil: Veil::of_greeting(policy),
        }
    }

    /// A command that has just gone to the server.
    pub(super) fn waiting(command: Command, rule: Arc<RuleName>, expects: Expects) -> Self {
        Self::Forwarded(Box::new(Forwarded {
            command,
            rule,
            expects,
            veil: None,
            permit: Permit::default(),
            preliminary: false,
        }))
    }

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

    pub(super) fn is_abor(&self) -> bool {
        match self {
            Self::Forwarded(forwarded) => forwarded.command.verb == Verb::Abor,
            Self::Greeting { .. } | Self::Locating | Self::Answered(_) => false,
        }
    }

    /// Whether the last line of the reply may become another, with another code: the lines before it
    /// are kept from the client, who would wait for the end that they promise.
    pub(super) fn may_be_replaced(&self) -> bool {
        self.expects().is_some_and(|expects| {
            matches!(
                expects,
                Expects::Acceptance(_)
                    | Expects::PassiveReply(_)
                    | Expects::EpsvAll { .. }
                    | Expects::HostTaken(_)
            )
        })
    }

    /// A transfer that the server has begun: until it ends, other replies may come before its own.
    fn is_running_transfer(&self) -> bool {
        match self {
            Self::Forwarded(forwarded) => {
                forwarded.preliminary && matches!(forwarded.expects, Expects::TransferEnd(_))
            }
            Self::Greeting { .. } | Self::Locating | Self::Answered(_) => false,
        }
    }

    /// Whether what follows depends on this reply, so that no later command may be looked at first.
    pub(super) fn holds_client(&self) -> bool {
        match self {
            Self::Answered(_) => false,
            Self::Greeting { .. } | Self::Locating => true,
            Self::Forwarded(forwarded) => match forwarded.expects {
                Expects::Login(_)
                | Expects::Reinitialised
                | Expects::HostTaken(..)
                | Expects::Secured(_)
                | Expects::Entered(_)
                | Expects::Located
                | Expects::Acceptance(_)
                | Expects::PassiveReply(_) => true,
                Expects::Anything | Expects::EpsvAll { .. } | Expects::TransferEnd(_) => false,
            },
        }
    }
}

impl Inspector {
    /// The place that a reply answers: the oldest, except that STAT and its like are answered while
    /// a transfer runs, with codes that no transfer ends with (RFC 959 §4.1.3, §5.4).
    fn answered_place(&self, code: u16) -> usize {
        let running = self
            .pending
            .front()
            .is_some_and(Pending::is_running_transfer);
        if running && matches!(code, 200 | 202 | 211..=215) {
            let asked = self.pending.iter().position(|pending| {
                pending
                    .expects()
                    .is_some_and(|expects| matches!(expects, Expects::Anything))
            });
            return asked.unwrap_or_default();
        }
        0
    }

    /// What a reply answers, or a text line of it.
    pub(super) fn answered(&self, code: u16) -> Option<&Pending> {
        self.pending.get(self.answered_place(code))
    }

    /// Takes what a final reply answers.
    pub(super) fn take_answered(&mut self, code: u16) -> Option<Pending> {
        let place = self.answered_place(code);
        self.pending.remove(place)
    }
}

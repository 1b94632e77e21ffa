//! Policies: rules as written in YAML, compiled, and asked for a verdict.
//!
//! Pure: a policy decides from the [`Request`] alone. First match decides; no match is a deny by the
//! built-in rule `default`.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::ftp::Verb;

/// One command about to be carried out, as the rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The listener that took the session.
    pub listener: &'a str,
    /// The address that dialled the control connection.
    pub client: IpAddr,
    /// The server's own address.
    pub server: IpAddr,
    /// The name given in USER; `None` before it.
    pub user: Option<&'a str>,
    /// The command's verb.
    pub verb: &'a Verb,
    /// The first word after SITE, in upper case; `None` for other verbs.
    pub site: Option<&'a str>,
    /// The address that PORT or EPRT announces where it is not the client's own (FXP). Only rules
    /// that name it in `fxp` allow such a command.
    pub foreign: Option<IpAddr>,
    /// The resolved path, absolute where the directory is known; `None` for commands without one.
    pub path: Option<&'a [u8]>,
    /// Whether the control connection was ever encrypted.
    pub channel: Channel,
    /// The host that HOST named and the server did not refuse; `None` before it.
    pub host: Option<&'a str>,
    /// The instant of the command. Where it is not known, a rule with `when` holds if it denies and
    /// does not if it allows.
    pub at: Option<Timestamp>,
}

impl<'a> Request<'a> {
    /// A command without argument, before USER and HOST, in plain text, at an unknown time.
    pub fn new(listener: &'a str, client: IpAddr, server: IpAddr, verb: &'a Verb) -> Self {
        Self {
            listener,
            client,
            server,
            user: None,
            verb,
            site: None,
            foreign: None,
            path: None,
            channel: Channel::Plain,
            host: None,
            at: None,
        }
    }
}

/// How a control connection that can be read came to be so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// It was in plain text from the start.
    #[default]
    Plain,
    /// It was encrypted, and CCC has ended that (RFC 4217 §6).
    Cleared,
}

impl Channel {
    /// Each with its name in policies.
    pub const NAMED: [(&'static str, Self); 2] =
        [("plain", Self::Plain), ("cleared", Self::Cleared)];
}

/// Who dials the data connection that a command announces or asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferMode {
    /// The server: PORT, EPRT, LPRT.
    Active,
    /// The client: PASV, EPSV, LPSV.
    Passive,
}

impl TransferMode {
    /// Each with its name in policies.
    pub const NAMED: [(&'static str, Self); 2] =
        [("active", Self::Active), ("passive", Self::Passive)];

    /// Gives the mode that a command is about; `None` where it is about none.
    pub fn of(verb: &Verb) -> Option<Self> {
        if matches!(verb, Verb::Port | Verb::Eprt | Verb::Lprt) {
            Some(Self::Active)
        } else if matches!(verb, Verb::Pasv | Verb::Epsv | Verb::Lpsv) {
            Some(Self::Passive)
        } else {
            None
        }
    }
}

/// How loud a decision is on the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loudness {
    /// What is allowed leaves no line and no event of the decision, and counts for the rule all the
    /// same; transfers and pinholes keep theirs.
    Quiet,
    /// Every decision is recorded; a deny is an alert.
    #[default]
    Normal,
    /// What is allowed is an alert as well.
    Alert,
}

impl Loudness {
    /// Each with its name in policies.
    pub const NAMED: [(&'static str, Self); 3] = [
        ("quiet", Self::Quiet),
        ("normal", Self::Normal),
        ("alert", Self::Alert),
    ];
}

/// What a rule says to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The command is forwarded.
    Allow,
    /// The command is answered here, with this complete reply line (`550 …`, no line end).
    Deny(Arc<str>),
}

/// Names a rule and the place where it is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleName {
    /// The rule's stable id.
    pub id: String,
    /// File and line, `rules/edge.yaml:14`; `built-in` for the default rule.
    pub at: String,
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.id, self.at)
    }
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub decision: Decision,
    /// The one rule that decided.
    pub rule: Arc<RuleName>,
    /// What the rule grants beyond the command itself.
    pub grants: Grants,
    /// How loud it is on the record; a deny is never quiet.
    pub audit: Loudness,
    /// The limit that refuses what the rule allows; a policy alone never says one.
    pub limit: Option<Refusal>,
}

mod class;
mod commands;
mod compile;
mod explain;
mod field;
mod glob;
mod grants;
mod index;
mod keys;
mod limits;
mod lint;
mod meters;
mod networks;
mod policy;
mod protocol;
mod rule;
mod text;
mod when;

/// Gives the JSON Schema of policy files.
pub fn schema() -> serde_json::Value {
    keys::POLICY.document("Policy of portcullis")
}

pub use class::Class;
pub(crate) use compile::{is_name, rate_of_count};
pub use explain::{Excerpt, Explanation, PassedOver, WrittenRule, explain, written_rule};
pub use field::Field;
pub(crate) use glob::Glob;
pub use grants::{DataPath, Grants, Mask, Tls, Window};
pub use limits::{Cause, Limit, Limits, Measure, Per, Period, Rate, Refusal};
pub use meters::{Asking, MAX_COUNTS, Meters, Permit};
pub use policy::Policy;
pub use protocol::{FIRST_PORT, Protocol, Reaction};

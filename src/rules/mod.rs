//! Policies: rules as written in YAML, compiled, and asked for a verdict.
//!
//! Pure: a policy decides from the [`Request`] alone. First match decides; no match is a deny by the
//! built-in rule `default`.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

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
}

mod class;
mod commands;
mod compile;
mod glob;
mod grants;
mod index;
mod networks;
mod policy;
mod protocol;
mod rule;
mod text;

pub use class::Class;
pub(crate) use compile::is_name;
pub(crate) use glob::Glob;
pub use grants::{DataPath, Grants, Mask, Tls, Window};
pub use policy::Policy;
pub use protocol::{Protocol, Reaction};

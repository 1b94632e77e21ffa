//! One rule, usable: its conditions and what it says.

use std::sync::Arc;

use crate::ftp::Verb;

use super::commands::Commands;
use super::glob::Glob;
use super::networks::Networks;
use super::{Class, Grants, Request, RuleName};

/// One entry of a policy; a condition that is `None` was not written and holds for everything.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) name: Arc<RuleName>,
    pub(super) action: RuleAction,
    pub(super) client: Option<Networks>,
    pub(super) server: Option<Networks>,
    pub(super) listeners: Option<Vec<String>>,
    pub(super) users: Option<Vec<Glob>>,
    pub(super) commands: Option<Commands>,
    pub(super) paths: Option<Vec<Glob>>,
    /// Foreign addresses that PORT and EPRT may announce; only such commands match then.
    pub(super) fxp: Option<Networks>,
    pub(super) grants: Grants,
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RuleAction {
    Allow,
    /// With the reply line, or the one that fits the command.
    Deny(Option<Arc<str>>),
}

impl Rule {
    /// Whether every condition holds.
    pub(super) fn matches(&self, request: &Request<'_>, class: Class) -> bool {
        self.matches_foreign(request)
            && self.matches_command(request, class)
            && holds(&self.listeners, |listeners| {
                listeners.iter().any(|name| name == request.listener)
            })
            && holds(&self.client, |nets| nets.contains(request.client))
            && holds(&self.server, |nets| nets.contains(request.server))
            && holds(&self.users, |users| {
                request
                    .user
                    .is_some_and(|user| users.iter().any(|glob| glob.matches(user.as_bytes())))
            })
            && holds(&self.paths, |paths| {
                request
                    .path
                    .is_some_and(|path| paths.iter().any(|glob| self.covers(glob, path)))
            })
    }

    /// Whether some command with this verb can match, whoever sends it.
    pub(super) fn can_match(&self, verb: &Verb) -> bool {
        let has_path = verb.takes_path() || matches!(verb, Verb::Cdup | Verb::Xcup);
        let class = Class::of(verb, has_path);
        holds(&self.commands, |commands| {
            commands.contains(verb, class, None)
        }) && (has_path || self.paths.is_none())
            && (announces_address(verb) || self.fxp.is_none())
    }

    /// Whether nothing is asked; a deny is then the end, an allow leaves foreign addresses (FXP).
    pub(super) fn is_catch_all(&self) -> bool {
        self.commands.is_none() && self.asks_no_more_than_command()
    }

    /// Whether the command is all that is asked.
    pub(super) fn asks_no_more_than_command(&self) -> bool {
        self.client.is_none()
            && self.server.is_none()
            && self.listeners.is_none()
            && self.users.is_none()
            && self.paths.is_none()
            && self.fxp.is_none()
    }

    pub(super) fn allows(&self) -> bool {
        self.action == RuleAction::Allow
    }

    /// A foreign address is allowed by rules that name it and by no others; any rule may deny it.
    fn matches_foreign(&self, request: &Request<'_>) -> bool {
        match (&self.fxp, request.foreign) {
            (None, None) => true,
            (None, Some(_)) => !self.allows(),
            (Some(_), None) => false,
            (Some(nets), Some(address)) => nets.contains(address),
        }
    }

    fn matches_command(&self, request: &Request<'_>, class: Class) -> bool {
        holds(&self.commands, |commands| {
            commands.contains(request.verb, class, request.site)
        })
    }

    /// A path whose folder is not known may lie anywhere: a deny covers it, an allow does not.
    fn covers(&self, glob: &Glob, path: &[u8]) -> bool {
        if glob.is_absolute() && path.first() != Some(&b'/') {
            return !self.allows();
        }
        glob.matches_path(path)
    }
}

/// Whether the verb's argument is an address, so that it can be a foreign one.
fn announces_address(verb: &Verb) -> bool {
    matches!(verb, Verb::Port | Verb::Eprt | Verb::Lprt)
}

fn holds<T>(condition: &Option<T>, test: impl FnOnce(&T) -> bool) -> bool {
    condition.as_ref().is_none_or(test)
}

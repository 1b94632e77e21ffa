//! One rule, usable: its conditions and what it says.

use std::sync::Arc;

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
        self.matches_command(request, class)
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

    /// Whether nothing is asked, so that no later rule is ever reached.
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
    }

    pub(super) fn allows(&self) -> bool {
        self.action == RuleAction::Allow
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

fn holds<T>(condition: &Option<T>, test: impl FnOnce(&T) -> bool) -> bool {
    condition.as_ref().is_none_or(test)
}

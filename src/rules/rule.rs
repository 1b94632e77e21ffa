//! One rule, usable: its conditions, what it says, and where each part of it is written.

use std::ops::Range;
use std::sync::Arc;

use crate::ftp::{Argument, Verb};

use super::commands::Commands;
use super::glob::Glob;
use super::networks::Networks;
use super::when::{Clock, Times};
use super::{Channel, Class, Field, Grants, Loudness, Request, RuleName, TransferMode};

/// One entry of a policy; a condition that is `None` was not written and holds for everything.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) name: Arc<RuleName>,
    pub(super) action: RuleAction,
    pub(super) client: Option<Networks>,
    pub(super) server: Option<Networks>,
    pub(super) listeners: Option<Vec<String>>,
    /// In lower case, as hosts come.
    pub(super) hosts: Option<Vec<Glob>>,
    pub(super) users: Option<Vec<Glob>>,
    pub(super) commands: Option<Commands>,
    pub(super) mode: Option<TransferMode>,
    pub(super) channel: Option<Channel>,
    pub(super) paths: Option<Vec<Glob>>,
    pub(super) times: Option<Times>,
    /// Foreign addresses that PORT and EPRT may announce; only such commands match then.
    pub(super) fxp: Option<Networks>,
    pub(super) grants: Grants,
    pub(super) audit: Loudness,
    pub(super) places: Places,
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RuleAction {
    Allow,
    /// With the reply line, or the one that fits the command.
    Deny(Option<Arc<str>>),
}

/// Where a rule and its conditions are written, in bytes of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// The whole rule.
    pub(super) whole: Range<usize>,
    /// Its first key.
    pub(super) head: Range<usize>,
    /// What stands behind `allow` or `deny`.
    pub(super) action: Range<usize>,
    /// The value of each condition.
    pub(super) conditions: Vec<Condition>,
}

/// A condition as it is written.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) field: Field,
    pub(super) span: Range<usize>,
    /// Its single values, with their places.
    pub(super) items: Vec<(String, Range<usize>)>,
}

impl Places {
    /// A condition, where it is written.
    pub(super) fn of(&self, field: Field) -> Option<&Condition> {
        self.conditions
            .iter()
            .find(|written| written.field == field)
    }
}

impl Rule {
    /// A rule that is written nowhere and asks nothing.
    pub(super) fn built_in(name: Arc<RuleName>, action: RuleAction) -> Self {
        Self {
            name,
            action,
            client: None,
            server: None,
            listeners: None,
            hosts: None,
            users: None,
            commands: None,
            mode: None,
            channel: None,
            paths: None,
            times: None,
            fxp: None,
            grants: Grants::default(),
            audit: Loudness::default(),
            places: Places::default(),
        }
    }

    /// Whether every condition holds.
    pub(super) fn matches(&self, request: &Request<'_>, class: Class) -> bool {
        self.matches_by(request, class, request.at.map(Clock::at).as_ref())
    }

    /// The same by a clock that other rules were asked by: no mismatch, without going by the names of
    /// the conditions, most of which are not written.
    pub(super) fn matches_by<'a>(
        &'a self,
        request: &Request<'_>,
        class: Class,
        clock: Option<&Clock<'a>>,
    ) -> bool {
        let holds = |field| self.holds(field, request, class, clock);
        holds(Field::Command)
            && holds(Field::Mode)
            && holds(Field::Fxp)
            && holds(Field::Channel)
            && holds(Field::Listener)
            && holds(Field::Client)
            && holds(Field::Server)
            && holds(Field::Host)
            && holds(Field::User)
            && holds(Field::Path)
            && holds(Field::When)
    }

    /// The first condition that does not hold.
    pub(super) fn mismatch(&self, request: &Request<'_>, class: Class) -> Option<Field> {
        let mut fields = Field::ALL.into_iter();
        let clock = request.at.map(Clock::at);
        fields.find(|field| !self.holds(*field, request, class, clock.as_ref()))
    }

    /// Whether one condition holds.
    // In place, which of them is known: what is not written costs a comparison.
    #[inline(always)]
    fn holds<'a>(
        &'a self,
        field: Field,
        request: &Request<'_>,
        class: Class,
        clock: Option<&Clock<'a>>,
    ) -> bool {
        match field {
            Field::Fxp => self.matches_foreign(request),
            Field::Command => holds(&self.commands, |commands| {
                commands.contains(request.verb, class, request.site)
            }),
            Field::Mode => holds(&self.mode, |mode| {
                TransferMode::of(request.verb) == Some(*mode)
            }),
            Field::Channel => holds(&self.channel, |channel| *channel == request.channel),
            Field::Listener => holds(&self.listeners, |listeners| {
                listeners.iter().any(|name| name == request.listener)
            }),
            Field::Client => holds(&self.client, |nets| nets.contains(request.client)),
            Field::Server => holds(&self.server, |nets| nets.contains(request.server)),
            Field::Host => holds(&self.hosts, |hosts| any_matches(hosts, request.host)),
            Field::User => holds(&self.users, |users| any_matches(users, request.user)),
            Field::Path => holds(&self.paths, |paths| {
                request
                    .path
                    .is_some_and(|path| paths.iter().any(|glob| self.covers(glob, path)))
            }),
            Field::When => holds(&self.times, |times| match clock {
                Some(clock) => times.contain(clock),
                None => !self.allows(),
            }),
        }
    }

    /// Whether some command with this verb can match, whoever sends it.
    pub(super) fn can_match(&self, verb: &Verb) -> bool {
        let has_path = names_path(verb);
        let class = Class::of(verb, has_path);
        holds(&self.commands, |commands| {
            commands.contains(verb, class, None)
        }) && (has_path || self.paths.is_none())
            && (announces_address(verb) || self.fxp.is_none())
            && holds(&self.mode, |mode| TransferMode::of(verb) == Some(*mode))
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
            && self.hosts.is_none()
            && self.users.is_none()
            && self.mode.is_none()
            && self.channel.is_none()
            && self.paths.is_none()
            && self.times.is_none()
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

    /// A path whose folder is not known may lie anywhere: a deny covers it, an allow does not.
    fn covers(&self, glob: &Glob, path: &[u8]) -> bool {
        if glob.is_absolute() && path.first() != Some(&b'/') {
            return !self.allows();
        }
        glob.matches_path(path)
    }
}

/// Whether the verb's argument is an address, so that it can be a foreign one.
pub(super) fn announces_address(verb: &Verb) -> bool {
    TransferMode::of(verb) == Some(TransferMode::Active)
}

/// Whether commands with this verb name a path that rules see.
pub(super) fn names_path(verb: &Verb) -> bool {
    match verb.argument() {
        Argument::Pathname
        | Argument::OptionalPathname
        | Argument::OptionsAndPathname
        | Argument::FactsAndPathname
        | Argument::Parent => true,
        Argument::Secret | Argument::FreeText | Argument::Other => false,
    }
}

fn any_matches(globs: &[Glob], text: Option<&str>) -> bool {
    text.is_some_and(|text| globs.iter().any(|glob| glob.matches(text.as_bytes())))
}

fn holds<'a, T>(condition: &'a Option<T>, test: impl FnOnce(&'a T) -> bool) -> bool {
    condition.as_ref().is_none_or(test)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::rules::Policy;

    use super::*;

    const POLICY: &str = "rules:
  - { id: command, allow: true, command: RETR }
  - { id: mode, allow: true, mode: passive }
  - { id: channel, allow: true, channel: cleared }
  - { id: listener, allow: true, listener: wan }
  - { id: client, allow: true, client: 10.0.0.1 }
  - { id: server, allow: true, server: 192.0.2.1 }
  - { id: fxp, allow: true, fxp: 203.0.113.1 }
  - { id: host, allow: true, host: a.example }
  - { id: user, allow: true, user: anna }
  - { id: path, allow: true, path: /in/** }
  - { id: when, allow: true, when: { from: 00:00, to: '24:00', zone: UTC } }
";

    #[test]
    fn a_rule_matches_where_no_condition_mismatches() {
        let policy = Policy::parse("f", POLICY).unwrap_or_else(|problems| panic!("{problems}"));
        let other = Request::new(
            "lan",
            [10, 0, 0, 2].into(),
            [192, 0, 2, 2].into(),
            &Verb::Pasv,
        );
        let requests = [
            other,
            Request {
                listener: "wan",
                client: [10, 0, 0, 1].into(),
                server: [192, 0, 2, 1].into(),
                verb: &Verb::Retr,
                channel: Channel::Cleared,
                host: Some("a.example"),
                user: Some("anna"),
                path: Some(b"/in/a"),
                at: Some("2026-11-20T15:12:44Z".parse().unwrap()),
                ..other
            },
            Request {
                verb: &Verb::Port,
                foreign: Some([203, 0, 113, 1].into()),
                ..other
            },
        ];
        let (mut matched, mut missed) = (BTreeSet::new(), BTreeSet::new());
        for rule in policy.rules() {
            for request in &requests {
                let class = Class::of(request.verb, request.path.is_some());
                let mismatch = rule.mismatch(request, class);
                assert_eq!(rule.matches(request, class), mismatch.is_none());
                match mismatch {
                    Some(field) => missed.insert(field.name()),
                    None => matched.insert(rule.name.id.as_str()),
                };
            }
        }
        // Each of the conditions holds somewhere, and somewhere it alone does not.
        let all: BTreeSet<&str> = Field::ALL.map(Field::name).into();
        assert_eq!((matched, missed), (all.clone(), all));
    }
}

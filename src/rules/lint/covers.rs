//! Whether one rule matches everything that another matches, condition by condition.
//!
//! Where it says yes it is certain; where it cannot be certain it says no. Times count as known.

use crate::ftp::Verb;

use super::super::commands::Commands;
use super::super::glob::Glob;
use super::super::rule::{Rule, announces_address, names_path};
use super::super::{Class, Field, TransferMode};

/// Whether `first` matches all that `second` matches.
pub(super) fn covers(first: &Rule, second: &Rule) -> bool {
    Field::ALL
        .into_iter()
        .all(|field| covers_in(field, first, second))
}

/// Whether `first` matches all that `second` matches, but for the conditions given.
pub(super) fn covers_but(but: Field, first: &Rule, second: &Rule) -> bool {
    let mut rest = Field::ALL.into_iter().filter(|field| *field != but);
    rest.all(|field| covers_in(field, first, second))
}

fn covers_in(field: Field, first: &Rule, second: &Rule) -> bool {
    match field {
        Field::Command => first
            .commands
            .as_ref()
            .is_none_or(|ours| covers_commands(ours, second)),
        Field::Mode => first.mode.is_none_or(|mode| {
            second.mode == Some(mode) || only(second, |verb| TransferMode::of(verb) == Some(mode))
        }),
        Field::Fxp => match (&first.fxp, &second.fxp) {
            (Some(ours), Some(theirs)) => ours.covers(Some(theirs)),
            (Some(_), None) => false,
            (None, _) if !first.allows() => true,
            // An allow leaves foreign addresses to others.
            (None, Some(_)) => false,
            (None, None) => second.allows() || !announces(second),
        },
        Field::Channel => first
            .channel
            .is_none_or(|ours| second.channel == Some(ours)),
        Field::Listener => match (&first.listeners, &second.listeners) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => theirs.iter().all(|name| ours.contains(name)),
        },
        Field::Client => first
            .client
            .as_ref()
            .is_none_or(|ours| ours.covers(second.client.as_ref())),
        Field::Server => first
            .server
            .as_ref()
            .is_none_or(|ours| ours.covers(second.server.as_ref())),
        Field::Host => covers_names(first.hosts.as_deref(), second.hosts.as_deref()),
        Field::User => covers_names(first.users.as_deref(), second.users.as_deref()),
        Field::Path => match (&first.paths, &second.paths) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => theirs.iter().all(|narrow| {
                ours.iter()
                    .any(|wide| covers_path(first, wide, second, narrow))
            }),
        },
        Field::When => match (&first.times, &second.times) {
            (None, _) => true,
            (Some(ours), None) => ours.is_always(),
            (Some(ours), Some(theirs)) => ours.cover(theirs),
        },
    }
}

fn covers_commands(ours: &Commands, second: &Rule) -> bool {
    let all = Commands::all();
    if ours.covers(second.commands.as_ref().unwrap_or(&all)) {
        return true;
    }
    // A path, a mode or a foreign address leaves only verbs that are known.
    let narrowed = second.paths.is_some() || second.mode.is_some() || second.fxp.is_some();
    narrowed
        && Verb::KNOWN
            .iter()
            .filter(|verb| second.can_match(verb))
            .all(|verb| {
                let classes = [second.paths.is_some(), names_path(verb)];
                let mut classes = classes.into_iter().map(|path| Class::of(verb, path));
                classes.all(|class| ours.contains(verb, class, None))
            })
}

/// Whether every command that a rule can match has a verb that passes.
fn only(rule: &Rule, pass: impl Fn(&Verb) -> bool) -> bool {
    let known = Verb::KNOWN.iter().filter(|verb| rule.can_match(verb));
    let named = rule.commands.as_ref().is_some_and(|commands| {
        use super::super::commands::CommandKey;
        commands.keys().all(|key| match key {
            CommandKey::Class(class) => !matches!(class, Class::Unknown | Class::Admin),
            CommandKey::Verb(verb) => pass(&verb),
            CommandKey::SiteWord(_) => false,
        })
    });
    (named || rule.fxp.is_some()) && known.into_iter().all(pass)
}

fn announces(rule: &Rule) -> bool {
    let mut verbs = Verb::KNOWN.iter().filter(|verb| announces_address(verb));
    verbs.any(|verb| rule.can_match(verb))
}

/// A rule that names users or hosts does not match before there is one.
fn covers_names(ours: Option<&[Glob]>, theirs: Option<&[Glob]>) -> bool {
    match (ours, theirs) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(ours), Some(theirs)) => theirs
            .iter()
            .all(|narrow| ours.iter().any(|wide| wide.covers(narrow))),
    }
}

/// A deny from the root also matches every path of unknown folder, and an allow none of them.
fn covers_path(first: &Rule, wide: &Glob, second: &Rule, narrow: &Glob) -> bool {
    let all_unknown = !second.allows() && narrow.is_absolute();
    let some_unknown = all_unknown || !narrow.is_absolute();
    let unknown_covered = match (wide.is_absolute(), first.allows()) {
        (true, true) => !some_unknown,
        (true, false) => true,
        (false, _) => !all_unknown || wide.covers(&Glob::path("**")),
    };
    unknown_covered && wide.covers(narrow)
}

//! One rule alone: conditions that no command meets, and replies that do not fit the commands they
//! answer.

use crate::ftp::Verb;
use crate::yaml::{Report, quoted};

use super::super::commands::Commands;
use super::super::rule::{Rule, RuleAction, names_path};
use super::super::{Class, Field};

/// Warns of what in one rule hardly means anything.
pub(super) fn warn(rule: &Rule, report: &mut Report) {
    let matched = Verb::KNOWN.iter().any(|verb| rule.can_match(verb));
    if !matched && let Some(written) = rule.places.of(Field::Path) {
        let message = "`path` in a rule whose commands name no path; it never matches";
        let help = "take `path` out, or add commands that name one, such as the classes list, read and write";
        report.warn(written.span.clone(), message, help);
    } else if !matched && let Some(written) = rule.places.of(Field::Mode) {
        let message =
            "`mode` in a rule whose commands announce no data connection; it never matches";
        let help = "take `mode` out, or add the class `data` to `command`";
        report.warn(written.span.clone(), message, help);
    } else {
        warn_of_pathless(rule, report);
    }
    warn_of_code(rule, report);
}

/// Tells commands that a `path` beside them keeps from ever matching.
fn warn_of_pathless(rule: &Rule, report: &mut Report) {
    let Some(written) = rule
        .places
        .of(Field::Command)
        .filter(|_| rule.paths.is_some())
    else {
        return;
    };
    for (text, span) in &written.items {
        let mut commands = Commands::default();
        // What is no known verb names no path either.
        let _ = commands.add(text);
        let named = |verb: &&Verb| {
            let with_path = commands.contains(verb, Class::of(verb, true), None);
            with_path && names_path(verb)
        };
        if !Verb::KNOWN.iter().any(|verb| named(&verb)) {
            let message = format!("{} names no path, so it never matches here", quoted(text));
            let help = "a rule with `path` matches only commands that name one; put it in a rule of its own";
            report.warn(span.clone(), message, help);
        }
    }
}

/// Codes and the commands that they do not answer (RFC 959 §4.2.1, §5.4, RFC 2228 §5).
const MISFITS: [(&[Verb], &str, &[&str], &str); 3] = [
    (
        &[Verb::User, Verb::Pass, Verb::Acct],
        "530",
        &["450", "451", "452", "550", "551", "552", "553"],
        "codes with 5 in the middle speak of files; write `530` and the text, as for a login that fails",
    ),
    (
        &[Verb::Auth],
        "534",
        &["450", "451", "452", "550", "551", "552", "553"],
        "codes with 5 in the middle speak of files; write `534`, a refusal for reasons of policy",
    ),
    (
        &[
            Verb::Retr,
            Verb::List,
            Verb::Nlst,
            Verb::Mlsd,
            Verb::Dele,
            Verb::Rmd,
            Verb::Cwd,
        ],
        "550",
        &["452", "552", "553"],
        "that code speaks of a file to be stored; write `550` and the text",
    ),
];

/// Tells a reply whose code says something else to the client than that the command is not allowed.
///
/// Only commands that the rule names count: a deny of everything answers whatever is left.
fn warn_of_code(rule: &Rule, report: &mut Report) {
    let (Some(commands), RuleAction::Deny(Some(reply))) = (&rule.commands, &rule.action) else {
        return;
    };
    let code = reply.split(' ').next().unwrap_or_default();
    for (verbs, right, wrong, help) in MISFITS {
        if !wrong.contains(&code) {
            continue;
        }
        let answered: Vec<&str> = verbs
            .iter()
            .filter(|verb| rule.can_match(verb))
            .filter(|verb| commands.contains(verb, Class::of(verb, true), None))
            .map(Verb::as_str)
            .collect();
        if !answered.is_empty() {
            let message = format!(
                "the code {code} answers {}, which want {right}",
                answered.join(", ")
            );
            report.warn(rule.places.action.clone(), message, help);
            return;
        }
    }
}

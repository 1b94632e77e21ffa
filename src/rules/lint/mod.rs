//! What a policy hardly means, though it can be used: rules that nothing reaches, rules against one
//! another, conditions and replies that do not fit their commands.
//!
//! Only what is certain is told. Everything here is a warning.

mod covers;
mod order;
mod sample;
mod sense;

use crate::ftp::Verb;
use crate::yaml::{Node, Report};

use super::Class;
use super::index::Index;
use super::rule::Rule;

/// Warns of everything that can be seen from the rules of one policy; `node` is their list.
pub(super) fn warn(rules: &[Rule], index: &Index, node: &Node, report: &mut Report) {
    warn_of_no_login(rules, node, report);
    order::warn(rules, index, report);
    for rule in rules {
        sense::warn(rule, report);
    }
}

/// Without USER no session gets anywhere; a policy that never allows it was hardly meant.
fn warn_of_no_login(rules: &[Rule], node: &Node, report: &mut Report) {
    let names_user = |rule: &Rule| {
        rule.fxp.is_none()
            && rule.mode.is_none()
            && rule
                .commands
                .as_ref()
                .is_none_or(|commands| commands.contains(&Verb::User, Class::Login, None))
    };
    let decisive = rules
        .iter()
        .filter(|rule| names_user(rule))
        .find(|rule| (rule.allows() && rule.paths.is_none()) || rule.asks_no_more_than_command());
    if !decisive.is_some_and(Rule::allows) {
        let message = "no rule lets anybody say USER, so nobody can log in";
        let help = "allow the class `basic` (login, session, data and navigate)";
        report.warn(node.head(), message, help);
    }
}

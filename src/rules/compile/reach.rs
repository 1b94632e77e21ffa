//! What a policy as a whole hardly means: rules that nothing reaches, and nobody let in.

use crate::ftp::Verb;
use crate::yaml::Node;

use super::super::Class;
use super::super::rule::Rule;
use super::Compiler;

impl Compiler<'_> {
    pub(super) fn warn_of_unreachable(&mut self, rules: &[Rule], items: &[Node]) {
        let Some(last) = rules.iter().position(Rule::is_catch_all) else {
            return;
        };
        let Some(all) = rules.get(last) else { return };
        for (rule, item) in rules.iter().zip(items).skip(last + 1) {
            let message = format!("the rule `{}` is never reached", rule.name.id);
            let help = format!(
                "`{}` before it matches everything; move it to the end",
                all.name
            );
            self.report.warn(item.head(), message, help);
        }
    }

    /// Without USER no session gets anywhere; a policy that never allows it was hardly meant.
    pub(super) fn warn_of_no_login(&mut self, rules: &[Rule], node: &Node) {
        let names_user = |rule: &Rule| {
            rule.commands
                .as_ref()
                .is_none_or(|commands| commands.contains(&Verb::User, Class::Login, None))
        };
        let decisive = rules.iter().filter(|rule| names_user(rule)).find(|rule| {
            (rule.allows() && rule.paths.is_none()) || rule.asks_no_more_than_command()
        });
        if !decisive.is_some_and(Rule::allows) {
            let message = "no rule lets anybody say USER, so nobody can log in";
            let help = "allow the class `basic` (login, session, data and navigate)";
            self.report.warn(node.head(), message, help);
        }
    }
}

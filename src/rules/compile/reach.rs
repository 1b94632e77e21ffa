//! What a policy as a whole hardly means: rules that nothing reaches, and nobody let in.

use crate::ftp::Verb;
use crate::yaml::Node;

use super::super::Class;
use super::super::rule::Rule;
use super::Compiler;

impl Compiler<'_> {
    /// Behind a rule that matches everything nothing is reached; behind one that allows everything,
    /// only commands that announce foreign addresses are (FXP), which it does not allow.
    pub(super) fn warn_of_unreachable(&mut self, rules: &[Rule], items: &[Node]) {
        let mut before: Option<&Rule> = None;
        for (rule, item) in rules.iter().zip(items) {
            let Some(all) = before else {
                before = rule.is_catch_all().then_some(rule);
                continue;
            };
            let left = match (all.allows(), &rule.fxp) {
                (true, Some(_)) => continue,
                (true, None) if !rule.allows() && rule.can_match(&Verb::Eprt) => {
                    if rule.commands.is_some() {
                        continue;
                    }
                    "only reached by PORT and EPRT with foreign addresses"
                }
                (true | false, _) => "never reached",
            };
            let message = format!("the rule `{}` is {left}", rule.name.id);
            let help = format!(
                "`{}` before it matches everything{}; move it to the end",
                all.name,
                if left == "never reached" { "" } else { " else" }
            );
            self.report.warn(item.head(), message, help);
            if all.allows() && rule.is_catch_all() && !rule.allows() {
                before = Some(rule);
            }
        }
    }

    /// Without USER no session gets anywhere; a policy that never allows it was hardly meant.
    pub(super) fn warn_of_no_login(&mut self, rules: &[Rule], node: &Node) {
        let names_user = |rule: &Rule| {
            rule.fxp.is_none()
                && rule
                    .commands
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

//! Turns the text of a policy file into rules; a rule that exists is a rule that works.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use crate::yaml::{self, Node, Problems, Report, Source, quoted};

use super::glob::Glob;
use super::networks;
use super::protocol;
use super::rule::{Rule, RuleAction};
use super::{Protocol, RuleName};

mod action;
mod conditions;
mod grants;
mod reach;

/// Compiles a policy; gives its warnings with it.
///
/// # Errors
/// Gives every problem of the file.
pub(super) fn compile(
    source: &Arc<Source>,
    listeners: Option<&BTreeSet<String>>,
) -> Result<((Protocol, Vec<Rule>), Problems), Problems> {
    let root = yaml::parse(source)?;
    let mut compiler = Compiler {
        report: Report::new(Arc::clone(source)),
        listeners,
        groups: BTreeMap::new(),
    };
    let parts = compiler.policy(&root);
    let failed = compiler.report.has_errors();
    let problems = compiler.report.finish();
    match parts {
        Some(parts) if !failed => Ok((parts, problems)),
        _ => Err(problems),
    }
}

struct Compiler<'a> {
    report: Report,
    listeners: Option<&'a BTreeSet<String>>,
    groups: BTreeMap<&'a str, Vec<IpNet>>,
}

impl<'a> Compiler<'a> {
    fn policy(&mut self, root: &'a Node) -> Option<(Protocol, Vec<Rule>)> {
        let mut map = self.report.map(root, "the policy")?;
        let protocol = match map.optional("protocol") {
            Some(node) => protocol::read(node, &mut self.report),
            None => Protocol::default(),
        };
        if let Some(groups) = map.optional("groups") {
            self.read_groups(groups);
        }
        let listed = map.required("rules", &mut self.report);
        map.finish(&mut self.report);
        let node = listed?;
        let items = self.report.list(node, "`rules`")?;
        let mut lines_by_id = BTreeMap::new();
        let mut rules = Vec::with_capacity(items.len());
        for item in items {
            rules.extend(self.rule(item, &mut lines_by_id));
        }
        if rules.len() == items.len() {
            self.warn_of_unreachable(&rules, items);
            self.warn_of_no_login(&rules, node);
        }
        Some((protocol, rules))
    }

    fn read_groups(&mut self, node: &'a Node) {
        let Some(mut map) = self.report.map(node, "`groups`") else {
            return;
        };
        for (key, name, value) in map.named() {
            if !is_name(name) || networks::parse(name).is_some() {
                let message = format!("{} cannot be the name of a group", quoted(name));
                let help = "use a-z, 0-9 and . _ -, beginning with a letter or digit; no address";
                self.report.error(key.span.clone(), message, help);
            }
            let mut nets = Vec::new();
            for item in self.report.one_or_many(value, "the group") {
                nets.extend(
                    self.network(item, "a group's member", false)
                        .into_iter()
                        .flatten(),
                );
            }
            self.groups.insert(name, nets);
        }
    }

    fn rule(&mut self, item: &'a Node, lines_by_id: &mut BTreeMap<&'a str, usize>) -> Option<Rule> {
        let mut map = self.report.map(item, "the rule")?;
        let line = self.report.source().line(map.head().start);
        let id = map
            .required("id", &mut self.report)
            .and_then(|node| self.id(node, line, lines_by_id));
        let action = self.action(&mut map);
        let client = map.optional("client").map(|n| self.networks(n, "`client`"));
        let server = map.optional("server").map(|n| self.networks(n, "`server`"));
        let listeners = map.optional("listener").map(|n| self.listener_names(n));
        let users = map
            .optional("user")
            .map(|n| self.globs(n, "`user`", Glob::name));
        let commands = map.optional("command").map(|n| self.commands(n));
        let paths = map
            .optional("path")
            .map(|n| self.globs(n, "`path`", Glob::path));
        let fxp = map.keyed("fxp");
        let granted = self.grants(&mut map, fxp.map(|(key, _)| key));
        let fxp = fxp.map(|(_, node)| self.networks(node, "`fxp`"));
        map.finish(&mut self.report);
        if matches!(action, Some(RuleAction::Deny(_))) {
            self.refuse_grants(&granted);
        }
        let at = format!("{}:{line}", self.report.source().name());
        let rule = Rule {
            name: Arc::new(RuleName {
                id: id?.to_owned(),
                at,
            }),
            action: action?,
            client,
            server,
            listeners,
            users,
            commands,
            paths,
            fxp,
            grants: granted.grants.clone(),
        };
        if rule.allows() {
            self.warn_of_idle_grants(&rule, &granted);
        }
        Some(rule)
    }

    fn id(
        &mut self,
        node: &'a Node,
        line: usize,
        lines_by_id: &mut BTreeMap<&'a str, usize>,
    ) -> Option<&'a str> {
        let id = self.report.text(node, "`id`")?;
        if !is_name(id) || id == "default" {
            let message = format!("{} cannot be the id of a rule", quoted(id));
            let help = "use a-z, 0-9 and . _ -, beginning with a letter or digit; \
                        `default` is the built-in rule";
            self.report.error(node.span.clone(), message, help);
            return None;
        }
        if let Some(first) = lines_by_id.get(id) {
            let message = format!("two rules have the id `{id}`");
            let help = format!("the first one is in line {first}; records name rules by their id");
            self.report.error(node.span.clone(), message, help);
            return None;
        }
        lines_by_id.insert(id, line);
        Some(id)
    }
}

/// Whether a text can name a rule or a group.
pub(crate) fn is_name(text: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut bytes = text.bytes();
    bytes.next().is_some_and(part) && bytes.all(|byte| part(byte) || b"._-".contains(&byte))
}

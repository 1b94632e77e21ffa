//! Turns the text of a policy file into rules; a rule that exists is a rule that works.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZoneDatabase;

use crate::yaml::{self, Map, Node, Problems, Report, Source, Value, quoted};

use super::glob::Glob;
use super::index::Index;
use super::protocol;
use super::rule::{Condition, Places, Rule, RuleAction};
use super::{Channel, Field, Loudness, Protocol, RuleName, TransferMode, keys, lint};

mod action;
mod conditions;
mod grants;
mod groups;
mod limits;
mod when;

pub(crate) use limits::rate_of_count;

use groups::Groups;
pub(super) use when::DAYS;

/// What a policy file comes to.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) protocol: Protocol,
    pub(super) rules: Vec<Rule>,
    pub(super) index: Index,
}

/// Compiles a policy; gives its warnings with it.
///
/// # Errors
/// Gives every problem of the file.
pub(super) fn compile(
    source: &Arc<Source>,
    listeners: Option<&BTreeSet<String>>,
) -> Result<(Compiled, Problems), Problems> {
    let root = yaml::parse(source)?;
    let mut compiler = Compiler {
        report: Report::new(Arc::clone(source)),
        listeners,
        groups: Groups::default(),
        zones: TimeZoneDatabase::bundled(),
    };
    let compiled = compiler.policy(&root);
    let problems = compiler.report.finish();
    match compiled {
        Some(compiled) => Ok((compiled, problems)),
        None => Err(problems),
    }
}

struct Compiler<'a> {
    report: Report,
    listeners: Option<&'a BTreeSet<String>>,
    groups: Groups<'a>,
    zones: TimeZoneDatabase,
}

impl<'a> Compiler<'a> {
    /// `None` where anything in it is wrong.
    fn policy(&mut self, root: &'a Node) -> Option<Compiled> {
        let mut map = self.report.section(root, "the policy", &keys::POLICY)?;
        let protocol = match map.optional("protocol") {
            Some(node) => protocol::read(node, &mut self.report),
            None => Protocol::default(),
        };
        if let Some(groups) = map.optional("groups") {
            self.read_groups(groups);
        }
        if let Some(groups) = map.optional("user-groups") {
            self.read_user_groups(groups);
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
        // Of rules that could not be read in full nothing is certain.
        if self.report.has_errors() {
            return None;
        }
        self.warn_of_unused_groups();
        let index = Index::new(&rules);
        lint::warn(&rules, &index, node, &mut self.report);
        Some(Compiled {
            protocol,
            rules,
            index,
        })
    }

    fn rule(&mut self, item: &'a Node, lines_by_id: &mut BTreeMap<&'a str, usize>) -> Option<Rule> {
        let mut map = self.report.section(item, "the rule", &keys::RULE)?;
        let line = self.report.source().line(map.head().start);
        let id = map
            .required("id", &mut self.report)
            .and_then(|node| self.id(node, line, lines_by_id));
        let (action, action_place) = self.action(&mut map);
        let mut places = Places {
            whole: item.span.clone(),
            head: map.head(),
            action: action_place,
            ..Places::default()
        };
        let mut take = |map: &mut Map<'a>, field: Field| {
            let node = map.optional(field.name())?;
            places.conditions.push(written(field, node));
            Some(node)
        };
        let client = take(&mut map, Field::Client);
        let server = take(&mut map, Field::Server);
        let listeners = take(&mut map, Field::Listener);
        let hosts = take(&mut map, Field::Host);
        let users = take(&mut map, Field::User);
        let commands = take(&mut map, Field::Command);
        let mode = take(&mut map, Field::Mode);
        let channel = take(&mut map, Field::Channel);
        let paths = take(&mut map, Field::Path);
        let times = take(&mut map, Field::When);
        let audit = map.optional("audit");
        let fxp = map.keyed(Field::Fxp.name());
        let foreign = fxp.map(|(_, node)| written(Field::Fxp, node));
        places.conditions.extend(foreign);
        let mut granted = self.grants(&mut map, fxp);
        let limits = map.keyed("limits");
        granted.note("limits", limits);
        map.finish(&mut self.report);
        let mut rule = Rule::built_in(Arc::new(self.name(id, line)), RuleAction::Allow);
        rule.client = client.map(|n| self.networks(n, "`client`"));
        rule.server = server.map(|n| self.networks(n, "`server`"));
        rule.listeners = listeners.map(|n| self.listener_names(n));
        rule.hosts = hosts.map(|n| self.hosts(n));
        rule.users = users.map(|n| self.users(n));
        rule.commands = commands.map(|n| self.commands(n));
        rule.mode = mode.and_then(|n| self.report.choice(n, "`mode`", &TransferMode::NAMED));
        rule.channel = channel.and_then(|n| self.report.choice(n, "`channel`", &Channel::NAMED));
        rule.paths = paths.map(|n| self.globs(n, "`path`", Glob::path));
        rule.times = times.map(|n| self.times(n));
        rule.fxp = fxp.map(|(_, n)| self.networks(n, "`fxp`"));
        if matches!(action, Some(RuleAction::Deny(_))) {
            self.refuse_grants(&granted);
        }
        let loudness = audit.and_then(|n| self.report.choice(n, "`audit`", &Loudness::NAMED));
        if let (Some(RuleAction::Deny(_)), Some(Loudness::Quiet), Some(node)) =
            (&action, loudness, audit)
        {
            let help = "what is denied is always on the record; take the key out";
            let message = "`audit: quiet` in a rule that denies";
            self.report.warn(node.span.clone(), message, help);
        }
        rule.audit = loudness.unwrap_or_default();
        rule.grants = granted.grants.clone();
        rule.grants.limits = limits.and_then(|(_, node)| self.limits(node, &rule.name.id));
        rule.places = places;
        id?;
        rule.action = action?;
        if rule.allows() {
            self.warn_of_idle_grants(&rule, &granted);
            if let Some((_, node)) = limits {
                self.warn_of_idle_limits(&rule, node);
            }
        }
        Some(rule)
    }

    fn name(&self, id: Option<&str>, line: usize) -> RuleName {
        RuleName {
            id: id.unwrap_or_default().to_owned(),
            at: format!("{}:{line}", self.report.source().name()),
        }
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

fn written(field: Field, node: &Node) -> Condition {
    let nodes = match &node.value {
        Value::List(items) => items.as_slice(),
        Value::Scalar { .. } | Value::Map(_) => std::slice::from_ref(node),
    };
    let single = |node: &Node| match &node.value {
        Value::Scalar { text, .. } => Some((text.clone(), node.span.clone())),
        Value::List(_) | Value::Map(_) => None,
    };
    Condition {
        field,
        span: node.span.clone(),
        items: nodes.iter().filter_map(single).collect(),
    }
}

/// Whether a text can name a rule or a group.
pub(crate) fn is_name(text: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut bytes = text.bytes();
    bytes.next().is_some_and(part) && bytes.all(|byte| part(byte) || b"._-".contains(&byte))
}

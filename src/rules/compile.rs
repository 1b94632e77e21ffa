//! Turns the text of a policy file into rules; a rule that exists is a rule that works.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use crate::ftp::Verb;
use crate::yaml::{self, Map, Node, Problems, Report, Source, nearest, quoted};

use super::commands::{Commands, NameFault};
use super::glob::{Glob, MAX_PATTERN};
use super::networks::{self, Networks};
use super::protocol;
use super::rule::{Rule, RuleAction};
use super::{Class, Grants, Protocol, RuleName};

/// Bytes of a reply to a denied command at most.
const MAX_REPLY: usize = 400;

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
        let source_port_20 = map.keyed("source-port-20");
        let source_port_20 = source_port_20.is_some_and(|(key, node)| {
            let wanted = self.report.boolean(node, "`source-port-20`");
            if wanted == Some(true) && matches!(action, Some(RuleAction::Deny(_))) {
                let message = "`source-port-20` in a rule that denies";
                let help = "it is a condition on data connections that a rule allows";
                self.report.error(key.span.clone(), message, help);
            }
            wanted == Some(true)
        });
        map.finish(&mut self.report);
        let at = format!("{}:{line}", self.report.source().name());
        Some(Rule {
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
            grants: Grants {
                source_port_20,
                ..Grants::default()
            },
        })
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

    fn action(&mut self, map: &mut Map<'a>) -> Option<RuleAction> {
        let allow = map.keyed("allow");
        let deny = map.keyed("deny");
        match (allow, deny) {
            (Some((_, node)), None) => match self.report.boolean(node, "`allow`")? {
                true => Some(RuleAction::Allow),
                false => {
                    let help = "write `deny: true`";
                    let span = node.span.clone();
                    self.report.error(span, "`allow: false`", help);
                    None
                }
            },
            (None, Some((_, node))) => self.reply(node),
            (None, None) if map.misspells("allow") || map.misspells("deny") => None,
            (None, None) => {
                let message = "the rule says neither `allow` nor `deny`";
                let help = "add `allow: true`, `deny: true` or `deny: 550 The reason`";
                self.report.error(map.head(), message, help);
                None
            }
            (Some(_), Some((key, _))) => {
                let message = "the rule says both `allow` and `deny`";
                self.report
                    .error(key.span.clone(), message, "keep one of them");
                None
            }
        }
    }

    fn reply(&mut self, node: &Node) -> Option<RuleAction> {
        let text = self.report.text(node, "`deny`")?;
        if text == "true" {
            return Some(RuleAction::Deny(None));
        }
        let fault = reply_fault(text);
        if let Some((message, help)) = fault {
            let message = format!("the reply {} {message}", quoted(text));
            self.report.error(node.span.clone(), message, help);
            return None;
        }
        Some(RuleAction::Deny(Some(text.into())))
    }

    fn networks(&mut self, node: &Node, what: &str) -> Networks {
        let mut nets = Vec::new();
        for item in self.report.one_or_many(node, what) {
            nets.extend(self.network(item, what, true).into_iter().flatten());
        }
        Networks::new(nets)
    }

    fn network(&mut self, node: &Node, what: &str, groups: bool) -> Option<Vec<IpNet>> {
        let text = self.report.text(node, what)?;
        if groups && let Some(nets) = self.groups.get(text) {
            return Some(nets.clone());
        }
        let (message, help) = match networks::parse(text) {
            Some(Ok(net)) => return Some(vec![net]),
            Some(Err(meant)) => (
                format!("{what} {} is not the network it covers", quoted(text)),
                format!("did you mean `{meant}`?"),
            ),
            None if groups => {
                let near = nearest(text, self.groups.keys().copied());
                let near = near.map(|name| format!("did you mean the group `{name}`? "));
                (
                    format!("{what} {} is no network and no group", quoted(text)),
                    near.unwrap_or_default()
                        + "write an address, a network such as 10.0.0.0/8, or a name from `groups`",
                )
            }
            None => (
                format!("{what} {} is no network", quoted(text)),
                "write an address or a network such as 10.0.0.0/8 or 2001:db8::/32".to_owned(),
            ),
        };
        self.report.error(node.span.clone(), message, help);
        None
    }

    fn listener_names(&mut self, node: &Node) -> Vec<String> {
        let mut names = Vec::new();
        for item in self.report.one_or_many(node, "`listener`") {
            let Some(name) = self.report.text(item, "`listener`") else {
                continue;
            };
            if let Some(known) = self.listeners
                && !known.contains(name)
            {
                let message = format!("no listener is called {}", quoted(name));
                let all: Vec<&str> = known.iter().map(String::as_str).collect();
                let near = nearest(name, all.iter().copied());
                let near = near.map(|near| format!("did you mean `{near}`? "));
                let help = format!("{}listeners: {}", near.unwrap_or_default(), all.join(", "));
                self.report.error(item.span.clone(), message, help);
            }
            names.push(name.to_owned());
        }
        names
    }

    fn globs(&mut self, node: &Node, what: &str, compile: fn(&str) -> Glob) -> Vec<Glob> {
        let mut globs = Vec::new();
        for item in self.report.one_or_many(node, what) {
            match self.report.text(item, what) {
                Some(text) if text.len() > MAX_PATTERN => {
                    let message = format!("{what} has a pattern of {} bytes", text.len());
                    let help = format!("at most {MAX_PATTERN}");
                    self.report.error(item.span.clone(), message, help);
                }
                Some(text) => globs.push(compile(text)),
                None => {}
            }
        }
        globs
    }

    fn commands(&mut self, node: &Node) -> Commands {
        let mut commands = Commands::default();
        for item in self.report.one_or_many(node, "`command`") {
            let Some(text) = self.report.text(item, "`command`") else {
                continue;
            };
            let known =
                "verbs such as RETR, words of SITE such as SITE CHMOD, and the classes basic, "
                    .to_owned()
                    + &Class::NAMED.map(|(name, _)| name).join(", ");
            let meant = |near: Option<&str>| {
                near.map(|near| format!("did you mean `{near}`? "))
                    .unwrap_or_default()
            };
            match commands.add(text) {
                Ok(()) => {}
                Err(NameFault::UnknownVerb { near }) => self.report.warn(
                    item.span.clone(),
                    format!("{} is no verb that portcullis knows", quoted(text)),
                    format!("{}a verb of its own matches as it is written", meant(near)),
                ),
                Err(NameFault::NoCommand { near }) => self.report.error(
                    item.span.clone(),
                    format!("{} names no command", quoted(text)),
                    format!("{}known are {known}", meant(near)),
                ),
            }
        }
        commands
    }

    fn warn_of_unreachable(&mut self, rules: &[Rule], items: &[Node]) {
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
    fn warn_of_no_login(&mut self, rules: &[Rule], node: &Node) {
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

/// Whether a text can name a rule or a group.
pub(crate) fn is_name(text: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut bytes = text.bytes();
    bytes.next().is_some_and(part) && bytes.all(|byte| part(byte) || b"._-".contains(&byte))
}

/// Says what keeps a text from being a negative reply line (RFC 959 §4.2).
fn reply_fault(text: &str) -> Option<(String, String)> {
    let right = "write a code and a text: `deny: 550 The reason`";
    if text.chars().any(char::is_control) {
        return Some(("has control characters".to_owned(), right.to_owned()));
    }
    let (code, words) = text.split_once(' ').unwrap_or((text, ""));
    let negative = match code.as_bytes() {
        [first, second, third] => {
            matches!(first, b'4' | b'5') && matches!(second, b'0'..=b'5') && third.is_ascii_digit()
        }
        _ => false,
    };
    if !negative {
        let message = "does not begin with a code from 400 to 559".to_owned();
        return Some((message, right.to_owned()));
    }
    if code == "421" {
        let message = "would say that the session ends, which it does not".to_owned();
        return Some((
            message,
            "use 550, or 450 for a refusal that may pass".to_owned(),
        ));
    }
    if words.trim().is_empty() {
        return Some(("has no text".to_owned(), right.to_owned()));
    }
    if text.len() > MAX_REPLY {
        let message = format!("has {} bytes", text.len());
        return Some((message, format!("at most {MAX_REPLY}")));
    }
    None
}

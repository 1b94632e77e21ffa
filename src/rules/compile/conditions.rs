//! What a rule asks: networks, listeners, names, commands, paths.

use ipnet::IpNet;

use crate::yaml::{Node, nearest, quoted};

use super::super::Class;
use super::super::commands::{Commands, NameFault};
use super::super::glob::{Glob, MAX_PATTERN};
use super::super::networks::{self, Networks};
use super::Compiler;

impl Compiler<'_> {
    pub(super) fn networks(&mut self, node: &Node, what: &str) -> Networks {
        let mut nets = Vec::new();
        for item in self.report.one_or_many(node, what) {
            nets.extend(self.network(item, what, true).into_iter().flatten());
        }
        Networks::new(nets)
    }

    pub(super) fn network(&mut self, node: &Node, what: &str, groups: bool) -> Option<Vec<IpNet>> {
        let text = self.report.text(node, what)?;
        if groups && let Some(nets) = self.groups.networks(text) {
            return Some(nets);
        }
        let (message, help) = match networks::parse(text) {
            Some(Ok(net)) => return Some(vec![net]),
            Some(Err(meant)) => (
                format!("{what} {} is not the network it covers", quoted(text)),
                format!("did you mean `{meant}`?"),
            ),
            None if groups => {
                let near = nearest(text, self.groups.network_names());
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

    pub(super) fn listener_names(&mut self, node: &Node) -> Vec<String> {
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

    /// Globs on names of hosts, which come in lower case.
    pub(super) fn hosts(&mut self, node: &Node) -> Vec<Glob> {
        self.globs(node, "`host`", |text| {
            Glob::name(&text.to_ascii_lowercase())
        })
    }

    /// Globs on names of users, and groups of them behind `@`.
    pub(super) fn users(&mut self, node: &Node) -> Vec<Glob> {
        let mut globs = Vec::new();
        for item in self.report.one_or_many(node, "`user`") {
            let Some(text) = self.report.text(item, "`user`") else {
                continue;
            };
            let Some(name) = text.strip_prefix('@') else {
                globs.extend(self.glob(item, "`user`", Glob::name));
                continue;
            };
            if let Some(members) = self.groups.users(name) {
                globs.extend(members);
                continue;
            }
            let near = nearest(name, self.groups.user_names());
            let near = near.map(|near| format!("did you mean `@{near}`? "));
            let message = format!("no group of users is called {}", quoted(name));
            let help = near.unwrap_or_default()
                + "write a name from `user-groups` behind `@`, or `?` for a user whose name begins with @";
            self.report.error(item.span.clone(), message, help);
        }
        globs
    }

    pub(super) fn globs(
        &mut self,
        node: &Node,
        what: &str,
        compile: fn(&str) -> Glob,
    ) -> Vec<Glob> {
        let mut globs = Vec::new();
        for item in self.report.one_or_many(node, what) {
            globs.extend(self.glob(item, what, compile));
        }
        globs
    }

    pub(super) fn glob(
        &mut self,
        node: &Node,
        what: &str,
        compile: fn(&str) -> Glob,
    ) -> Option<Glob> {
        let text = self.report.text(node, what)?;
        if text.len() > MAX_PATTERN {
            let message = format!("{what} has a pattern of {} bytes", text.len());
            let help = format!("at most {MAX_PATTERN}");
            self.report.error(node.span.clone(), message, help);
            return None;
        }
        Some(compile(text))
    }

    pub(super) fn commands(&mut self, node: &Node) -> Commands {
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
}

//! Groups: names for networks and for users, and whether any rule uses them.

use std::collections::BTreeMap;
use std::ops::Range;

use ipnet::IpNet;

use crate::yaml::{Node, Value, quoted};

use super::super::glob::Glob;
use super::super::networks;
use super::{Compiler, is_name};

/// The groups of a policy by name.
#[derive(Debug, Default)]
pub(super) struct Groups<'a> {
    networks: BTreeMap<&'a str, Vec<IpNet>>,
    users: BTreeMap<&'a str, Vec<Glob>>,
    /// Of both kinds, with the place of the name, until a rule names it.
    unused: BTreeMap<(Kind, &'a str), Range<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Networks,
    Users,
}

impl<'a> Groups<'a> {
    /// Gives the networks of a group, which is then in use.
    pub(super) fn networks(&mut self, name: &str) -> Option<Vec<IpNet>> {
        let (name, networks) = self.networks.get_key_value(name)?;
        self.unused.remove(&(Kind::Networks, *name));
        Some(networks.clone())
    }

    /// Gives the names of a group of users, which is then in use.
    pub(super) fn users(&mut self, name: &str) -> Option<Vec<Glob>> {
        let (name, users) = self.users.get_key_value(name)?;
        self.unused.remove(&(Kind::Users, *name));
        Some(users.clone())
    }

    pub(super) fn network_names(&self) -> impl Iterator<Item = &'a str> {
        self.networks.keys().copied()
    }

    pub(super) fn user_names(&self) -> impl Iterator<Item = &'a str> {
        self.users.keys().copied()
    }
}

impl<'a> Compiler<'a> {
    pub(super) fn read_groups(&mut self, node: &'a Node) {
        for (key, name, value) in self.named_groups(node, "`groups`") {
            if !is_name(name) || networks::parse(name).is_some() {
                let message = format!("{} cannot be the name of a group", quoted(name));
                let help = "use a-z, 0-9 and . _ -, beginning with a letter or digit; no address";
                self.report.error(key.span.clone(), message, help);
            }
            let mut nets = Vec::new();
            for item in self.members(key, name, value) {
                nets.extend(
                    self.network(item, "a group's member", false)
                        .into_iter()
                        .flatten(),
                );
            }
            self.groups.networks.insert(name, nets);
            let unused = &mut self.groups.unused;
            unused.insert((Kind::Networks, name), key.span.clone());
        }
    }

    pub(super) fn read_user_groups(&mut self, node: &'a Node) {
        for (key, name, value) in self.named_groups(node, "`user-groups`") {
            if !is_name(name) {
                let message = format!("{} cannot be the name of a group", quoted(name));
                let help = "use a-z, 0-9 and . _ -, beginning with a letter or digit; rules write \
                            `@` before it";
                self.report.error(key.span.clone(), message, help);
            }
            let mut users = Vec::new();
            for item in self.members(key, name, value) {
                let glob = self.glob(item, "a group's member", Glob::name);
                if glob.is_some()
                    && let Value::Scalar { text, .. } = &item.value
                    && text.starts_with('@')
                {
                    let message = format!("{} in a group", quoted(text));
                    let help = "groups do not contain groups; write `?` for a user whose name \
                                begins with @";
                    self.report.error(item.span.clone(), message, help);
                }
                users.extend(glob);
            }
            self.groups.users.insert(name, users);
            let unused = &mut self.groups.unused;
            unused.insert((Kind::Users, name), key.span.clone());
        }
    }

    /// Warns of groups that no rule names.
    pub(super) fn warn_of_unused_groups(&mut self) {
        for ((kind, name), span) in std::mem::take(&mut self.groups.unused) {
            let message = format!("no rule uses the group `{name}`");
            let help = match kind {
                Kind::Networks => {
                    format!("name it in `client`, `server` or `fxp`: `client: {name}`")
                }
                Kind::Users => format!("name it in `user`: `user: \"@{name}\"`"),
            };
            self.report.warn(span, message, help + ", or take it out");
        }
    }

    fn named_groups(&mut self, node: &'a Node, what: &str) -> Vec<(&'a Node, &'a str, &'a Node)> {
        let map = self.report.map(node, what);
        map.map(|mut map| map.named()).unwrap_or_default()
    }

    /// The members of a group; none are allowed, and hardly meant.
    fn members(&mut self, key: &Node, name: &str, value: &'a Node) -> &'a [Node] {
        if let Value::List(items) = &value.value
            && items.is_empty()
        {
            let message = format!("the group `{name}` has no members");
            let help = "a rule that names nobody else matches nobody; add a member, or take it out";
            self.report.warn(key.span.clone(), message, help);
            return &[];
        }
        self.report.one_or_many(value, "the group")
    }
}

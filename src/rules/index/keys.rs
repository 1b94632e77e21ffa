//! The keys that a rule can be found by, and the choice among them.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use ipnet::IpNet;

use super::super::commands::CommandKey;
use super::super::glob::Glob;
use super::super::rule::Rule;
use super::super::{Class, Request};
use super::lists::{Found, Lists, Text, insert};
use crate::ftp::Verb;

/// One thing that requests are looked up by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key<'a> {
    Client(IpNet),
    Server(IpNet),
    Foreign(IpNet),
    Listener(Text<'a>),
    Host(Text<'a>),
    User(Text<'a>),
    Path(Text<'a>),
    Command(CommandKey),
}

/// How many rules could stand under each key.
pub(super) struct Counts<'a>(HashMap<&'a Key<'a>, usize, FixedState>);

/// A condition as keys: each item may be found by any one of its alternatives.
pub(super) type Items<'a> = Vec<Alternatives<'a>>;

type Alternatives<'a> = [Option<Key<'a>>; 2];

impl<'a> Counts<'a> {
    /// Takes what [`conditions`] gives of each rule.
    pub(super) fn new(rules: &'a [Vec<Items<'a>>]) -> Self {
        let mut counts = HashMap::default();
        for key in rules.iter().flatten().flatten().flatten().flatten() {
            *counts.entry(key).or_default() += 1;
        }
        Self(counts)
    }

    /// The keys of the condition that fewest rules share; none where no condition has keys.
    pub(super) fn best(&self, conditions: &'a [Items<'a>]) -> Vec<&'a Key<'a>> {
        let choices = conditions.iter().filter_map(|items| self.choose(items));
        let best = choices.min_by_key(|(count, _)| *count);
        best.map(|(_, keys)| keys).unwrap_or_default()
    }

    /// The best key of each item, and how many rules share the most common of them.
    fn choose(&self, items: &'a Items<'a>) -> Option<(usize, Vec<&'a Key<'a>>)> {
        let mut keys = Vec::with_capacity(items.len());
        let mut worst = 0;
        for alternatives in items {
            let counted = alternatives
                .iter()
                .flatten()
                .map(|key| (self.count(key), key));
            let (count, key) = counted.min_by_key(|(count, _)| *count)?;
            worst = worst.max(count);
            keys.push(key);
        }
        Some((worst, keys))
    }

    fn count(&self, key: &Key<'_>) -> usize {
        self.0.get(key).copied().unwrap_or_default()
    }
}

/// Every condition of a rule that has keys; an item without alternatives cannot be found by a key.
pub(super) fn conditions(rule: &Rule) -> Vec<Items<'_>> {
    let mut all = Vec::new();
    let mut add = |items| all.extend(items);
    add(rule.client.as_ref().map(|n| nets(n.written(), Key::Client)));
    add(rule.server.as_ref().map(|n| nets(n.written(), Key::Server)));
    add(rule.fxp.as_ref().map(|n| nets(n.written(), Key::Foreign)));
    add(rule.listeners.as_ref().map(|names| {
        let key = |name| Key::Listener(Text::Whole(name));
        names
            .iter()
            .map(|name| only(key(name.as_bytes())))
            .collect()
    }));
    add(rule.hosts.as_ref().map(|globs| texts(globs, Key::Host)));
    add(rule.users.as_ref().map(|globs| texts(globs, Key::User)));
    add(rule.paths.as_ref().map(|globs| texts(globs, Key::Path)));
    add(rule.commands.as_ref().map(|commands| {
        let keys = commands.keys().map(Key::Command);
        keys.map(only).collect()
    }));
    all
}

fn nets<'a>(nets: &[IpNet], key: fn(IpNet) -> Key<'a>) -> Items<'a> {
    nets.iter().map(|net| only(key(net.trunc()))).collect()
}

fn texts<'a>(globs: &'a [Glob], key: fn(Text<'a>) -> Key<'a>) -> Items<'a> {
    let alternatives = |glob: &'a Glob| {
        let of_path = !glob.is_last_segment();
        if let Some(text) = glob.literal().filter(|_| of_path) {
            return only(key(Text::Whole(text.as_bytes())));
        }
        let (prefix, suffix) = (glob.prefix().as_bytes(), glob.suffix().as_bytes());
        [
            (of_path && !prefix.is_empty()).then(|| key(Text::Prefix(prefix))),
            (!suffix.is_empty()).then(|| key(Text::Suffix(suffix))),
        ]
    };
    globs.iter().map(alternatives).collect()
}

fn only(key: Key<'_>) -> Alternatives<'_> {
    [Some(key), None]
}

/// Places of rules by command.
#[derive(Clone, Debug, Default)]
pub(super) struct ByCommand {
    classes: Lists<Class>,
    verbs: Lists<Verb>,
    site_words: Lists<String>,
}

impl ByCommand {
    pub(super) fn add(&mut self, key: &CommandKey, place: usize) {
        match key {
            CommandKey::Class(class) => insert(&mut self.classes, class, place),
            CommandKey::Verb(verb) => insert(&mut self.verbs, verb, place),
            CommandKey::SiteWord(word) => insert(&mut self.site_words, word.as_str(), place),
        }
    }

    pub(super) fn find<'a>(&'a self, request: &Request<'_>, found: &mut Found<'a>) {
        let class = Class::of(request.verb, request.path.is_some());
        let lists = [
            self.classes.get(&class),
            self.verbs.get(request.verb),
            request.site.and_then(|word| self.site_words.get(word)),
        ];
        found.extend(lists.into_iter().flatten().map(Vec::as_slice));
    }
}

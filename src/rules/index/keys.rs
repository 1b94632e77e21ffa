//! The keys that a rule can be found by, and the choice among them.

use std::collections::HashMap;

use ipnet::IpNet;

use crate::ftp::Verb;

use super::super::commands::CommandKey;
use super::super::glob::Glob;
use super::super::rule::Rule;
use super::super::{Class, Request};
use super::lists::{Found, Lists, Text, insert};

/// One thing that requests are looked up by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Client(IpNet),
    Server(IpNet),
    Foreign(IpNet),
    Listener(Text),
    Host(Text),
    User(Text),
    Path(Text),
    Command(CommandKey),
}

/// How many rules could stand under each key. Hashed: ten thousand names that begin alike take long to
/// compare.
pub(super) struct Counts(HashMap<Key, usize>);

/// A condition as keys: each item may be found by any one of its alternatives.
type Items = Vec<Vec<Key>>;

impl Counts {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut counts = HashMap::with_capacity(rules.len());
        for key in rules.iter().flat_map(conditions).flatten().flatten() {
            *counts.entry(key).or_insert(0) += 1;
        }
        Self(counts)
    }

    /// The keys of the condition that fewest rules share; none where no condition has keys.
    pub(super) fn best(&self, rule: &Rule) -> Vec<Key> {
        let choices = conditions(rule)
            .into_iter()
            .filter_map(|items| self.choose(items));
        let best = choices.min_by_key(|(count, _)| *count);
        best.map(|(_, keys)| keys).unwrap_or_default()
    }

    /// The best key of each item, and how many rules share the most common of them.
    fn choose(&self, items: Items) -> Option<(usize, Vec<Key>)> {
        let mut keys = Vec::with_capacity(items.len());
        let mut worst = 0;
        for alternatives in items {
            let count = |key: &Key| self.0.get(key).copied().unwrap_or_default();
            let key = alternatives.into_iter().min_by_key(count)?;
            worst = worst.max(count(&key));
            keys.push(key);
        }
        Some((worst, keys))
    }
}

/// Every condition of a rule that has keys; an item without alternatives cannot be found by a key.
fn conditions(rule: &Rule) -> Vec<Items> {
    let mut all = Vec::new();
    let mut add = |items: Option<Items>| all.extend(items);
    let nets = |nets: &[IpNet], key: fn(IpNet) -> Key| -> Items {
        nets.iter().map(|net| vec![key(net.trunc())]).collect()
    };
    add(rule.client.as_ref().map(|n| nets(n.written(), Key::Client)));
    add(rule.server.as_ref().map(|n| nets(n.written(), Key::Server)));
    add(rule.fxp.as_ref().map(|n| nets(n.written(), Key::Foreign)));
    add(rule.listeners.as_ref().map(|names| {
        let key = |name: &String| Key::Listener(Text::Whole(name.clone().into_bytes()));
        names.iter().map(|name| vec![key(name)]).collect()
    }));
    add(rule.hosts.as_ref().map(|globs| texts(globs, Key::Host)));
    add(rule.users.as_ref().map(|globs| texts(globs, Key::User)));
    add(rule.paths.as_ref().map(|globs| texts(globs, Key::Path)));
    add(rule
        .commands
        .as_ref()
        .map(|commands| commands.keys().map(|key| vec![Key::Command(key)]).collect()));
    all
}

fn texts(globs: &[Glob], key: fn(Text) -> Key) -> Items {
    let alternatives = |glob: &Glob| {
        let mut texts = Vec::new();
        let bytes = |text: &str| text.as_bytes().to_vec();
        if let Some(text) = glob.literal().filter(|_| !glob.is_last_segment()) {
            texts.push(Text::Whole(bytes(text)));
        } else {
            if !glob.prefix().is_empty() && !glob.is_last_segment() {
                texts.push(Text::Prefix(bytes(glob.prefix())));
            }
            if !glob.suffix().is_empty() {
                texts.push(Text::Suffix(bytes(glob.suffix())));
            }
        }
        texts.into_iter().map(key).collect()
    };
    globs.iter().map(alternatives).collect()
}

/// Places of rules by command.
#[derive(Clone, Debug, Default)]
pub(super) struct ByCommand {
    classes: Lists<Class>,
    verbs: Lists<Verb>,
    site_words: Lists<String>,
}

impl ByCommand {
    pub(super) fn add(&mut self, key: CommandKey, place: usize) {
        match key {
            CommandKey::Class(class) => insert(&mut self.classes, class, place),
            CommandKey::Verb(verb) => insert(&mut self.verbs, verb, place),
            CommandKey::SiteWord(word) => insert(&mut self.site_words, word, place),
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

//! The reader over a tree: takes keys out of mappings and notes everything that is wrong on the way.

use std::collections::BTreeMap;
use std::ops::Range;
use std::slice;
use std::sync::Arc;

use super::{Node, Problem, Problems, Section, Severity, Source, Value, nearest, quoted};

/// Gathers the problems of one file while its tree is read.
#[derive(Debug)]
pub struct Report {
    source: Arc<Source>,
    problems: Problems,
}

impl Report {
    /// Begins a report on a file.
    pub fn new(source: Arc<Source>) -> Self {
        Self {
            source,
            problems: Problems::default(),
        }
    }

    /// Gives the file it is about.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Notes an error and what would be right.
    pub fn error(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.note(Severity::Error, span, message, help);
    }

    /// Notes something that is allowed but hardly meant.
    pub fn warn(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.note(Severity::Warning, span, message, help);
    }

    /// Whether an error was noted.
    pub fn has_errors(&self) -> bool {
        self.problems.has_errors()
    }

    /// Takes over the problems of another file.
    pub fn append(&mut self, problems: Problems) {
        self.problems.append(problems);
    }

    /// Ends the report: all problems in order.
    pub fn finish(mut self) -> Problems {
        self.problems.sort();
        self.problems
    }

    /// Takes a mapping apart; notes duplicate keys and keys that are no words.
    ///
    /// `what` names the mapping in messages: "a rule", "`limits`".
    pub fn map<'a>(&mut self, node: &'a Node, what: &str) -> Option<Map<'a>> {
        let Value::Map(entries) = &node.value else {
            let message = format!("{what} is {}, not a mapping of keys", node.kind());
            self.error(node.head(), message, "write `key: value` lines here");
            return None;
        };
        let mut map = Map {
            what: what.to_owned(),
            head: node.head(),
            entries: Vec::with_capacity(entries.len()),
            known: Vec::new(),
            section: None,
        };
        let mut first_line = BTreeMap::new();
        for (key, value) in entries {
            let Value::Scalar { text, .. } = &key.value else {
                let message = format!("{} as a key in {what}", key.kind());
                self.error(key.head(), message, "a key is a single word");
                continue;
            };
            if let Some(line) = first_line.get(text.as_str()) {
                let message = format!("key {} twice in {what}", quoted(text));
                let help = format!("the first one is in line {line}; keep one of them");
                self.error(key.span.clone(), message, help);
                continue;
            }
            first_line.insert(text.as_str(), self.source.line(key.span.start));
            map.entries.push(Entry {
                name: text,
                key,
                value,
                taken: false,
            });
        }
        Some(map)
    }

    /// Takes a mapping apart whose keys stand in a table.
    pub fn section<'a>(
        &mut self,
        node: &'a Node,
        what: &str,
        section: &'static Section,
    ) -> Option<Map<'a>> {
        let mut map = self.map(node, what)?;
        map.section = Some(section);
        Some(map)
    }

    /// Takes a list apart.
    pub fn list<'a>(&mut self, node: &'a Node, what: &str) -> Option<&'a [Node]> {
        if let Value::List(items) = &node.value {
            return Some(items);
        }
        let message = format!("{what} is {}, not a list", node.kind());
        self.error(node.head(), message, "write each entry as `- …`");
        None
    }

    /// Takes one value, or a list of several; notes an empty list.
    pub fn one_or_many<'a>(&mut self, node: &'a Node, what: &str) -> &'a [Node] {
        let Value::List(items) = &node.value else {
            return slice::from_ref(node);
        };
        if items.is_empty() {
            let help = "leave the key out, or name at least one";
            self.error(node.span.clone(), format!("{what} is an empty list"), help);
        }
        items
    }

    fn note(
        &mut self,
        severity: Severity,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let problem = Problem::at(&self.source, span, severity, message);
        self.problems.push(problem.help(help));
    }
}

/// A mapping whose keys are taken one by one; what is left at [`Map::finish`] is unknown.
#[derive(Debug)]
pub struct Map<'a> {
    what: String,
    head: Range<usize>,
    entries: Vec<Entry<'a>>,
    known: Vec<&'static str>,
    section: Option<&'static Section>,
}

#[derive(Debug)]
struct Entry<'a> {
    name: &'a str,
    key: &'a Node,
    value: &'a Node,
    taken: bool,
}

impl<'a> Map<'a> {
    /// Takes the value of a key that may be missing.
    pub fn optional(&mut self, name: &'static str) -> Option<&'a Node> {
        self.keyed(name).map(|(_, value)| value)
    }

    /// Takes a key that may be missing, with its value.
    pub fn keyed(&mut self, name: &'static str) -> Option<(&'a Node, &'a Node)> {
        self.known.push(name);
        let entry = self.entries.iter_mut().find(|entry| entry.name == name)?;
        entry.taken = true;
        Some((entry.key, entry.value))
    }

    /// Takes the value of a key that must be there; notes where it is not.
    pub fn required(&mut self, name: &'static str, report: &mut Report) -> Option<&'a Node> {
        let found = self.optional(name);
        if found.is_none() && !self.misspells(name) {
            let message = format!("{} has no `{name}`", self.what);
            report.error(self.head.clone(), message, format!("add `{name}: …`"));
        }
        found
    }

    /// Takes and reads a whole number within the bounds of the table.
    pub fn integer(&mut self, name: &'static str, report: &mut Report) -> Option<u64> {
        let node = self.optional(name)?;
        let (low, high) = self.section.and_then(|section| section.bounds(name))?;
        report.integer(node, &format!("`{name}`"), low..=high)
    }

    /// Whether a key that was not taken is nearly this name: it is reported once, as unknown.
    pub fn misspells(&self, name: &'static str) -> bool {
        let mut unknown = self.entries.iter().filter(|entry| !entry.taken);
        unknown.any(|entry| nearest(entry.name, [name]).is_some())
    }

    /// Takes all entries of a mapping whose keys are free names.
    pub fn named(&mut self) -> Vec<(&'a Node, &'a str, &'a Node)> {
        self.entries
            .iter_mut()
            .map(|entry| {
                entry.taken = true;
                (entry.key, entry.name, entry.value)
            })
            .collect()
    }

    /// Whether a key is there.
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.name == name)
    }

    /// Whether it has no entry at all, taken or not.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Gives the place to point at for the mapping as a whole.
    pub fn head(&self) -> Range<usize> {
        self.head.clone()
    }

    /// Notes every key that was not taken, with the nearest known one.
    pub fn finish(mut self, report: &mut Report) {
        if let Some(section) = self.section {
            let names: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
            let asked = |name: &&str| self.known.contains(name);
            debug_assert!(
                names.iter().all(asked) && self.known.iter().all(|name| names.contains(name)),
                "{} is read by other keys than its table has: {:?} and {names:?}",
                self.what,
                self.known
            );
            self.known = names;
        }
        for entry in self.entries.iter().filter(|entry| !entry.taken) {
            let message = format!("unknown key {} in {}", quoted(entry.name), self.what);
            let mut help = String::new();
            if let Some(near) = nearest(entry.name, self.known.iter().copied()) {
                help = format!("did you mean `{near}`? ");
            }
            help.push_str(&format!("known keys: {}", self.known.join(", ")));
            report.error(entry.key.span.clone(), message, help);
        }
    }
}

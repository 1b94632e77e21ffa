//! The tree of a YAML document, every key and value with its place.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, options};

use super::{MAX_DEPTH, MAX_FILE, MAX_NODES, Problem, Problems, Severity, Source};

/// A value and the bytes it stands at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its bytes in the file; of an alias, those of the alias.
    pub span: Range<usize>,
    /// What is written there.
    pub value: Value,
}

/// What is written at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word, number or text; empty and plain where nothing is written.
    Scalar {
        /// The text, quotes and escapes resolved.
        text: String,
        /// Whether it was written without quotes.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// Keys and values in the order written; a key may come twice.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Gives the place to point at: of a mapping or list its first key or item, not all its lines.
    pub fn head(&self) -> Range<usize> {
        match &self.value {
            Value::Scalar { .. } => self.span.clone(),
            Value::List(items) => items.first().map_or_else(|| self.span.clone(), Self::head),
            Value::Map(entries) => entries
                .first()
                .map_or_else(|| self.span.clone(), |(key, _)| key.head()),
        }
    }

    /// Says in words what is written: "a list", "text", "nothing".
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { text, plain: true } if is_nothing(text) => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping of keys",
        }
    }

    /// Whether nothing is written here: `key:` or `key: null`.
    pub fn is_nothing(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if is_nothing(text))
    }

    fn size(&self) -> usize {
        match &self.value {
            Value::Scalar { .. } => 1,
            Value::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Value::Map(entries) => {
                1 + entries
                    .iter()
                    .map(|(key, value)| key.size() + value.size())
                    .sum::<usize>()
            }
        }
    }

    fn depth(&self) -> usize {
        match &self.value {
            Value::Scalar { .. } => 1,
            Value::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or_default(),
            Value::Map(entries) => {
                1 + entries
                    .iter()
                    .map(|(key, value)| key.depth().max(value.depth()))
                    .max()
                    .unwrap_or_default()
            }
        }
    }
}

fn is_nothing(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Reads a file that holds one YAML document.
///
/// # Errors
/// Gives the syntax error, or the limit exceeded, with its place. Tags (`!!int`) are not read.
pub fn parse(source: &Arc<Source>) -> Result<Node, Problems> {
    let text = source.text();
    if text.len() > MAX_FILE {
        let message = format!(
            "the file has {} bytes; at most {MAX_FILE} are read",
            text.len()
        );
        return Err(one(Problem::of_file(source.name(), message)));
    }
    let mut builder = Builder {
        source,
        open: Vec::new(),
        root: None,
        anchored: BTreeMap::new(),
        nodes: 0,
    };
    for event in Parser::new_from_str_with_options(text, options! { emit_comments: false }) {
        let taken = match event {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => Err(builder.syntax(&error)),
        };
        taken.map_err(one)?;
    }
    Ok(builder.root.unwrap_or(Node {
        span: 0..0,
        value: Value::Scalar {
            text: String::new(),
            plain: true,
        },
    }))
}

fn one(problem: Problem) -> Problems {
    let mut problems = Problems::default();
    problems.push(problem);
    problems
}

struct Builder<'a> {
    source: &'a Arc<Source>,
    open: Vec<Open>,
    root: Option<Node>,
    anchored: BTreeMap<usize, Node>,
    nodes: usize,
}

/// A list or mapping whose end has not come.
struct Open {
    start: usize,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map(Vec<(Node, Node)>, Option<Node>),
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Problem> {
        let bytes = self.bytes(span);
        if event.tag().is_some() {
            return Err(self
                .problem(bytes, "a tag (`!…`), which is not read here")
                .help("write the value without it"));
        }
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err(self
                .problem(bytes, "a second document in one file")
                .help("remove the `---` and keep everything in one document")),
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                };
                self.place(Node { span: bytes, value }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.begin(bytes, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, _) => {
                self.begin(bytes, anchor, Content::Map(Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(bytes.end),
            Event::Alias(id) => self.repeat(id, bytes),
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::Anchor(..)
            | Event::UnresolvedAlias(_)
            | _ => Ok(()),
        }
    }

    fn begin(
        &mut self,
        bytes: Range<usize>,
        anchor: usize,
        content: Content,
    ) -> Result<(), Problem> {
        if self.open.len() >= MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} levels of lists and mappings");
            return Err(self.problem(bytes, message));
        }
        self.open.push(Open {
            start: bytes.start,
            anchor,
            content,
        });
        Ok(())
    }

    fn end(&mut self, end: usize) -> Result<(), Problem> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Map(entries, _) => Value::Map(entries),
        };
        let span = open.start..end.max(open.start);
        self.place(Node { span, value }, open.anchor)
    }

    /// An alias is replaced by what it stands for, within the limit on nodes and depth.
    fn repeat(&mut self, id: usize, bytes: Range<usize>) -> Result<(), Problem> {
        let Some(node) = self.anchored.get(&id) else {
            return Err(self.problem(bytes, "an alias inside the value that it names"));
        };
        self.nodes += node.size() - 1;
        if self.nodes >= MAX_NODES || self.open.len() + node.depth() > MAX_DEPTH {
            let message = format!(
                "aliases that stand for more than {MAX_NODES} values or {MAX_DEPTH} levels"
            );
            return Err(self.problem(bytes, message));
        }
        let mut node = node.clone();
        node.span = bytes;
        self.place(node, 0)
    }

    fn place(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values in one file");
            return Err(self.problem(node.head(), message));
        }
        if anchor != 0 {
            // The copy counts as well: anchors inside anchors would grow with the square.
            self.nodes += node.size();
            self.anchored.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map(entries, key)) => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push((key, node)),
            },
        }
        Ok(())
    }

    fn syntax(&self, error: &ScanError) -> Problem {
        let marker = error.marker();
        let start = marker
            .byte_offset()
            .unwrap_or_else(|| self.offset(marker.index()));
        let width = self
            .source
            .text()
            .get(start..)
            .and_then(|rest| rest.chars().next())
            .map_or(0, char::len_utf8);
        let problem = self.problem(start..start + width, format!("not YAML: {}", error.info()));
        if error.info().contains("tab") {
            return problem.help("indent with spaces; YAML takes no tabs for it");
        }
        if self
            .source
            .text()
            .get(start..)
            .is_some_and(|rest| rest.starts_with('@'))
        {
            return problem.help("write text that begins with @ in quotes");
        }
        problem
    }

    fn bytes(&self, span: &Span) -> Range<usize> {
        span.byte_range()
            .unwrap_or_else(|| self.offset(span.start.index())..self.offset(span.end.index()))
    }

    /// The parser counts bytes as well; this is for the places where it only counts characters.
    fn offset(&self, characters: usize) -> usize {
        let text = self.source.text();
        text.char_indices()
            .nth(characters)
            .map_or(text.len(), |(at, _)| at)
    }

    fn problem(&self, bytes: Range<usize>, message: impl Into<String>) -> Problem {
        Problem::at(self.source, bytes, Severity::Error, message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Report;
    use super::*;

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source::new("f.yaml", text))
    }

    fn message(text: &str) -> String {
        parse(&source(text)).unwrap_err().to_string()
    }

    #[test]
    fn keeps_the_place_of_nested_keys_and_values() {
        let text = "a:\n  - b: [1, \"two\"]\n";
        let Value::Map(entries) = parse(&source(text)).unwrap().value else {
            panic!("not a mapping");
        };
        let Value::List(items) = &entries[0].1.value else {
            panic!("not a list");
        };
        let Value::Map(inner) = &items[0].value else {
            panic!("not a mapping");
        };
        assert_eq!(text.get(inner[0].0.span.clone()).unwrap(), "b");
        let Value::List(values) = &inner[0].1.value else {
            panic!("not a list");
        };
        assert_eq!(text.get(values[0].span.clone()).unwrap(), "1");
        assert_eq!(text.get(values[1].span.clone()).unwrap(), "\"two\"");
    }

    #[test]
    fn reports_every_duplicate_key_with_the_other_problems() {
        let source = source("a: 1\na: 2\nb: 3\nb: 4\nc: 5\n");
        let node = parse(&source).unwrap();
        let mut report = Report::new(Arc::clone(&source));
        let mut map = report.map(&node, "the file").unwrap();
        map.optional("a");
        map.optional("b");
        map.finish(&mut report);
        let lines: Vec<usize> = report.finish().iter().map(|p| p.line).collect();
        assert_eq!(lines, [2, 4, 5]);
    }

    #[test]
    fn shows_where_syntax_breaks() {
        assert!(message("a: 1\n\tb: 2\n").contains("indent with spaces"));
        assert!(message("a: [@b]\n").contains("begins with @ in quotes"));
        assert!(message("a: 'x\nb: 1\n").contains("f.yaml:2:1"));
        assert!(message("a: [1, 2\n").starts_with("error: not YAML"));
        assert!(message("a: *b\n").starts_with("error: not YAML"));
        assert!(message("a: !!int 1\n").contains("a tag"));
        assert!(message("a: 1\n---\nb: 1\n").contains("a second document"));
    }

    #[test]
    fn bounds_depth_aliases_and_size() {
        assert!(message(&format!("{}{}", "[".repeat(100), "]".repeat(100))).contains("levels"));
        assert!(message(&"- ".repeat(100)).contains("levels"));
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (from, to) in ["ab", "bc", "cd", "de", "ef", "fg", "gh"]
            .iter()
            .map(|pair| pair.split_at(1))
        {
            bomb.push_str(&format!(
                "{to}: &{to} [{}]\n",
                vec![format!("*{from}"); 10].join(", ")
            ));
        }
        assert!(message(&bomb).contains("aliases that stand for more"));
        assert!(message(&" ".repeat(MAX_FILE + 1)).contains("at most 16777216 are read"));
    }

    #[test]
    fn an_alias_stands_for_what_it_names() {
        let node = parse(&source("a: &x [1]\nb: *x\n")).unwrap();
        let Value::Map(entries) = node.value else {
            panic!("not a mapping");
        };
        assert_eq!(entries[1].1.value, entries[0].1.value);
    }
}

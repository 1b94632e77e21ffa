//! What is wrong with a file: where, what, and what would be right; and how it is shown.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::{MAX_PROBLEMS, Source};

/// Whether a problem keeps the file from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but what is written hardly says what was meant.
    Warning,
}

/// One problem of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it keeps the file from being used.
    pub severity: Severity,
    /// The file's name.
    pub file: String,
    /// The line, from 1; 0 where the problem is the file itself.
    pub line: usize,
    /// The column in characters, from 1; 0 where the problem is the file itself.
    pub column: usize,
    /// The bytes of the file that it is about.
    pub span: Range<usize>,
    /// What is wrong: lower case, no full stop, the value included.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    source: Option<Arc<Source>>,
}

impl Problem {
    /// Makes a problem of a place in a file.
    pub fn at(
        source: &Arc<Source>,
        span: Range<usize>,
        severity: Severity,
        message: impl Into<String>,
    ) -> Self {
        let (line, column) = source.position(span.start);
        Self {
            severity,
            file: source.name().to_owned(),
            line,
            column,
            span,
            message: message.into(),
            help: None,
            source: Some(Arc::clone(source)),
        }
    }

    /// Makes an error about a file as a whole: it cannot be read, it is too large.
    pub fn of_file(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.into(),
            line: 0,
            column: 0,
            span: 0..0,
            message: message.into(),
            help: None,
            source: None,
        }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn render(&self, renderer: &Renderer) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(self.message.as_str());
        let mut group = match &self.source {
            Some(source) => Group::with_title(title).element(self.excerpt(source)),
            None => Group::with_title(title).element(Origin::path(self.file.as_str())),
        };
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }

    /// Only the one line is handed over: the renderer reads all it is given, for every problem again.
    fn excerpt<'a>(&'a self, source: &'a Source) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let line = source.line_text(self.line);
        let offset = source.line_start(self.line);
        let within = |at: usize| at.saturating_sub(offset).min(line.len());
        let span = within(self.span.start)..within(self.span.end);
        Snippet::source(line)
            .path(self.file.as_str())
            .line_start(self.line)
            .annotation(AnnotationKind::Primary.span(span))
    }
}

/// All problems of one load, in the order of files, lines and columns once [`Problems::sort`] ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    beyond: usize,
    errors: usize,
}

impl Problems {
    /// Adds a problem; past [`MAX_PROBLEMS`] it is counted only.
    pub fn push(&mut self, problem: Problem) {
        if problem.severity == Severity::Error {
            self.errors += 1;
        }
        if self.list.len() < MAX_PROBLEMS {
            self.list.push(problem);
        } else {
            self.beyond += 1;
        }
    }

    /// Adds all problems of another load.
    pub fn append(&mut self, other: Self) {
        let kept = other.list.len();
        let kept_errors = other
            .list
            .iter()
            .filter(|p| p.severity == Severity::Error)
            .count();
        for problem in other.list.into_iter().take(kept) {
            self.push(problem);
        }
        self.beyond += other.beyond;
        self.errors += other.errors - kept_errors;
    }

    /// Puts them in the order of files, lines and columns.
    pub fn sort(&mut self) {
        self.list.sort_by(|a, b| {
            (&a.file, a.line, a.column, &a.message).cmp(&(&b.file, b.line, b.column, &b.message))
        });
    }

    /// Whether any of them keeps the file from being used.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Gives each in turn.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// Renders all, each with its excerpt and help; colours only where `colour` says so.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut text = String::new();
        for problem in &self.list {
            text.push_str(problem.render(&renderer).trim_end());
            text.push_str("\n\n");
        }
        if self.beyond > 0 {
            text.push_str(&format!("and {} more\n", self.beyond));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_place_excerpt_caret_and_help() {
        let source = Arc::new(Source::new("edge.yaml", "a: 1\nlistner: x\n"));
        let mut problems = Problems::default();
        problems.push(
            Problem::at(&source, 5..12, Severity::Error, "unknown key `listner`")
                .help("did you mean `listener`?"),
        );
        assert_eq!(
            problems.to_string(),
            "error: unknown key `listner`\n --> edge.yaml:2:1\n  |\n2 | listner: x\n  | ^^^^^^^\n  |\n  = help: did you mean `listener`?"
        );
    }

    #[test]
    fn hostile_text_reaches_no_terminal() {
        let source = Arc::new(Source::new("edge.yaml", "a\u{1b}[31m: 1\n"));
        let mut problems = Problems::default();
        problems.push(Problem::at(&source, 0..1, Severity::Error, "unknown key"));
        assert!(!problems.to_string().contains('\u{1b}'));
    }
}

//! The text of a file with its name, and positions in it.

/// A file's name and text, shared by all problems found in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    line_starts: Vec<usize>,
}

impl Source {
    /// Takes a file's name, as messages show it, and its text; a byte order mark is dropped.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            name: name.into(),
            text,
            line_starts,
        }
    }

    /// Gives the name that messages show.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Gives the line of a byte offset, from 1; offsets past the end count as the last line.
    pub fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset)
    }

    /// Gives line and column of a byte offset, both from 1, the column in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        let start = self.line_start(line);
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// Gives the byte offset at which a line (from 1) starts.
    pub(super) fn line_start(&self, line: usize) -> usize {
        let index = line.saturating_sub(1);
        self.line_starts.get(index).copied().unwrap_or_default()
    }

    /// Gives a line (from 1) without its end.
    pub fn line_text(&self, line: usize) -> &str {
        let start = self.line_start(line);
        let end = self
            .line_starts
            .get(line)
            .copied()
            .unwrap_or(self.text.len());
        let whole = self.text.get(start..end).unwrap_or_default();
        whole.trim_end_matches(['\n', '\r'])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_columns_in_characters() {
        let source = Source::new("f", "ä: 1\nünü: x\n");
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position("ä: 1\nünü".len()), (2, 4));
        assert_eq!(source.line_text(2), "ünü: x");
        assert_eq!(source.position(source.text().len()), (3, 1));
    }
}

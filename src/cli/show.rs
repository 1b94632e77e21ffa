//! What is printed: aligned columns and CSV. What peers wrote reaches no terminal as it came.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;

/// Lines of cells, aligned under their heads once all are known.
pub(super) struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    /// Begins with the heads.
    pub(super) fn new(heads: &[&str]) -> Self {
        Self {
            lines: vec![heads.iter().map(|head| (*head).to_owned()).collect()],
        }
    }

    pub(super) fn push(&mut self, cells: Vec<String>) {
        self.lines.push(cells);
    }

    pub(super) fn text(&self) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for line in &self.lines {
            widths.resize(widths.len().max(line.len()), 0);
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(plain(cell).chars().count());
            }
        }
        self.lines
            .iter()
            .map(|line| aligned(line, &widths))
            .collect()
    }
}

/// One line of cells, each at least as wide as its column; a longer one pushes the others on.
pub(super) fn aligned(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (place, cell) in cells.iter().enumerate() {
        let width = widths.get(place).copied().unwrap_or(0);
        line.push_str(&format!("{:<width$}  ", plain(cell)));
    }
    format!("{}\n", line.trim_end())
}

/// Text with what would move a terminal or turn the reading direction written out (`\u{1b}`).
pub(super) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// One line of CSV (RFC 4180). A text that a spreadsheet would take for a formula gets `'` in front.
pub(super) fn csv(cells: &[String]) -> String {
    let shown: Vec<String> = cells
        .iter()
        .map(|cell| {
            let cell = plain(cell);
            let guarded = match cell.starts_with(['=', '+', '-', '@']) {
                true => format!("'{cell}"),
                false => cell,
            };
            match guarded.contains([',', '"']) {
                true => format!("\"{}\"", guarded.replace('"', "\"\"")),
                false => guarded,
            }
        })
        .collect();
    format!("{}\r\n", shown.join(","))
}

/// Writes to standard output; false where nobody reads it any more.
///
/// # Errors
/// Gives what the system said.
pub(super) fn say(text: &str) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("writing to standard output"),
    }
}

/// Bytes for people: `17 B`, `4.2 MB`.
pub(super) fn size(bytes: u64) -> String {
    let units = [
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1000, "kB"),
    ];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        None => format!("{bytes} B"),
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit / (unit / 10)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_the_terminal_is_written_out() {
        let shown = plain("a\u{1b}[2J\u{7}\n\u{202e}é");
        assert_eq!(shown, "a\\u{1b}[2J\\u{7}\\n\\u{202e}é");
    }

    #[test]
    fn csv_quotes_what_it_must() {
        let cells = ["a", "b,c", "say \"x\"", "=1+1"].map(str::to_owned);
        assert_eq!(csv(&cells), "a,\"b,c\",\"say \"\"x\"\"\",'=1+1\r\n");
    }

    #[test]
    fn sizes_have_one_digit_behind_the_point() {
        let shown = [0, 999, 1000, 4_250_000, 12_990_000_000].map(size);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "4.2 MB", "12.9 GB"]);
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["A", "B"]);
        table.push(vec!["long".into(), "x".into()]);
        assert_eq!(table.text(), "A     B\nlong  x\n");
    }
}

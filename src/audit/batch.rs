//! What goes to the store in one transaction.

use super::Row;

/// One batch of the writer.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Events with a line, in the order of the lines.
    pub(super) rows: Vec<Row>,
    /// Decisions of quiet rules: they are counted and not kept, so their `line` is empty.
    pub(super) quiet: Vec<Row>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.quiet.is_empty()
    }
}

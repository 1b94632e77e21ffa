//! What goes to the store in one transaction.

use super::Row;

/// One batch of the writer.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Events with a line, in the order of the lines.
    pub(super) rows: Vec<Row>,
    /// Decisions of quiet rules: they are counted and not kept, so their `line` is empty.
    pub(super) quiet: Vec<Row>,
    /// Rows of batches before, for their memory.
    spare: Vec<Row>,
    /// Where in the file the lines are; `None` where they go to no regular file.
    pub(super) place: Option<Place>,
}

/// Rows that wait for use, as many as a batch has at most: some megabytes once a gate was that busy.
const MAX_SPARE: usize = 2048;

impl Batch {
    /// Gives a row to fill.
    pub(super) fn spare(&mut self) -> Row {
        self.spare.pop().unwrap_or_default()
    }

    /// Lets go of all events.
    pub(super) fn clear(&mut self) {
        for row in self.rows.drain(..).chain(self.quiet.drain(..)) {
            if self.spare.len() < MAX_SPARE {
                self.spare.push(row);
            }
        }
    }
}

/// A span of bytes in a file: what one batch adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Bytes of the file before the batch.
    pub(super) before: u64,
    /// Bytes of the file once it has the whole batch.
    pub(super) after: u64,
}

impl Place {
    pub(super) fn is_in(&self, device: u64, inode: u64) -> bool {
        (self.device, self.inode) == (device, inode)
    }

    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.is_in(other.device, other.inode)
    }
}

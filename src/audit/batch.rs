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

/// Entries that go into one batch at most. Rows and buffers of the largest batch there was stay for the next, some
/// 2 kB for each entry; retention takes out more than this after each batch.
pub(super) const MAX_BATCH: usize = 512;

impl Batch {
    /// Gives a row to fill.
    pub(super) fn spare(&mut self) -> Row {
        self.spare.pop().unwrap_or_default()
    }

    /// Lets go of all events.
    pub(super) fn clear(&mut self) {
        for row in self.rows.drain(..).chain(self.quiet.drain(..)) {
            if self.spare.len() < MAX_BATCH {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_rows_wait_than_a_batch_has() {
        let mut batch = Batch::default();
        for _ in 0..3 {
            for _ in 0..MAX_BATCH {
                let row = batch.spare();
                batch.rows.push(row);
                batch.quiet.push(Row::default());
            }
            batch.clear();
            assert_eq!(batch.spare.len(), MAX_BATCH);
        }
    }
}

//! File and store brought together at the start: what one has and the other has not is put there.
//!
//! The store keeps, in the transaction of each batch, which file it was and where in it the batch
//! begins and ends. One of the two can be ahead of the other by the batch that was under way when the
//! process ended. Bytes behind the end of the last batch go into the store; what the file lacks of the
//! last batch comes out of it. What somebody else did to the file, cut it or wrote in it, is told in
//! the log and left as it is: nothing is deleted but the beginning of a line of ours, nothing written
//! twice.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::batch::{Batch, MAX_BATCH, Place};
use super::{AuditError, Row, Store};

/// Lines that go into the store in one transaction.
const STEP: usize = 512;

/// Bytes of one line at most; what is longer is none of ours.
const MAX_LINE: u64 = 1 << 20;

/// Lines that the writer may have put into a file of which the store was told nothing: a batch, and
/// the count of what went unrecorded.
const MAX_UNTOLD: usize = MAX_BATCH + 1;

/// By how much the lines of one batch may be earlier than those of the batch before, in microseconds.
const MAX_EARLIER: i64 = 60_000_000;

/// How each line of the record begins.
const BEGINNING: &[u8] = b"{\"timestamp\":\"";

/// A file of EVE lines, open for reading and appending.
pub(super) struct Eve<'a> {
    pub(super) path: &'a Path,
    pub(super) file: &'a File,
}

/// Brings the file and the store together, and tells the store where the file ends. A file that is
/// no regular one, such as a pipe, is left alone.
///
/// # Errors
/// Says which of the two cannot be read or written.
pub(super) fn bring_together(eve: &Eve<'_>, store: Option<&mut Store>) -> Result<(), AuditError> {
    let failed = |error: io::Error| unopened(eve.path, &error);
    if !eve.file.metadata().map_err(failed)?.is_file() {
        return Ok(());
    }
    // What another writer is about to end would look torn.
    if let Err(TryLockError::WouldBlock) = eve.file.try_lock() {
        return Ok(());
    }
    let Some(store) = store else {
        return eve.mend().map_err(failed);
    };
    let here = eve.end().map_err(failed)?;
    match store.place()? {
        Some(told) if told.is_of(&here) => eve.reconcile(&told, store)?,
        Some(told) => {
            reconcile_moved(eve.path, &told, store)?;
            eve.mend().map_err(failed)?;
            eve.adopt(store)?;
        }
        None => eve.mend().map_err(failed)?,
    }
    store.mark(&eve.end().map_err(failed)?)?;
    Ok(())
}

/// Brings a store that took the place of another one, such as a copy of before, up to a place in the
/// file. A store that knows nothing of the file gets nothing.
///
/// # Errors
/// Says which of the two cannot be read or written.
pub(super) fn catch_up(eve: &Eve<'_>, upto: &Place, store: &mut Store) -> Result<(), AuditError> {
    match store.place()? {
        Some(told) if told.is_of(upto) && told.after < upto.before => {
            if eve.ends_as_told(&told, store)? {
                eve.carry_over(told.after, upto.before, store)?;
            }
        }
        Some(_) | None => {}
    }
    Ok(())
}

/// The file was rotated before the end: it is looked for under another name in its folder.
fn reconcile_moved(path: &Path, told: &Place, store: &mut Store) -> Result<(), AuditError> {
    let Some(moved) = find(path, told) else {
        tracing::warn!(
            "the file that the record was written to before, as {}, is not in its folder any longer; \
             whether it has the last batch is not known",
            path.display()
        );
        return Ok(());
    };
    let failed = |error: io::Error| unopened(&moved, &error);
    let mut options = OpenOptions::new();
    let file = options.read(true).append(true).open(&moved);
    let file = file.map_err(failed)?;
    let (path, file) = (moved.as_path(), &file);
    Eve { path, file }.reconcile(told, store)
}

/// The file of this device and inode in the folder of `path`.
fn find(path: &Path, told: &Place) -> Option<PathBuf> {
    let folder = path.parent()?;
    let entries = fs::read_dir(folder).ok()?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| {
        let about = fs::symlink_metadata(path);
        about.is_ok_and(|about| about.is_file() && told.is_in(about.dev(), about.ino()))
    })
}

impl Eve<'_> {
    /// Where the file ends.
    fn end(&self) -> io::Result<Place> {
        let about = self.file.metadata()?;
        Ok(Place {
            device: about.dev(),
            inode: about.ino(),
            before: about.len(),
            after: about.len(),
        })
    }

    /// Brings the file that the last batch went to together with the store.
    fn reconcile(&self, told: &Place, store: &mut Store) -> Result<(), AuditError> {
        let failed = |error: io::Error| unopened(self.path, &error);
        let length = self.file.metadata().map_err(failed)?.len();
        if length < told.after {
            self.complete(told, length, store)?;
            return self.mend().map_err(failed);
        }
        if !self.ends_as_told(told, store)? {
            tracing::warn!(
                "{} was changed by somebody else: it does not have the last line of the store where \
                 that was written; both stay as they are",
                self.path.display()
            );
            return self.mend().map_err(failed);
        }
        self.mend().map_err(failed)?;
        let length = self.file.metadata().map_err(failed)?.len();
        self.carry_over(told.after, length, store)
    }

    /// Whether the last batch ends with the newest line of the store. A place without lines, as that
    /// of a file that was just opened, ends with a line end at least.
    fn ends_as_told(&self, told: &Place, store: &Store) -> Result<bool, AuditError> {
        let newest = match told.before < told.after {
            true => store.newest()?.map(|(_, line)| line),
            false => None,
        };
        let wanted = match told.after {
            0 => String::new(),
            _ => format!("{}\n", newest.unwrap_or_default()),
        };
        let length = u64::try_from(wanted.len()).unwrap_or(u64::MAX);
        let Some(start) = told.after.checked_sub(length) else {
            return Ok(false);
        };
        let mut found = vec![0; wanted.len()];
        let read = self.file.read_exact_at(&mut found, start);
        read.map_err(|error| unopened(self.path, &error))?;
        Ok(found == wanted.as_bytes())
    }

    /// Puts lines into the store, from one place to another; each step tells the store how far it is.
    pub(super) fn carry_over(
        &self,
        from: u64,
        to: u64,
        store: &mut Store,
    ) -> Result<(), AuditError> {
        let failed = |error: io::Error| unopened(self.path, &error);
        let place = self.end().map_err(failed)?;
        let (mut at, mut batch, mut foreign, mut count) = (from, Batch::default(), 0_u64, 0_usize);
        let mut step = |batch: &mut Batch, at: u64| {
            count += batch.rows.len();
            batch.place = Some(Place {
                before: at,
                after: at,
                ..place
            });
            let result = store.write_batch(batch);
            batch.rows.clear();
            result
        };
        for line in self.lines(from, to).map_err(failed)? {
            let line = line.map_err(failed)?;
            at += u64::try_from(line.len()).unwrap_or(u64::MAX);
            match std::str::from_utf8(line.trim_ascii_end()).map(Row::read) {
                Ok(Some(row)) => batch.rows.push(row),
                Ok(None) | Err(_) => foreign += 1,
            }
            if batch.rows.len() >= STEP {
                step(&mut batch, at)?;
            }
        }
        step(&mut batch, at)?;
        if count > 0 {
            tracing::warn!(
                lines = count,
                "{} was ahead of the store, which has its lines",
                self.path.display()
            );
        }
        if foreign > 0 {
            tracing::warn!(
                lines = foreign,
                "{} has lines that are no record of portcullis; the store has none of them",
                self.path.display()
            );
        }
        Ok(())
    }

    /// The lines between two places, each with its end.
    fn lines(
        &self,
        from: u64,
        to: u64,
    ) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>> + use<'_>> {
        let mut file = self.file;
        file.seek(SeekFrom::Start(from))?;
        let mut reader = BufReader::new(file.take(to.saturating_sub(from)));
        Ok(std::iter::from_fn(move || {
            let mut line = Vec::new();
            // What is longer comes in pieces, none of which is a record.
            match (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line) {
                Ok(0) => None,
                Ok(_) => Some(Ok(line)),
                Err(error) => Some(Err(error)),
            }
        }))
    }

    /// Appends what the file lacks of the last batch.
    fn complete(&self, told: &Place, length: u64, store: &Store) -> Result<(), AuditError> {
        let failed = |error: io::Error| unopened(self.path, &error);
        let path = self.path.display();
        let Some(there) = length.checked_sub(told.before) else {
            tracing::warn!(
                "{path} was cut: it has {length} bytes, and had {} before the last batch; what was cut off is in the store, and is not put back",
                told.before
            );
            return Ok(());
        };
        let text = store.last_bytes(told.after.saturating_sub(told.before))?;
        let text = text.unwrap_or_default();
        let there = usize::try_from(there).unwrap_or(usize::MAX);
        let mut found = vec![0; there.min(text.len())];
        let read = self.file.read_exact_at(&mut found, told.before);
        read.map_err(failed)?;
        let Some(rest) = text
            .as_bytes()
            .strip_prefix(found.as_slice())
            .filter(|rest| !rest.is_empty())
        else {
            tracing::warn!(
                "{path} was changed by somebody else: it does not begin the last batch as the store \
                 has it; both stay as they are"
            );
            return Ok(());
        };
        let mut file = self.file;
        file.write_all(rest).map_err(failed)?;
        let lines = rest.iter().filter(|&&byte| byte == b'\n').count();
        tracing::warn!(lines, "{path} was behind the store, and has its lines");
        Ok(())
    }

    /// Makes the file end with a line end: a whole record gets its own, the beginning of one is cut
    /// off, as nobody was told that it was written; and what somebody else wrote gets a line end.
    fn mend(&self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let start = length.saturating_sub(MAX_LINE);
        let mut tail = Vec::new();
        let mut file = self.file;
        file.seek(SeekFrom::Start(start))?;
        file.take(length - start).read_to_end(&mut tail)?;
        let torn = tail
            .rsplit(|&byte| byte == b'\n')
            .next()
            .unwrap_or_default();
        if torn.is_empty() {
            return Ok(());
        }
        let path = self.path.display();
        let bytes = torn.len();
        if std::str::from_utf8(torn).is_ok_and(|text| Row::read(text).is_some()) {
            tracing::warn!(bytes, "the last line of {path} lacked its end, and has it");
            return file.write_all(b"\n");
        }
        if torn.starts_with(BEGINNING) || BEGINNING.starts_with(torn) {
            tracing::warn!(bytes, "the last line of {path} was torn, and is cut off");
            let kept = length.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
            return self.file.set_len(kept);
        }
        tracing::warn!(
            bytes,
            "{path} ended inside a line that is no record of portcullis, and has a line end behind it"
        );
        file.write_all(b"\n")
    }

    /// Takes over what the writer put into a file of which it could not tell the store any more: some
    /// lines, later than all that the store has. Other lines are somebody else's doing.
    fn adopt(&self, store: &mut Store) -> Result<(), AuditError> {
        let failed = |error: io::Error| unopened(self.path, &error);
        let length = self.file.metadata().map_err(failed)?.len();
        let earliest = store.newest()?.map_or(i64::MIN, |(time, _)| time);
        let earliest = earliest.saturating_sub(MAX_EARLIER);
        for (count, line) in self.lines(0, length).map_err(failed)?.enumerate() {
            let line = line.map_err(failed)?;
            let row = std::str::from_utf8(line.trim_ascii_end()).map(Row::read);
            let untold = match row {
                Ok(Some(row)) => {
                    count < MAX_UNTOLD && row.time >= earliest && !store.holds(&row)?
                }
                Ok(None) | Err(_) => false,
            };
            if !untold {
                tracing::warn!(
                    "{} is another file than the record was written to before; the store has no more of its lines than it had",
                    self.path.display()
                );
                return Ok(());
            }
        }
        self.carry_over(0, length, store)
    }
}

fn unopened(path: &Path, error: &io::Error) -> AuditError {
    AuditError::unopened(&path.display().to_string(), error)
}

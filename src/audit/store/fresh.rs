//! Which file is the store: the one that is configured, or the last fresh one beside it; and what
//! follows where that file is gone while it is in use.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::config::{OnUnusable, StoreSettings};

use super::{Store, StoreError};

/// Fresh stores beside one that cannot be used.
const MAX_FRESH: u32 = 999;

/// Device and inode of a file.
pub(super) type Identity = (u64, u64);

/// Which files a store has open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opened {
    database: Option<Identity>,
    log: Option<Identity>,
    /// It was closed, and the next one could not be opened so far.
    closed: bool,
}

impl Opened {
    pub(super) fn of(path: &Path) -> Self {
        Self {
            database: identity(path),
            log: identity(&log(path)),
            closed: false,
        }
    }
}

impl Store {
    /// The file that is the store by these settings. With `on-unusable-store: fresh` it is
    /// `NAME.fresh-N.db` beside the one that is named, with the highest N there is, where there is one.
    pub fn current(settings: &StoreSettings) -> PathBuf {
        match settings.on_unusable {
            OnUnusable::Refuse => settings.path.clone(),
            OnUnusable::Fresh => fresh(&settings.path, highest(&settings.path)),
        }
    }

    /// Opens the store of these settings, or begins a fresh one where that cannot be used and the
    /// settings say so.
    ///
    /// # Errors
    /// Tells a missing folder, a damaged file, a later schema, another program's database, and what
    /// SQLite said.
    pub fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        let path = Self::current(settings);
        let error = match Self::open_file(&path, settings) {
            Err(error) if settings.on_unusable == OnUnusable::Fresh && error.is_of_the_file() => {
                error
            }
            result => return result,
        };
        let number = highest(&settings.path).saturating_add(1);
        if number > MAX_FRESH {
            return Err(error);
        }
        let next = fresh(&settings.path, number);
        tracing::error!(
            "{error}; it stays as it is, and the store is {} from here on",
            next.display()
        );
        Self::open_file(&next, settings)
    }

    /// Whether the file was deleted or another one put in its place.
    pub(in crate::audit) fn is_gone(&self) -> bool {
        self.opened.closed || self.opened.database != identity(&self.path)
    }

    /// Takes the file that is in the place of the one that is gone, or makes one.
    ///
    /// # Errors
    /// As [`Store::open`]; the next attempt begins again.
    pub(in crate::audit) fn reopen(&mut self) -> Result<(), StoreError> {
        let unopened = |error: rusqlite::Error| StoreError::not_opened(&self.path, &error);
        let placeholder = Connection::open_in_memory().map_err(unopened)?;
        // Closed first: it would hold on to the write-ahead log.
        drop(std::mem::replace(&mut self.connection, placeholder));
        // The log of a database that is gone must not be taken for that of the one in its place.
        let log = log(&self.path);
        if self.opened.log.is_some() && self.opened.log == identity(&log) {
            fs::remove_file(&log).map_err(|error| StoreError::unopened(&self.path, error))?;
        }
        self.opened = Opened {
            closed: true,
            ..Opened::default()
        };
        let opened = Self::open(&self.settings)?;
        tracing::error!(
            "the audit store {} was deleted or replaced while it was in use; the store goes on in {}",
            self.path.display(),
            opened.path.display()
        );
        *self = opened;
        Ok(())
    }
}

/// The highest number of a fresh store beside this one; 0 where there is none.
fn highest(path: &Path) -> u32 {
    let entries = path.parent().map(fs::read_dir);
    let entries = entries.and_then(Result::ok).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let (stem, extension) = parts(path);
    let numbers = names.filter_map(|name| {
        let number = name.strip_prefix(&stem)?.strip_prefix(".fresh-")?;
        let number = number.strip_suffix(&extension)?.parse().ok()?;
        (number <= MAX_FRESH).then_some(number)
    });
    numbers.max().unwrap_or(0)
}

/// The fresh store of a number; the store itself for 0.
fn fresh(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let (stem, extension) = parts(path);
    path.with_file_name(format!("{stem}.fresh-{number}{extension}"))
}

/// The name of a file up to its extension, and the extension with its dot.
fn parts(path: &Path) -> (String, String) {
    let text =
        |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let extension = text(path.extension()).map(|extension| format!(".{extension}"));
    (
        text(path.file_stem()).unwrap_or_default(),
        extension.unwrap_or_default(),
    )
}

fn log(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn identity(path: &Path) -> Option<Identity> {
    let about = fs::metadata(path).ok()?;
    Some((about.dev(), about.ino()))
}

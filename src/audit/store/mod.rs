//! The store: the record as an SQLite database that can be asked while it is written.
//!
//! Owns the schema, the writing of batches, what goes when it is old, and the questions. One batch is
//! one transaction: it is in the database whole or not at all, whatever ends the process. With
//! `synchronous = NORMAL` a power cut may take the last transactions, and leaves the database sound.

mod ask;
mod blocks;
mod counts;
mod find;
mod fresh;
mod place;
mod retain;
mod schema;
mod series;
mod story;
mod write;

use std::path::{Path, PathBuf};

use rusqlite::ffi::ErrorCode;
use thiserror::Error;

pub use ask::{Hits, Reader};
pub use find::{Filter, Latest};
pub use series::{Point, Series};
pub use story::{Story, Told};
pub use write::Store;

/// An hour in microseconds, the step of [`Reader::series`].
pub const HOUR: i64 = 3_600_000_000;

/// Why the store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The folder of the file is not there.
    #[error("audit store {}: the folder {} does not exist; create it, or change `audit: store`", path.display(), folder.display())]
    NoFolder {
        /// The file.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// There is no such file to be asked.
    #[error("audit store {} does not exist; it is written by `portcullis run` where the configuration has `audit: {{ store: … }}`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened, or is no database.
    #[error("audit store {} cannot be opened: {reason}", path.display())]
    Unopened {
        /// The file.
        path: PathBuf,
        /// What SQLite or the system said.
        reason: String,
    },
    /// It was written by a later program.
    #[error("audit store {} has schema {found}, and this program knows schemas up to {known}; use the program that wrote it, name another file, or set `on-unusable-store: fresh`", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The last schema that is known here.
        known: i64,
    },
    /// It was written by an earlier program, and lacks what is asked.
    #[error("audit store {} has schema {found}, and this question needs schema {needed}; the next `portcullis run` brings it there", path.display())]
    OlderSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The schema that has it.
        needed: i64,
    },
    /// It is a database, but not one of portcullis.
    #[error("audit store {} is a database of another program; name another file in `audit: store`, or set `on-unusable-store: fresh`", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It is no database at all.
    #[error("audit store {} is no SQLite database; name another file in `audit: store`, move this one away, or set `on-unusable-store: fresh`", path.display())]
    NoDatabase {
        /// The file.
        path: PathBuf,
    },
    /// What is in it contradicts itself.
    #[error("audit store {path} is damaged: {reason}; move it and {path}-wal away, and another one begins; `sqlite3 {path} .recover` reads what is left; or set `on-unusable-store: fresh`", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// It does not take the events; they are kept and tried again.
    #[error("audit store {} cannot be written: {reason}", path.display())]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// Another process has locked it; the events are kept and tried again.
    #[error("audit store {} cannot be written: it is locked by another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It does not answer.
    #[error("audit store {} cannot be read: {reason}", path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
}

impl StoreError {
    fn unopened(path: &Path, reason: impl ToString) -> Self {
        Self::Unopened {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    fn not_opened(path: &Path, error: &rusqlite::Error) -> Self {
        Self::unusable(path, error).unwrap_or_else(|| Self::unopened(path, error))
    }

    fn unwritten(path: &Path, error: &rusqlite::Error) -> Self {
        if let Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) = error.sqlite_error_code()
        {
            return Self::Locked {
                path: path.to_owned(),
            };
        }
        Self::unusable(path, error).unwrap_or_else(|| Self::Unwritten {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }

    fn unread(path: &Path, error: &rusqlite::Error) -> Self {
        Self::unusable(path, error).unwrap_or_else(|| Self::Unread {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }

    /// What no second attempt mends; `None` for what may pass.
    fn unusable(path: &Path, error: &rusqlite::Error) -> Option<Self> {
        let path = path.to_owned();
        let code = error.sqlite_error_code()?;
        if code == ErrorCode::NotADatabase {
            return Some(Self::NoDatabase { path });
        }
        (code == ErrorCode::DatabaseCorrupt).then(|| Self::Damaged {
            path,
            reason: error.to_string(),
        })
    }

    /// Whether the file itself is what is wrong, so that another file would do.
    fn is_of_the_file(&self) -> bool {
        match self {
            Self::NewerSchema { .. }
            | Self::Foreign { .. }
            | Self::NoDatabase { .. }
            | Self::Damaged { .. } => true,
            Self::NoFolder { .. }
            | Self::Missing { .. }
            | Self::Unopened { .. }
            | Self::OlderSchema { .. }
            | Self::Unwritten { .. }
            | Self::Locked { .. }
            | Self::Unread { .. } => false,
        }
    }
}

/// The folder of a path, and the one it is in for a bare name.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

fn cannot_open(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::CannotOpen)
}

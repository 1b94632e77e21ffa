//! The EVE lines on their way into a file or standard output; what was not taken is kept.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::AuditError;
use super::agree::Eve;
use super::batch::Place;

/// Who may read the file: the owner, and the group of the log readers.
pub(super) const MODE: u32 = 0o640;

/// An output and what it has still to take.
pub(super) struct Lines {
    name: String,
    /// Where it can be opened again; `None` for what is no file.
    path: Option<PathBuf>,
    sink: Sink,
    /// Whole lines, of which the first `taken` bytes are out.
    unwritten: Vec<u8>,
    taken: usize,
    /// Of them, those in a file before the one at hand.
    elsewhere: usize,
}

enum Sink {
    File(File),
    Other(Box<dyn Write + Send>),
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Other(other) => other.write(bytes),
        }
    }
}

impl Lines {
    /// Opens a file, created with mode 0640.
    pub(super) fn to_file(path: &Path) -> Result<Self, AuditError> {
        let folder = path.parent().unwrap_or_else(|| Path::new("/"));
        if !folder.as_os_str().is_empty() && !folder.is_dir() {
            return Err(AuditError::NoFolder {
                path: path.to_owned(),
                folder: folder.to_owned(),
            });
        }
        let name = path.display().to_string();
        let file = open(path).map_err(|error| AuditError::unopened(&name, &error))?;
        Ok(Self {
            path: Some(path.to_owned()),
            ..Self::new(name, Sink::File(file))
        })
    }

    /// Takes standard output, past the standard library's own buffer: one write is one batch of
    /// whole lines.
    pub(super) fn to_stdout() -> Result<Self, AuditError> {
        let name = "stdout".to_owned();
        let own = io::stdout().as_fd().try_clone_to_owned();
        let file = own.map_err(|error| AuditError::unopened(&name, &error))?;
        Ok(Self::new(name, Sink::Other(Box::new(File::from(file)))))
    }

    #[cfg(test)]
    pub(super) fn to_sink(name: String, sink: Box<dyn Write + Send>) -> Self {
        Self::new(name, Sink::Other(sink))
    }

    fn new(name: String, sink: Sink) -> Self {
        Self {
            name,
            path: None,
            sink,
            unwritten: Vec::new(),
            taken: 0,
            elsewhere: 0,
        }
    }

    /// The file to read back, where it is one.
    pub(super) fn eve(&self) -> Option<Eve<'_>> {
        match (&self.path, &self.sink) {
            (Some(path), Sink::File(file)) => Some(Eve { path, file }),
            _ => None,
        }
    }

    /// Where the lines at hand are, or will be, in the file at hand; `None` where it is no regular one.
    pub(super) fn place(&self) -> Option<Place> {
        let Sink::File(file) = &self.sink else {
            return None;
        };
        let about = file.metadata().ok().filter(|about| about.is_file())?;
        let bytes = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        let here = self.taken.saturating_sub(self.elsewhere);
        let rest = self.unwritten.len().saturating_sub(self.taken);
        Some(Place {
            device: about.dev(),
            inode: about.ino(),
            before: about.len().saturating_sub(bytes(here)),
            after: about.len().saturating_add(bytes(rest)),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Lets go of the output; what comes after is nowhere.
    pub(super) fn close(&mut self) {
        self.sink = Sink::Other(Box::new(io::sink()));
    }

    /// Where whole lines are to be appended.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.unwritten
    }

    /// Lines that are not out as a whole.
    pub(super) fn waiting(&self) -> usize {
        let rest = self.unwritten.get(self.taken..).unwrap_or_default();
        rest.iter().filter(|&&byte| byte == b'\n').count()
    }

    /// Writes what there is. After an error the next call goes on where this one stopped.
    pub(super) fn write_out(&mut self) -> Result<(), AuditError> {
        while let Some(rest @ [_, ..]) = self.unwritten.get(self.taken..) {
            match self.sink.write(rest) {
                Ok(0) => return Err(self.unwritten(&io::ErrorKind::WriteZero.into())),
                Ok(taken) => self.taken += taken,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unwritten(&error)),
            }
        }
        self.unwritten.clear();
        self.taken = 0;
        self.elsewhere = 0;
        Ok(())
    }

    /// Opens the file at its path again, which may be another one by then. A line that the old file
    /// has a part of goes into the file at hand as a whole. On an error the old file stays in use.
    pub(super) fn reopen(&mut self) -> Result<(), AuditError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        // Where it is the same file, this lock would be in the way of the next.
        if let Sink::File(old) = &self.sink
            && let Err(error) = old.unlock()
        {
            tracing::debug!("{} stays locked: {error}", self.name);
        }
        let file = open(path).map_err(|error| AuditError::unopened(&self.name, &error));
        if let (Err(_), Sink::File(old)) = (&file, &self.sink) {
            lock(old, &self.name);
        }
        let file = file?;
        let out = self.unwritten.get(..self.taken).unwrap_or_default();
        let line = out.iter().rposition(|&byte| byte == b'\n');
        let whole = line.map_or(0, |end| end + 1);
        if let Sink::File(old) = &self.sink
            && let Err(error) = cut(old, self.taken.saturating_sub(whole))
        {
            tracing::warn!("the file before the one at hand ends inside a line: {error}");
        }
        self.sink = Sink::File(file);
        self.taken = whole;
        self.elsewhere = whole;
        Ok(())
    }

    fn unwritten(&self, error: &io::Error) -> AuditError {
        AuditError::Unwritten {
            output: self.name.clone(),
            reason: error.to_string(),
        }
    }
}

/// Takes back the beginning of a line that was not written as a whole.
fn cut(file: &File, bytes: usize) -> io::Result<()> {
    let length = file.metadata()?.len();
    let kept = length.checked_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
    match kept {
        Some(kept) if bytes > 0 => file.set_len(kept),
        Some(_) | None => Ok(()),
    }
}

/// Tells other processes that somebody writes here; without a lock it is written all the same.
fn lock(file: &File, name: &str) {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => tracing::warn!("another process writes {name} too"),
        Err(TryLockError::Error(error)) => tracing::debug!("{name} cannot be locked: {error}"),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).read(true).create(true).mode(MODE);
    let file = options.open(path)?;
    lock(&file, &path.display().to_string());
    Ok(file)
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;

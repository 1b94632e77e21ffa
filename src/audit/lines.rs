//! The EVE lines on their way into a file or standard output; what was not taken is kept.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::AuditError;

/// Who may read the file: the owner, and the group of the log readers.
pub(super) const MODE: u32 = 0o640;

/// An output and what it has still to take.
pub(super) struct Lines {
    name: String,
    /// Where it can be opened again; `None` for what is no file.
    path: Option<PathBuf>,
    sink: Box<dyn Write + Send>,
    /// Whole lines, of which the first `taken` bytes are out.
    unwritten: Vec<u8>,
    taken: usize,
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
        let mut lines = Self::to_sink(name, Box::new(file));
        lines.path = Some(path.to_owned());
        Ok(lines)
    }

    /// Takes standard output, past the standard library's own buffer: one write is one batch of
    /// whole lines.
    pub(super) fn to_stdout() -> Result<Self, AuditError> {
        let name = "stdout".to_owned();
        let own = io::stdout().as_fd().try_clone_to_owned();
        let file = own.map_err(|error| AuditError::unopened(&name, &error))?;
        Ok(Self::to_sink(name, Box::new(File::from(file))))
    }

    pub(super) fn to_sink(name: String, sink: Box<dyn Write + Send>) -> Self {
        Self {
            name,
            path: None,
            sink,
            unwritten: Vec::new(),
            taken: 0,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
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
        Ok(())
    }

    /// Opens the file at its path again, which may be another one by then. A line that the old file
    /// has a part of goes into the file at hand as a whole. On an error the old file stays in use.
    pub(super) fn reopen(&mut self) -> Result<(), AuditError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let file = open(path).map_err(|error| AuditError::unopened(&self.name, &error))?;
        self.sink = Box::new(file);
        let out = self.unwritten.get(..self.taken).unwrap_or_default();
        let line = out.iter().rposition(|&byte| byte == b'\n');
        self.taken = line.map_or(0, |end| end + 1);
        Ok(())
    }

    fn unwritten(&self, error: &io::Error) -> AuditError {
        AuditError::Unwritten {
            output: self.name.clone(),
            reason: error.to_string(),
        }
    }
}

/// A file that a crash left inside a line gets its line end first, so that the next line is whole.
fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .mode(MODE)
        .open(path)?;
    if file.metadata()?.is_file() && file.seek(SeekFrom::End(0))? > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;

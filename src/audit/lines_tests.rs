//! Files that are moved away, and lines that were torn.

use std::fs;
use std::sync::{Arc, Mutex};

use super::*;

/// Takes three bytes, then nothing more.
#[derive(Clone, Default)]
struct Full(Arc<Mutex<Vec<u8>>>);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = self.0.lock().unwrap();
        if taken.len() >= 3 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        taken.extend_from_slice(&bytes[..3]);
        Ok(3)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn folder(name: &str) -> PathBuf {
    let name = format!("portcullis-lines-{}-{name}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn a_file_that_was_moved_away_is_made_again() {
    let folder = folder("moved");
    let (path, moved) = (folder.join("eve.json"), folder.join("eve.json.1"));
    let mut lines = Lines::to_file(&path).unwrap();
    lines.buffer().extend_from_slice(b"one\n");
    lines.write_out().unwrap();
    fs::rename(&path, &moved).unwrap();
    lines.buffer().extend_from_slice(b"two\n");
    lines.write_out().unwrap();
    lines.reopen().unwrap();
    lines.buffer().extend_from_slice(b"three\n");
    lines.write_out().unwrap();
    assert_eq!(fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_line_torn_between_two_files_is_whole_in_the_second() {
    let folder = folder("torn");
    let path = folder.join("eve.json");
    let mut lines = Lines::to_file(&path).unwrap();
    let full = Full::default();
    lines.sink = Sink::Other(Box::new(full.clone()));
    lines.buffer().extend_from_slice(b"1\n234\n");
    lines.write_out().unwrap_err();
    assert_eq!(lines.waiting(), 1);
    lines.reopen().unwrap();
    lines.write_out().unwrap();
    assert_eq!(*full.0.lock().unwrap(), b"1\n2");
    assert_eq!(fs::read_to_string(&path).unwrap(), "234\n");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_place_that_cannot_be_opened_leaves_the_old_file_in_use() {
    let folder = folder("gone");
    let path = folder.join("eve.json");
    let mut lines = Lines::to_file(&path).unwrap();
    let moved = folder.join("moved");
    fs::rename(&path, &moved).unwrap();
    fs::create_dir(&path).unwrap();
    let error = lines.reopen().unwrap_err();
    assert!(error.to_string().contains("Is a directory"), "{error}");
    lines.buffer().extend_from_slice(b"kept\n");
    lines.write_out().unwrap();
    assert_eq!(fs::read_to_string(&moved).unwrap(), "kept\n");
    fs::remove_dir_all(folder).unwrap();
}

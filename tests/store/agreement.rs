//! What the next start finds where file and store had gone apart, and what it makes of it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use portcullis::audit::{Audit, Filter, Reader, Row};

use crate::{Folder, entry, settings};

impl Folder {
    fn eve(&self) -> PathBuf {
        self.0.join("eve.json")
    }

    fn file(&self) -> String {
        fs::read_to_string(self.eve()).unwrap()
    }

    /// The lines of the store, each with its end.
    fn stored(&self) -> String {
        let mut text = String::new();
        let each = |row: Row| {
            text.push_str(&row.line);
            text.push('\n');
            ControlFlow::Continue(())
        };
        let reader = Reader::open(&self.store().path).unwrap();
        reader.events(&Filter::default(), 0, each).unwrap();
        text
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).open(self.eve()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn cut(&self, bytes: usize) {
        let file = OpenOptions::new().write(true).open(self.eve()).unwrap();
        file.set_len(u64::try_from(bytes).unwrap()).unwrap();
    }

    /// Has the last batch begin and end at these places of the file.
    fn last_batch(&self, before: usize, after: usize) {
        let database = rusqlite::Connection::open(self.store().path).unwrap();
        let places = [before, after].map(|place| i64::try_from(place).unwrap());
        let update = "UPDATE state SET before = ?1, after = ?2";
        database.execute(update, places).unwrap();
    }

    /// A start that accepts these, and an end that writes them.
    fn run(&self, flows: &[u64], with_store: bool) {
        let mut settings = settings(&self.0);
        settings.store = settings.store.filter(|_| with_store);
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        runtime.block_on(async {
            let audit = Audit::open(&settings).unwrap();
            for &flow in flows {
                audit.accept(entry(flow)).await.unwrap();
            }
            audit.finish().await.unwrap();
        });
    }
}

/// The file and the store after two runs.
fn written(name: &str) -> (Folder, String) {
    let folder = Folder::new(name);
    folder.run(&[1, 2], true);
    folder.run(&[3, 4, 5], true);
    let text = folder.file();
    assert_eq!(folder.stored(), text);
    (folder, text)
}

/// Lines that another store would have: those of a run elsewhere.
fn lines(name: &str, flows: &[u64]) -> String {
    let folder = Folder::new(name);
    folder.run(flows, false);
    folder.file()
}

#[test]
fn what_the_file_has_more_goes_into_the_store_and_a_torn_line_goes() {
    let (folder, before) = written("file-ahead");
    let more = lines("more", &[6, 7]);
    folder.append(&more);
    folder.append("{\"timestamp\":\"2026-11-20T15:1");
    folder.run(&[8], true);
    let text = folder.file();
    assert!(text.starts_with(&(before + &more)), "{text}");
    assert_eq!(text.lines().count(), 8);
    assert_eq!(folder.stored(), text);
}

#[test]
fn a_whole_record_without_its_line_end_is_kept_by_both() {
    let (folder, before) = written("no-end");
    let more = lines("no-end-more", &[6]);
    folder.append(more.trim_end());
    folder.run(&[], true);
    assert_eq!(folder.file(), before + &more);
    assert_eq!(folder.stored(), folder.file());
}

#[test]
fn what_the_store_has_more_of_the_last_batch_goes_into_the_file() {
    let (folder, before) = written("store-ahead");
    let ends: Vec<usize> = before.match_indices('\n').map(|(at, _)| at + 1).collect();
    // Before the batch, at the end of a line of it, and inside lines.
    for length in [ends[1], ends[1] + 1, ends[2], ends[2] + 40, ends[4] - 1] {
        folder.last_batch(ends[1], ends[4]);
        folder.cut(length);
        folder.run(&[], true);
        assert_eq!(folder.file(), before, "cut at {length}");
        assert_eq!(folder.stored(), before);
    }
}

#[test]
fn a_file_that_was_cut_short_is_left_as_it_is() {
    let (folder, before) = written("cut");
    let end = before.find('\n').unwrap() + 1;
    folder.last_batch(end, before.len());
    folder.cut(0);
    folder.run(&[6], true);
    assert_eq!(folder.file().lines().count(), 1, "nothing is put back");
    assert_eq!(folder.stored(), before + &folder.file());
}

#[test]
fn a_file_that_was_edited_is_left_as_it_is_and_nothing_is_stored_twice() {
    let (folder, before) = written("edited");
    let edited = before.replace("\"lan\"", "\"***\"");
    let mut file = OpenOptions::new().write(true).open(folder.eve()).unwrap();
    file.write_all(edited.as_bytes()).unwrap();
    folder.append("a note\n");
    folder.run(&[6], true);
    assert!(folder.file().starts_with(&(edited + "a note\n")));
    assert_eq!(folder.stored().lines().count(), 6);
    assert!(folder.stored().starts_with(&before));
}

#[test]
fn a_file_that_was_rotated_is_found_and_completed_under_its_name() {
    let (folder, before) = written("rotated");
    let ends: Vec<usize> = before.match_indices('\n').map(|(at, _)| at + 1).collect();
    folder.last_batch(ends[1], ends[4]);
    folder.cut(ends[2] - 5);
    let moved = folder.0.join("eve.json.1");
    fs::rename(folder.eve(), &moved).unwrap();
    folder.run(&[6], true);
    assert_eq!(fs::read_to_string(&moved).unwrap(), before);
    assert_eq!(folder.stored(), before + &folder.file());
}

#[test]
fn lines_in_a_file_that_the_store_was_not_told_of_are_taken_over_once() {
    let (folder, before) = written("untold");
    fs::rename(folder.eve(), folder.0.join("eve.json.1")).unwrap();
    let more = lines("untold-more", &[6, 7]);
    fs::write(folder.eve(), &more).unwrap();
    folder.run(&[], true);
    folder.run(&[], true);
    assert_eq!(folder.stored(), before.clone() + &more);
    // Another file with lines that are in the store already adds none.
    fs::rename(folder.eve(), folder.0.join("eve.json.2")).unwrap();
    fs::write(folder.eve(), &before).unwrap();
    folder.run(&[], true);
    assert_eq!(folder.stored(), before.clone() + &more);
    assert_eq!(folder.file(), before);
}

#[test]
fn a_store_that_was_out_of_use_gets_what_it_missed() {
    let (folder, _) = written("out-of-use");
    let many: Vec<u64> = (6..2000).collect();
    folder.run(&many, false);
    folder.run(&[2000], true);
    assert_eq!(folder.file().lines().count(), 2000);
    assert_eq!(folder.stored(), folder.file());
}

#[test]
fn a_store_that_begins_takes_no_lines_of_before() {
    let folder = Folder::new("begins");
    folder.run(&[1, 2], false);
    folder.run(&[3], true);
    assert_eq!(folder.file().lines().count(), 3);
    assert_eq!(folder.stored().lines().count(), 1);
}

#[test]
fn without_a_store_a_torn_line_goes_and_what_others_wrote_stays() {
    let folder = Folder::new("no-store");
    folder.run(&[1], false);
    let before = folder.file();
    folder.append("{\"timest");
    folder.run(&[], false);
    assert_eq!(folder.file(), before);
    folder.append("a note");
    folder.run(&[], false);
    assert_eq!(folder.file(), before + "a note\n");
}

#[test]
fn a_file_that_another_writer_has_open_is_left_alone() {
    let folder = Folder::new("in-use");
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    runtime.block_on(async {
        let mut settings = settings(&folder.0);
        settings.store = None;
        let first = Audit::open(&settings).unwrap();
        // The same file again: the lock is still its own.
        first.reopen().await.unwrap();
        folder.append("{\"timestamp\":\"2026");
        let second = Audit::open(&settings).unwrap();
        assert_eq!(folder.file(), "{\"timestamp\":\"2026");
        second.finish().await.unwrap();
        first.finish().await.unwrap();
    });
    folder.run(&[], false);
    assert_eq!(
        folder.file(),
        "",
        "once nobody has it open, what is torn goes"
    );
}

//! `kill -9` at random moments: file and store agree on every record, and none is torn.

use std::env;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Lines};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use portcullis::audit::{Audit, Entry, Filter, Reader, Row};
use portcullis::ftp::Verb;
use portcullis::inspect::{self, Event, Mode, Record, TransferOutcome, Transferred};
use portcullis::pinhole::{Counters, Pinhole, PinholeId};
use portcullis::rules::{Policy, Request, Verdict};
use rusqlite::Connection;

use crate::{Folder, entry, settings};

const FOLDER: &str = "PORTCULLIS_TEST_STORE";

const TRANSFERS: u64 = 100_000;

/// Events of one transfer: its decision, its end, and the reply.
const EVENTS: u64 = 3;

const KILLS: u64 = 10;

/// Accepted entries that may be unwritten when the process is killed: the queue and one batch.
const MAX_UNWRITTEN: u64 = 4096 + 512;

/// The event of a number, each transfer in a session of its own.
fn numbered(number: u64, verdict: &Verdict) -> Entry {
    let command = || inspect::Command {
        verb: Verb::Retr,
        argument: Some("a.bin".into()),
        path: Some("/pub/a.bin".into()),
    };
    let any = "192.0.2.1:50000".parse().unwrap();
    let event = match number % EVENTS {
        0 => Event::Decided {
            command: command(),
            verdict: verdict.clone(),
        },
        1 => Event::Transferred(Transferred {
            command: command(),
            rule: Arc::clone(&verdict.rule),
            mode: Mode::Passive,
            pinhole: Pinhole {
                initiator: [10, 0, 0, 1].into(),
                announced: any,
                target: any,
                source: [10, 0, 0, 1].into(),
                from_port_20: false,
            },
            id: PinholeId(number),
            announced: any,
            rewritten: any,
            counters: Some(Counters::default()),
            duration: Some(Duration::from_millis(20)),
            code: Some(226),
            outcome: TransferOutcome::Completed,
        }),
        _ => Event::Replied {
            command: command(),
            code: 226,
            text: "Transfer complete".into(),
        },
    };
    Entry {
        record: Record {
            user: Some("anna".into()),
            event,
        },
        ..entry(number / EVENTS)
    }
}

fn stored(path: &Path) -> u64 {
    let database = Connection::open(path).unwrap();
    let count = database.query_row("SELECT count(*) FROM events", [], |row| row.get(0));
    u64::try_from(count.unwrap_or(0_i64)).unwrap()
}

/// The process that is killed: goes on behind what is stored, and says after each few how many were
/// accepted and how many are written.
#[test]
#[ignore = "a part of the test below, which runs it"]
fn writes_until_it_is_killed() {
    let Some(folder) = env::var_os(FOLDER) else {
        return;
    };
    let settings = settings(Path::new(&folder));
    let audit = Audit::open(&settings).unwrap();
    let first = stored(&settings.store.unwrap().path);
    let policy = Policy::parse("rules.yaml", "rules: [{ id: all, allow: true }]").unwrap();
    let ip = [10, 0, 0, 1].into();
    let verdict = policy.decide(&Request::new("lan", ip, ip, &Verb::Retr));
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    runtime.block_on(async {
        println!("counts {first} 0 0");
        for number in first..TRANSFERS * EVENTS {
            audit.accept(numbered(number, &verdict)).await.unwrap();
            if number % 16 == 0 {
                println!("counts {first} {} {}", number + 1 - first, audit.written());
            }
        }
        audit.finish().await.unwrap();
        let all = TRANSFERS * EVENTS - first;
        println!("counts {first} {all} {}", audit.written());
    });
}

/// Events stored at its start, then accepted and written by it.
type Counts = [u64; 3];

struct Writing {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Writing {
    fn start(folder: &Folder) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "kill::writes_until_it_is_killed",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(FOLDER, &folder.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next whole count; `None` once the process has ended.
    fn counts(&mut self) -> Option<Counts> {
        loop {
            let line = self.lines.next()?.ok()?;
            // The last line may be cut off by the kill.
            let words: Vec<&str> = line.split(' ').collect();
            let &["counts", first, accepted, written] = &words[..] else {
                continue;
            };
            let numbers = [first, accepted, written].map(str::parse);
            if let [Ok(first), Ok(accepted), Ok(written)] = numbers {
                return Some([first, accepted, written]);
            }
        }
    }
}

fn random(below: u64) -> u64 {
    RandomState::new().hash_one(0) % below
}

/// Lines of the store, in their order.
fn store_lines(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let each = |row: Row| {
        lines.push(row.line);
        ControlFlow::Continue(())
    };
    Reader::open(path)
        .unwrap()
        .events(&Filter::default(), 0, each)
        .unwrap();
    lines
}

#[test]
fn a_hundred_thousand_transfers_and_ten_kills_leave_file_and_store_alike() {
    let folder = Folder::new("kill");
    let path = folder.store().path;
    let (eve, mut files) = (folder.0.join("eve.json"), Vec::new());
    let all = TRANSFERS * EVENTS;
    let (mut told, mut accepted_before) = (0, 0);
    for kill in 0..KILLS {
        let mut writing = Writing::start(&folder);
        let [first, ..] = writing.counts().unwrap();
        assert!(
            first >= told,
            "{first} events are there, {told} were told written"
        );
        assert!(
            first + MAX_UNWRITTEN >= accepted_before,
            "{first} of {accepted_before}"
        );
        // Somewhere in its share of the way, and then at any moment of a batch.
        let share = all / (KILLS + 2);
        let until = (kill * share + random(share)).max(first + random(5_000));
        let mut last = [first, 0, 0];
        while first + last[1] < until {
            last = writing.counts().unwrap();
        }
        thread::sleep(Duration::from_micros(random(30_000)));
        writing.child.kill().unwrap();
        while let Some(counts) = writing.counts() {
            last = counts;
        }
        writing.child.wait().unwrap();
        (accepted_before, told) = (first + last[1], first + last[2]);
        // Some of the kills come while the file is rotated.
        if kill % 4 == 1 {
            let moved = folder.0.join(format!("eve.json.{kill}"));
            fs::rename(&eve, &moved).unwrap();
            files.push(moved);
        }
    }
    let mut writing = Writing::start(&folder);
    let [first, ..] = writing.counts().unwrap();
    assert!(
        first >= told,
        "{first} events are there, {told} were told written"
    );
    while writing.counts().is_some() {}
    assert!(writing.child.wait().unwrap().success());

    files.push(eve);
    let text: String = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    assert!(text.ends_with("}\n"), "the last line is whole");
    let in_file: Vec<&str> = text.lines().collect();
    let in_store = store_lines(&path);
    assert_eq!(in_file.len(), usize::try_from(all).unwrap());
    assert_eq!(in_store.len(), in_file.len());
    for (number, (line, stored)) in (0..).zip(in_file.iter().zip(&in_store)) {
        assert_eq!(line, stored, "line {number}");
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["flow_id"], number / EVENTS, "line {number}");
        let event = ["decision", "transfer", "reply"][usize::try_from(number % EVENTS).unwrap()];
        assert_eq!(value["portcullis"]["event"], event, "line {number}");
    }
    let hits = Reader::open(&path).unwrap().hits(0).unwrap();
    assert_eq!(hits[0].hits, TRANSFERS, "each counts once");
    let database = Connection::open(&path).unwrap();
    let check = database.query_row("PRAGMA integrity_check", [], |row| row.get(0));
    assert_eq!(check, Ok("ok".to_owned()));
}

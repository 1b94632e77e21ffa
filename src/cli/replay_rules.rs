//! `portcullis replay-rules`: what other rules would have decided, printed by rule.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use anyhow::Context;

use crate::app::{self, Outcome};
use crate::audit::{Comparison, Replay};

use super::show::{plain, say};

/// Bytes of a line that are read; records are far shorter.
const MAX_LINE: u64 = 1 << 20;

/// The arguments of `replay-rules`.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    config: super::ConfigFile,
    /// Files of EVE lines, oldest first; `-` is standard input.
    #[arg(required = true, value_name = "AUDIT")]
    records: Vec<PathBuf>,
}

/// Decides again and prints the differences.
///
/// # Errors
/// Says what cannot be read or printed.
pub(super) fn run(args: &ReplayArgs) -> anyhow::Result<Outcome> {
    let Some(config) = app::load(&args.config.config)? else {
        return Ok(Outcome::Problems);
    };
    let mut replay = Replay::new(&config);
    for path in &args.records {
        let read = if path.as_os_str() == "-" {
            lines(io::stdin().lock(), &mut replay)
        } else {
            File::open(path).and_then(|file| lines(BufReader::new(file), &mut replay))
        };
        read.with_context(|| format!("reading {}", path.display()))?;
    }
    let found = replay.finish();
    say(&text(&found))?;
    let same = found.changes.is_empty() && found.unknown_listeners.is_empty();
    Ok(if same {
        Outcome::Good
    } else {
        Outcome::Problems
    })
}

/// An overlong line comes in pieces, none of which is a record.
fn lines(mut from: impl BufRead, replay: &mut Replay<'_>) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let taken = from.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if taken == 0 {
            return Ok(());
        }
        replay.take(&line);
    }
}

fn text(found: &Comparison) -> String {
    let mut text = String::new();
    for (change, found) in &found.changes {
        text.push_str(&format!(
            "{}: {} decision(s) would be `{}`, and were `{}` by {}\n",
            plain(&change.rule),
            found.count,
            plain(&change.after),
            plain(&change.before),
            plain(&change.rule_before),
        ));
        for example in &found.examples {
            text.push_str(&format!("    {}\n", plain(example)));
        }
    }
    for (listener, count) in &found.unknown_listeners {
        let listener = plain(listener);
        text.push_str(&format!(
            "listener {listener}: {count} decision(s) cannot be compared, the configuration has no such listener\n"
        ));
    }
    let differ: u64 = found.changes.values().map(|found| found.count).sum();
    text.push_str(&format!(
        "{} decision(s) compared: {differ} would differ, {} would be the same by another rule\n",
        found.decisions, found.by_another_rule
    ));
    if found.unreadable > 0 {
        let count = found.unreadable;
        text.push_str(&format!("{count} line(s) are no records of portcullis\n"));
    }
    text
}

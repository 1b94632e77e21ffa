//! What the program does: puts the parts together, runs them, and takes them down again.

mod reload;
mod run;
mod why;

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;

use crate::config::{self, Config, Places};
use crate::yaml::Problems;

pub use why::{Question, why};

/// How a task ended, short of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Good,
    /// Problems were found and reported.
    Problems,
}

/// Serves until a signal says stop; what it does stands in `run`.
///
/// # Errors
/// Says what is missing or taken; nothing is left in the kernel. Problems in files are no errors but
/// [`Outcome::Problems`].
pub fn run(file: &Path) -> anyhow::Result<Outcome> {
    let Some(config) = load(file)? else {
        return Ok(Outcome::Problems);
    };
    run::run(file, config)?;
    Ok(Outcome::Good)
}

/// Reads a configuration and its rules, and reports every problem.
///
/// # Errors
/// Only where nothing can be printed.
pub fn check(file: &Path) -> anyhow::Result<Outcome> {
    let Some(config) = load(file)? else {
        return Ok(Outcome::Problems);
    };
    say(&format!(
        "{}: good, {} listener(s)\n",
        file.display(),
        config.listeners.len()
    ))?;
    Ok(Outcome::Good)
}

/// Prints the schema of a kind of file.
///
/// # Errors
/// Only where nothing can be printed.
pub fn schema(schema: serde_json::Value) -> anyhow::Result<Outcome> {
    say(&format!("{schema:#}\n"))?;
    Ok(Outcome::Good)
}

/// The path that all tasks share: reads, reports, and gives what is usable.
///
/// # Errors
/// Only where nothing can be printed.
pub(crate) fn load(file: &Path) -> anyhow::Result<Option<Config>> {
    match config::load(file, &config::interface_names()) {
        Ok((config, warnings)) => {
            report(&warnings)?;
            Ok(Some(config))
        }
        Err(problems) => {
            report(&problems)?;
            Ok(None)
        }
    }
}

/// The same for what asks a gate that runs: reads no rules.
///
/// # Errors
/// Only where nothing can be printed.
pub(crate) fn places(file: &Path) -> anyhow::Result<Option<Places>> {
    match config::places(file) {
        Ok(places) => Ok(Some(places)),
        Err(problems) => {
            report(&problems)?;
            Ok(None)
        }
    }
}

fn report(problems: &Problems) -> anyhow::Result<()> {
    let mut text = problems.to_string();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    io::stderr()
        .write_all(text.as_bytes())
        .context("writing to standard error")
}

fn say(text: &str) -> anyhow::Result<()> {
    io::stdout()
        .write_all(text.as_bytes())
        .context("writing to standard output")
}

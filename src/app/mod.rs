//! What the program does: puts the parts together, runs them, and takes them down again.

mod run;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::{Cli, Task};
use crate::config::{self, Config};

/// How a task ended, short of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Good,
    /// Problems were found and reported.
    Problems,
}

/// Carries out what the command line asks for.
///
/// # Errors
/// Says what could not be done; problems in files are no errors but [`Outcome::Problems`].
pub fn run(cli: Cli) -> anyhow::Result<Outcome> {
    match cli.task {
        Task::Run(file) => {
            let Some(config) = load(&file.config)? else {
                return Ok(Outcome::Problems);
            };
            run::run(config)?;
            Ok(Outcome::Good)
        }
        Task::Check(file) => {
            let Some(config) = load(&file.config)? else {
                return Ok(Outcome::Problems);
            };
            let rules: BTreeSet<_> = config
                .listeners
                .iter()
                .map(|listener| &listener.name)
                .collect();
            say(&format!(
                "{}: good, {} listener(s)\n",
                file.config.display(),
                rules.len()
            ))?;
            Ok(Outcome::Good)
        }
        Task::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut page)
                .context("making the page")?;
            io::stdout()
                .write_all(&page)
                .context("writing to standard output")?;
            Ok(Outcome::Good)
        }
    }
}

/// The path that `check` and `run` share: reads, reports, and gives what is usable.
fn load(file: &Path) -> anyhow::Result<Option<Config>> {
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

fn report(problems: &crate::yaml::Problems) -> anyhow::Result<()> {
    let text = problems.to_string();
    io::stderr()
        .write_all(text.as_bytes())
        .context("writing to standard error")
}

fn say(text: &str) -> anyhow::Result<()> {
    io::stdout()
        .write_all(text.as_bytes())
        .context("writing to standard output")
}

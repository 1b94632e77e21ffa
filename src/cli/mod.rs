//! The command line as it is written, and which task each word of it means.

mod asking;
mod hits;
mod live;
mod replay_rules;
mod show;
mod story;
mod times;
mod top;
mod why;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};

use crate::app::{self, Outcome};
use crate::{config, keeper, rules};

pub use why::Why;

pub use asking::{AuditArgs, Source};
pub use hits::HitsArgs;
pub use live::{LiveArgs, Running};
pub use replay_rules::ReplayArgs;

/// The FTP gate for Linux edges.
///
/// Portcullis stands between FTP clients and servers. It reads the control connection, rewrites
/// addresses for NAT, opens one exact single-use pinhole in nftables for each data connection, lets
/// the kernel forward the data, and puts every decision on the record.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub task: Task,
}

const EXIT_CODES: &str = "Exit codes: 0 all is well, 1 problems were found, 2 wrong usage.";

/// One thing the program can do.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Serve FTP sessions until SIGTERM or SIGINT; then take everything out of the kernel again.
    ///
    /// Needs CAP_NET_ADMIN and CAP_NET_RAW, and CAP_NET_BIND_SERVICE for ports under 1024; a configuration
    /// that relays all data needs the last one alone. The log goes to standard
    /// error; PORTCULLIS_LOG sets its level (error, warn, info, debug, trace).
    Run(ConfigFile),
    /// Read the configuration and its rules, and report every problem with file, line and column.
    Check(ConfigFile),
    /// Print what each rule has done: hits, bytes, first and last use, and who.
    ///
    /// Asks the store that `audit: { store: … }` names, also while portcullis runs. Rules with
    /// `audit: quiet` count like others; of theirs, the clients that are named lack the quiet decisions.
    Hits(HitsArgs),
    /// Print events of the record: by time, rule, user, client, path, outcome, event or session.
    ///
    /// Asks the store that `audit: { store: … }` names, also while portcullis runs.
    Audit(AuditArgs),
    /// Print the sessions at this moment: who, what they do, and by which rule.
    ///
    /// Asks the gate that runs, by the socket that `admin: { socket: … }` names.
    Sessions(LiveArgs),
    /// Print the pinholes at this moment: who may dial where, for which session and rule.
    ///
    /// Asks the gate that runs, by the socket that `admin: { socket: … }` names.
    Pinholes(LiveArgs),
    /// Show sessions and pinholes live in the terminal.
    ///
    /// Asks the gate that runs, by the socket that `admin: { socket: … }` names.
    Top(Running),
    /// Have the gate that runs read its rules again.
    ///
    /// New rules decide from the next command of every session on. Files with problems change nothing,
    /// and the problems are printed; exit code 1 then. SIGHUP does the same, and opens the record's
    /// file again.
    Reload(Running),
    /// Decide recorded commands again by the rules of a configuration, and print what would change.
    ///
    /// Reads EVE lines of portcullis; what is compared is whether a command passes, and the reply to
    /// one that does not. Limits are left out: what one of them refused counts as allowed. Exit code 1 where a decision would differ.
    ReplayRules(ReplayArgs),
    /// Tell how the rules decide on one command, and why.
    ///
    /// Prints the decision, the rule as it is written, and for each rule before it the first condition
    /// that did not hold. What the protocol forbids is refused before the rules are asked, and is not
    /// part of the answer; limits of the rule are named, but only the running gate knows its counts.
    Why(Box<Why>),
    /// Print a JSON Schema, for editors.
    Schema {
        /// Of which kind of file.
        #[arg(value_enum)]
        of: File,
    },
    /// What the program starts for itself to keep its table in the kernel.
    #[command(name = keeper::KEEPER_TASK, hide = true)]
    KeepTable,
    /// Print the manual page in roff, for `man -l -`.
    Man,
}

/// A kind of file that the program reads.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum File {
    /// Rules.
    Policy,
    /// Listeners, limits, and where the record goes.
    Configuration,
}

/// Where the configuration is.
#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// The configuration file; rules files are found relative to it.
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "/etc/portcullis/portcullis.yaml"
    )]
    pub config: PathBuf,
}

/// Carries out what the command line asks for.
///
/// # Errors
/// Says what could not be done; problems in files are no errors but [`Outcome::Problems`].
pub fn run(cli: Cli) -> anyhow::Result<Outcome> {
    match cli.task {
        Task::KeepTable => {
            keeper::keep().context("keeping the nftables table")?;
            Ok(Outcome::Good)
        }
        Task::Run(file) => app::run(&file.config),
        Task::Check(file) => app::check(&file.config),
        Task::Hits(args) => hits::run(&args),
        Task::Audit(args) => asking::run(&args),
        Task::Sessions(args) => live::sessions(&args),
        Task::Pinholes(args) => live::pinholes(&args),
        Task::Top(running) => top::run(&running),
        Task::Reload(running) => live::reload(&running),
        Task::ReplayRules(args) => replay_rules::run(&args),
        Task::Why(why) => {
            let file = why.file.config.clone();
            app::why(&file, &why.question())
        }
        Task::Schema { of } => app::schema(match of {
            File::Policy => rules::schema(),
            File::Configuration => config::schema(),
        }),
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

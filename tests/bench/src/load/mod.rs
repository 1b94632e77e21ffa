//! The load client: what it is asked for ([`Arguments`]), sessions that do it, and what came of it
//! ([`Outcome`]).

mod dial;
mod outcome;
mod run;
mod session;

use std::net::{IpAddr, SocketAddr};

use clap::{Parser, ValueEnum};

pub use dial::Addresses;
pub use outcome::{Outcome, Spread};
pub use run::run;

/// What the client is started with.
#[derive(Clone, Debug, Parser)]
#[command(about = "Many FTP sessions at one time, and one line of JSON about them")]
pub struct Arguments {
    /// The server, or the gate in front of it; several are taken in turn.
    #[arg(long, value_delimiter = ',', required = true)]
    pub to: Vec<SocketAddr>,
    /// The addresses that sessions come from, in turn, such as 10.61.0.0/16; where left out, routing chooses.
    #[arg(long)]
    pub from: Option<Addresses>,
    /// How data connections are agreed on.
    #[arg(long, value_enum, default_value_t = Mode::Passive)]
    pub mode: Mode,
    /// The address that PORT announces instead of the client's own, for where the way is translated but
    /// PORT is not.
    #[arg(long)]
    pub announce: Option<IpAddr>,
    /// What sessions do.
    #[arg(long, value_enum, default_value_t = Work::Transfer)]
    pub work: Work,
    /// Sessions at one time.
    #[arg(long, default_value_t = 1)]
    pub sessions: usize,
    /// Sessions that may be on their way to a login at one time.
    #[arg(long, default_value_t = 64)]
    pub dialling: usize,
    /// How much each session does: so many transfers, logins or NOOPs; one where no `--seconds` are said.
    #[arg(long, conflicts_with = "seconds")]
    pub transfers: Option<u64>,
    /// How long all go on.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// What of it is done before and not counted, by each session.
    #[arg(long, default_value_t = 0)]
    pub warm: u64,
    /// The file that is fetched or stored.
    #[arg(long, default_value = "small")]
    pub file: String,
    /// Stores so many bytes instead of fetching.
    #[arg(long)]
    pub upload: Option<u64>,
    /// Bytes that are read or written at one time.
    #[arg(long, default_value_t = 16 * 1024)]
    pub buffer: usize,
    /// The user's name.
    #[arg(long, default_value = "anonymous")]
    pub user: String,
    /// The password.
    #[arg(long, default_value = "guest")]
    pub password: String,
    /// Seconds after which what is not done has failed.
    #[arg(long, default_value_t = 30.0)]
    pub patience: f64,
}

/// How data connections are agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// PORT.
    Active,
    /// PASV.
    Passive,
    /// EPRT.
    Eprt,
    /// EPSV.
    Epsv,
}

/// What sessions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// Files, one after the other.
    Transfer,
    /// A new session each time, which logs in and quits.
    Login,
    /// NOOP, one after the other.
    Noop,
    /// Nothing: writes a line once all are logged in, and stays until standard input ends.
    Idle,
}

//! The words of `portcullis why`.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::app::Question;

use super::ConfigFile;

/// Who asks for what.
#[derive(Debug, clap::Args)]
pub struct Why {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// The listener that the session came by.
    #[arg(long, short, value_name = "NAME")]
    listener: String,
    /// The client's address.
    #[arg(long, value_name = "ADDRESS")]
    client: IpAddr,
    /// The server's own address.
    #[arg(long, value_name = "ADDRESS")]
    server: IpAddr,
    /// The name given in USER; without it, before USER. For USER itself, the name in its line counts.
    #[arg(long, short, value_name = "NAME")]
    user: Option<String>,
    /// The host given in HOST.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// The time of the command, such as 2026-11-20T09:00:00Z or 2026-11-20T10:00:00+01:00; without it,
    /// the present one.
    #[arg(long, value_name = "RFC3339")]
    at: Option<Timestamp>,
    /// The command is sent after CCC has ended encryption.
    #[arg(long)]
    cleared: bool,
    /// The line that the client sends, such as 'STOR /in/a.txt'.
    #[arg(long, value_name = "LINE")]
    command: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Why {
    pub(super) fn question(self) -> Question {
        Question {
            listener: self.listener,
            client: self.client.to_canonical(),
            server: self.server.to_canonical(),
            user: self.user,
            host: self.host.map(|host| host.to_ascii_lowercase()),
            at: self.at.unwrap_or_else(Timestamp::now),
            cleared: self.cleared,
            command: self.command,
            json: self.json,
        }
    }
}

//! The wire format of the FTP control channel, and nothing else: lines, commands, replies, endpoints.
//!
//! Knows no session, no policy and no address but those written in a line.

mod command;
mod endpoint;
mod host;
mod line;
mod reply;
mod telnet;
mod verb;

pub use command::{Command, CommandFault};
pub use endpoint::{
    EndpointError, bytes_behind_port, parse_227, parse_229, parse_eprt, parse_lprt, parse_port,
    read_announcement, write_227, write_228, write_229, write_eprt, write_port,
};
pub use host::host_name;
pub use line::{Ending, LineBuffer, LineError};
pub use reply::{ReplyLine, ReplyReader};
pub use telnet::{SYNCH_LEAD, SYNCH_MARK, TelnetFilter, unescape};
pub use verb::{Argument, Verb};

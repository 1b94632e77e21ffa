//! The wire format of the FTP control channel, and nothing else: lines, commands, replies, endpoints.
//!
//! Knows no session, no policy and no address but those written in a line.

mod command;
mod endpoint;
mod line;
mod reply;
mod verb;

pub use command::{Command, CommandFault};
pub use endpoint::{
    EndpointError, parse_227, parse_229, parse_eprt, parse_port, write_227, write_229, write_eprt,
    write_port,
};
pub use line::{Ending, LineBuffer, LineError};
pub use reply::{ReplyLine, ReplyReader};
pub use verb::{Argument, Verb};

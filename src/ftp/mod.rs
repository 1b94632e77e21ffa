//! The wire format of the FTP control channel, and nothing else: lines, commands, replies, endpoints.
//!
//! Knows no session, no policy and no address but those written in a line.

mod verb;

pub use verb::Verb;

//! Other protocols on a control connection: what a browser, or another program that was made to dial
//! an FTP port, says before and around lines that look like FTP (NAT slipstreaming).
//!
//! A gate that goes on behind such lines opens pinholes for whoever wrote them.

use std::time::Instant;

use crate::ftp::{self, CommandFault, Verb};
use crate::rules::Reaction;

use super::{EndReason, Inspector, Side, Violation};

/// Methods of HTTP requests (RFC 9110 §9, RFC 5789, RFC 4918); none is a verb of FTP.
const HTTP_METHODS: [&str; 11] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PROPFIND",
    "LOCK",
];

/// How a request line ends, whatever its method: programs may choose one that is a verb of FTP. Before
/// login no pathname is named that could end in the same way.
const HTTP_VERSIONS: [&[u8]; 3] = [b" HTTP/1.0", b" HTTP/1.1", b" HTTP/2.0"];

impl Inspector {
    /// Ends the session where the client speaks another protocol; true if so.
    pub(super) fn ends_other_protocol(
        &mut self,
        parsed: &Result<ftp::Command<'_>, CommandFault>,
        line: &[u8],
        now: Instant,
    ) -> bool {
        let Some(violation) = self.other_protocol(parsed, line) else {
            return false;
        };
        self.violated(Side::Client, violation, line);
        self.send_client(b"421 Only FTP is spoken here, closing.\r\n".to_vec());
        self.end(EndReason::Violation, now);
        true
    }

    /// Before USER a line that is no command is taken for another protocol: browsers choose the first
    /// bytes of what they send themselves, in HTTP, TLS or TURN, and no FTP client begins like that.
    fn other_protocol(
        &self,
        parsed: &Result<ftp::Command<'_>, CommandFault>,
        line: &[u8],
    ) -> Option<Violation> {
        if self.policy.protocol().other_protocols != Reaction::Close {
            return None;
        }
        match parsed {
            Ok(command) => {
                let method = matches!(&command.verb, Verb::Other(name) if HTTP_METHODS.contains(&name.as_str()));
                let version = HTTP_VERSIONS.iter().any(|version| line.ends_with(version));
                (method || (version && !self.logged_in)).then_some(Violation::SpokeHttp)
            }
            Err(_) => {
                let nobody = self.user.is_none() && !self.logged_in;
                (nobody && !line.trim_ascii().is_empty()).then_some(Violation::SpokeOtherProtocol)
            }
        }
    }
}

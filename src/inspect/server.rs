//! What the server says: replies matched to what is outstanding, and what they set off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::ftp::{self, EndpointError, LineError, ReplyLine, Verb};
use crate::rules::{Reaction, RuleName};

use super::pending::{Expects, Forwarded, Pending};
use super::{EndReason, Event, Inspector, PinholeEnd, Side, Violation, with_line_end};

/// Bytes of one line of a server; text lines are free, but not endless.
const MAX_REPLY_LINE: usize = 8 * 1024;

impl Inspector {
    /// Handles one line of the server; false if there is none to handle.
    pub(super) fn step_server(&mut self, now: Instant) -> bool {
        if self.server_is_held() {
            return false;
        }
        let mut line = Vec::new();
        match self.server.buffer.take_line(&mut line, |_| MAX_REPLY_LINE) {
            Ok(None) => false,
            Ok(Some(_)) => {
                match self.replies.handle_line(&line) {
                    ReplyLine::Stray => self.drop_stray(&line),
                    ReplyLine::Text { code } => {
                        if !self.hides_text(code) {
                            self.pass_to_client(&line);
                        }
                    }
                    ReplyLine::End { code } => self.handle_reply(code, &line, now),
                }
                true
            }
            Err(LineError::TooLong { limit }) => {
                self.violated(Side::Server, Violation::SentOverlongLine { limit }, b"");
                self.send_client(b"421 The server's reply cannot be read, closing.\r\n".to_vec());
                self.end(EndReason::Violation, now);
                true
            }
        }
    }

    fn drop_stray(&mut self, line: &[u8]) {
        let is_command =
            ftp::Command::parse(line).is_ok_and(|command| !matches!(command.verb, Verb::Other(_)));
        let violation = match is_command {
            true => Violation::SpokeForOtherSide,
            false => Violation::SentNoReply,
        };
        self.violated(Side::Server, violation, line);
    }

    /// Text lines that the client must not see: those of our own PWD, and those of a passive reply,
    /// which could announce what its last line does not.
    fn hides_text(&self, code: u16) -> bool {
        (227..=229).contains(&code) || matches!(self.pending.front(), Some(Pending::Locating))
    }

    fn pass_to_client(&mut self, line: &[u8]) {
        self.send_client(with_line_end(line));
    }

    fn handle_reply(&mut self, code: u16, line: &[u8], now: Instant) {
        if code == 421 {
            self.pass_to_client(line);
            return self.end(EndReason::ServerClosed, now);
        }
        if code < 200 && !self.pending.is_empty() {
            return self.handle_preliminary(code, line);
        }
        let Some(answered) = self.pending.pop_front() else {
            return self.handle_unasked(code, line, now);
        };
        let forwarded = match answered {
            Pending::Forwarded(forwarded) => forwarded,
            Pending::Greeting { .. } => {
                self.pass_to_client(line);
                return self.give_answers();
            }
            Pending::Locating => {
                self.directory.named(line);
                return self.give_answers();
            }
            // Answers never stay at the front: they are given as soon as they get there.
            Pending::Answered(answer) => {
                self.send_client(answer);
                return self.handle_reply(code, line, now);
            }
        };
        let passive = matches!(forwarded.expects, Expects::PassiveReply { .. });
        if (227..=229).contains(&code) && !passive {
            self.violated(Side::Server, Violation::AnsweredNothing { code }, line);
            let reaction = self.settings.policy.protocol().unrequested_passive_reply;
            match reaction {
                Reaction::Accept => self.pass_to_client(line),
                Reaction::Refuse | Reaction::Close => {
                    self.send_client(b"451 The server's reply makes no sense here.\r\n".to_vec());
                }
            }
            self.give_answers();
            return self.close_if(reaction, now);
        }
        self.handle_final(*forwarded, code, line, now);
        // Behind a held reply, answers wait for it.
        if !self.server_is_held() {
            self.give_answers();
        }
    }

    /// Gives the replies of our own that are next in order.
    pub(super) fn give_answers(&mut self) {
        while let Some(Pending::Answered(_)) = self.pending.front() {
            if let Some(Pending::Answered(answer)) = self.pending.pop_front() {
                self.send_client(answer);
            }
        }
    }

    fn handle_preliminary(&mut self, code: u16, line: &[u8]) {
        let preliminary = match self.pending.front_mut() {
            Some(Pending::Forwarded(forwarded)) => &mut forwarded.preliminary,
            Some(Pending::Greeting { preliminary }) => preliminary,
            Some(Pending::Locating | Pending::Answered(_)) | None => return,
        };
        let repeated = std::mem::replace(preliminary, true);
        if repeated {
            self.violated(
                Side::Server,
                Violation::RepliedPreliminaryTwice { code },
                line,
            );
        } else {
            self.pass_to_client(line);
        }
    }

    fn handle_unasked(&mut self, code: u16, line: &[u8], now: Instant) {
        if (227..=229).contains(&code) {
            self.violated(Side::Server, Violation::AnsweredNothing { code }, line);
            let reaction = self.settings.policy.protocol().unrequested_passive_reply;
            if reaction == Reaction::Close {
                self.send_client(b"421 The server spoke out of turn, closing.\r\n".to_vec());
            }
            return self.close_if(reaction, now);
        }
        self.violated(Side::Server, Violation::RepliedUnasked { code }, line);
        self.pass_to_client(line);
    }

    fn handle_final(&mut self, forwarded: Forwarded, code: u16, line: &[u8], now: Instant) {
        let positive = (200..300).contains(&code);
        let Forwarded {
            command,
            rule,
            expects,
            ..
        } = forwarded;
        let on_record = matches!(expects, Expects::Login)
            || (code >= 400 && !matches!(expects, Expects::TransferEnd(_)))
            || (command.path.is_some() && !command.verb.transfers());
        if on_record {
            let text = String::from_utf8_lossy(line.get(4..).unwrap_or_default()).into_owned();
            self.record(Event::Replied {
                command: command.clone(),
                code,
                text,
            });
        }
        match expects {
            Expects::Acceptance(announcement) if positive => {
                return self.accepted(announcement, rule, line, now);
            }
            Expects::Acceptance(announcement) => self.not_accepted(&announcement, now),
            Expects::PassiveReply { extended } if positive => {
                return self.handle_passive_reply(extended, code, line, rule, now);
            }
            Expects::PassiveReply { .. } | Expects::Anything => {}
            Expects::EpsvAll => {
                if code >= 400 {
                    self.epsv_all = false;
                }
            }
            Expects::Login => {
                self.logged_in = code == 230;
                if self.logged_in && self.settings.policy.uses_paths() {
                    self.pass_to_client(line);
                    self.send_server(b"PWD\r\n".to_vec());
                    self.pending.push_front(Pending::Locating);
                    return;
                }
            }
            Expects::Reinitialised => {
                if positive {
                    self.reinitialise(now);
                }
            }
            Expects::Entered(path) => {
                if positive {
                    self.directory.entered(&path);
                }
            }
            Expects::Located => {
                if code == 257 {
                    self.directory.named(line);
                }
            }
            Expects::TransferEnd(pinhole) => self.transfer_replied(pinhole, code, now),
        }
        self.pass_to_client(line);
    }

    fn reinitialise(&mut self, now: Instant) {
        self.retire_pinhole(PinholeEnd::Reinitialised, now);
        self.user = None;
        self.logged_in = false;
        self.epsv_all = false;
        self.directory.forget();
    }

    /// 227 and 229: only the port is taken; the address is the server's own, whatever it says.
    fn handle_passive_reply(
        &mut self,
        extended: bool,
        code: u16,
        line: &[u8],
        rule: Arc<RuleName>,
        now: Instant,
    ) {
        let read = match (extended, code) {
            (false, 227) => ftp::parse_227(line).map(SocketAddr::V4),
            (true, 229) => {
                ftp::parse_229(line).map(|port| SocketAddr::new(self.settings.legs.server, port))
            }
            (_, 227..=229) => {
                self.violated(Side::Server, Violation::AnsweredNothing { code }, line);
                return self.refuse_passive("425 The server answered another command.");
            }
            // 2yz without an endpoint: nothing to open, and the client may make of it what it can.
            _ => return self.pass_to_client(line),
        };
        let endpoint = match read {
            Ok(endpoint) => endpoint,
            Err(EndpointError::Unreadable(reason)) => {
                let violation = Violation::AnnouncedUnreadableEndpoint { reason };
                self.violated(Side::Server, violation, line);
                return self.refuse_passive("425 The server's announcement cannot be read.");
            }
            Err(EndpointError::OtherProtocol) => {
                self.violated(Side::Server, Violation::AnnouncedOtherFamily, line);
                return self.refuse_passive("425 The server announced another address family.");
            }
        };
        let (claimed, peer) = (endpoint.ip(), self.settings.legs.server);
        let reaction = self.settings.policy.protocol().foreign_passive_address;
        let own = claimed == peer || claimed == self.settings.legs.dialled;
        if !own && reaction != Reaction::Accept {
            let violation = Violation::AnnouncedForeignAddress { claimed, peer };
            self.violated(Side::Server, violation, line);
            self.refuse_passive("425 The server announced an address that is not its own.");
            return self.close_if(reaction, now);
        }
        let port = endpoint.port();
        if !self.settings.policy.protocol().allows_port(port) {
            self.violated(
                Side::Server,
                Violation::AnnouncedForbiddenPort { port },
                line,
            );
            return self.refuse_passive(&format!(
                "504 Data connections to port {port} are not allowed."
            ));
        }
        self.begin_passive(endpoint, extended, line, rule, now);
    }

    fn refuse_passive(&mut self, reply: &str) {
        self.send_client(format!("{reply}\r\n").into_bytes());
    }
}

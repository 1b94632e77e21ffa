//! What the server says: replies matched to what is outstanding, and what they set off.

use std::sync::Arc;
use std::time::Instant;

use crate::ftp::{self, LineError, ReplyLine, Verb};
use crate::rules::{Reaction, RuleName};

use super::pending::{Expects, Forwarded, PassiveRequest, Pending};
use super::shown::{shown, with_line_end};
use super::{Command, EndReason, Event, Inspector, Side, Violation};

/// Bytes of one line of a server; text lines are free, but not endless.
const MAX_REPLY_LINE: usize = 8 * 1024;
/// Lines outside any reply that one session bears: some greetings have a few, each is on the record.
const MAX_STRAYS: u32 = 100;

impl Inspector {
    /// Handles one line of the server; false if there is none to handle.
    pub(super) fn step_server(&mut self, now: Instant) -> bool {
        if self.server.buffer.is_empty() || self.server_is_held() {
            return false;
        }
        self.with_line(|inspector, line| inspector.take_reply(line, now))
    }

    fn take_reply(&mut self, line: &mut Vec<u8>, now: Instant) -> bool {
        match self.server.buffer.take_line(line, |_| MAX_REPLY_LINE) {
            Ok(None) => false,
            Ok(Some(_)) => {
                match self.replies.handle_line(line) {
                    ReplyLine::Stray => self.drop_stray(line, now),
                    ReplyLine::Text { code } => {
                        if !self.hides_text(code, line) {
                            self.pass_to_client(line);
                        }
                    }
                    ReplyLine::End { code } => self.handle_reply(code, line, now),
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

    fn drop_stray(&mut self, line: &[u8], now: Instant) {
        let is_command =
            ftp::Command::parse(line).is_ok_and(|command| !matches!(command.verb, Verb::Other(_)));
        let violation = match is_command {
            true => Violation::SpokeForOtherSide,
            false => Violation::SentNoReply,
        };
        self.violated(Side::Server, violation, line);
        if self.replies.strays() >= MAX_STRAYS {
            self.send_client(b"421 The server's replies cannot be read, closing.\r\n".to_vec());
            self.end(EndReason::Violation, now);
        }
    }

    /// Text lines that the client must not see: those of our own PWD, those of replies to announcements,
    /// which could announce what the last line does not, and what the rules veil.
    fn hides_text(&self, code: u16, line: &[u8]) -> bool {
        (227..=229).contains(&code)
            || match self.answered(code) {
                Some(Pending::Locating) => true,
                Some(Pending::Greeting { veil, .. }) if code == 220 => {
                    veil.as_ref().is_some_and(|veil| veil.hides_line(line))
                }
                Some(pending @ Pending::Forwarded(_)) if pending.may_be_replaced() => true,
                Some(Pending::Forwarded(forwarded)) => forwarded
                    .veil
                    .as_ref()
                    .is_some_and(|veil| veil.hides_line(line)),
                Some(Pending::Greeting { .. } | Pending::Answered(_)) | None => false,
            }
    }

    pub(super) fn pass_to_client(&mut self, line: &[u8]) {
        self.send_client(with_line_end(line));
    }

    fn handle_reply(&mut self, code: u16, line: &[u8], now: Instant) {
        if code == 421 {
            self.pass_to_client(line);
            return self.end(EndReason::ServerClosed, now);
        }
        if code < 200 && !self.pending.is_empty() {
            return self.handle_preliminary(code, line, now);
        }
        let Some(answered) = self.take_answered(code) else {
            return self.handle_unasked(code, line, now);
        };
        let passive = answered
            .expects()
            .is_some_and(|expects| matches!(expects, Expects::PassiveReply(_)));
        if (227..=229).contains(&code) && !passive {
            return self.handle_misplaced(answered, code, line, now);
        }
        match answered {
            Pending::Forwarded(forwarded) => {
                self.record_reply(&forwarded, code, line);
                self.handle_final(*forwarded, code, line, now);
            }
            Pending::Greeting { veil, .. } => {
                let banner = veil.filter(|_| code == 220);
                match banner.and_then(|veil| veil.last_line(code)) {
                    Some(banner) => self.send_client(banner),
                    None => self.pass_to_client(line),
                }
            }
            Pending::Locating if code == 257 => self.directory.named(line),
            // An error may quote any path.
            Pending::Locating => {}
            // Answers never stay at the front: they are given as soon as they get there.
            Pending::Answered(answer) => {
                self.send_client(answer);
                return self.handle_reply(code, line, now);
            }
        }
        // Behind a held reply, answers wait for it.
        if !self.server_is_held() {
            self.give_answers();
        }
    }

    /// 227, 228 or 229 in answer to something else: nothing opens, and what was asked has failed.
    fn handle_misplaced(&mut self, answered: Pending, code: u16, line: &[u8], now: Instant) {
        self.violated(Side::Server, Violation::AnsweredNothing { code }, line);
        let reaction = self.policy.protocol().unrequested_passive_reply;
        let said = match reaction {
            Reaction::Accept => line,
            Reaction::Refuse | Reaction::Close => b"451 The server's reply makes no sense here.",
        };
        match answered {
            Pending::Forwarded(forwarded) => self.handle_final(*forwarded, 451, said, now),
            Pending::Greeting { .. } => self.pass_to_client(said),
            Pending::Answered(answer) => self.send_client(answer),
            Pending::Locating => {}
        }
        if !self.server_is_held() {
            self.give_answers();
        }
        self.close_if(reaction, now);
    }

    /// Gives the replies of our own that are next in order.
    pub(super) fn give_answers(&mut self) {
        while let Some(Pending::Answered(_)) = self.pending.front() {
            if let Some(Pending::Answered(answer)) = self.pending.pop_front() {
                self.send_client(answer);
            }
        }
    }

    fn handle_preliminary(&mut self, code: u16, line: &[u8], now: Instant) {
        let preliminary = match self.pending.front_mut() {
            Some(Pending::Forwarded(forwarded)) => &mut forwarded.preliminary,
            Some(Pending::Greeting { preliminary, .. }) => preliminary,
            Some(Pending::Locating | Pending::Answered(_)) | None => return,
        };
        if std::mem::replace(preliminary, true) {
            let violation = Violation::RepliedPreliminaryTwice { code };
            self.violated(Side::Server, violation, line);
            self.take_as_aborted(code, now);
        }
        self.pass_to_client(line);
        self.give_answers();
    }

    /// Some servers (pure-ftpd) end an aborted transfer with a second 1yz and say nothing more to ABOR;
    /// without this every later reply would be taken for the one before it.
    fn take_as_aborted(&mut self, code: u16, now: Instant) {
        let abor = self.pending.iter().position(Pending::is_abor);
        let (Some(abor), Some(Expects::TransferEnd(pinhole))) =
            (abor, self.pending.front().and_then(Pending::expects))
        else {
            return;
        };
        let pinhole = *pinhole;
        self.pending.remove(abor);
        self.pending.pop_front();
        self.transfer_replied(pinhole, code, now);
    }

    fn handle_unasked(&mut self, code: u16, line: &[u8], now: Instant) {
        if (227..=229).contains(&code) {
            self.violated(Side::Server, Violation::AnsweredNothing { code }, line);
            let reaction = self.policy.protocol().unrequested_passive_reply;
            if reaction == Reaction::Close {
                self.send_client(b"421 The server spoke out of turn, closing.\r\n".to_vec());
            }
            return self.close_if(reaction, now);
        }
        self.violated(Side::Server, Violation::RepliedUnasked { code }, line);
        self.pass_to_client(line);
    }

    /// Puts replies on the record that say more than that a command was done.
    fn record_reply(&mut self, forwarded: &Forwarded, code: u16, line: &[u8]) {
        let Forwarded {
            command, expects, ..
        } = forwarded;
        if matches!(
            expects,
            Expects::Login(_) | Expects::HostTaken(..) | Expects::Secured(_)
        ) || (code >= 400 && !matches!(expects, Expects::TransferEnd(_)))
            || (command.path.is_some() && !command.verb.transfers())
        {
            let text = shown(line.get(4..).unwrap_or_default()).into_owned();
            self.record(Event::Replied {
                command: command.clone(),
                code,
                text,
            });
        }
    }

    fn handle_final(&mut self, forwarded: Forwarded, code: u16, line: &[u8], now: Instant) {
        let positive = (200..300).contains(&code);
        let Forwarded {
            command,
            rule,
            expects,
            veil,
            ..
        } = forwarded;
        match expects {
            Expects::Acceptance(announcement) if positive => {
                return self.accepted(announcement, (command, rule), line, now);
            }
            Expects::Acceptance(announcement) => {
                if self.not_accepted(announcement, &command, &rule, code, now) {
                    return;
                }
            }
            Expects::PassiveReply(request) if positive => {
                return self.handle_passive_reply(request, code, line, rule, now);
            }
            Expects::PassiveReply(request) => {
                if self.ask_passive_again(request, &command, &rule, code) {
                    return;
                }
            }
            Expects::Anything => {}
            Expects::EpsvAll { held } => {
                if code < 400 {
                    self.epsv_all = true;
                } else if !self.settings.convert {
                    self.epsv_all &= held;
                } else {
                    // The server need not know it: whatever it is asked, the client asks by EPSV.
                    return self.send_client(b"200 EPSV ALL accepted.\r\n".to_vec());
                }
            }
            Expects::Login(before) => {
                if self.login_replied(&command, before, code, line, now) {
                    return;
                }
            }
            Expects::Reinitialised => {
                if positive {
                    self.reinitialise(now);
                }
            }
            Expects::HostTaken(host) => {
                if let Some(reply) = self.host_taken(host, code) {
                    return self.send_client(reply);
                }
            }
            Expects::Secured(tls) => {
                self.pass_to_client(line);
                if code == 234 {
                    self.begin_tls(&tls, &rule, now);
                }
                return;
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
        match veil
            .and_then(|veil| veil.last_line(code))
            .filter(|_| positive)
        {
            Some(masked) => self.send_client(masked),
            None => self.pass_to_client(line),
        }
    }

    /// The server refused PASV or EPSV with `code`. True if it was asked again in another form.
    fn ask_passive_again(
        &mut self,
        mut request: PassiveRequest,
        command: &Command,
        rule: &Arc<RuleName>,
        code: u16,
    ) -> bool {
        let Some(next) = self.next_passive_form(request.sent, code) else {
            return false;
        };
        let (from, to) = (request.sent.verb(), next.verb());
        let line = with_line_end(to.as_str().as_bytes());
        self.record(Event::Converted { from, to, code });
        request.sent = next;
        let expects = Expects::PassiveReply(request);
        self.forward_first(line, command.clone(), Arc::clone(rule), expects);
        true
    }

    /// Sends a command whose reply takes the place of the one just read.
    pub(super) fn forward_first(
        &mut self,
        line: Vec<u8>,
        command: Command,
        rule: Arc<RuleName>,
        expects: Expects,
    ) {
        self.send_server(line);
        self.pending
            .push_front(Pending::waiting(command, rule, expects));
    }
}

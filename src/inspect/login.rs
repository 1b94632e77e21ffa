//! Who is there and under which rules: USER and PASS, HOST (RFC 7151), REIN.

use std::sync::Arc;
use std::time::Instant;

use crate::ftp;
use crate::rules::RuleName;

use super::checks::Fault;
use super::pending::{Expects, Pending};
use super::shown::{shown, with_line_end};
use super::{Command, EndReason, Inspector, PinholeEnd, Side, Violation};

/// A reply that is kept back for a time (protocol rule 59).
#[derive(Debug)]
pub(super) struct HeldBack {
    until: Instant,
    line: Vec<u8>,
}

/// Who was there before USER named somebody.
#[derive(Debug)]
pub(super) struct Before {
    user: Option<Arc<str>>,
    logged_in: bool,
}

impl Inspector {
    /// USER: rules decide as of the name that it gives.
    pub(super) fn name_user(&mut self, name: &[u8], now: Instant) -> Before {
        let name = Arc::from(shown(name));
        self.begin_anonymity(now);
        self.hidden_features = None;
        Before {
            user: self.user.replace(name),
            logged_in: std::mem::take(&mut self.logged_in),
        }
    }

    /// USER was refused, by a rule or by the server. On the server is who was there before, or nobody:
    /// taking the new name for it would have rules decide as of a user that nobody has proved to be.
    pub(super) fn keep_user(&mut self, before: Before) {
        self.user = before.user;
        self.logged_in = before.logged_in;
        self.hidden_features = None;
    }

    /// Protocol rule 56: HOST stands before USER and names a host alone.
    pub(super) fn check_host(&self, command: &ftp::Command<'_>) -> Option<Fault> {
        if self.user.is_some() || self.logged_in {
            let fault = Violation::MisusedHost("after USER");
            return Some((fault, "503 HOST comes before USER.".into()));
        }
        if ftp::host_name(command.trimmed()).is_none() {
            let fault = Violation::MisusedHost("with a port, or without a name");
            return Some((
                fault,
                "501 HOST takes a name or an address, without a port.".into(),
            ));
        }
        None
    }

    /// HOST, allowed by a rule: chooses the rules for what follows, once the server has no objection.
    pub(super) fn choose_host(&mut self, line: &[u8], command: Command, rule: Arc<RuleName>) {
        // check_host has let no other argument pass.
        let argument = command.argument.as_deref().unwrap_or_default().trim();
        let name = ftp::host_name(argument.as_bytes()).unwrap_or_default();
        let hosts = &self.settings.rules.hosts;
        if !hosts.is_empty() && !hosts.contains_key(&name) {
            return self.answer("504 No such host here.");
        }
        let expects = Expects::HostTaken(Arc::from(name));
        self.forward(with_line_end(line), command, rule, expects);
    }

    /// The server's answer to HOST; gives the line for the client where it is not the server's own.
    pub(super) fn host_taken(&mut self, host: Arc<str>, code: u16) -> Option<Vec<u8>> {
        // A server that does not know HOST has one host; the rules are still those asked for. Some
        // (vsftpd) answer 530 to all that they do not know before login.
        let unknown = matches!(code, 500 | 502 | 530) && !self.settings.rules.hosts.is_empty();
        if (200..300).contains(&code) || unknown {
            self.policy = self.settings.rules.of(Some(&host));
            self.host = Some(host);
            self.hidden_features = None;
        }
        unknown.then(|| b"220 Host accepted.\r\n".to_vec())
    }

    /// The server's answer to USER, PASS or ACCT. True if the line was passed on, or is held back.
    pub(super) fn login_replied(
        &mut self,
        command: &Command,
        before: Option<Box<Before>>,
        code: u16,
        line: &[u8],
        now: Instant,
    ) -> bool {
        if code == 230 {
            self.logged_in = true;
            self.bad_passwords = 0;
            self.directory.forget();
            if !self.policy.uses_paths() {
                return false;
            }
            self.send_client(with_line_end(line));
            self.send_server(b"PWD\r\n".to_vec());
            self.pending.push_front(Pending::Locating);
            return true;
        }
        if let Some(before) = before.filter(|_| code >= 400) {
            self.keep_user(*before);
        }
        if code != 530 || !command.verb.hides_argument() {
            return false;
        }
        self.bad_passwords += 1;
        let delay = self.policy.protocol().bad_password_delay;
        if delay.is_zero() {
            self.send_client(with_line_end(line));
            self.close_after_guesses(now);
        } else {
            self.held_back = Some(Box::new(HeldBack {
                until: now + delay,
                line: with_line_end(line),
            }));
        }
        true
    }

    fn close_after_guesses(&mut self, now: Instant) {
        let (count, limit) = (self.bad_passwords, self.policy.protocol().max_bad_passwords);
        if limit > 0 && count >= limit {
            self.violated(Side::Client, Violation::GuessedPasswords { count }, b"");
            self.send_client(b"421 Too many wrong passwords, closing.\r\n".to_vec());
            self.end(EndReason::Violation, now);
        }
    }

    /// Whoever was logged in is so no more: the time to log in begins. For somebody who was not, it goes
    /// on: REIN and USER over and over gain nothing.
    fn begin_anonymity(&mut self, now: Instant) {
        if self.logged_in {
            self.anonymous_since = now;
        }
    }

    pub(super) fn held_back_deadline(&self) -> Option<Instant> {
        self.held_back.as_ref().map(|held| held.until)
    }

    pub(super) fn held_back_timed_out(&mut self, now: Instant) {
        if let Some(held) = self.held_back.take_if(|held| now >= held.until) {
            self.send_client(held.line);
            self.give_answers();
            self.close_after_guesses(now);
        }
    }

    /// REIN succeeded: nobody is there, and the listener's own rules hold again.
    pub(super) fn reinitialise(&mut self, now: Instant) {
        self.retire_pinhole(PinholeEnd::Reinitialised, now);
        self.begin_anonymity(now);
        self.user = None;
        self.host = None;
        self.logged_in = false;
        self.epsv_all = false;
        self.hidden_features = None;
        self.policy = self.settings.rules.of(None);
        self.directory.forget();
    }
}

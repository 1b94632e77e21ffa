//! What the client says: framing, checks, the rules' verdict, and on to the server.

use std::sync::Arc;
use std::time::Instant;

use crate::ftp::{self, Argument, CommandFault, Ending, LineError, Verb};
use crate::rules::{Decision, Grants, Permit, Reaction, Request, RuleName, Verdict};

use super::announce::Claim;
use super::forms::PassiveForm;
use super::login::Before;
use super::pending::{Expects, PassiveRequest, Pending};
use super::settle::settle;
use super::shown::{shown, with_line_end};
use super::{Action, Command, EndReason, Event, Inspector, PinholeEnd, Side, Violation};

impl Inspector {
    /// Whether the client's next command must wait.
    pub(super) fn client_is_held(&self) -> bool {
        self.server_is_held()
            || self.pending.len() >= self.policy.protocol().max_unanswered
            || self.pending.iter().any(Pending::holds_client)
    }

    /// Handles one command of the client; false if there is none to handle.
    pub(super) fn step_client(&mut self, now: Instant) -> bool {
        if self.client.buffer.is_empty() || self.client_is_held() {
            return false;
        }
        self.with_line(|inspector, line| inspector.take_command(line, now))
    }

    fn take_command(&mut self, line: &mut Vec<u8>, now: Instant) -> bool {
        let max_line = self.policy.protocol().max_line;
        let limit = |start: &[u8]| ftp::Command::line_limit(start, max_line);
        match self.client.buffer.take_line(line, limit) {
            Ok(None) => false,
            Ok(Some(ending)) => {
                // A server that has closed answers nothing more.
                if !self.server.finished {
                    self.handle_line(line, ending, now);
                }
                true
            }
            Err(LineError::TooLong { limit }) => {
                self.violated(Side::Client, Violation::SentOverlongLine { limit }, b"");
                self.answer(&format!("500 Line of more than {limit} bytes, closing."));
                self.end(EndReason::Violation, now);
                true
            }
        }
    }

    fn handle_line(&mut self, line: &[u8], ending: Ending, now: Instant) {
        let bare_lf = self.policy.protocol().bare_lf;
        if ending == Ending::Lf && bare_lf != Reaction::Accept {
            self.violated(Side::Client, Violation::EndedLineWithBareLf, line);
            self.answer("500 Lines end with CR LF.");
            return self.close_if(bare_lf, now);
        }
        // What goes on is the line as it came; what is read of it has each byte once.
        let read = ftp::unescape(line);
        let parsed = ftp::Command::parse(&read);
        if self.ends_other_protocol(&parsed, line, now) {
            return;
        }
        let command = match parsed {
            Ok(command) => command,
            Err(fault) => {
                let (violation, reply) = match fault {
                    CommandFault::BareCr => (Violation::SentBareCr, "501 CR inside a line."),
                    CommandFault::Nul => (Violation::SentNul, "501 NUL inside a line."),
                    CommandFault::NoVerb => (Violation::SentNoVerb, "500 No command in this line."),
                };
                self.violated(Side::Client, violation, line);
                return self.answer(reply);
            }
        };
        if let Some((violation, reply)) = self.check_verb(&command) {
            self.violated(Side::Client, violation, line);
            self.answer(&reply);
            if command.verb.as_str() == "421" {
                self.end(EndReason::Violation, now);
            }
            return;
        }
        let claim = match self.read_claim(&command) {
            Ok(claim) => claim,
            Err((violation, reply)) => {
                self.violated(Side::Client, violation, line);
                return self.answer(&reply);
            }
        };
        let before = (command.verb == Verb::User).then(|| self.name_user(command.trimmed(), now));
        let path = self.path_of(&command);
        let argument: Option<Arc<str>> =
            command
                .argument
                .map(|argument| match command.verb.hides_argument() {
                    true => Arc::from("***"),
                    false => Arc::from(shown(argument)),
                });
        let path_shown = path.as_deref().map(|path| {
            // Where a client names whole paths, one text is both.
            let (path, same) = (shown(path), argument.as_ref());
            match same.filter(|argument| ***argument == *path) {
                Some(argument) => Arc::clone(argument),
                None => Arc::from(path),
            }
        });
        let shown = Command {
            verb: command.verb.clone(),
            argument,
            path: path_shown,
        };
        let verdict = self.decide(&command, path.as_deref(), claim.as_ref());
        if let Some(claim) = claim.as_ref()
            && let Err((violation, reply)) = self.check_claim(claim, &verdict)
        {
            self.violated(Side::Client, violation, line);
            return self.answer(&reply);
        }
        let (verdict, permit) = self.meter(verdict, &command.verb, now);
        let decision = verdict.decision.clone();
        let (rule, grants) = (Arc::clone(&verdict.rule), verdict.grants.clone());
        self.record(Event::Decided {
            command: shown.clone(),
            verdict,
        });
        if let Decision::Deny(reply) = decision {
            if let Some(before) = before {
                self.keep_user(before);
            }
            return self.answer(&reply);
        }
        let permitted = Permitted {
            command,
            line,
            shown,
            rule,
            path,
            grants,
            claim,
            permit,
            before: before.map(Box::new),
        };
        self.carry_out(permitted, now);
    }

    /// The rules' verdict, and what follows from it without a rule of its own: TLS that no rule
    /// grants, and features that a rule hides.
    fn decide(
        &mut self,
        command: &ftp::Command<'_>,
        path: Option<&[u8]>,
        claim: Option<&Claim>,
    ) -> Verdict {
        let site = site_word(command);
        let client = self.settings.legs.client;
        let foreign = claim
            .map(Claim::address)
            .filter(|&address| address != client);
        let mut verdict = self.policy.decide(&Request {
            site: site.as_deref(),
            foreign,
            path,
            ..self.asking(&command.verb)
        });
        settle(&mut verdict, command, |verb| self.is_hidden(verb));
        verdict
    }

    /// The path that rules match and the record shows.
    fn path_of(&self, command: &ftp::Command<'_>) -> Option<Vec<u8>> {
        Some(self.directory.resolve(pathname(command)?))
    }

    /// Carries out what a rule has allowed.
    fn carry_out(&mut self, mut permitted: Permitted<'_>, now: Instant) {
        let idle = !self.pending.iter().any(Pending::is_transfer);
        let expects = match permitted.command.verb {
            Verb::Port | Verb::Eprt | Verb::Lprt => return self.announce_active(permitted, now),
            Verb::Host => {
                return self.choose_host(permitted.line, permitted.shown, permitted.rule);
            }
            Verb::Algs => return self.answer_algs(&permitted.command),
            Verb::Pasv | Verb::Epsv | Verb::Lpsv => {
                let all = permitted.command.trimmed().eq_ignore_ascii_case(b"ALL");
                if all && permitted.command.verb == Verb::Epsv {
                    let held = std::mem::replace(&mut self.epsv_all, true);
                    Expects::EpsvAll { held }
                } else {
                    if idle {
                        self.retire_pinhole(PinholeEnd::Replaced, now);
                    }
                    return self.ask_passive(permitted);
                }
            }
            Verb::User | Verb::Pass | Verb::Acct => Expects::Login(permitted.before),
            Verb::Auth => Expects::Secured(permitted.grants.tls.clone()),
            // RFC 959: a transfer in progress is completed before REIN and QUIT take effect.
            Verb::Rein => {
                if idle {
                    self.retire_pinhole(PinholeEnd::Reinitialised, now);
                }
                Expects::Reinitialised
            }
            Verb::Quit => {
                if idle {
                    self.retire_pinhole(PinholeEnd::Quit, now);
                }
                Expects::Anything
            }
            Verb::Abor => {
                self.retire_unused_pinhole(PinholeEnd::Aborted, now);
                Expects::Anything
            }
            Verb::Cwd | Verb::Xcwd | Verb::Cdup | Verb::Xcup => {
                Expects::Entered(permitted.path.clone().unwrap_or_default())
            }
            Verb::Pwd | Verb::Xpwd => Expects::Located,
            Verb::Retr
            | Verb::Stor
            | Verb::Stou
            | Verb::Appe
            | Verb::List
            | Verb::Nlst
            | Verb::Mlsd => self.begin_transfer(&mut permitted),
            // What these mean is between client and server.
            Verb::Smnt
            | Verb::Type
            | Verb::Stru
            | Verb::Mode
            | Verb::Allo
            | Verb::Rest
            | Verb::Rnfr
            | Verb::Rnto
            | Verb::Dele
            | Verb::Rmd
            | Verb::Mkd
            | Verb::Site
            | Verb::Syst
            | Verb::Stat
            | Verb::Help
            | Verb::Noop
            | Verb::Xmkd
            | Verb::Xrmd
            | Verb::Adat
            | Verb::Pbsz
            | Verb::Prot
            | Verb::Ccc
            | Verb::Mic
            | Verb::Conf
            | Verb::Enc
            | Verb::Feat
            | Verb::Opts
            | Verb::Lang
            | Verb::Mdtm
            | Verb::Size
            | Verb::Mlst
            | Verb::Mfmt
            | Verb::Mfct
            | Verb::Mff
            | Verb::Hash
            | Verb::Rang
            | Verb::Clnt
            | Verb::Csid
            | Verb::Avbl
            | Verb::Xcrc
            | Verb::Xmd5
            | Verb::Xsha
            | Verb::Xsha1
            | Verb::Xsha256
            | Verb::Xsha512
            | Verb::Md5
            | Verb::Comb
            | Verb::Esta
            | Verb::Estp
            | Verb::Spsv
            | Verb::Cpsv
            | Verb::Patsw
            | Verb::Sscn
            | Verb::Pret
            | Verb::Other(_) => Expects::Anything,
        };
        let Permitted {
            command,
            line,
            shown,
            rule,
            grants,
            permit,
            ..
        } = permitted;
        let veil = self.veil_for(&command.verb, grants.mask.as_ref());
        // Urgent data stays with the command that interrupts, as Telnet's Synch ahead of it (RFC 959
        // §4.1.3), which every server that can be interrupted takes; some clients make the end of ABOR's
        // own line urgent. Lines that came with it in one segment are not meant.
        if matches!(command.verb, Verb::Abor | Verb::Stat | Verb::Quit) {
            let urgent = std::mem::take(&mut self.urgent);
            if self.client.telnet.take_synch() || urgent {
                self.actions.push_back(Action::Synch(Side::Server));
            }
        }
        self.forward(with_line_end(line), shown, rule, expects);
        if let Some(Pending::Forwarded(forwarded)) = self.pending.back_mut() {
            forwarded.veil = veil;
            forwarded.permit = permit;
        }
    }

    pub(super) fn forward(
        &mut self,
        line: Vec<u8>,
        command: Command,
        rule: Arc<RuleName>,
        expects: Expects,
    ) {
        self.send_server(line);
        self.pending
            .push_back(Pending::waiting(command, rule, expects));
    }

    /// PASV, EPSV and LPSV: asks the server in a form that it knows.
    fn ask_passive(&mut self, permitted: Permitted<'_>) {
        let asked = PassiveForm::of(&permitted.command.verb);
        let sent = self.passive_form(asked);
        let carriage = self.carriage(&permitted.grants);
        // An argument of EPSV names the client's family, which the server need not share.
        let line = match asked == sent && self.settings.legs.of_one_family() {
            true => with_line_end(permitted.line),
            false => with_line_end(sent.verb().as_str().as_bytes()),
        };
        let expects = Expects::PassiveReply(PassiveRequest {
            command: permitted.shown.clone(),
            asked,
            sent,
            carriage,
            refused: 0,
        });
        self.forward(line, permitted.shown, permitted.rule, expects);
    }

    /// ALGS asks a gate between families what it translates (RFC 6384 §11).
    fn answer_algs(&mut self, command: &ftp::Command<'_>) {
        let translates = !self.settings.legs.of_one_family();
        let argument = command.trimmed().to_ascii_uppercase();
        self.answer(match (argument.as_slice(), translates) {
            (b"STATUS64" | b"ENABLE64", true) => "216 EPSV",
            (b"STATUS64" | b"DISABLE64", false) => "216 NONE",
            (b"ENABLE64", false) => "504 Both sides are of one family here.",
            (b"DISABLE64", true) => "504 Without translation no data could be transferred here.",
            (b"", _) => "501 ALGS takes STATUS64, ENABLE64 or DISABLE64.",
            _ => "504 ALGS takes STATUS64, ENABLE64 or DISABLE64.",
        });
    }

    /// Answers the client in its turn: behind the replies to all that it asked before.
    pub(super) fn answer(&mut self, reply: &str) {
        let line = format!("{reply}\r\n").into_bytes();
        match self.pending.is_empty() {
            true => self.actions.push_back(Action::ToClient(line)),
            false => self.pending.push_back(Pending::Answered(line)),
        }
    }

    pub(super) fn close_if(&mut self, reaction: Reaction, now: Instant) {
        if reaction == Reaction::Close {
            self.end(EndReason::Violation, now);
        }
    }
}

/// A command that a rule has allowed.
#[derive(Debug)]
pub(super) struct Permitted<'a> {
    pub(super) command: ftp::Command<'a>,
    /// The line as it came, its end removed.
    pub(super) line: &'a [u8],
    pub(super) shown: Command,
    pub(super) rule: Arc<RuleName>,
    pub(super) path: Option<Vec<u8>>,
    pub(super) grants: Grants,
    /// What PORT, EPRT or LPRT announces.
    pub(super) claim: Option<Claim>,
    /// What it holds of the rule's limits.
    pub(super) permit: Permit,
    /// Who was there before USER.
    pub(super) before: Option<Box<Before>>,
}

/// The first word after SITE, in upper case, as the most liberal servers read it (ProFTPD): any white
/// space ends it, quotes and backslashes are no part of it. Otherwise `SITE "EXEC"` would pass a rule
/// that denies `SITE EXEC`.
pub(super) fn site_word(command: &ftp::Command<'_>) -> Option<String> {
    (command.verb == Verb::Site).then(|| {
        let argument = command.argument.unwrap_or_default();
        let mut words = argument.split(|byte| !byte.is_ascii_graphic());
        let word = words.find(|word| !word.is_empty()).unwrap_or_default();
        let bare = word.iter().filter(|byte| !b"\"'\\".contains(byte));
        bare.map(|byte| char::from(byte.to_ascii_uppercase()))
            .collect()
    })
}

/// The pathname that a command names, as it is written; `None` for commands without one.
pub(super) fn pathname<'a>(command: &ftp::Command<'a>) -> Option<&'a [u8]> {
    let argument = command.argument.unwrap_or_default();
    match command.verb.argument() {
        Argument::Pathname => Some(argument),
        Argument::OptionalPathname => (!argument.is_empty()).then_some(argument),
        Argument::OptionsAndPathname => Some(without_options(argument)),
        Argument::FactsAndPathname => {
            let mut parts = argument.splitn(2, |&byte| byte == b' ');
            Some(parts.nth(1).unwrap_or_default())
        }
        Argument::Parent => Some(b".."),
        Argument::Secret | Argument::FreeText | Argument::Other => None,
    }
}

/// The pathname of LIST and NLST, behind options that clients put before it: `-la dir`.
fn without_options(argument: &[u8]) -> &[u8] {
    let mut rest = argument.trim_ascii_start();
    while rest.first() == Some(&b'-') {
        let end = rest
            .iter()
            .position(|&byte| byte == b' ')
            .unwrap_or(rest.len());
        rest = rest.get(end..).unwrap_or_default().trim_ascii_start();
    }
    rest
}

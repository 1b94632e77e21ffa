//! What the client says: framing, protocol checks, the rules' verdict, and on to the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::ftp::{self, Argument, CommandFault, Ending, EndpointError, LineError, Verb};
use crate::nat;
use crate::rules::{Decision, Grants, Reaction, Request, RuleName, Verdict};

use super::pending::{Expects, Forwarded, Pending};
use super::{
    Action, Command, EndReason, Event, Inspector, PinholeEnd, Side, Violation, with_line_end,
};

impl Inspector {
    /// Whether the client's next command must wait.
    pub(super) fn client_is_held(&self) -> bool {
        self.server_is_held()
            || self.pending.len() >= self.settings.policy.protocol().max_unanswered
            || self.pending.iter().any(Pending::holds_client)
    }

    /// Handles one command of the client; false if there is none to handle.
    pub(super) fn step_client(&mut self, now: Instant) -> bool {
        if self.client_is_held() {
            return false;
        }
        let max_line = self.settings.policy.protocol().max_line;
        let mut line = Vec::new();
        let limit = |start: &[u8]| ftp::Command::line_limit(start, max_line);
        match self.client.buffer.take_line(&mut line, limit) {
            Ok(None) => false,
            Ok(Some(ending)) => {
                // A server that has closed answers nothing more.
                if !self.server.finished {
                    self.handle_line(&line, ending, now);
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
        let protocol = self.settings.policy.protocol();
        if ending == Ending::Lf && protocol.bare_lf != Reaction::Accept {
            let reaction = protocol.bare_lf;
            self.violated(Side::Client, Violation::EndedLineWithBareLf, line);
            self.answer("500 Lines end with CR LF.");
            return self.close_if(reaction, now);
        }
        let command = match ftp::Command::parse(line) {
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
        let path = self.path_of(&command);
        let shown = Command {
            verb: command.verb.clone(),
            argument: command
                .argument
                .map(|argument| match command.verb.hides_argument() {
                    true => "***".to_owned(),
                    false => String::from_utf8_lossy(argument).into_owned(),
                }),
            path: path
                .as_deref()
                .map(|path| String::from_utf8_lossy(path).into_owned()),
        };
        if command.verb == Verb::User {
            self.user = Some(Arc::from(String::from_utf8_lossy(command.trimmed())));
            self.logged_in = false;
        }
        let verdict = self.decide(&command, path.as_deref());
        let decision = verdict.decision.clone();
        let (rule, from_port_20) = (Arc::clone(&verdict.rule), verdict.grants.source_port_20);
        self.record(Event::Decided {
            command: shown.clone(),
            verdict,
        });
        if let Decision::Deny(reply) = decision {
            return self.answer(&reply);
        }
        let permitted = Permitted {
            command,
            line,
            shown,
            rule,
            path,
            from_port_20,
        };
        self.carry_out(permitted, now);
    }

    /// What no rule can allow; gives the violation and the reply.
    fn check_verb(&self, command: &ftp::Command<'_>) -> Option<(Violation, String)> {
        let verb = &command.verb;
        let protocol = self.settings.policy.protocol();
        let v6 = self.settings.legs.client.is_ipv6();
        if verb.as_str().bytes().all(|byte| byte.is_ascii_digit()) {
            return Some((Violation::SpokeForOtherSide, "500 That is a reply.".into()));
        }
        if let Verb::Other(name) = verb
            && protocol.unknown_commands != Reaction::Accept
        {
            let reply = format!("500 Unknown command {name}.");
            return Some((Violation::SentUnknownVerb { verb: name.clone() }, reply));
        }
        if is_never_forwarded(verb) {
            let reply = format!("502 {verb} is not available; use PASV, EPSV, PORT or EPRT.");
            return Some((
                Violation::AskedForUnsupportedTransfer { verb: verb.clone() },
                reply,
            ));
        }
        let announces = matches!(verb, Verb::Port | Verb::Pasv | Verb::Eprt | Verb::Epsv);
        if (verb.transfers() || announces)
            && !self.logged_in
            && protocol.transfers_before_login != Reaction::Accept
        {
            let violation = Violation::TransferredBeforeLogin { verb: verb.clone() };
            return Some((violation, "530 Log in first.".into()));
        }
        if self.epsv_all && matches!(verb, Verb::Port | Verb::Eprt | Verb::Pasv) {
            let reply = format!("501 {verb} is not possible after EPSV ALL.");
            return Some((Violation::BrokeEpsvAll { verb: verb.clone() }, reply));
        }
        if v6 && matches!(verb, Verb::Port | Verb::Pasv) {
            let instead = if *verb == Verb::Port { "EPRT" } else { "EPSV" };
            let reply = format!("502 {verb} is for IPv4 only; use {instead}.");
            return Some((
                Violation::UsedIpv4CommandOnIpv6 { verb: verb.clone() },
                reply,
            ));
        }
        if *verb == Verb::Epsv && !epsv_fits(command.trimmed(), v6) {
            let family = if v6 { 2 } else { 1 };
            let reply = format!("522 Network protocol not supported, use ({family})");
            return Some((Violation::AnnouncedOtherFamily, reply));
        }
        None
    }

    fn decide(&self, command: &ftp::Command<'_>, path: Option<&[u8]>) -> Verdict {
        if is_tls(&command.verb) {
            return Verdict {
                decision: Decision::Deny("534 TLS is not possible on this connection.".into()),
                rule: Arc::new(RuleName {
                    id: "no-tls".into(),
                    at: "built-in".into(),
                }),
                grants: Grants::default(),
            };
        }
        let site = (command.verb == Verb::Site).then(|| {
            let word = command
                .trimmed()
                .split(|&byte| byte == b' ')
                .next()
                .unwrap_or_default();
            String::from_utf8_lossy(word).to_ascii_uppercase()
        });
        self.settings.policy.decide(&Request {
            listener: &self.settings.listener,
            client: self.settings.legs.client,
            server: self.settings.legs.server,
            user: self.user.as_deref(),
            verb: &command.verb,
            site: site.as_deref(),
            foreign: None,
            path,
        })
    }

    /// The path that rules match and the record shows.
    fn path_of(&self, command: &ftp::Command<'_>) -> Option<Vec<u8>> {
        let argument = command.argument.unwrap_or_default();
        let name = match command.verb.argument() {
            Argument::Pathname => argument,
            Argument::OptionalPathname if argument.is_empty() => return None,
            Argument::OptionalPathname => argument,
            Argument::OptionsAndPathname => without_options(argument),
            Argument::FactsAndPathname => argument
                .splitn(2, |&byte| byte == b' ')
                .nth(1)
                .unwrap_or_default(),
            Argument::Parent => b"..",
            Argument::Secret | Argument::FreeText | Argument::Other => return None,
        };
        Some(self.directory.resolve(name))
    }

    /// Carries out what a rule has allowed.
    fn carry_out(&mut self, permitted: Permitted<'_>, now: Instant) {
        let idle = !self.pending.iter().any(Pending::is_transfer);
        let expects = match permitted.command.verb {
            Verb::Port | Verb::Eprt => return self.announce_active(permitted, now),
            Verb::Pasv | Verb::Epsv => {
                let argument = permitted.command.trimmed();
                if argument.eq_ignore_ascii_case(b"ALL") {
                    self.epsv_all = true;
                    Expects::EpsvAll
                } else {
                    if idle {
                        self.retire_pinhole(PinholeEnd::Replaced, now);
                    }
                    Expects::PassiveReply {
                        extended: permitted.command.verb == Verb::Epsv,
                    }
                }
            }
            Verb::User | Verb::Pass | Verb::Acct => Expects::Login,
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
            | Verb::Mlsd => {
                Expects::TransferEnd(self.serve_transfer(&permitted.shown, &permitted.rule))
            }
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
            | Verb::Lprt
            | Verb::Lpsv
            | Verb::Auth
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
            | Verb::Host
            | Verb::Algs
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
        self.forward(
            with_line_end(permitted.line),
            permitted.shown,
            permitted.rule,
            expects,
        );
    }

    pub(super) fn forward(
        &mut self,
        line: Vec<u8>,
        command: Command,
        rule: Arc<RuleName>,
        expects: Expects,
    ) {
        self.send_server(line);
        let preliminary = false;
        let forwarded = Forwarded {
            command,
            rule,
            expects,
            preliminary,
        };
        self.pending
            .push_back(Pending::Forwarded(Box::new(forwarded)));
    }

    /// PORT and EPRT: a claim becomes a target only where it is the client's own address.
    fn announce_active(&mut self, permitted: Permitted<'_>, now: Instant) {
        let argument = permitted.command.trimmed();
        let claimed = match permitted.command.verb == Verb::Eprt {
            true => ftp::parse_eprt(argument),
            false => ftp::parse_port(argument).map(SocketAddr::V4),
        };
        let endpoint = match claimed {
            Ok(endpoint) => endpoint,
            Err(EndpointError::OtherProtocol) => {
                return self.refuse_family(permitted.line);
            }
            Err(EndpointError::Unreadable(reason)) => {
                let violation = Violation::AnnouncedUnreadableEndpoint { reason };
                self.violated(Side::Client, violation, permitted.line);
                return self.answer(&format!(
                    "501 {} cannot be read: {reason}.",
                    permitted.shown.verb
                ));
            }
        };
        if endpoint.is_ipv4() != self.settings.legs.client.is_ipv4() {
            return self.refuse_family(permitted.line);
        }
        if let Err((violation, reply)) = self.check_claim(endpoint) {
            self.violated(Side::Client, violation, permitted.line);
            return self.answer(&reply);
        }
        self.begin_active(endpoint, permitted, now);
    }

    fn refuse_family(&mut self, line: &[u8]) {
        let family = if self.settings.legs.client.is_ipv4() {
            1
        } else {
            2
        };
        self.violated(Side::Client, Violation::AnnouncedOtherFamily, line);
        // RFC 2428 §2 fixes the form, the protocols in parentheses.
        self.answer(&format!(
            "522 Network protocol not supported, use ({family})"
        ));
    }

    /// Protocol rules 26, 27, 28 and 30.
    fn check_claim(&self, endpoint: SocketAddr) -> Result<(), (Violation, String)> {
        let (claimed, port) = (endpoint.ip().to_canonical(), endpoint.port());
        let peer = self.settings.legs.client;
        if claimed != peer {
            let reply = format!("501 {claimed} is not your address; yours is {peer}.");
            return Err((Violation::AnnouncedForeignAddress { claimed, peer }, reply));
        }
        if nat::is_forbidden(claimed) || self.settings.client_is_edge {
            let reply = format!("501 No data connection can be made to {claimed}.");
            return Err((Violation::AnnouncedForbiddenAddress { claimed }, reply));
        }
        if !self.settings.policy.protocol().allows_port(port) {
            let reply = format!("504 Data connections to port {port} are not allowed.");
            return Err((Violation::AnnouncedForbiddenPort { port }, reply));
        }
        Ok(())
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
    pub(super) from_port_20: bool,
}

/// Protocol rule 36: never forwarded unseen, because nothing here follows them.
fn is_never_forwarded(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Lprt | Verb::Lpsv | Verb::Spsv | Verb::Cpsv | Verb::Patsw | Verb::Esta | Verb::Estp
    )
}

/// What secures the control channel, behind which nothing could be read.
fn is_tls(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Auth
            | Verb::Adat
            | Verb::Pbsz
            | Verb::Prot
            | Verb::Ccc
            | Verb::Mic
            | Verb::Conf
            | Verb::Enc
            | Verb::Sscn
    )
}

/// EPSV's argument: none, ALL, or the protocol number of the control connection (RFC 2428 §3).
fn epsv_fits(argument: &[u8], v6: bool) -> bool {
    argument.is_empty()
        || argument.eq_ignore_ascii_case(b"ALL")
        || argument == if v6 { b"2".as_slice() } else { b"1" }
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

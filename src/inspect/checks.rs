//! What no rule can allow: commands out of place, out of form or out of family.

use crate::ftp::{self, Argument, Verb};
use crate::rules::Reaction;

use super::secure::belongs_to_security;
use super::{Inspector, Violation};

/// A violation and the reply that it gets.
pub(super) type Fault = (Violation, String);

impl Inspector {
    /// Checks a command against what was said before it, its arguments aside.
    pub(super) fn check_verb(&self, command: &ftp::Command<'_>) -> Option<Fault> {
        let verb = &command.verb;
        let protocol = self.policy.protocol();
        if verb.as_str().bytes().all(|byte| byte.is_ascii_digit()) {
            return Some((Violation::SpokeForOtherSide, "500 That is a reply.".into()));
        }
        if let Verb::Other(name) = verb
            && protocol.unknown_commands != Reaction::Accept
        {
            let reply = format!("500 Unknown command {name}.");
            return Some((Violation::SentUnknownVerb { verb: name.clone() }, reply));
        }
        if self.is_never_forwarded(verb) {
            let reply = format!("502 {verb} is not available; use PASV, EPSV, PORT or EPRT.");
            return Some((
                Violation::AskedForUnsupportedTransfer { verb: verb.clone() },
                reply,
            ));
        }
        if belongs_to_security(verb) {
            // RFC 4217 §9; behind CCC the protection level stays as it was agreed (§15.3).
            let reply = format!("503 {verb} needs a security exchange first.");
            return Some((Violation::SecuredNothing { verb: verb.clone() }, reply));
        }
        if let Some(fault) = check_line_end(command) {
            return Some(fault);
        }
        if *verb == Verb::Host {
            return self.check_host(command);
        }
        if let Some(argument) = command.argument
            && verb.takes_path()
            && argument.len() > protocol.max_path
        {
            let limit = protocol.max_path;
            let reply = format!("501 Pathname of more than {limit} bytes.");
            return Some((Violation::NamedOverlongPath { limit }, reply));
        }
        if (verb.transfers() || announces(verb))
            && !self.logged_in
            && protocol.transfers_before_login != Reaction::Accept
        {
            let violation = Violation::TransferredBeforeLogin { verb: verb.clone() };
            return Some((violation, "530 Log in first.".into()));
        }
        self.check_announcement(command)
    }

    /// Protocol rules 34, 35 and 44.
    fn check_announcement(&self, command: &ftp::Command<'_>) -> Option<Fault> {
        let verb = &command.verb;
        let v6 = self.settings.legs.client.is_ipv6();
        if self.epsv_all && announces(verb) && *verb != Verb::Epsv {
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
            return Some(self.other_family());
        }
        None
    }

    /// RFC 2428 §2 fixes the form, the protocols in parentheses.
    pub(super) fn other_family(&self) -> Fault {
        let family = if self.settings.legs.client.is_ipv4() {
            1
        } else {
            2
        };
        let reply = format!("522 Network protocol not supported, use ({family})");
        (Violation::AnnouncedOtherFamily, reply)
    }

    /// Protocol rule 36: what nothing here follows is never forwarded unseen.
    fn is_never_forwarded(&self, verb: &Verb) -> bool {
        let long = self.policy.protocol().long_addresses == Reaction::Accept;
        (matches!(verb, Verb::Lprt | Verb::Lpsv) && !long)
            || matches!(
                verb,
                Verb::Spsv | Verb::Cpsv | Verb::Patsw | Verb::Esta | Verb::Estp
            )
    }
}

/// CR NUL stands for CR in a pathname (protocol rule 6), and nowhere else; nor in a name that the command
/// makes: vsftpd 3.0.3 makes a line end of it and lists it as one, so that the reply to STAT says `227`
/// as a line of its own, on behalf of whoever made the name.
fn check_line_end(command: &ftp::Command<'_>) -> Option<Fault> {
    let argument = command.argument.unwrap_or_default();
    if !argument.contains(&b'\r') {
        None
    } else if makes_name(&command.verb) {
        let reply = "553 No name may hold the end of a line.".to_owned();
        Some((Violation::NamedLineEnd, reply))
    } else if command.verb.argument() == Argument::FreeText || !command.verb.takes_path() {
        Some((Violation::SentBareCr, "501 CR inside a line.".to_owned()))
    } else {
        None
    }
}

/// Whether the command's pathname need not exist before it.
fn makes_name(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Stor | Verb::Stou | Verb::Appe | Verb::Mkd | Verb::Xmkd | Verb::Rnto | Verb::Comb
    )
}

/// Whether the command announces a data connection, or asks for an announcement.
pub(super) fn announces(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Port | Verb::Pasv | Verb::Eprt | Verb::Epsv | Verb::Lprt | Verb::Lpsv
    )
}

/// EPSV's argument: none, ALL, or the protocol number of the control connection (RFC 2428 §3).
fn epsv_fits(argument: &[u8], v6: bool) -> bool {
    argument.is_empty()
        || argument.eq_ignore_ascii_case(b"ALL")
        || argument == if v6 { b"2".as_slice() } else { b"1" }
}

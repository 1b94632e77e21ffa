//! Announcements: what PORT, EPRT and LPRT claim, what 227 and 229 claim, and which of it may be
//! believed. A claim becomes a target only where it is the peer's own address, or a rule allows the
//! pair (FXP).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::ftp::{self, EndpointError, Verb};
use crate::nat;
use crate::rules::{DataPath, Decision, FIRST_PORT, Grants, Reaction, RuleName, Verdict};

use super::action::Carriage;
use super::checks::Fault;
use super::client::Permitted;
use super::forms::PassiveForm;
use super::pending::{Expects, PassiveRequest};
use super::shown::with_line_end;
use super::{Inspector, Side, Violation};

/// Bytes behind the port that strict inspection bears (protocol rule 21).
const MAX_BEHIND_PORT: usize = 8;

/// How often a server is asked again that announced a port which the rules refuse: servers pick ports at
/// random, and rarely the same.
const MAX_REFUSED_PORTS: u8 = 3;

/// An endpoint that the client announced; nothing has been believed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim(SocketAddr);

impl Claim {
    /// The address, canonical.
    pub(super) fn address(&self) -> IpAddr {
        self.0.ip().to_canonical()
    }
}

impl Inspector {
    /// Reads what PORT, EPRT or LPRT announces; `None` for other verbs.
    pub(super) fn read_claim(&self, command: &ftp::Command<'_>) -> Result<Option<Claim>, Fault> {
        let (verb, argument) = (&command.verb, command.trimmed());
        let strict = self.policy.protocol().strict;
        if strict && *verb == Verb::Port && ftp::bytes_behind_port(argument) > MAX_BEHIND_PORT {
            return Err(unreadable(verb, "too much behind the port"));
        }
        let Some(read) = ftp::read_announcement(verb, argument) else {
            return Ok(None);
        };
        match read {
            Ok(endpoint) if endpoint.is_ipv4() == self.settings.legs.client.is_ipv4() => {
                Ok(Some(Claim(endpoint)))
            }
            Ok(_) | Err(EndpointError::OtherProtocol) => Err(self.other_family()),
            Err(EndpointError::Unreadable(reason)) => Err(unreadable(verb, reason)),
        }
    }

    /// Protocol rules 26, 27, 28 and 30.
    pub(super) fn check_claim(&self, claim: &Claim, verdict: &Verdict) -> Result<(), Fault> {
        let (claimed, port) = (claim.address(), claim.0.port());
        let peer = self.settings.legs.client;
        // Only a rule that names the pair allows a foreign address; see `Request::foreign`.
        let foreign = claimed != peer;
        if foreign && verdict.decision != Decision::Allow {
            let reply = format!("501 {claimed} is not your address; yours is {peer}.");
            return Err((Violation::AnnouncedForeignAddress { claimed, peer }, reply));
        }
        // No packet goes from a server of one family to a third host of another.
        if foreign && !self.settings.legs.of_one_family() {
            let reply = format!("501 The server cannot reach {claimed}.");
            return Err((Violation::AnnouncedForeignAddress { claimed, peer }, reply));
        }
        // The relay reaches local addresses; the kernel forwards nothing to or from them.
        let relayed = self.carriage(&verdict.grants).path == DataPath::Relay && !foreign;
        if !relayed && (nat::is_forbidden(claimed) || self.settings.client_is_edge) {
            let reply = format!("501 No data connection can be made to {claimed}.");
            return Err((Violation::AnnouncedForbiddenAddress { claimed }, reply));
        }
        if !self.policy.protocol().allows_port(port) {
            return Err(forbidden_port(port));
        }
        Ok(())
    }

    /// PORT, EPRT and LPRT, checked and allowed.
    pub(super) fn announce_active(&mut self, permitted: Permitted<'_>, now: Instant) {
        // read_claim gave one for each of these verbs.
        if let Some(Claim(endpoint)) = permitted.claim {
            self.begin_active(endpoint, permitted, now);
        }
    }

    /// Who carries the data that these grants allow.
    pub(super) fn carriage(&self, grants: &Grants) -> Carriage {
        let relay = !self.settings.legs.of_one_family() || grants.max_bytes.is_some();
        let path = match relay {
            true => DataPath::Relay,
            false => grants.data.unwrap_or(self.settings.data),
        };
        Carriage {
            path,
            max_bytes: grants.max_bytes,
        }
    }

    /// 227 and 229: only the port is taken; the address is the server's own, whatever it says.
    pub(super) fn handle_passive_reply(
        &mut self,
        request: PassiveRequest,
        code: u16,
        line: &[u8],
        rule: Arc<RuleName>,
        now: Instant,
    ) {
        let read = match (request.sent, code) {
            (PassiveForm::Pasv, 227) => self.read_227(line),
            (PassiveForm::Epsv, 229) => {
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
            Err(error) => {
                let reason = match error {
                    EndpointError::Unreadable(reason) => reason,
                    EndpointError::OtherProtocol => "another address family",
                };
                let violation = Violation::AnnouncedUnreadableEndpoint { reason };
                self.violated(Side::Server, violation, line);
                return self.refuse_passive("425 The server's announcement cannot be read.");
            }
        };
        let (claimed, peer) = (endpoint.ip(), self.settings.legs.server);
        let reaction = self.policy.protocol().foreign_passive_address;
        let own = claimed == peer || claimed == self.settings.legs.dialled;
        if !own && reaction != Reaction::Accept {
            let violation = Violation::AnnouncedForeignAddress { claimed, peer };
            self.violated(Side::Server, violation, line);
            self.refuse_passive("425 The server announced an address that is not its own.");
            return self.close_if(reaction, now);
        }
        let port = endpoint.port();
        if !self.policy.protocol().allows_port(port) {
            let (violation, reply) = forbidden_port(port);
            self.violated(Side::Server, violation, line);
            return match port < FIRST_PORT || request.refused >= MAX_REFUSED_PORTS {
                true => self.refuse_passive(&reply),
                false => self.ask_for_another_port(request, rule),
            };
        }
        self.begin_passive(endpoint, request, line, rule, now);
    }

    fn ask_for_another_port(&mut self, mut request: PassiveRequest, rule: Arc<RuleName>) {
        request.refused += 1;
        let (line, command) = (
            with_line_end(request.sent.verb().as_str().as_bytes()),
            request.command.clone(),
        );
        self.forward_first(line, command, rule, Expects::PassiveReply(request));
    }

    fn read_227(&self, line: &[u8]) -> Result<SocketAddr, EndpointError> {
        let text = line.get(4..).unwrap_or_default();
        if self.policy.protocol().strict && ftp::bytes_behind_port(text) > MAX_BEHIND_PORT {
            return Err(EndpointError::Unreadable("too much behind the port"));
        }
        ftp::parse_227(line).map(SocketAddr::V4)
    }

    fn refuse_passive(&mut self, reply: &str) {
        self.send_client(format!("{reply}\r\n").into_bytes());
    }
}

fn unreadable(verb: &Verb, reason: &'static str) -> Fault {
    let reply = format!("501 {verb} cannot be read: {reason}.");
    (Violation::AnnouncedUnreadableEndpoint { reason }, reply)
}

fn forbidden_port(port: u16) -> Fault {
    let reply = format!("504 Data connections to port {port} are not allowed.");
    (Violation::AnnouncedForbiddenPort { port }, reply)
}

//! What the client says: each line decided once, and what is allowed sent on once.

use std::net::SocketAddr;

use portcullis::inspect::{Command, PinholeEnd, Violation};
use portcullis::rules::{Decision, Grants, Tls, Verdict};

use crate::Held;
use crate::wire::{self, Records};

use super::{Channel, Kind, Oracle, Place, Said, Sent, is_one_line};

/// A command that was allowed and is to be carried out next.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) verb: String,
    pub(crate) line: Vec<u8>,
    pub(crate) argument: Vec<u8>,
    pub(crate) grants: Grants,
}

pub(super) fn transfers(verb: &str) -> bool {
    ["RETR", "STOR", "STOU", "APPE", "LIST", "NLST", "MLSD"].contains(&verb)
}

fn announces(verb: &str) -> bool {
    ["PORT", "EPRT", "LPRT", "PASV", "EPSV", "LPSV"].contains(&verb)
}

impl Oracle {
    pub(super) fn hear_client(&mut self, bytes: &[u8]) {
        let plain = match &mut self.channel {
            Channel::Plain | Channel::Cleared(_) => bytes,
            Channel::Opaque(client, server) => {
                let taken = client.take(bytes);
                let (tls, plain) = bytes.split_at(taken);
                if !tls.is_empty() {
                    self.due_server.push_back(Said::Exact(tls.to_vec()));
                }
                if plain.is_empty() {
                    return;
                }
                if !(client.begun && server.begun) {
                    // The session is closed for it.
                    return;
                }
                let server = std::mem::take(server);
                self.clear(Channel::Cleared(server));
                plain
            }
        };
        let answers = self.client.take(plain);
        if !answers.is_empty() {
            self.due(Said::Exact(answers));
        }
    }

    /// Plain text again.
    pub(super) fn clear(&mut self, channel: Channel) {
        self.channel = channel;
        self.logged_in = Some(true);
    }

    /// Begins TLS; what the server sent behind its 234 is part of it.
    pub(super) fn begin_tls(&mut self) {
        self.gone(PinholeEnd::Secured);
        self.user = None;
        if self.client.len() > 0 {
            // Closed for what was said behind AUTH.
            return;
        }
        self.channel = Channel::Opaque(Records::default(), Records::default());
        let rest = self.server.rest();
        let plain = self.carry_server(&rest);
        self.server.give_back(&plain);
    }

    /// Whether the next line of the client has to wait for the server.
    pub(super) fn client_waits(&self) -> bool {
        self.places.len() >= self.facts.max_unanswered
            || self.places.iter().any(|place| match place {
                Place::Greeting { .. } | Place::Locating => true,
                Place::Own(_) => false,
                Place::Sent(sent) => {
                    !matches!(sent.kind, Kind::Plain | Kind::All(_) | Kind::Transfer(_))
                }
            })
    }

    /// Takes the next line of the client, once it need not wait.
    fn take_line(&mut self) -> Held<Vec<u8>> {
        while self.client_waits() {
            self.read_one("the client's next line must wait")?;
        }
        if self.blocked() || self.granted.is_some() {
            return Err("a command is taken before the last one is carried out".into());
        }
        self.client
            .line()
            .ok_or_else(|| "decided on what nobody said".to_owned())
    }

    pub(super) fn client_violated(&mut self, violation: &Violation) -> Held {
        if matches!(
            violation,
            Violation::SentOverlongLine { .. }
                | Violation::PipelinedIntoTls
                | Violation::SpokePlainForTls
                | Violation::GuessedPasswords { .. }
        ) {
            self.ends_for = Some("the session goes on behind what ends it");
            return Ok(());
        }
        let line = self.take_line()?;
        if self.check_protocol(&line, violation)? {
            return Ok(());
        }
        let before_login = matches!(violation, Violation::TransferredBeforeLogin { .. });
        if before_login && self.logged_in == Some(true) {
            let line = String::from_utf8_lossy(&line).into_owned();
            return Err(format!("{line:?} is refused though the user is logged in"));
        }
        self.answer(Said::Own);
        Ok(())
    }

    pub(super) fn decided(
        &mut self,
        command: &Command,
        verdict: &Verdict,
        user: Option<&str>,
    ) -> Held {
        let line = self.take_line()?;
        let (verb, argument) = wire::words(&line);
        if command.verb.as_str() != verb {
            return Err(format!(
                "{} was decided where {verb} was said",
                command.verb
            ));
        }
        if self.ends_by(&line) || ends_line(&verb, &argument) {
            let line = String::from_utf8_lossy(&line).into_owned();
            return Err(format!("{line:?} is decided on"));
        }
        let secret = matches!(verb.as_str(), "PASS" | "ACCT");
        let shown = command.argument.as_deref().unwrap_or_default();
        let said = String::from_utf8_lossy(&argument);
        if shown != said && !(secret && (shown == "***" || said.is_empty())) {
            return Err(format!("{verb} {said:?} is on the record as {shown:?}"));
        }
        if verb != "USER" && user != self.user.as_deref() {
            let effective = &self.user;
            return Err(format!(
                "{verb} of {effective:?} was decided as of {user:?}"
            ));
        }
        self.check_limits(&verb, verdict)?;
        if let Decision::Deny(reply) = &verdict.decision {
            self.answer(Said::Reply(format!("{reply}\r\n").into_bytes()));
            return Ok(());
        }
        self.allowed(Granted {
            verb,
            line,
            argument,
            grants: verdict.grants.clone(),
        })
    }

    fn allowed(&mut self, granted: Granted) -> Held {
        let verb = granted.verb.as_str();
        let trimmed = granted.argument.trim_ascii();
        let all = verb == "EPSV" && trimmed.eq_ignore_ascii_case(b"ALL");
        if (transfers(verb) || announces(verb))
            && self.logged_in == Some(false)
            && !self.facts.early
        {
            return Err(format!("{verb} is allowed before login"));
        }
        if self.all && announces(verb) && verb != "EPSV" {
            return Err(format!("{verb} is allowed after EPSV ALL"));
        }
        let idle = !self.transfer_waits();
        match verb {
            "ALGS" => {
                self.answer(Said::Own);
                return Ok(());
            }
            "HOST" => {
                let name = String::from_utf8_lossy(trimmed).to_ascii_lowercase();
                let hosts = &self.scene.book.hosts;
                if !hosts.is_empty() && !hosts.contains_key(&name) {
                    self.answer(Said::Code(504));
                    return Ok(());
                }
            }
            "PORT" | "EPRT" | "LPRT" => {
                let claim = wire::announced(verb, trimmed)
                    .ok_or_else(|| format!("{verb} without an address is allowed"))?;
                self.check_claim(claim)?;
                if idle {
                    self.gone(PinholeEnd::Replaced);
                }
                let making = self.active(claim, &granted);
                self.making = Some(Box::new(making));
            }
            "PASV" | "EPSV" | "LPSV" if idle && !all => self.gone(PinholeEnd::Replaced),
            "REIN" if idle => self.gone(PinholeEnd::Reinitialised),
            "QUIT" if idle => self.gone(PinholeEnd::Quit),
            "ABOR" if self.open.as_ref().is_some_and(|open| !open.used) => {
                self.gone(PinholeEnd::Aborted);
            }
            _ => {}
        }
        self.granted = Some(granted);
        Ok(())
    }

    /// Protocol rules 26 to 30.
    fn check_claim(&self, claim: SocketAddr) -> Held {
        let address = claim.ip().to_canonical();
        let foreign = address != self.scene.legs.client;
        if foreign && !(self.facts.partner && is_partner(address)) {
            return Err(format!("{address} is no address of the client"));
        }
        if wire::is_forbidden(address) {
            return Err(format!("{address} is forbidden"));
        }
        self.check_port(claim.port())
    }

    pub(super) fn check_port(&self, port: u16) -> Held {
        let listed = port == 3306 || (6000..=6063).contains(&port);
        if port < 1024 || (self.facts.refuses_ports && listed) {
            return Err(format!("port {port} is refused"));
        }
        Ok(())
    }

    pub(super) fn transfer_waits(&self) -> bool {
        self.places.iter().any(
            |place| matches!(place, Place::Sent(sent) if matches!(sent.kind, Kind::Transfer(_))),
        )
    }

    /// Something goes to the server.
    pub(super) fn tell_server(&mut self, bytes: &[u8]) -> Held {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if self.due_server.is_empty() && self.granted.is_none() {
            self.find_due()?;
        }
        if let Some(due) = self.due_server.pop_front() {
            return match due == Said::Exact(bytes.to_vec()) {
                true => Ok(()),
                false => Err(format!("the server is told {text:?}, and {due:?} is due")),
            };
        }
        if let Some(sent) = self.converting.take() {
            return self.ask_again(*sent, bytes);
        }
        let Some(granted) = self.granted.take() else {
            return Err(format!("the server is told {text:?}, which nobody allowed"));
        };
        if !is_one_line(bytes) {
            return Err(format!(
                "the server is told {text:?}, which is not one line"
            ));
        }
        if let Some(making) = self.making.take() {
            return self.announce(*making, &granted, bytes);
        }
        let trimmed = granted.argument.trim_ascii();
        let all = granted.verb == "EPSV" && trimmed.eq_ignore_ascii_case(b"ALL");
        if ["PASV", "EPSV", "LPSV"].contains(&granted.verb.as_str()) && !all {
            return self.ask(&granted, bytes);
        }
        if granted.line != bytes[..bytes.len() - 2] {
            return Err(format!("{text:?} is not what the client said"));
        }
        let kind = self.kind(&granted, all);
        self.sent(granted.verb, kind)
    }

    /// Reads on until something is due to the server.
    fn find_due(&mut self) -> Held {
        while self.due_server.is_empty() && self.converting.is_none() {
            self.read_one("the server is told something")?;
        }
        Ok(())
    }

    fn kind(&mut self, granted: &Granted, all: bool) -> Kind {
        match granted.verb.as_str() {
            "USER" => {
                let name = String::from_utf8_lossy(granted.argument.trim_ascii()).into_owned();
                let before = (self.user.replace(name), self.logged_in);
                self.logged_in = Some(false);
                Kind::Login(Some(before))
            }
            "PASS" | "ACCT" => Kind::Login(None),
            "REIN" => Kind::Rein,
            "HOST" => {
                let name = String::from_utf8_lossy(granted.argument.trim_ascii());
                Kind::Host(name.to_ascii_lowercase())
            }
            "AUTH" => {
                self.may_window = matches!(granted.grants.tls, Tls::Window(_));
                Kind::Auth
            }
            "CWD" | "XCWD" | "CDUP" | "XCUP" | "PWD" | "XPWD" => Kind::Folder,
            "EPSV" if all => Kind::All(!std::mem::replace(&mut self.all, true)),
            verb if transfers(verb) => Kind::Transfer(self.serve(granted)),
            _ => Kind::Plain,
        }
    }

    pub(super) fn sent(&mut self, verb: String, kind: Kind) -> Held {
        let facts = &self.facts;
        self.places.push_back(Place::Sent(Box::new(Sent {
            masked: facts.masks_system && matches!(verb.as_str(), "SYST" | "STAT"),
            hides_features: facts.hides_features,
            hides_tls: facts.tls == 0,
            verb,
            kind,
            preliminary: false,
        })));
        // Rules that came while a port was waited for may want less; the next line waits then.
        match self.places.len() <= crate::scene::MAX_UNANSWERED {
            true => Ok(()),
            false => Err(format!("{} commands without a reply", self.places.len())),
        }
    }
}

/// Whether CR stands where no server may read it: everywhere but in the name of what is there.
fn ends_line(verb: &str, argument: &[u8]) -> bool {
    let makes = ["STOR", "STOU", "APPE", "MKD", "XMKD", "RNTO", "COMB"].contains(&verb);
    let mut bytes = argument.iter().peekable();
    while let Some(byte) = bytes.next() {
        if *byte == b'\r' && (makes || bytes.peek() != Some(&&0)) {
            return true;
        }
    }
    false
}

fn is_partner(address: std::net::IpAddr) -> bool {
    [crate::scene::PARTNER_V4, crate::scene::PARTNER_V6]
        .iter()
        .any(|partner| crate::scene::ip(partner) == address)
}

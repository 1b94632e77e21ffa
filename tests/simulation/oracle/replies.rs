//! What the server says: which command each reply answers, and what follows from it.

use portcullis::inspect::PinholeEnd;
use portcullis::rules::Reaction;

use crate::Held;
use crate::wire;

use super::ending::PLAIN_FOR_TLS;
use super::{Channel, Hold, Kind, Oracle, Place, Said, Sent};

/// Features that mean nothing where AUTH is refused.
const TLS_FEATURES: [&str; 4] = ["AUTH", "PBSZ", "PROT", "CCC"];

impl Oracle {
    pub(super) fn hear_server(&mut self, bytes: &[u8]) {
        let plain = self.carry_server(bytes);
        let answers = self.server.take(&plain);
        if !answers.is_empty() {
            self.due_server.push_back(Said::Exact(answers));
        }
    }

    /// Takes what is TLS; gives what is text.
    pub(super) fn carry_server(&mut self, bytes: &[u8]) -> Vec<u8> {
        let (records, opaque, client_begun) = match &mut self.channel {
            Channel::Plain => return bytes.to_vec(),
            Channel::Opaque(client, server) => (server, true, client.begun),
            Channel::Cleared(server) => (server, false, true),
        };
        let taken = records.take(bytes);
        let begun = client_begun && (records.begun || !opaque);
        let (tls, plain) = bytes.split_at(taken);
        if !tls.is_empty() {
            self.due(Said::Exact(tls.to_vec()));
        }
        if plain.is_empty() {
            return Vec::new();
        }
        if opaque && !client_begun {
            self.ends_for = Some(PLAIN_FOR_TLS);
            return Vec::new();
        }
        if opaque && !begun {
            self.due(Said::Exact(plain.to_vec()));
            return Vec::new();
        }
        if opaque {
            self.clear(Channel::Plain);
        }
        self.channel = Channel::Plain;
        plain.to_vec()
    }

    /// Whether nothing more of the server may be read.
    pub(super) fn blocked(&self) -> bool {
        let announcing = self.making.is_some();
        self.hold != Hold::Nothing
            || announcing
            || self.refused.is_some()
            || self.converting.is_some()
    }

    pub(super) fn read_all(&mut self) -> Held {
        while !self.blocked() && self.server.has_line() && !self.closed && self.ends_for.is_none() {
            self.read_one("")?;
        }
        Ok(())
    }

    /// Reads one line; `why` says what must follow from it.
    pub(super) fn read_one(&mut self, why: &str) -> Held {
        if self.blocked() {
            return Err(format!("{why}, while {:?} is waited for", self.hold));
        }
        let Some(line) = self.server.line() else {
            return Err(format!("{why}, and nothing was said that would allow it"));
        };
        match (self.inside, wire::code(&line)) {
            (Some(open), Some((code, b' '))) if code == open => {
                self.inside = None;
                self.replied(code, &line)
            }
            (Some(code), _) => {
                self.text(code, &line);
                Ok(())
            }
            (None, Some((code, b'-'))) => {
                self.inside = Some(code);
                self.text(code, &line);
                Ok(())
            }
            (None, Some((code, _))) => self.replied(code, &line),
            (None, None) => {
                self.strayed();
                Ok(())
            }
        }
    }

    fn pass(&mut self, line: &[u8]) {
        self.due(Said::Exact([line, b"\r\n"].concat()));
    }

    fn text(&mut self, code: u16, line: &[u8]) {
        let answered = self.place_of(code);
        let hidden = (227..=229).contains(&code)
            || match answered.and_then(|at| self.places.get(at)) {
                Some(Place::Locating) => true,
                Some(Place::Greeting { .. }) => code == 220 && self.banner,
                Some(Place::Sent(sent)) => match (sent.verb.as_str(), &sent.kind) {
                    // Its last line may be the gate's own, with another code.
                    (_, Kind::Active(_) | Kind::Passive(_) | Kind::All(_) | Kind::Host(_)) => true,
                    ("SYST" | "STAT", _) => sent.masked,
                    ("FEAT", _) => self.hides_feature(sent, line),
                    _ => false,
                },
                Some(Place::Own(_)) | None => false,
            };
        if !hidden {
            self.pass(line);
        }
    }

    fn hides_feature(&self, sent: &Sent, line: &[u8]) -> bool {
        let Some(feature) = line.strip_prefix(b" ") else {
            return false;
        };
        let text = String::from_utf8_lossy(feature).to_ascii_uppercase();
        let word = text.split([' ', ';']).next().unwrap_or_default();
        (sent.hides_features && matches!(word, "MLST" | "MDTM"))
            || (sent.hides_tls && TLS_FEATURES.contains(&word))
    }

    /// Which place a final reply answers: the oldest; while a transfer runs, one that asks nothing more
    /// than an answer may be answered before it.
    fn place_of(&self, code: u16) -> Option<usize> {
        let runs = |place: &Place| {
            matches!(place, Place::Sent(sent)
                if sent.preliminary && matches!(sent.kind, Kind::Transfer(_)))
        };
        let early = matches!(code, 200 | 202 | 211..=215);
        if early && self.places.front().is_some_and(runs) {
            let plain = |place: &Place| matches!(place, Place::Sent(sent) if matches!(sent.kind, Kind::Plain));
            if let Some(at) = self.places.iter().position(plain) {
                return Some(at);
            }
        }
        (!self.places.is_empty()).then_some(0)
    }

    fn replied(&mut self, code: u16, line: &[u8]) -> Held {
        if code == 421 {
            self.pass(line);
            return Ok(());
        }
        if code < 200 && !self.places.is_empty() {
            self.preliminary(code, line);
            return Ok(());
        }
        let place = self.place_of(code).and_then(|at| self.places.remove(at));
        let passive = (227..=229).contains(&code);
        let Some(place) = place else {
            match (passive, self.facts.unrequested) {
                (true, Reaction::Close) => self.due(Said::Code(421)),
                (true, _) => {}
                (false, _) => self.pass(line),
            }
            return Ok(());
        };
        let asked = matches!(&place, Place::Sent(sent) if matches!(sent.kind, Kind::Passive(_)));
        if passive && !asked {
            return self.announced_unasked(place, code, line);
        }
        match place {
            Place::Greeting { .. } if code == 220 && self.banner => {
                self.due(Said::Exact(b"220 Hidden\r\n".to_vec()));
            }
            Place::Greeting { .. } => self.pass(line),
            Place::Locating => {}
            Place::Own(_) => return Err("an answer of the gate waited for the server".into()),
            Place::Sent(sent) => self.finally(*sent, code, line)?,
        }
        if !self.blocked() {
            self.release();
        }
        Ok(())
    }

    /// 227, 228 or 229 where it answers something else: what was asked has failed.
    fn announced_unasked(&mut self, place: Place, _code: u16, line: &[u8]) -> Held {
        let before = self.due_client.len();
        match place {
            Place::Sent(sent) => self.finally(*sent, 451, b"451 no")?,
            Place::Greeting { .. } => self.due(Said::Code(451)),
            Place::Locating | Place::Own(_) => {}
        }
        // The client hears either the line as it came, or an answer of the gate's own.
        if self.due_client.len() > before
            && let Some(Said::Exact(_) | Said::Code(451)) = self.due_client.back()
        {
            self.due_client.pop_back();
            match self.facts.unrequested {
                Reaction::Accept => self.pass(line),
                Reaction::Refuse | Reaction::Close => self.due(Said::Code(451)),
            }
        }
        if !self.blocked() {
            self.release();
        }
        Ok(())
    }

    fn preliminary(&mut self, code: u16, line: &[u8]) {
        let seen = match self.places.front_mut() {
            Some(Place::Sent(sent)) => &mut sent.preliminary,
            Some(Place::Greeting { preliminary }) => preliminary,
            Some(Place::Locating | Place::Own(_)) | None => return,
        };
        let again = std::mem::replace(seen, true);
        let abor = self
            .places
            .iter()
            .position(|place| matches!(place, Place::Sent(sent) if sent.verb == "ABOR"));
        // pure-ftpd ends an aborted transfer with a second 1yz, and says nothing more to ABOR.
        if again
            && let Some(abor) = abor
            && let Some(Place::Sent(sent)) = self.places.front()
            && let Kind::Transfer(id) = sent.kind
        {
            self.places.remove(abor);
            self.places.pop_front();
            self.transfer_ended(id, code);
        }
        self.pass(line);
        self.release();
    }

    fn transfer_ended(&mut self, id: Option<portcullis::pinhole::PinholeId>, code: u16) {
        self.ledger.borrow_mut().ends(self.session);
        let Some(id) = id else { return };
        self.codes.push((id, code));
        if self.open.as_ref().is_some_and(|open| open.id == id) {
            self.gone(match code {
                200..300 => PinholeEnd::TransferEnded,
                _ => PinholeEnd::TransferRefused,
            });
        }
    }

    fn finally(&mut self, mut sent: Sent, code: u16, line: &[u8]) -> Held {
        let positive = (200..300).contains(&code);
        if let Kind::Active(_) | Kind::Passive(_) = sent.kind
            && !positive
            && self.convert_at == Some(code)
        {
            self.refused = Some(Box::new(sent));
            return Ok(());
        }
        match std::mem::replace(&mut sent.kind, Kind::Plain) {
            Kind::Plain if sent.masked && positive => {
                self.due(Said::Exact(format!("{code} Masked\r\n").into_bytes()));
            }
            Kind::Plain => self.pass(line),
            Kind::Login(before) => self.login(&sent.verb, before, code, line),
            Kind::Rein => {
                if positive {
                    self.gone(PinholeEnd::Reinitialised);
                    (self.user, self.host, self.all) = (None, None, false);
                    self.logged_in = Some(false);
                    self.facts = self.scene.book.own.facts.clone();
                }
                self.pass(line);
            }
            Kind::Host(name) => {
                let unknown = matches!(code, 500 | 502 | 530) && !self.scene.book.hosts.is_empty();
                if positive || unknown {
                    self.facts = self.scene.book.of(Some(&name)).facts.clone();
                    self.host = Some(name);
                }
                match unknown {
                    true => self.due(Said::Code(220)),
                    false => self.pass(line),
                }
            }
            Kind::Auth => {
                self.pass(line);
                if code == 234 {
                    self.begin_tls();
                }
            }
            Kind::Folder => self.pass(line),
            Kind::All(first) => {
                let refused = code >= 400;
                self.all |= !refused;
                if refused && !self.scene.convert && first {
                    self.all = false;
                }
                match refused && self.scene.convert {
                    true => self.due(Said::Code(200)),
                    false => self.pass(line),
                }
            }
            Kind::Active(making) if positive => self.accepted(*making, line),
            Kind::Active(making) => {
                let id = making.id().filter(|_| making.opened);
                if id.is_some() && self.open.as_ref().map(|open| open.id) == id {
                    self.gone(PinholeEnd::TransferRefused);
                }
                self.pass(line);
            }
            Kind::Passive(making) if positive => return self.passive(sent, *making, code, line),
            Kind::Passive(_) => self.pass(line),
            Kind::Transfer(id) => {
                self.transfer_ended(id, code);
                self.pass(line);
            }
        }
        Ok(())
    }

    fn login(
        &mut self,
        verb: &str,
        before: Option<(Option<String>, Option<bool>)>,
        code: u16,
        line: &[u8],
    ) {
        if code == 230 {
            self.logged_in = Some(true);
            self.pass(line);
            if self.facts.uses_paths {
                self.due_server.push_back(Said::Exact(b"PWD\r\n".to_vec()));
                self.places.push_front(Place::Locating);
            }
            return;
        }
        if code >= 400
            && let Some((user, logged_in)) = before
        {
            // A server that refuses another user keeps the one it has, if it has one.
            (self.user, self.logged_in) = (user, logged_in);
        } else if code >= 400 && self.logged_in == Some(true) {
            // Whether a failed PASS ends what stood is up to the server.
            self.logged_in = None;
        }
        match code == 530 && verb != "USER" && self.facts.delay {
            true => self.hold = Hold::Answer([line, b"\r\n"].concat()),
            false => self.pass(line),
        }
    }

    fn passive(
        &mut self,
        mut sent: Sent,
        mut making: super::Making,
        code: u16,
        line: &[u8],
    ) -> Held {
        let fits = matches!((making.sent.as_str(), code), ("PASV", 227) | ("EPSV", 229));
        if !(227..=229).contains(&code) {
            self.pass(line);
            return Ok(());
        }
        let Some((address, port)) = wire::answered(code, line).filter(|_| fits) else {
            self.due(Said::Own);
            return Ok(());
        };
        let legs = &self.scene.legs;
        let own = address.is_none_or(|at| at == legs.server || at == legs.dialled);
        let may = own || self.facts.foreign == Reaction::Accept;
        let listed = port >= 1024 && self.check_port(port).is_err();
        if may && listed && making.refused < 3 && self.readable(code, line) {
            making.refused += 1;
            making.again = true;
            sent.kind = Kind::Passive(Box::new(making));
            self.converting = Some(Box::new(sent));
            return Ok(());
        }
        // It may be refused for its form; whether it was shows in what follows.
        match may && self.check_port(port).is_ok() && self.readable(code, line) {
            true => self.answered(making, line, port),
            false => {
                self.due(Said::Own);
                Ok(())
            }
        }
    }

    /// Whether an announcement has the form that its RFC wants.
    fn readable(&self, code: u16, line: &[u8]) -> bool {
        let text = String::from_utf8_lossy(line.get(4..).unwrap_or_default()).into_owned();
        let digits_up_to = |text: &str, most: usize| {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            (1..=most).contains(&digits).then_some(digits)
        };
        if code == 229 {
            let inside = text.split_once('(').map(|(_, inside)| inside.as_bytes());
            let Some(&[a, b, c, ref rest @ ..]) = inside else {
                return false;
            };
            let rest = String::from_utf8_lossy(rest).into_owned();
            let Some(digits) = digits_up_to(&rest, 5) else {
                return false;
            };
            let end = [a, b')'];
            return a == b
                && b == c
                && (33..=126).contains(&a)
                && rest.as_bytes()[digits..].starts_with(&end);
        }
        let Some(start) = text.find(|c: char| c.is_ascii_digit()) else {
            return false;
        };
        let mut rest = text.split_at(start).1;
        for field in 0..6 {
            let Some(digits) = digits_up_to(rest, 3) else {
                return false;
            };
            rest = rest.split_at(digits).1;
            match rest.strip_prefix(',') {
                Some(behind) if field < 5 => rest = behind,
                None if field == 5 => {}
                _ => return false,
            }
        }
        !(self.facts.strict && rest.len() > 8)
    }
}

//! What may be opened: an announcement that both sides made, with exactly its source, target and port.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use portcullis::inspect::{Carriage, Mode, PinholeEnd};
use portcullis::pinhole::{Pinhole, PinholeId};
use portcullis::rules::{DataPath, Grants};

use crate::Held;
use crate::filter::Filter;
use crate::wire;

use super::client::Granted;
use super::{Hold, Kind, Oracle, Place, Said, Sent, is_one_line};

/// An announcement on its way to a pinhole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Making {
    pub(crate) mode: Mode,
    /// What the client said.
    verb: String,
    /// In which form the server was asked.
    pub(crate) sent: String,
    /// The line that announced it.
    line: Vec<u8>,
    /// What was announced: by the client, or the server's own address with the port it answered.
    end: Option<SocketAddr>,
    grants: Grants,
    id: Option<PinholeId>,
    leased: Option<u16>,
    /// It was ordered, and stands.
    pub(crate) opened: bool,
    /// How many refused ports the server announced.
    pub(super) refused: u8,
    /// The server is to be asked the same again.
    pub(super) again: bool,
}

/// The session's pinhole.
#[derive(Clone, Debug)]
pub(crate) struct OpenHole {
    pub(crate) id: PinholeId,
    pub(crate) used: bool,
    pub(crate) until: Instant,
    /// The command that it serves.
    pub(crate) serves: Option<String>,
}

impl Making {
    pub(super) fn id(&self) -> Option<PinholeId> {
        self.id
    }
}

impl Oracle {
    pub(super) fn active(&self, claim: SocketAddr, granted: &Granted) -> Making {
        Making {
            mode: Mode::Active,
            verb: granted.verb.clone(),
            sent: String::new(),
            line: granted.line.clone(),
            end: Some(claim),
            grants: granted.grants.clone(),
            id: None,
            leased: None,
            opened: false,
            refused: 0,
            again: false,
        }
    }

    /// Behind a transfer no pinhole opens before the server accepts: there is one at a time.
    fn opens_immediately(&self) -> bool {
        self.facts.immediate && !self.transfer_waits()
    }

    fn foreign(&self, making: &Making) -> bool {
        let own = |end: SocketAddr| end.ip().to_canonical() == self.scene.legs.client;
        making.mode == Mode::Active && !making.end.is_some_and(own)
    }

    fn relays(&self, making: &Making) -> bool {
        let grants = &making.grants;
        let path = grants.data.unwrap_or(self.scene.data);
        let two_families = !self.scene.legs.of_one_family();
        !self.foreign(making)
            && (two_families || grants.max_bytes.is_some() || path == DataPath::Relay)
    }

    /// Where a port of the edge is needed.
    fn port_at(&self, making: &Making) -> Option<IpAddr> {
        let legs = &self.scene.legs;
        let (at, own) = match making.mode {
            Mode::Active => (legs.seen, legs.client),
            Mode::Passive => (legs.dialled, legs.server),
        };
        (!self.foreign(making) && (self.relays(making) || at != own)).then_some(at)
    }

    pub(super) fn lease(&mut self, id: PinholeId, address: IpAddr) -> Held {
        while self.making.is_none() {
            self.read_one("a port is wanted")?;
        }
        let making = self.making.as_deref().cloned();
        let wanted = making.and_then(|making| self.port_at(&making));
        if wanted != Some(address) {
            return Err(format!("a port at {address}, and one at {wanted:?} is due"));
        }
        if let Some(making) = &mut self.making {
            making.id = Some(id);
        }
        self.hold = Hold::Port(id);
        Ok(())
    }

    /// The port that was asked for.
    pub(crate) fn leased(&mut self, id: PinholeId, port: Option<u16>) {
        if self.hold != Hold::Port(id) || self.closed {
            return;
        }
        self.hold = Hold::Nothing;
        match (port, &mut self.making) {
            (Some(_), Some(making)) => making.leased = port,
            _ => self.not_made(425),
        }
    }

    fn not_made(&mut self, code: u16) {
        let Some(making) = self.making.take() else {
            return;
        };
        let before_server = self.granted.take().is_some();
        match making.mode {
            Mode::Active if before_server => self.answer(Said::Code(code)),
            Mode::Active | Mode::Passive => {
                self.due(Said::Code(code));
                self.release();
            }
        }
    }

    /// A pinhole is ordered: it must be what the announcement makes it, bit for bit.
    pub(super) fn order(
        &mut self,
        id: PinholeId,
        pinhole: &Pinhole,
        carriage: Carriage,
        now: Instant,
    ) -> Held {
        while self.making.is_none() {
            self.read_one("a pinhole is ordered")?;
        }
        let Some(making) = self.making.as_deref().cloned() else {
            return Err("a pinhole is ordered that nobody announced".into());
        };
        if making.opened {
            return Err("a pinhole is ordered twice for one announcement".into());
        }
        if making.mode == Mode::Active && self.granted.is_some() && !self.opens_immediately() {
            return Err("ordered before the server accepted".into());
        }
        if self.port_at(&making).is_some() && making.leased.is_none() {
            return Err("ordered without a port of the edge".into());
        }
        if making.id.is_some_and(|leased| leased != id) {
            return Err(format!(
                "pinhole {id} was ordered where {:?} is due",
                making.id
            ));
        }
        let due = self
            .pinhole(&making)
            .ok_or("ordered before it was announced")?;
        if *pinhole != due {
            return Err(format!("{pinhole:?} was ordered, and {due:?} is due"));
        }
        let path = match self.relays(&making) {
            true => DataPath::Relay,
            false => DataPath::Kernel,
        };
        let one_family = [pinhole.announced.ip(), pinhole.target.ip(), pinhole.source]
            .iter()
            .all(|address| address.is_ipv4() == pinhole.initiator.is_ipv4());
        if carriage.path != path || (path == DataPath::Kernel && !one_family) {
            return Err(format!("{pinhole:?} is carried by {:?}", carriage.path));
        }
        self.gone(PinholeEnd::Replaced);
        let until = now + self.scene.lifetime;
        if let Some(making) = &mut self.making {
            making.id = Some(id);
        }
        self.open = Some(OpenHole {
            id,
            used: false,
            until,
            serves: None,
        });
        self.hold = Hold::Pinhole(id);
        Ok(())
    }

    fn pinhole(&self, making: &Making) -> Option<Pinhole> {
        let legs = &self.scene.legs;
        let end = making.end?;
        let port = making.leased.unwrap_or_else(|| end.port());
        let from_port_20 = making.grants.source_port_20;
        Some(match making.mode {
            Mode::Passive => Pinhole {
                initiator: legs.client,
                announced: SocketAddr::new(legs.dialled, port),
                target: SocketAddr::new(legs.server, end.port()),
                source: legs.seen,
                from_port_20: false,
            },
            Mode::Active if self.foreign(making) => Pinhole {
                initiator: legs.server,
                announced: end,
                target: end,
                source: legs.dialled,
                from_port_20,
            },
            Mode::Active => Pinhole {
                initiator: legs.server,
                announced: SocketAddr::new(legs.seen, port),
                target: SocketAddr::new(legs.client, end.port()),
                source: legs.dialled,
                from_port_20,
            },
        })
    }

    /// The filter's answer to an order.
    pub(crate) fn ordered(&mut self, id: PinholeId, stands: bool) {
        if self.hold != Hold::Pinhole(id) || self.closed {
            return;
        }
        self.hold = Hold::Nothing;
        if !stands {
            self.open = None;
            return self.not_made(425);
        }
        // With `immediate` the server is told only then.
        if self.granted.is_some() {
            if let Some(making) = &mut self.making {
                making.opened = true;
            }
            return;
        }
        if let Some(making) = self.making.take() {
            self.due(match making.mode {
                Mode::Active => Said::Exact([&making.line, b"\r\n".as_slice()].concat()),
                Mode::Passive => Said::Told(making),
            });
            self.release();
        }
    }

    /// PORT, EPRT or LPRT goes to the server, in a form it knows.
    pub(super) fn announce(&mut self, mut making: Making, granted: &Granted, bytes: &[u8]) -> Held {
        if self.opens_immediately() && !making.opened {
            return Err("announced before its pinhole stands".into());
        }
        self.check_announcement(&mut making, bytes)?;
        self.check_rewrite(&granted.line, bytes)?;
        self.sent(granted.verb.clone(), Kind::Active(Box::new(making)))
    }

    fn check_announcement(&mut self, making: &mut Making, bytes: &[u8]) -> Held {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (verb, argument) = wire::words(&bytes[..bytes.len() - 2]);
        let told = wire::announced(&verb, &argument);
        let due = self.pinhole(making).map(|pinhole| pinhole.announced);
        // Written anew: some servers read 012 as 10.
        let written = told.is_some_and(|end| wire::written(&verb, end) == text);
        if told != due || !written {
            return Err(format!("the server is told {text:?}, and {due:?} is due"));
        }
        making.sent = verb;
        Ok(())
    }

    /// What differs from what was said is on the record as rewritten.
    fn check_rewrite(&mut self, said: &[u8], sent: &[u8]) -> Held {
        let same = Some(said) == sent.strip_suffix(b"\r\n");
        let sent = String::from_utf8_lossy(&sent[..sent.len() - 2]).into_owned();
        let rewrote = self.rewrote.take();
        match same || rewrote.as_ref() == Some(&sent) {
            true => Ok(()),
            false => Err(format!("{sent:?} was sent, and {rewrote:?} recorded")),
        }
    }

    /// PASV, EPSV or LPSV goes to the server, in a form it knows.
    pub(super) fn ask(&mut self, granted: &Granted, bytes: &[u8]) -> Held {
        let mut making = Making {
            mode: Mode::Passive,
            end: None,
            ..self.active(SocketAddr::from(([0; 4], 0)), granted)
        };
        self.check_question(&mut making, bytes)?;
        self.sent(granted.verb.clone(), Kind::Passive(Box::new(making)))
    }

    fn check_question(&self, making: &mut Making, bytes: &[u8]) -> Held {
        let (verb, argument) = wire::words(&bytes[..bytes.len() - 2]);
        let v6 = self.scene.legs.server.is_ipv6();
        let fits = match verb.as_str() {
            "PASV" => !v6,
            "EPSV" => match argument.trim_ascii() {
                b"" => true,
                number => number == if v6 { b"2" } else { b"1" },
            },
            _ => false,
        };
        making.sent = verb;
        match fits && is_one_line(bytes) {
            true => Ok(()),
            false => {
                let text = String::from_utf8_lossy(bytes);
                Err(format!("the server cannot be asked {text:?}"))
            }
        }
    }

    /// The server refused one form and is asked in the other.
    pub(super) fn converted(&mut self, from: &str, to: &str, code: u16) -> Held {
        if !self.scene.convert || self.scene.legs.server.is_ipv6() {
            return Err(format!("{from} was converted to {to}"));
        }
        self.convert_at = Some(code);
        while self.refused.is_none() {
            self.read_one("a command is asked again")?;
        }
        self.convert_at = None;
        self.converting = self.refused.take();
        Ok(())
    }

    pub(super) fn ask_again(&mut self, mut sent: Sent, bytes: &[u8]) -> Held {
        if !is_one_line(bytes) {
            return Err("asked again with more than one line".into());
        }
        match &mut sent.kind {
            Kind::Active(making) => {
                let before = making.sent.clone();
                self.check_announcement(making, bytes)?;
                if before == making.sent {
                    return Err(format!("asked with {before} twice"));
                }
            }
            Kind::Passive(making) => {
                let before = making.sent.clone();
                self.check_question(making, bytes)?;
                if before == making.sent && !std::mem::take(&mut making.again) {
                    return Err(format!("asked with {before} twice"));
                }
            }
            _ => return Err("asked again what is no announcement".into()),
        }
        sent.preliminary = false;
        self.places.push_front(Place::Sent(Box::new(sent)));
        Ok(())
    }

    /// The server answered a passive command, with a port that may be opened.
    pub(super) fn answered(&mut self, mut making: Making, line: &[u8], port: u16) -> Held {
        self.check_port(port)?;
        self.gone(PinholeEnd::Replaced);
        making.end = Some(SocketAddr::new(self.scene.legs.server, port));
        making.line = line.to_vec();
        self.making = Some(Box::new(making));
        Ok(())
    }

    /// The server accepted PORT or EPRT.
    pub(super) fn accepted(&mut self, mut making: Making, line: &[u8]) {
        if making.opened {
            return self.due(Said::Exact([line, b"\r\n"].concat()));
        }
        making.line = line.to_vec();
        self.making = Some(Box::new(making));
    }

    /// Whether the client is told of exactly this pinhole, in the form that it asked in.
    pub(super) fn tells(&mut self, making: &Making, bytes: &[u8]) -> bool {
        let code = match making.verb.as_str() {
            "PASV" => 227,
            "LPSV" => 228,
            _ => 229,
        };
        let Some(announced) = self.pinhole(making).map(|pinhole| pinhole.announced) else {
            return false;
        };
        let Some(line) = bytes.strip_suffix(b"\r\n").filter(|_| is_one_line(bytes)) else {
            return false;
        };
        let there = wire::told(line).is_some_and(|(address, port)| {
            port == announced.port() && address.is_none_or(|address| address == announced.ip())
        });
        let said = making.line.clone();
        there && wire::code(line) == Some((code, b' ')) && self.check_rewrite(&said, bytes).is_ok()
    }

    /// The transfer command takes the pinhole that stands, if no other has.
    pub(super) fn serve(&mut self, granted: &Granted) -> Option<PinholeId> {
        let open = self.open.as_mut().filter(|open| open.serves.is_none())?;
        open.serves = Some(granted.verb.clone());
        let id = open.id;
        self.serves.push((id, granted.verb.clone()));
        self.ledger.borrow_mut().serves(self.session, id);
        Some(id)
    }

    /// The session's pinhole must be gone from here on.
    pub(super) fn gone(&mut self, end: PinholeEnd) {
        if let Some(open) = self.open.take() {
            self.ends.push((open.id, end));
        }
    }

    /// Nothing stands but what may, and what may stand does.
    pub(super) fn check_standing(&self, filter: &Filter) -> Held {
        let may = self.open.as_ref().map(|open| open.id);
        if let Some((id, hole)) = filter.standing().find(|(id, _)| Some(*id) != may) {
            return Err(format!("pinhole {id} stands, {:?}", hole.pinhole));
        }
        if filter.standing().count() > 1 {
            return Err("more than one pinhole stands".into());
        }
        let Some(id) = may else {
            return Ok(());
        };
        match filter.holes.get(&id) {
            Some(hole) if !hole.closed => Ok(()),
            _ => Err(format!("pinhole {id} was closed without a reason")),
        }
    }
}

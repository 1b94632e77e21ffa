//! The oracle: from the bytes as they were delivered it says what may be sent, said and opened.
//!
//! It knows nothing of the inspector but its actions, in order. Each line of the client is matched to
//! one decision or violation, each line to the server to one decision, each line to the client to one
//! of the server or to an answer that is due, each pinhole to an announcement that both sides made.

mod client;
mod ending;
mod holes;
mod replies;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use portcullis::inspect::{Action, Event, PinholeEnd, Side};
use portcullis::pinhole::PinholeId;

use crate::Held;
use crate::filter::Filter;
use crate::ledger::Ledger;
use crate::scene::{Facts, RuleBook, Scene};
use crate::wire::{Reader, Records};

pub(crate) use client::Granted;
pub(crate) use holes::{Making, OpenHole};

/// What must be said next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// These bytes of the server, its text masked where the rules say so.
    Exact(Vec<u8>),
    /// This reply of the gate's own.
    Reply(Vec<u8>),
    /// A reply of the gate's own with this code.
    Code(u16),
    /// A reply of the gate's own.
    Own,
    /// The announcement of a passive pinhole.
    Told(Box<Making>),
}

/// One place in the order of replies.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Greeting {
        preliminary: bool,
    },
    Sent(Box<Sent>),
    /// PWD of the gate's own.
    Locating,
    Own(Said),
}

/// A command that the server was given.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) verb: String,
    pub(crate) kind: Kind,
    pub(crate) preliminary: bool,
    /// What of the reply is not shown.
    pub(crate) masked: bool,
    pub(crate) hides_features: bool,
    pub(crate) hides_tls: bool,
}

/// What its reply decides.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Plain,
    /// Who was there before USER, and whether he was logged in.
    Login(Option<(Option<String>, Option<bool>)>),
    Rein,
    Host(String),
    Auth,
    Folder,
    /// EPSV ALL; whether it was the first.
    All(bool),
    Active(Box<Making>),
    Passive(Box<Making>),
    Transfer(Option<PinholeId>),
}

/// Why nothing of the server is read for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Nothing,
    Port(PinholeId),
    Pinhole(PinholeId),
    /// The answer to a wrong password is kept back.
    Answer(Vec<u8>),
}

#[derive(Debug)]
pub(crate) enum Channel {
    Plain,
    Opaque(Records, Records),
    Cleared(Records),
}

#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) scene: Scene,
    pub(crate) facts: Arc<Facts>,
    host: Option<String>,
    client: Reader,
    server: Reader,
    /// The greeting is masked, by the rules at the beginning.
    banner: bool,
    /// The code of the reply of many lines that the server is in.
    inside: Option<u16>,
    pub(crate) places: VecDeque<Place>,
    pub(crate) hold: Hold,
    granted: Option<Granted>,
    making: Option<Box<Making>>,
    /// The command that is asked again in another form.
    converting: Option<Box<Sent>>,
    /// It, before its record was seen; the code that it is refused with.
    refused: Option<Box<Sent>>,
    convert_at: Option<u16>,
    rewrote: Option<String>,
    pub(crate) channel: Channel,
    due_client: VecDeque<Said>,
    due_server: VecDeque<Said>,
    /// What the client was told although nothing was due; right only if the session closes.
    farewell: Option<String>,
    /// A reply of many lines that the client has not seen the end of, and whether it is one to a
    /// command; a server that begins one unasked confuses its client as it likes.
    client_inside: Option<(u16, bool)>,
    pub(crate) open: Option<OpenHole>,
    /// Why each pinhole went.
    pub(crate) ends: Vec<(PinholeId, PinholeEnd)>,
    /// The command that each pinhole served.
    pub(crate) serves: Vec<(PinholeId, String)>,
    /// The final reply to the command that each pinhole served.
    pub(crate) codes: Vec<(PinholeId, u16)>,
    user: Option<String>,
    logged_in: Option<bool>,
    all: bool,
    /// The rule that allowed AUTH grants a window; it is open.
    may_window: bool,
    window: bool,
    server_finished: bool,
    finish_passed: bool,
    /// A pinhole went because the session ends.
    ending: bool,
    pub(crate) closed: bool,
    /// What has been said ends the session, and why.
    ends_for: Option<&'static str>,
    strays: ending::Strays,
    session: usize,
    ledger: Rc<RefCell<Ledger>>,
    now: Instant,
}

impl Oracle {
    pub(crate) fn new(
        scene: &Scene,
        session: usize,
        ledger: Rc<RefCell<Ledger>>,
        now: Instant,
    ) -> Self {
        Self {
            facts: Arc::clone(&scene.book.own.facts),
            scene: scene.clone(),
            host: None,
            client: Reader::default(),
            server: Reader::default(),
            banner: scene.book.own.facts.banner,
            inside: None,
            places: VecDeque::from([Place::Greeting { preliminary: false }]),
            hold: Hold::Nothing,
            granted: None,
            making: None,
            converting: None,
            refused: None,
            convert_at: None,
            rewrote: None,
            channel: Channel::Plain,
            due_client: VecDeque::new(),
            due_server: VecDeque::new(),
            farewell: None,
            client_inside: None,
            open: None,
            ends: Vec::new(),
            serves: Vec::new(),
            codes: Vec::new(),
            user: None,
            logged_in: Some(false),
            all: false,
            may_window: false,
            window: false,
            server_finished: false,
            finish_passed: false,
            ending: false,
            closed: false,
            ends_for: None,
            strays: ending::Strays::default(),
            session,
            ledger,
            now,
        }
    }

    /// These bytes of one side are about to be handed to the inspector.
    pub(crate) fn hear(&mut self, side: Side, bytes: &[u8]) {
        if self.closed {
            return;
        }
        match side {
            Side::Client => self.hear_client(bytes),
            Side::Server => self.hear_server(bytes),
        }
    }

    pub(crate) fn finish(&mut self, side: Side) {
        self.server_finished |= side == Side::Server;
    }

    pub(crate) fn reload(&mut self, book: RuleBook) {
        self.facts = Arc::clone(&book.of(self.host.as_deref()).facts);
        self.scene.book = book;
    }

    /// The inspector was told the time.
    pub(crate) fn expire(&mut self, now: Instant) {
        if let Some(open) = &self.open
            && !open.used
            && now >= open.until
            // Without an answer there is nothing to close; the filter keeps its own time.
            && self.hold != Hold::Pinhole(open.id)
        {
            self.gone(PinholeEnd::Expired);
        }
    }

    /// Bytes of one side that no line was made of.
    pub(crate) fn held(&self) -> usize {
        self.client.len().max(self.server.len())
    }

    /// One action of the inspector, in order.
    pub(crate) fn see(&mut self, action: &Action, filter: &Filter, now: Instant) -> Held {
        self.now = now;
        if let Action::ForgetPinhole { id } = action {
            self.ledger.borrow_mut().forgets(self.session, *id);
        }
        if self.closed {
            return match action {
                Action::Record(_)
                | Action::ClosePinhole { .. }
                | Action::ForgetPinhole { .. }
                | Action::MeasurePinhole { .. } => Ok(()),
                Action::CloseWindow { .. } => self.window_closed(),
                other => Err(format!("after Close: {other:?}")),
            };
        }
        match action {
            Action::ToClient(bytes) => self.tell_client(bytes)?,
            Action::ToServer(bytes) => self.tell_server(bytes)?,
            Action::Synch(_)
            | Action::BoundPinhole { .. }
            | Action::MeasurePinhole { .. }
            | Action::ForgetPinhole { .. } => {}
            Action::LeasePort { id, address } => self.lease(*id, *address)?,
            Action::OpenPinhole {
                id,
                pinhole,
                carriage,
                ..
            } => {
                self.order(*id, pinhole, *carriage, now)?;
                if let Some((other, _)) = filter.standing().find(|(other, _)| other != id) {
                    return Err(format!("pinhole {id} is ordered while {other} stands"));
                }
            }
            Action::OpenWindow { .. } => {
                let may = matches!(self.channel, Channel::Opaque(..))
                    && self.may_window
                    && self.scene.legs.of_one_family();
                if !may && !self.window {
                    return Err("a window without TLS".into());
                }
                self.window = true;
            }
            Action::CloseWindow { .. } => self.window_closed()?,
            Action::ClosePinhole { .. } => {}
            Action::Record(record) => self.recorded(&record.event, record.user.as_deref())?,
            Action::FinishToServer => {}
            Action::FinishToClient => {
                self.read_all()?;
                if self.server.has_line() {
                    return Err("the server's end passed its last lines".into());
                }
                self.finish_passed = true;
                self.gone(PinholeEnd::SessionClosed);
            }
            Action::Close => {
                self.closed = true;
                let stands = |id| filter.holes.contains_key(&id);
                self.ledger.borrow_mut().closes(self.session, stands);
                self.gone(PinholeEnd::SessionClosed);
            }
        }
        Ok(())
    }

    fn read_until(&mut self, why: &str, known: impl Fn(&Self) -> bool) -> Held {
        while !known(self) {
            self.read_one(why)?;
        }
        Ok(())
    }

    fn window_closed(&mut self) -> Held {
        match std::mem::take(&mut self.window) {
            true => Ok(()),
            false => Err("a window was closed that was not open".into()),
        }
    }

    fn recorded(&mut self, event: &Event, user: Option<&str>) -> Held {
        match event {
            Event::Decided { command, verdict } => self.decided(command, verdict, user),
            Event::Violated {
                by: Side::Client,
                violation,
                ..
            } => self.client_violated(violation),
            Event::Violated {
                by: Side::Server,
                violation,
                ..
            } => self.server_violated(violation),
            Event::Rewrote { after, .. } => {
                self.rewrote = Some(after.clone());
                Ok(())
            }
            Event::Converted { from, to, code } => {
                self.converted(from.as_str(), to.as_str(), *code)
            }
            Event::Secured { .. } => {
                let begun = |oracle: &Self| matches!(oracle.channel, Channel::Opaque(..));
                self.read_until("TLS begins", begun)
            }
            Event::Unsecured => match self.channel {
                Channel::Opaque(..) => Err("plain text again, though nobody said so".into()),
                Channel::Plain | Channel::Cleared(_) => Ok(()),
            },
            Event::Transferred(moved) if moved.code.is_some() && !self.closed => {
                let known = |oracle: &Self| oracle.codes.iter().any(|(id, _)| *id == moved.id);
                self.read_until("a transfer ends", known)
            }
            Event::PinholeUnused { id, reason, .. } if !self.closed => {
                // It may go on the record just before both sides hear of the end.
                if *reason == PinholeEnd::SessionClosed
                    && self.open.as_ref().is_some_and(|open| open.id == *id)
                {
                    self.gone(PinholeEnd::SessionClosed);
                    self.ending = true;
                }
                let known = |oracle: &Self| oracle.ends.iter().any(|(end, _)| end == id);
                self.read_until("a pinhole ends", known)
            }
            Event::SessionEnded { .. } if !self.closed => {
                Err("the session ended and was not closed".into())
            }
            _ => Ok(()),
        }
    }

    /// All that follows from one input was seen.
    pub(crate) fn settle(&mut self, filter: &Filter) -> Held {
        if !self.closed {
            if let Some(farewell) = self.farewell.take() {
                return Err(farewell);
            }
            if self.ending && !self.finish_passed {
                return Err("a pinhole went with a session that goes on".into());
            }
            self.read_all()?;
            self.check_goes_on()?;
            if let Some(due) = self.due_client.front() {
                return Err(format!("the client is not told {due:?}"));
            }
            if let Some(due) = self.due_server.front() {
                return Err(format!("the server is not told {due:?}"));
            }
            if let Some(granted) = &self.granted
                && self.hold == Hold::Nothing
            {
                return Err(format!("{} was allowed and not carried out", granted.verb));
            }
            if self.making.is_some() && self.hold == Hold::Nothing {
                return Err("an announcement is not carried out".into());
            }
            let waits = self.blocked() || self.client_waits() || self.server_finished;
            if self.client.has_line() && !waits {
                return Err("a line of the client is left".into());
            }
        }
        self.check_standing(filter)
    }

    fn due(&mut self, said: Said) {
        self.due_client.push_back(said);
    }

    /// An answer of the gate's own, in its turn.
    fn answer(&mut self, said: Said) {
        match self.places.is_empty() {
            true => self.due(said),
            false => self.places.push_back(Place::Own(said)),
        }
    }

    /// Own answers whose turn has come.
    fn release(&mut self) {
        while let Some(Place::Own(_)) = self.places.front() {
            if let Some(Place::Own(said)) = self.places.pop_front() {
                self.due(said);
            }
        }
    }

    /// Compares what the client is told with what it has to be told.
    fn tell_client(&mut self, bytes: &[u8]) -> Held {
        if self.farewell.is_some() {
            return Ok(());
        }
        if let Hold::Answer(line) = &self.hold
            && line == bytes
        {
            self.hold = Hold::Nothing;
            self.due(Said::Exact(bytes.to_vec()));
            self.release();
        }
        while self.ends_for.is_none()
            && self.due_client.is_empty()
            && !self.blocked()
            && self.server.has_line()
        {
            self.read_one("the client is told something")?;
        }
        let Some(due) = self.due_client.front().cloned() else {
            return self.untold(bytes, "nothing is due");
        };
        if !self.fits(&due, bytes) {
            return self.untold(bytes, &format!("{due:?} is due"));
        }
        self.due_client.pop_front();
        self.check_many_lines(bytes, &due)
    }

    fn fits(&mut self, due: &Said, bytes: &[u8]) -> bool {
        match due {
            Said::Exact(exact) | Said::Reply(exact) => exact == bytes,
            Said::Code(code) => {
                bytes.starts_with(format!("{code} ").as_bytes()) && is_one_line(bytes)
            }
            Said::Own => {
                let code = crate::wire::code(bytes);
                code.is_some_and(|(_, mark)| mark == b' ') && is_one_line(bytes)
            }
            Said::Told(making) => self.tells(making, bytes),
        }
    }

    /// A reply of many lines that has begun ends with its own code, whatever becomes of it.
    fn check_many_lines(&mut self, bytes: &[u8], due: &Said) -> Held {
        if matches!(self.channel, Channel::Opaque(..)) {
            // Nothing in it is a reply, whatever it looks like.
            self.client_inside = None;
            return Ok(());
        }
        let own = !matches!(due, Said::Exact(_));
        let line = bytes.strip_suffix(b"\r\n").filter(|_| is_one_line(bytes));
        let Some((code, mark)) = line.and_then(crate::wire::code) else {
            return Ok(());
        };
        match self.client_inside {
            Some((open, true)) if own => {
                return Err(format!("{code} inside a reply of many lines with {open}"));
            }
            _ if own => {}
            None if mark == b'-' => self.client_inside = Some((code, !self.places.is_empty())),
            Some((open, _)) if open == code && mark == b' ' => self.client_inside = None,
            None | Some(_) => {}
        }
        Ok(())
    }
}

/// One line, its end at the end and nowhere else.
pub(crate) fn is_one_line(bytes: &[u8]) -> bool {
    let text = bytes.strip_suffix(b"\r\n");
    text.is_some_and(|text| !text.contains(&b'\n'))
}

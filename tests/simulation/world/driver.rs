//! Drives the inspector as the gate does: its actions in order, each answered or not.

use portcullis::inspect::{Action, PinholeNews};
use portcullis::pinhole::PinholeId;

use crate::Held;
use crate::filter::State;
use crate::transcript::shown;

use super::{MAX_FINISHING, MAX_HELD, MAX_PIECE, World};

impl World {
    pub(super) fn give_port(&mut self, id: PinholeId) -> Held {
        self.next_port = self.next_port.checked_add(1).unwrap_or(50_000);
        let port = self.chance.percent(93).then_some(self.next_port);
        self.transcript.say(|| format!("port for {id}: {port:?}"));
        self.oracle.leased(id, port);
        self.inspector.handle_port(id, port, self.now);
        self.drain()
    }

    pub(super) fn give_answer(&mut self, id: PinholeId) -> Held {
        let stands = self.chance.percent(93);
        self.transcript
            .say(|| format!("filter: {id} stands: {stands}"));
        let asked = self.filter.holes.get_mut(&id);
        if let Some(hole) = asked.filter(|hole| !hole.closed) {
            match stands {
                true => hole.state = State::Open,
                false => hole.closed = true,
            }
        }
        let news = match stands {
            true => PinholeNews::Opened,
            false => PinholeNews::Refused("no".into()),
        };
        if stands && !self.oracle.closed {
            self.record.opened(id);
        }
        self.oracle.ordered(id, stands);
        self.inspector.handle_pinhole(id, news, self.now);
        self.drain()
    }

    /// Carries out what the inspector wants; called behind everything that it was told.
    pub(crate) fn drain(&mut self) -> Held {
        self.busy = true;
        while let Some(action) = self.inspector.poll_action() {
            self.transcript.say(|| shown(&action));
            self.oracle.see(&action, &self.filter, self.now)?;
            if let Action::Record(record) = &action {
                self.record.see(&record.event, &self.oracle)?;
            }
            self.carry_out(action)?;
        }
        self.oracle.settle(&self.filter)?;
        self.check_bounds()
    }

    fn carry_out(&mut self, action: Action) -> Held {
        match action {
            Action::ToClient(bytes) => self.client.hear(&bytes),
            Action::ToServer(bytes) => self.server.hear(&bytes),
            Action::LeasePort { id, .. } => match self.chance.one_in(10) {
                true => self.lease = Some(id),
                false => return self.give_port(id),
            },
            Action::OpenPinhole {
                id,
                pinhole,
                lifetime,
                ..
            } => {
                self.filter.order(id, pinhole, self.now + lifetime)?;
                if self.loses_answers && self.chance.one_in(2) {
                    return Ok(());
                }
                match self.chance.one_in(8) {
                    true => self.ordered = Some(id),
                    false => return self.give_answer(id),
                }
            }
            Action::ClosePinhole { id, used } => {
                if let Some(hole) = self.filter.holes.get_mut(&id) {
                    // What follows does not wait for one whose connection came.
                    if used && hole.state != State::Used {
                        return Err(format!("{id} is closed as used, and stands"));
                    }
                    hole.closed = true;
                }
                if self.lease == Some(id) {
                    self.lease = None;
                }
            }
            Action::MeasurePinhole { id } => {
                let counters = self.filter.holes.get(&id).and_then(|hole| hole.counters);
                let news = PinholeNews::Closed {
                    counters,
                    duration: None,
                    cut: false,
                };
                return self.tell(id, news);
            }
            Action::ForgetPinhole { id } => {
                self.filter.holes.remove(&id);
                self.record.forgotten(id);
            }
            Action::Record(_)
            | Action::Synch(_)
            | Action::BoundPinhole { .. }
            | Action::OpenWindow { .. }
            | Action::CloseWindow { .. }
            | Action::FinishToServer
            | Action::FinishToClient
            | Action::Close => {}
        }
        Ok(())
    }

    fn check_bounds(&self) -> Held {
        if self.oracle.held() > MAX_HELD + MAX_PIECE {
            return Err(format!("{} bytes are held", self.oracle.held()));
        }
        // One is counted as closed before its record is settled.
        match self.filter.finishing() <= MAX_FINISHING + 1 {
            true => Ok(()),
            false => Err(format!(
                "{} pinholes are finishing",
                self.filter.finishing()
            )),
        }
    }
}

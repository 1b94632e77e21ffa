//! Pinholes on their way: from an announcement, over a free port and the word that it stands, to the
//! line that tells the other side.
//!
//! While one is on its way both sides are held, so that nobody can use what does not stand.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::ftp;
use crate::pinhole::{Pinhole, PinholeId};
use crate::rules::{DataPath, Permit, RuleName};

use super::action::Carriage;
use super::client::Permitted;
use super::forms::{ActiveForm, PassiveForm};
use super::pending::{Announcement, Expects, PassiveRequest, Pending};
use super::shown::{shown_line, with_line_end};
use super::transfer::Open;
use super::{Action, Command, Direction, Event, Inspector, Mode, PinholeEnd};

/// A pinhole on its way.
#[derive(Debug, Default)]
pub(super) enum Setup {
    /// None is.
    #[default]
    Idle,
    /// Waits for a free port.
    AwaitPort(Box<PortWanted>),
    /// Waits for the word that the pinhole stands.
    AwaitPinhole(PinholeWanted),
}

#[derive(Debug)]
pub(super) struct PortWanted {
    id: PinholeId,
    rule: Arc<RuleName>,
    carriage: Carriage,
    /// What the announcement says.
    endpoint: SocketAddr,
    /// The line it stands in.
    line: Vec<u8>,
    purpose: Purpose,
}

#[derive(Debug)]
pub(super) enum Purpose {
    Active {
        command: Command,
        from_port_20: bool,
    },
    Passive {
        command: Command,
        asked: PassiveForm,
        sent: PassiveForm,
    },
}

#[derive(Debug)]
pub(super) struct PinholeWanted {
    open: Box<Open>,
    then: Then,
}

/// What goes on once the pinhole stands.
#[derive(Debug)]
pub(super) enum Then {
    ToClient(Vec<u8>),
    ToServer(Box<(Vec<u8>, Command, Announcement)>),
}

impl Inspector {
    pub(super) fn server_is_held(&self) -> bool {
        !matches!(self.setup, Setup::Idle) || self.held_back.is_some()
    }

    /// PORT, EPRT or LPRT, checked and allowed: finds where the server is to dial.
    pub(super) fn begin_active(
        &mut self,
        endpoint: SocketAddr,
        permitted: Permitted<'_>,
        now: Instant,
    ) {
        if !self.pending.iter().any(Pending::is_transfer) {
            self.retire_pinhole(PinholeEnd::Replaced, now);
        }
        let legs = self.settings.legs;
        let foreign = endpoint.ip().to_canonical() != legs.client;
        let carriage = match foreign {
            // The server dials a third host; all that can be done is to let it through.
            true => Carriage::default(),
            false => self.carriage(&permitted.grants),
        };
        let address = match carriage.path {
            DataPath::Relay => Some(legs.seen),
            DataPath::Kernel if foreign => None,
            DataPath::Kernel => legs.active_needs_port_at(),
        };
        let from_port_20 = permitted.grants.source_port_20;
        let wanted = PortWanted {
            id: self.transfers.next_id(),
            rule: permitted.rule,
            carriage,
            endpoint,
            line: permitted.line.to_vec(),
            purpose: Purpose::Active {
                command: permitted.shown,
                from_port_20,
            },
        };
        self.want_port(wanted, address, now);
    }

    /// 227 or 229, checked: finds where the client is to dial.
    pub(super) fn begin_passive(
        &mut self,
        endpoint: SocketAddr,
        request: PassiveRequest,
        line: &[u8],
        rule: Arc<RuleName>,
        now: Instant,
    ) {
        self.retire_pinhole(PinholeEnd::Replaced, now);
        let PassiveRequest {
            command,
            asked,
            sent,
            carriage,
            refused: _,
        } = request;
        let legs = self.settings.legs;
        let address = match carriage.path {
            DataPath::Relay => Some(legs.dialled),
            DataPath::Kernel => legs.passive_needs_port_at(),
        };
        let id = self.transfers.next_id();
        let purpose = Purpose::Passive {
            command,
            asked,
            sent,
        };
        let line = line.to_vec();
        self.want_port(
            PortWanted {
                id,
                rule,
                carriage,
                endpoint,
                line,
                purpose,
            },
            address,
            now,
        );
    }

    fn want_port(&mut self, wanted: PortWanted, address: Option<IpAddr>, now: Instant) {
        match address {
            Some(address) => {
                self.actions.push_back(Action::LeasePort {
                    id: wanted.id,
                    address,
                });
                self.setup = Setup::AwaitPort(Box::new(wanted));
            }
            None => self.plan(wanted, None, now),
        }
    }

    pub(super) fn port_leased(&mut self, id: PinholeId, port: Option<u16>, now: Instant) {
        let wanted = match std::mem::take(&mut self.setup) {
            Setup::AwaitPort(wanted) if wanted.id == id => *wanted,
            other @ (Setup::Idle | Setup::AwaitPort(_) | Setup::AwaitPinhole(_)) => {
                self.setup = other;
                return;
            }
        };
        if port.is_some() {
            return self.plan(wanted, port, now);
        }
        let reason = "no free data port".to_owned();
        self.record(Event::PinholeRefused {
            pinhole: None,
            reason,
        });
        self.forget(id);
        // For PORT nothing was sent, for 227 it takes the reply's place: in turn either way.
        let reply = "425 No free data port; try again.";
        match wanted.purpose {
            Purpose::Active { .. } => self.answer(reply),
            Purpose::Passive { .. } => self.reply_in_place(reply),
        }
    }

    fn reply_in_place(&mut self, reply: &str) {
        self.send_client(format!("{reply}\r\n").into_bytes());
        self.give_answers();
    }

    fn plan(&mut self, wanted: PortWanted, leased: Option<u16>, now: Instant) {
        let PortWanted {
            id,
            rule,
            carriage,
            endpoint,
            line,
            purpose,
        } = wanted;
        match purpose {
            Purpose::Active {
                command,
                from_port_20,
            } => {
                let foreign = endpoint.ip().to_canonical() != self.settings.legs.client;
                let pinhole = match foreign {
                    true => self.settings.legs.plan_foreign(endpoint, from_port_20),
                    false => self
                        .settings
                        .legs
                        .plan_active(endpoint.port(), leased, from_port_20),
                };
                let form = self.active_form(&command.verb);
                let announcement = Announcement {
                    id,
                    pinhole,
                    carriage,
                    announced: endpoint,
                    form,
                    opened: false,
                };
                // Written anew even where nothing is translated: 012 is 10 to servers that read octal.
                let rewritten = write_active(form, pinhole.announced);
                self.record_rewrite(Direction::ToServer, &line, &rewritten, &rule);
                self.announce(announcement, rewritten, command, rule, now);
            }
            Purpose::Passive {
                command,
                asked,
                sent,
            } => {
                let pinhole = self.settings.legs.plan_passive(endpoint.port(), leased);
                let rewritten = match says_the_same(asked, sent, &pinhole, endpoint) {
                    true => with_line_end(&line),
                    false => write_passive(asked, pinhole.announced),
                };
                self.record_rewrite(Direction::ToClient, &line, &rewritten, &rule);
                let open = self.opening(id, pinhole, endpoint, Mode::Passive, (command, rule), now);
                self.want_pinhole(open, carriage, Then::ToClient(rewritten));
            }
        }
    }

    /// Tells the server where to dial, before or after the pinhole stands.
    fn announce(
        &mut self,
        mut announcement: Announcement,
        line: Vec<u8>,
        command: Command,
        rule: Arc<RuleName>,
        now: Instant,
    ) {
        // Behind a transfer that runs, its own pinhole may still be needed, and there is one at a time:
        // the announcement waits for its turn, which is when the server accepts it.
        let behind_transfer = self.pending.iter().any(Pending::is_transfer);
        if !self.policy.protocol().open_immediately || behind_transfer {
            return self.forward(line, command, rule, Expects::Acceptance(announcement));
        }
        announcement.opened = true;
        let Announcement {
            id,
            pinhole,
            carriage,
            announced,
            ..
        } = announcement;
        let by = (command.clone(), Arc::clone(&rule));
        let open = self.opening(id, pinhole, announced, Mode::Active, by, now);
        let then = Then::ToServer(Box::new((line, command, announcement)));
        self.want_pinhole(open, carriage, then);
    }

    fn record_rewrite(
        &mut self,
        direction: Direction,
        before: &[u8],
        after: &[u8],
        rule: &Arc<RuleName>,
    ) {
        let after = after.trim_ascii_end();
        if before == after {
            return;
        }
        let (before, after) = (shown_line(before), shown_line(after));
        if before != after {
            let rule = Arc::clone(rule);
            self.record(Event::Rewrote {
                direction,
                before,
                after,
                rule,
            });
        }
    }

    fn opening(
        &self,
        id: PinholeId,
        pinhole: Pinhole,
        announced: SocketAddr,
        mode: Mode,
        (asked, rule): (Command, Arc<RuleName>),
        now: Instant,
    ) -> Box<Open> {
        Box::new(Open {
            asked,
            id,
            pinhole,
            mode,
            announced,
            rule,
            opened: now,
            unused_after: now + self.settings.pinhole_lifetime,
            used: false,
            counted: None,
            command: None,
            permit: Permit::default(),
        })
    }

    fn want_pinhole(&mut self, open: Box<Open>, carriage: Carriage, then: Then) {
        let (id, pinhole) = (open.id, open.pinhole);
        let lifetime = self.settings.pinhole_lifetime;
        self.setup = Setup::AwaitPinhole(PinholeWanted { open, then });
        self.actions.push_back(Action::OpenPinhole {
            id,
            pinhole,
            carriage,
            lifetime,
        });
    }

    /// The server accepted PORT or EPRT; its reply waits until the pinhole stands.
    pub(super) fn accepted(
        &mut self,
        announcement: Announcement,
        by: (Command, Arc<RuleName>),
        line: &[u8],
        now: Instant,
    ) {
        let line = with_line_end(line);
        if announcement.opened {
            return self.send_client(line);
        }
        self.retire_pinhole(PinholeEnd::Replaced, now);
        let Announcement {
            id,
            pinhole,
            carriage,
            announced,
            ..
        } = announcement;
        let open = self.opening(id, pinhole, announced, Mode::Active, by, now);
        self.want_pinhole(open, carriage, Then::ToClient(line));
    }

    /// The server refused PORT or EPRT with `code`. True if it was asked again in another form.
    pub(super) fn not_accepted(
        &mut self,
        mut announcement: Announcement,
        command: &Command,
        rule: &Arc<RuleName>,
        code: u16,
        now: Instant,
    ) -> bool {
        if let Some(next) = self.next_active_form(announcement.form, code) {
            let (from, to) = (announcement.form.verb(), next.verb());
            self.record(Event::Converted { from, to, code });
            announcement.form = next;
            let line = write_active(next, announcement.pinhole.announced);
            let expects = Expects::Acceptance(announcement);
            self.forward_first(line, command.clone(), Arc::clone(rule), expects);
            return true;
        }
        if announcement.opened {
            self.retire_pinhole(PinholeEnd::TransferRefused, now);
        } else {
            self.forget(announcement.id);
        }
        false
    }

    /// The kernel's or the relay's word; `refused` says why it is no.
    pub(super) fn pinhole_answered(&mut self, id: PinholeId, refused: Option<String>) {
        let wanted = match std::mem::take(&mut self.setup) {
            Setup::AwaitPinhole(wanted) if wanted.open.id == id => wanted,
            other @ (Setup::Idle | Setup::AwaitPort(_) | Setup::AwaitPinhole(_)) => {
                self.setup = other;
                return;
            }
        };
        let PinholeWanted { open, then } = wanted;
        let (pinhole, rule) = (open.pinhole, Arc::clone(&open.rule));
        let Some(reason) = refused else {
            let mode = open.mode;
            self.transfers.open = Some(open);
            self.record(Event::PinholeOpened {
                id,
                pinhole,
                mode,
                rule: Arc::clone(&rule),
            });
            match then {
                Then::ToClient(line) => {
                    self.send_client(line);
                    self.give_answers();
                }
                Then::ToServer(parts) => {
                    let (line, command, announcement) = *parts;
                    self.forward(line, command, rule, Expects::Acceptance(announcement));
                }
            }
            return;
        };
        let reply = format!("425 Can't open data connection: {reason}.");
        self.record(Event::PinholeRefused {
            pinhole: Some(pinhole),
            reason,
        });
        self.forget(id);
        match then {
            Then::ToClient(_) => self.reply_in_place(&reply),
            Then::ToServer(_) => self.answer(&reply),
        }
    }

    /// The session ends while a pinhole is on its way.
    pub(super) fn abandon_setup(&mut self) {
        let on_its_way = match std::mem::take(&mut self.setup) {
            Setup::Idle => None,
            Setup::AwaitPort(wanted) => Some(wanted.id),
            Setup::AwaitPinhole(wanted) => Some(wanted.open.id),
        };
        let announced = self
            .pending
            .iter()
            .filter_map(Pending::expects)
            .find_map(|expects| {
                if let Expects::Acceptance(announcement) = expects {
                    Some(announcement.id)
                } else {
                    None
                }
            });
        for id in on_its_way.into_iter().chain(announced) {
            // One that stood, or stands, is forgotten when its record is settled.
            if self.transfers.find(id).is_none() {
                self.forget(id);
            }
        }
    }

    fn forget(&mut self, id: PinholeId) {
        self.actions
            .push_back(Action::ClosePinhole { id, used: false });
        self.actions.push_back(Action::ForgetPinhole { id });
    }
}

fn write_active(form: ActiveForm, announced: SocketAddr) -> Vec<u8> {
    match (form, announced) {
        (ActiveForm::Port, SocketAddr::V4(v4)) => ftp::write_port(v4),
        (ActiveForm::Port | ActiveForm::Eprt, announced) => ftp::write_eprt(announced),
    }
}

fn write_passive(asked: PassiveForm, announced: SocketAddr) -> Vec<u8> {
    match (asked, announced) {
        (PassiveForm::Pasv, SocketAddr::V4(v4)) => ftp::write_227(v4),
        (PassiveForm::Lpsv, announced) => ftp::write_228(announced),
        (PassiveForm::Pasv | PassiveForm::Epsv, announced) => ftp::write_229(announced.port()),
    }
}

/// Whether the server's own line tells the client where to dial; 229 names no address.
fn says_the_same(
    asked: PassiveForm,
    sent: PassiveForm,
    pinhole: &Pinhole,
    endpoint: SocketAddr,
) -> bool {
    asked == sent
        && match asked {
            PassiveForm::Epsv => pinhole.announced.port() == endpoint.port(),
            PassiveForm::Pasv | PassiveForm::Lpsv => pinhole.announced == endpoint,
        }
}

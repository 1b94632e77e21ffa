//! Pinholes on their way: from an announcement, over a free port and the kernel's word, to the line
//! that tells the other side.
//!
//! While one is on its way both sides are held, so that nobody can use what does not stand.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::ftp::{self, Verb};
use crate::pinhole::PinholeId;
use crate::rules::RuleName;

use super::client::Permitted;
use super::pending::{Announcement, Expects, Pending};
use super::transfer::Open;
use super::{
    Action, Command, Direction, Event, Inspector, Mode, PinholeEnd, shown_line, with_line_end,
};

/// A pinhole on its way; while there is one, both sides are held.
#[derive(Debug, Default)]
pub(super) enum Setup {
    #[default]
    Idle,
    AwaitPort(Box<PortWanted>),
    AwaitPinhole(Box<PinholeWanted>),
}

#[derive(Debug)]
pub(super) struct PortWanted {
    id: PinholeId,
    rule: Arc<RuleName>,
    endpoint: SocketAddr,
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
        extended: bool,
    },
}

#[derive(Debug)]
pub(super) struct PinholeWanted {
    open: Open,
    then: Then,
}

/// What goes on once the kernel holds the pinhole.
#[derive(Debug)]
pub(super) enum Then {
    ToClient(Vec<u8>),
    ToServer(Box<(Vec<u8>, Command, Announcement)>),
}

impl Inspector {
    pub(super) fn server_is_held(&self) -> bool {
        !matches!(self.setup, Setup::Idle)
    }

    /// PORT or EPRT, checked and allowed: finds where the server is to dial.
    pub(super) fn begin_active(
        &mut self,
        endpoint: SocketAddr,
        permitted: Permitted<'_>,
        now: Instant,
    ) {
        if !self.pending.iter().any(Pending::is_transfer) {
            self.retire_pinhole(PinholeEnd::Replaced, now);
        }
        let from_port_20 = permitted.from_port_20;
        let wanted = PortWanted {
            id: self.transfers.next_id(),
            rule: permitted.rule,
            endpoint,
            line: permitted.line.to_vec(),
            purpose: Purpose::Active {
                command: permitted.shown,
                from_port_20,
            },
        };
        self.want_port(wanted, self.settings.legs.active_needs_port_at(), now);
    }

    /// 227 or 229, checked: finds where the client is to dial.
    pub(super) fn begin_passive(
        &mut self,
        endpoint: SocketAddr,
        extended: bool,
        line: &[u8],
        rule: Arc<RuleName>,
        now: Instant,
    ) {
        self.retire_pinhole(PinholeEnd::Replaced, now);
        let purpose = Purpose::Passive { extended };
        let id = self.transfers.next_id();
        let wanted = PortWanted {
            id,
            rule,
            endpoint,
            line: line.to_vec(),
            purpose,
        };
        self.want_port(wanted, self.settings.legs.passive_needs_port_at(), now);
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
            None => {
                let port = wanted.endpoint.port();
                self.plan(wanted, port, now);
            }
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
        match port {
            Some(port) => self.plan(wanted, port, now),
            None => {
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
        }
    }

    fn reply_in_place(&mut self, reply: &str) {
        self.send_client(format!("{reply}\r\n").into_bytes());
        self.give_answers();
    }

    fn plan(&mut self, wanted: PortWanted, port: u16, now: Instant) {
        let PortWanted {
            id,
            rule,
            endpoint,
            line,
            purpose,
        } = wanted;
        let legs = self.settings.legs;
        match purpose {
            Purpose::Active {
                command,
                from_port_20,
            } => {
                let pinhole = legs.plan_active(endpoint.port(), port, from_port_20);
                let rewritten = match (pinhole.announced == endpoint, pinhole.announced) {
                    (true, _) => with_line_end(&line),
                    (false, SocketAddr::V4(v4)) if command.verb == Verb::Port => {
                        ftp::write_port(v4)
                    }
                    (false, announced) => ftp::write_eprt(announced),
                };
                self.record_rewrite(Direction::ToServer, &line, &rewritten, &rule);
                let mut announcement = Announcement {
                    id,
                    pinhole,
                    announced: endpoint,
                    opened: false,
                };
                if self.settings.policy.protocol().open_immediately {
                    announcement.opened = true;
                    let parts = (rewritten, command, announcement.clone());
                    let then = Then::ToServer(Box::new(parts));
                    self.want_pinhole(announcement, Mode::Active, rule, then, now);
                } else {
                    self.forward(rewritten, command, rule, Expects::Acceptance(announcement));
                }
            }
            Purpose::Passive { extended } => {
                let pinhole = legs.plan_passive(endpoint.port(), port);
                // 229 names no address, so only its port can differ from what the client must dial.
                let same = match extended {
                    true => pinhole.announced.port() == endpoint.port(),
                    false => pinhole.announced == endpoint,
                };
                let rewritten = match (same, pinhole.announced) {
                    (true, _) => with_line_end(&line),
                    (false, SocketAddr::V4(v4)) if !extended => ftp::write_227(v4),
                    (false, announced) => ftp::write_229(announced.port()),
                };
                self.record_rewrite(Direction::ToClient, &line, &rewritten, &rule);
                let announcement = Announcement {
                    id,
                    pinhole,
                    announced: endpoint,
                    opened: false,
                };
                self.want_pinhole(
                    announcement,
                    Mode::Passive,
                    rule,
                    Then::ToClient(rewritten),
                    now,
                );
            }
        }
    }

    fn record_rewrite(
        &mut self,
        direction: Direction,
        before: &[u8],
        after: &[u8],
        rule: &Arc<RuleName>,
    ) {
        let (before, after) = (shown_line(before), shown_line(after.trim_ascii_end()));
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

    fn want_pinhole(
        &mut self,
        announcement: Announcement,
        mode: Mode,
        rule: Arc<RuleName>,
        then: Then,
        now: Instant,
    ) {
        let Announcement {
            id,
            pinhole,
            announced,
            ..
        } = announcement;
        let lifetime = self.settings.pinhole_lifetime;
        let open = Open {
            id,
            pinhole,
            mode,
            announced,
            rule,
            opened: now,
            unused_after: now + lifetime,
            used: false,
            counted: None,
            command: None,
        };
        self.setup = Setup::AwaitPinhole(Box::new(PinholeWanted { open, then }));
        self.actions.push_back(Action::OpenPinhole {
            id,
            pinhole,
            lifetime,
        });
    }

    /// The server accepted PORT or EPRT; its reply waits for the kernel.
    pub(super) fn accepted(
        &mut self,
        announcement: Announcement,
        rule: Arc<RuleName>,
        line: &[u8],
        now: Instant,
    ) {
        let line = with_line_end(line);
        if announcement.opened {
            return self.send_client(line);
        }
        self.retire_pinhole(PinholeEnd::Replaced, now);
        self.want_pinhole(announcement, Mode::Active, rule, Then::ToClient(line), now);
    }

    /// The server refused PORT or EPRT.
    pub(super) fn not_accepted(&mut self, announcement: &Announcement, now: Instant) {
        if announcement.opened {
            self.retire_pinhole(PinholeEnd::TransferRefused, now);
        } else {
            self.forget(announcement.id);
        }
    }

    /// The kernel's word; `refused` says why it is no.
    pub(super) fn pinhole_answered(&mut self, id: PinholeId, refused: Option<String>) {
        let wanted = match std::mem::take(&mut self.setup) {
            Setup::AwaitPinhole(wanted) if wanted.open.id == id => *wanted,
            other @ (Setup::Idle | Setup::AwaitPort(_) | Setup::AwaitPinhole(_)) => {
                self.setup = other;
                return;
            }
        };
        let PinholeWanted { open, then } = wanted;
        let (pinhole, rule) = (open.pinhole, Arc::clone(&open.rule));
        match refused {
            None => {
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
            }
            Some(reason) => {
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
            if self
                .transfers
                .open
                .as_ref()
                .is_none_or(|open| open.id != id)
            {
                self.forget(id);
            }
        }
    }

    fn forget(&mut self, id: PinholeId) {
        self.actions.push_back(Action::ClosePinhole { id });
        self.actions.push_back(Action::ForgetPinhole { id });
    }
}

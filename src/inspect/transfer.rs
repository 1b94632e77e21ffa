//! Pinholes and transfers: from the announcement to the last count.
//!
//! At most one pinhole of a session is open (protocol rule 41). What has closed is kept until the
//! kernel has said what went through it, so that the record has the bytes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::pinhole::{Counters, Pinhole, PinholeId};
use crate::rules::{Permit, RuleName};

use super::pending::{Expects, Pending};
use super::{
    Action, Command, Event, Inspector, Mode, PinholeEnd, PinholeNews, TransferOutcome, Transferred,
};

/// How long the kernel's word that a pinhole was used may come after the transfer's end.
const SEEN_GRACE: Duration = Duration::from_millis(250);
/// The same where the server says that all was moved, so that there was a connection: its word is late, on a
/// machine that has too much to do or stood still.
const DONE_GRACE: Duration = Duration::from_secs(5);
/// How long data may still move after the transfer's end before it is counted as it is.
const DRAIN_GRACE: Duration = Duration::from_secs(60);
/// How long the answer to a measurement may take.
const MEASURE_GRACE: Duration = Duration::from_secs(1);
/// Closed pinholes whose counts are waited for; above it the oldest is recorded without.
const MAX_FINISHING: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Transfers {
    /// On the heap: most of the time of most sessions there is none.
    pub(super) open: Option<Box<Open>>,
    pub(super) finishing: VecDeque<Finishing>,
    last_id: u64,
}

/// A pinhole in the kernel and the command it serves.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: PinholeId,
    pub(super) pinhole: Pinhole,
    pub(super) mode: Mode,
    pub(super) announced: SocketAddr,
    /// The command that announced it, or asked for it.
    pub(super) asked: Command,
    pub(super) rule: Arc<RuleName>,
    pub(super) opened: Instant,
    pub(super) unused_after: Instant,
    pub(super) used: bool,
    pub(super) counted: Option<Counted>,
    pub(super) command: Option<(Command, Arc<RuleName>)>,
    /// What its command holds of the limits of its rule.
    pub(super) permit: Permit,
}

/// The last word on a data connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    counters: Option<Counters>,
    duration: Option<Duration>,
    /// It was cut off at its limit on bytes.
    cut: bool,
}

#[derive(Debug)]
pub(super) struct Finishing {
    open: Box<Open>,
    end: PinholeEnd,
    code: Option<u16>,
    deadline: Instant,
    measuring: bool,
}

impl Transfers {
    /// Whether nothing is waited for.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_none() && self.finishing.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let open = self
            .open
            .as_ref()
            .filter(|open| !open.used)
            .map(|open| open.unused_after);
        self.finishing
            .iter()
            .map(|finishing| finishing.deadline)
            .chain(open)
            .min()
    }

    /// Whether a data connection is known to stand.
    pub(super) fn moving(&self) -> bool {
        let closing = self.finishing.iter().map(|finishing| &finishing.open);
        self.open
            .iter()
            .chain(closing)
            .any(|open| open.used && open.counted.is_none())
    }

    /// Whether this pinhole's connection is known to be over.
    pub(super) fn counted(&self, id: Option<PinholeId>) -> bool {
        let closing = self.finishing.iter().map(|finishing| &finishing.open);
        self.open
            .iter()
            .chain(closing)
            .any(|open| Some(open.id) == id && open.counted.is_some())
    }

    pub(super) fn next_id(&mut self) -> PinholeId {
        self.last_id += 1;
        PinholeId(self.last_id)
    }

    pub(super) fn find(&mut self, id: PinholeId) -> Option<&mut Open> {
        let closing = self
            .finishing
            .iter_mut()
            .map(|finishing| &mut finishing.open);
        let mut all = self.open.iter_mut().chain(closing);
        all.find(|open| open.id == id).map(Box::as_mut)
    }
}

impl Inspector {
    pub(super) fn pinhole_changed(&mut self, id: PinholeId, news: PinholeNews, now: Instant) {
        match news {
            PinholeNews::Opened => self.pinhole_answered(id, None),
            PinholeNews::Refused(reason) => self.pinhole_answered(id, Some(reason)),
            PinholeNews::Used => self.pinhole_used(id, now),
            PinholeNews::Closed {
                counters,
                duration,
                cut,
            } => {
                self.moved = now;
                // What was counted came through, though the kernel's word that it did was lost.
                if counters.is_some() {
                    self.pinhole_used(id, now);
                }
                if let Some(open) = self.transfers.find(id) {
                    let known = open.counted.unwrap_or_default();
                    open.counted = Some(Counted {
                        counters: counters.or(known.counters),
                        duration: duration.or(known.duration),
                        cut: cut || known.cut,
                    });
                }
                self.settle_counted(now);
            }
        }
    }

    fn pinhole_used(&mut self, id: PinholeId, now: Instant) {
        let Some(open) = self.transfers.find(id).filter(|open| !open.used) else {
            return;
        };
        open.used = true;
        let after = now.saturating_duration_since(open.opened);
        let used = Event::PinholeUsed {
            id,
            pinhole: open.pinhole,
            after,
        };
        for finishing in &mut self.transfers.finishing {
            if finishing.open.id == id && !finishing.measuring {
                finishing.deadline = now + DRAIN_GRACE;
            }
        }
        self.record(used);
    }

    /// Whether data moves, or may move unseen.
    pub(super) fn transfer_runs(&self) -> bool {
        self.transfers.moving()
            || self.window_is_used()
            || self
                .pending
                .iter()
                .filter_map(Pending::expects)
                .any(|expects| {
                    // Where its data is over, only the reply is missing, and that may never come.
                    matches!(expects, Expects::TransferEnd(id) if !self.transfers.counted(*id))
                })
    }

    /// The final reply to a transfer command.
    pub(super) fn transfer_replied(&mut self, id: Option<PinholeId>, code: u16, now: Instant) {
        // Before the client can ask for the next one; its bytes are counted when they are known.
        if let Some(open) = id.and_then(|id| self.transfers.find(id)) {
            open.permit.release();
        }
        if self
            .transfers
            .open
            .as_ref()
            .is_some_and(|open| Some(open.id) == id)
        {
            let end = match code {
                200..300 => PinholeEnd::TransferEnded,
                _ => PinholeEnd::TransferRefused,
            };
            self.retire(end, Some(code), now);
        } else if let Some(finishing) = self
            .transfers
            .finishing
            .iter_mut()
            .find(|finishing| Some(finishing.open.id) == id)
        {
            finishing.code = Some(code);
            if let (false, 200..300) = (finishing.open.used, code) {
                finishing.deadline = finishing.deadline.max(now + DONE_GRACE);
            }
        }
    }

    /// Closes the session's pinhole in the kernel and waits for what is still to be counted.
    pub(super) fn retire_pinhole(&mut self, end: PinholeEnd, now: Instant) {
        self.retire(end, None, now);
    }

    /// The same, unless its connection stands.
    pub(super) fn retire_unused_pinhole(&mut self, end: PinholeEnd, now: Instant) {
        if self.transfers.open.as_ref().is_some_and(|open| !open.used) {
            self.retire(end, None, now);
        }
    }

    fn retire(&mut self, end: PinholeEnd, code: Option<u16>, now: Instant) {
        let Some(open) = self.transfers.open.take() else {
            return;
        };
        let (id, used) = (open.id, open.used);
        self.actions.push_back(Action::ClosePinhole { id, used });
        let grace = match (open.used, code) {
            (true, _) => DRAIN_GRACE,
            (false, Some(200..300)) => DONE_GRACE,
            (false, _) => SEEN_GRACE,
        };
        let finishing = Finishing {
            open,
            end,
            code,
            deadline: now + grace,
            measuring: false,
        };
        self.transfers.finishing.push_back(finishing);
        self.settle_counted(now);
        if self.transfers.finishing.len() > MAX_FINISHING
            && let Some(oldest) = self.transfers.finishing.pop_front()
        {
            self.settle(oldest, now);
        }
    }

    pub(super) fn transfers_timed_out(&mut self, now: Instant) {
        if let Some(open) = &self.transfers.open
            && !open.used
            && now >= open.unused_after
        {
            self.retire(PinholeEnd::Expired, None, now);
        }
        for _ in 0..self.transfers.finishing.len() {
            let Some(mut finishing) = self.transfers.finishing.pop_front() else {
                break;
            };
            if now < finishing.deadline {
                self.transfers.finishing.push_back(finishing);
            } else if finishing.open.used
                && finishing.open.counted.is_none()
                && !finishing.measuring
            {
                finishing.measuring = true;
                finishing.deadline = now + MEASURE_GRACE;
                self.actions.push_back(Action::MeasurePinhole {
                    id: finishing.open.id,
                });
                self.transfers.finishing.push_back(finishing);
            } else {
                self.settle(finishing, now);
            }
        }
    }

    /// Makes everything that is waited for due at once.
    pub(super) fn hurry_transfers(&mut self, now: Instant) {
        self.hurry_window();
        for finishing in &mut self.transfers.finishing {
            finishing.deadline = finishing.deadline.min(now);
        }
    }

    pub(super) fn settle_counted(&mut self, now: Instant) {
        for _ in 0..self.transfers.finishing.len() {
            let Some(finishing) = self.transfers.finishing.pop_front() else {
                break;
            };
            match finishing.open.counted {
                // A transfer without its reply waits for it while the session lasts.
                Some(_) if finishing.code.is_some() || !self.awaits_reply(&finishing.open) => {
                    self.settle(finishing, now);
                }
                _ => self.transfers.finishing.push_back(finishing),
            }
        }
    }

    fn awaits_reply(&self, open: &Open) -> bool {
        self.pending
            .iter()
            .filter_map(Pending::expects)
            .any(|expects| matches!(expects, Expects::TransferEnd(id) if *id == Some(open.id)))
    }

    fn settle(&mut self, finishing: Finishing, now: Instant) {
        let Finishing {
            open, end, code, ..
        } = finishing;
        let Open {
            id,
            pinhole,
            mode,
            announced,
            asked,
            rule,
            used,
            counted,
            command,
            permit,
            ..
        } = *open;
        self.actions.push_back(Action::ForgetPinhole { id });
        if !used {
            return self.record(Event::PinholeUnused {
                id,
                pinhole,
                reason: end,
            });
        }
        // Data that moves without a command for it is on the record as well.
        let (command, rule) = command.unwrap_or((asked, rule));
        let Counted {
            counters,
            duration,
            cut,
        } = counted.unwrap_or_default();
        let moved = counters.map(|moved| moved.bytes_forth.saturating_add(moved.bytes_back));
        permit.settle(moved.unwrap_or_default(), now);
        self.record(Event::Transferred(Transferred {
            command,
            rule,
            mode,
            pinhole,
            id,
            announced,
            rewritten: pinhole.announced,
            counters,
            duration,
            code,
            outcome: match code {
                _ if cut => TransferOutcome::Truncated,
                Some(200..300) => TransferOutcome::Completed,
                Some(_) => TransferOutcome::Failed,
                None => TransferOutcome::Abandoned,
            },
        }));
    }
}

//! The one who may change the table: takes all orders that wait, carries them out in one transaction, and
//! answers.
//!
//! One thread, because another program's big reload can hold a change for 150 ms, and because one
//! transaction for all that wait costs little more than one for each. In the program it runs in a process
//! of its own; the orders come from one that reads what strangers send, and [`super::guard`] sees each.

use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::guard::Guard;
use super::handle::MAX_OPEN_REQUESTS;
use super::healer::Healer;
use super::order::{Answers, Order, Orders, Outcome, Refusal, Ticket};
use super::plan::{Change, Element};
use super::privilege::missing_privilege;
use super::subject::Subject;
use super::ways::Serving;
use super::wire::{Connection, Removal, is_unknown};
use super::{FirewallError, Settings};
use crate::net::line::{Room, encode};

/// Requests carried out in one transaction; at most four changes each, whose 256 answers fit the
/// smallest receive buffer.
pub const MAX_BATCH: usize = 64;
/// Pause after a full set. Trying again sooner starves the kernel's collector of expired elements.
pub const FULL_PAUSE: Duration = Duration::from_millis(250);
/// How long a request to open waits for room in the sets, from the first refusal on.
const FULL_PATIENCE: Duration = Duration::from_secs(3);

/// Carries out what comes over its lines.
#[derive(Debug)]
pub struct Server {
    serving: Serving,
    connection: Connection,
    removal: Removal,
    guard: Guard,
    healer: Option<Healer>,
    full: Option<Full>,
    /// What is to be said, by line.
    answers: Vec<Answers>,
    room: Room,
    bytes: Vec<u8>,
}

/// While a set is full.
#[derive(Debug)]
struct Full {
    retry_at: Instant,
    /// At most [`MAX_OPEN_REQUESTS`].
    waiting: Vec<Opening>,
}

/// An order to open.
#[derive(Debug)]
struct Opening {
    ticket: Ticket,
    subject: Subject,
    lifetime: Duration,
    /// When a set was found full first.
    refused_at: Option<Instant>,
}

/// What a wait brought.
enum Heard {
    Orders(Orders),
    Nothing,
    End,
}

impl Server {
    /// Connects to the table that [`super::install`] made. `healer` puts it back where it is found missing.
    ///
    /// # Errors
    /// [`FirewallError::Unprivileged`], [`FirewallError::Netlink`].
    pub fn new(
        serving: Serving,
        settings: &Settings,
        healer: Option<Healer>,
    ) -> Result<Self, FirewallError> {
        let mut connection = connect(settings)?;
        let removal = probe(&mut connection)?;
        Ok(Self::over(serving, settings, connection, removal, healer))
    }

    pub(super) fn with_removal(
        serving: Serving,
        settings: &Settings,
        removal: Removal,
    ) -> Result<Self, FirewallError> {
        let connection = connect(settings)?;
        Ok(Self::over(serving, settings, connection, removal, None))
    }

    fn over(
        serving: Serving,
        settings: &Settings,
        connection: Connection,
        removal: Removal,
        healer: Option<Healer>,
    ) -> Self {
        let answers = serving.answers.iter().map(|_| Answers::new()).collect();
        Self {
            serving,
            connection,
            removal,
            guard: Guard::new(settings),
            healer,
            full: None,
            answers,
            room: Room::default(),
            bytes: Vec::new(),
        }
    }

    /// Serves until all who ask are gone.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] where what comes is no order.
    pub fn run(mut self) -> io::Result<()> {
        loop {
            let mut batch = match self.wait()? {
                Heard::Orders(orders) => orders,
                Heard::Nothing => Orders::new(),
                Heard::End => return Ok(()),
            };
            let mut ended = false;
            while !batch.is_empty() && batch.len() < MAX_BATCH && !ended {
                match self.take()? {
                    Heard::Orders(more) => batch.extend(more),
                    Heard::Nothing => break,
                    Heard::End => ended = true,
                }
            }
            for orders in batch.chunks(MAX_BATCH) {
                self.carry_out(orders);
            }
            self.retry_when_due();
            if ended || !self.answer()? {
                return Ok(());
            }
        }
    }

    /// Waits for orders, at most until a full set is to be tried again.
    fn wait(&mut self) -> io::Result<Heard> {
        let line = &self.serving.orders;
        match &self.full {
            None => Ok(match line.receive(&mut self.room)? {
                Some(orders) => Heard::Orders(orders),
                None => Heard::End,
            }),
            Some(full) => {
                let left = full.retry_at.saturating_duration_since(Instant::now());
                match line.wait(left)? {
                    true => self.take(),
                    false => Ok(Heard::Nothing),
                }
            }
        }
    }

    /// Takes orders that have come.
    fn take(&mut self) -> io::Result<Heard> {
        match self.serving.orders.try_receive(&mut self.room) {
            Ok(Some(orders)) => Ok(Heard::Orders(orders)),
            Ok(None) => Ok(Heard::End),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Heard::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Says how all ended; false where nobody is there to hear it.
    fn answer(&mut self) -> io::Result<bool> {
        for (line, answers) in self.serving.answers.iter().zip(&mut self.answers) {
            for some in answers.chunks(MAX_BATCH) {
                encode(&some, &mut self.bytes)?;
                match line.send(&self.bytes) {
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
                    outcome => outcome?,
                }
            }
            answers.clear();
        }
        Ok(true)
    }

    /// Notes an answer. Who names no line there is gets none.
    fn settle(&mut self, ticket: Ticket, outcome: Outcome) {
        if let Some(answers) = self.answers.get_mut(usize::from(ticket.line)) {
            answers.push((ticket.number, outcome));
        }
    }

    fn carry_out(&mut self, orders: &[Order]) {
        let mut good = Vec::with_capacity(orders.len());
        for order in orders {
            match *order {
                Order::Open {
                    ticket,
                    subject,
                    lifetime,
                } => match self.guard.check(&subject, lifetime) {
                    Ok(()) => good.push(*order),
                    Err(refusal) => {
                        if let Refusal::Denied(why) = &refusal {
                            tracing::error!(%subject, "asked to open what must never be: {why}");
                        }
                        self.settle(ticket, Err(refusal));
                    }
                },
                Order::Cancel { ticket, .. } => {
                    self.give_up(ticket);
                    good.push(*order);
                }
                Order::Close { .. } => good.push(*order),
            }
        }
        // One by one where a removal that finds nothing would fail the others.
        let together = match self.removal {
            Removal::Destroy => true,
            Removal::Delete => good.iter().all(|order| matches!(order, Order::Open { .. })),
        };
        if good.len() > 1 && together && self.full.is_none() {
            let changes: Vec<_> = good.iter().flat_map(plan).collect();
            match self.connection.transact(&changes, self.removal) {
                Ok(()) => {
                    for order in good {
                        if let Some(ticket) = awaited(&order) {
                            self.settle(ticket, Ok(()));
                        }
                    }
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, orders = good.len(), "Retrying a failed batch one by one");
                }
            }
        }
        for order in good {
            match order {
                Order::Open {
                    ticket,
                    subject,
                    lifetime,
                } => self.carry_out_open(Opening {
                    ticket,
                    subject,
                    lifetime,
                    refused_at: None,
                }),
                Order::Cancel { subject, .. } => self.carry_out_close(subject, None),
                Order::Close { ticket, subject } => self.carry_out_close(subject, ticket),
            }
        }
    }

    fn carry_out_close(&mut self, subject: Subject, ticket: Option<Ticket>) {
        let outcome = self.close(&subject).map_err(|error| refusal(&error));
        match (outcome, ticket) {
            (outcome, Some(ticket)) => self.settle(ticket, outcome),
            (Err(refused), None) => {
                tracing::warn!(%subject, ?refused, "Could not close it; its lifetime ends it");
            }
            (Ok(()), None) => {}
        }
    }

    fn carry_out_open(&mut self, mut opening: Opening) {
        if self.full.is_some() {
            opening.refused_at.get_or_insert_with(Instant::now);
            return self.wait_for_room(opening);
        }
        let mut outcome = self.open(&opening.subject, opening.lifetime);
        if let (Err(error), Some(healer)) = (&outcome, &self.healer)
            && is(error, Errno::NOENT)
            && healer.heal_table()
        {
            outcome = self.open(&opening.subject, opening.lifetime);
        }
        let error = match outcome {
            Ok(()) => return self.settle(opening.ticket, Ok(())),
            Err(error) => error,
        };
        if is(&error, Errno::NFILE) {
            return self.wait_for_room(opening);
        }
        if is_unknown(&error) {
            // Nobody knows whether it is open; it must not be.
            let _ = self.close(&opening.subject);
        }
        self.settle(opening.ticket, Err(refusal(&error)));
    }

    fn wait_for_room(&mut self, mut opening: Opening) {
        let waited = opening
            .refused_at
            .get_or_insert_with(Instant::now)
            .elapsed();
        let others = self.full.as_ref().map_or(0, |full| full.waiting.len());
        if waited >= FULL_PATIENCE || others >= MAX_OPEN_REQUESTS {
            return self.settle(opening.ticket, Err(Refusal::Full { waited }));
        }
        let full = self.full.get_or_insert_with(|| Full {
            retry_at: Instant::now() + FULL_PAUSE,
            waiting: Vec::new(),
        });
        full.waiting.push(opening);
    }

    fn retry_when_due(&mut self) {
        if let Some(full) = self.full.take_if(|full| full.retry_at <= Instant::now()) {
            for opening in full.waiting {
                self.carry_out_open(opening);
            }
        }
    }

    /// Nobody awaits the answer to an order that may wait for room; its turn is given back by one.
    fn give_up(&mut self, ticket: Ticket) {
        let Some(full) = &mut self.full else {
            return;
        };
        let waiting = full.waiting.len();
        full.waiting.retain(|opening| opening.ticket != ticket);
        if full.waiting.len() < waiting {
            let nobody = "nobody waits for it any longer".to_owned();
            self.settle(ticket, Err(Refusal::Unknown(nobody)));
        }
    }

    fn open(&mut self, subject: &Subject, lifetime: Duration) -> io::Result<()> {
        let additions = subject.plan_open(lifetime);
        match self.connection.transact(&additions, self.removal) {
            // A leftover with the same key: an update would keep its lifetime on kernels before 6.12.
            Err(error) if is(&error, Errno::EXIST) => {}
            outcome => return outcome,
        }
        match self.removal {
            Removal::Destroy => {
                let mut changes = subject.plan_close();
                changes.extend(additions);
                self.connection.transact(&changes, self.removal)
            }
            Removal::Delete => {
                self.close(subject)?;
                self.connection.transact(&additions, self.removal)
            }
        }
    }

    fn close(&mut self, subject: &Subject) -> io::Result<()> {
        let removals = subject.plan_close();
        let outcome = match self.removal {
            Removal::Destroy => self.connection.transact(&removals, self.removal),
            Removal::Delete => removals.chunks(1).try_for_each(|removal| {
                tolerate_absence(self.connection.transact(removal, self.removal))
            }),
        };
        tolerate_absence(outcome)
    }
}

fn connect(settings: &Settings) -> Result<Connection, FirewallError> {
    Connection::open(&settings.kernel.table).map_err(|source| FirewallError::Netlink {
        doing: "open a netlink socket for nftables",
        source,
    })
}

/// Asks whether the kernel knows DESTROYSETELEM, by destroying an element that nobody adds: 0.0.0.0 port 0.
fn probe(connection: &mut Connection) -> Result<Removal, FirewallError> {
    let absent = Change::Remove {
        element: Element {
            set: "leased4".into(),
            key: vec![0; 8],
            data: None,
        },
    };
    match connection.transact(&[absent], Removal::Destroy) {
        Ok(()) => Ok(Removal::Destroy),
        Err(error) if is(&error, Errno::PERM) => Err(FirewallError::Unprivileged {
            doing: "to change nftables",
        }),
        Err(error) if is(&error, Errno::INVAL) || is(&error, Errno::OPNOTSUPP) => {
            tracing::debug!("The kernel is older than 6.3; removing elements one by one");
            Ok(Removal::Delete)
        }
        Err(source) => Err(FirewallError::Netlink {
            doing: "reach the nftables table",
            source,
        }),
    }
}

/// ENOENT says that the element is gone, or its whole table.
fn tolerate_absence(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if is(&error, Errno::NOENT) => Ok(()),
        outcome => outcome,
    }
}

fn plan(order: &Order) -> Vec<Change> {
    match order {
        Order::Open {
            subject, lifetime, ..
        } => subject.plan_open(*lifetime),
        Order::Cancel { subject, .. } | Order::Close { subject, .. } => subject.plan_close(),
    }
}

/// Who is to hear how an order ended.
fn awaited(order: &Order) -> Option<Ticket> {
    match *order {
        Order::Open { ticket, .. } => Some(ticket),
        Order::Cancel { .. } => None,
        Order::Close { ticket, .. } => ticket,
    }
}

fn refusal(error: &io::Error) -> Refusal {
    match Errno::from_io_error(error) {
        Some(Errno::PERM) if missing_privilege().is_some() => Refusal::Unprivileged,
        Some(Errno::PERM) => Refusal::Owned,
        Some(Errno::NOENT) => Refusal::TableMissing,
        Some(errno) => Refusal::Kernel {
            errno: errno.raw_os_error(),
        },
        None => Refusal::Unknown(error.to_string()),
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    Errno::from_io_error(error) == Some(errno)
}

//! The socket of the events: its thread takes them in rounds, and others may look in between.
//!
//! A thread that is woken for each event costs more than what it does with it, and so does a session that is
//! woken by it. While data connections come and go, events gather for a moment, and whoever must know at
//! once takes them out itself.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, write};

use super::Key;
use super::message::{Entry, Flow, Kind, TcpState, decode, kind};
use crate::net::netlink::{Socket, messages};

/// How long events gather: how late a session hears of them that does not ask.
pub(super) const GATHERING: Duration = Duration::from_millis(2);
/// Entries taken at one time; the others wait in the socket, whose buffer holds fewer.
const MAX_TAKEN: usize = 65_536;
/// With more that are not told, nobody looks for one among them.
const MAX_SEARCHED: usize = 1024;

/// The socket, and what was taken from it and not told so far.
#[derive(Debug)]
pub(super) struct Source {
    socket: Socket,
    /// The thread is between two rounds, and will look for what others leave.
    gathering: bool,
    /// Tells the thread of what others leave while it waits for the next event.
    bell: OwnedFd,
    taken: VecDeque<(Kind, Entry)>,
    lost: bool,
}

/// What a round found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// Nothing: the thread may wait for the next event.
    Idle,
    /// Entries to be told, or a loss to be made up for.
    Busy {
        /// The kernel dropped some.
        lost: bool,
    },
}

impl Source {
    pub(super) fn new(socket: Socket) -> io::Result<Self> {
        Ok(Self {
            socket,
            gathering: false,
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            taken: VecDeque::new(),
            lost: false,
        })
    }

    /// What the thread waits on: the socket, and a bell for what others leave.
    ///
    /// # Errors
    /// Passes on what the system says.
    pub(super) fn awaited(&self) -> io::Result<[OwnedFd; 2]> {
        Ok([
            self.socket.as_fd().try_clone_to_owned()?,
            self.bell.try_clone()?,
        ])
    }

    /// Takes what is there; between this and a round that is idle, others may take.
    ///
    /// # Errors
    /// Passes on what the kernel says; a loss is none.
    pub(super) fn round(&mut self) -> io::Result<Round> {
        self.take()?;
        let lost = std::mem::take(&mut self.lost);
        self.gathering = lost || !self.taken.is_empty();
        Ok(match self.gathering {
            true => Round::Busy { lost },
            false => Round::Idle,
        })
    }

    /// The next entry to be told. It stays until [`Self::told`], since those behind it about the same
    /// address have to wait for it.
    pub(super) fn next(&self) -> Option<(Kind, Entry)> {
        self.taken.front().copied()
    }

    /// Those of the next entries that say that a connection ended: what is to be asked about them is asked at
    /// one time.
    pub(super) fn ends_ahead(&self, most: usize) -> Vec<Flow> {
        let ended = self.taken.iter().filter_map(|(kind, entry)| {
            let ended = *kind == Kind::Update && entry.state == TcpState::Ended;
            ended.then_some(entry.flow)
        });
        ended.take(most).collect()
    }

    /// The entry of [`Self::next`] is told.
    pub(super) fn told(&mut self) {
        self.taken.pop_front();
    }

    /// Takes beginnings alone, for someone who must know of one, up to that of `wanted`; ends take a question to
    /// the kernel, and are left to the thread. The first entry is left as well: it may be being told.
    pub(super) fn take_beginnings(&mut self, wanted: &Key, mut tell: impl FnMut(Entry)) {
        if self.taken.len() > MAX_SEARCHED {
            return;
        }
        let wanted = |entry: &Entry| entry.flow.key == *wanted;
        let waits = |(kind, entry): &(Kind, Entry)| *kind == Kind::New && wanted(entry);
        if let Some(index) = self.taken.iter().position(waits) {
            if index > 0 && self.begins(index) {
                self.taken
                    .remove(index)
                    .into_iter()
                    .for_each(|(_, entry)| tell(entry));
            }
            return;
        }
        let (mut index, mut found) = (self.taken.len(), false);
        while !found && self.taken.len() < MAX_TAKEN {
            match self.take_one() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::debug!(%error, "Events are left to their thread");
                    break;
                }
            }
            while let Some(&(_, entry)) = self.taken.get(index) {
                if self.begins(index) {
                    tell(entry);
                    self.taken.remove(index);
                    found |= wanted(&entry);
                } else {
                    index += 1;
                }
            }
        }
        if !self.gathering && (self.lost || !self.taken.is_empty()) {
            // The event that was to wake the thread is gone from the socket.
            self.gathering = true;
            if let Err(error) = write(&self.bell, &1_u64.to_ne_bytes()) {
                tracing::debug!(%error, "Events wait for the next one");
            }
        }
    }

    /// Whether this is the first of its addresses that waits, and tells of a beginning.
    fn begins(&self, index: usize) -> bool {
        let Some((Kind::New, entry)) = self.taken.get(index) else {
            return false;
        };
        let same = |(_, earlier): &(Kind, Entry)| earlier.flow.key == entry.flow.key;
        !self.taken.iter().take(index).any(same)
    }

    fn take(&mut self) -> io::Result<()> {
        while self.taken.len() < MAX_TAKEN && self.take_one()? {}
        Ok(())
    }

    /// Takes what came at one time; false where nothing waits.
    fn take_one(&mut self) -> io::Result<bool> {
        match self.socket.receive_waiting() {
            Ok(None) => return Ok(false),
            Ok(Some(datagram)) => {
                let entries = messages(datagram)
                    .filter_map(|message| Some((kind(&message)?, decode(&message)?)));
                self.taken.extend(entries);
            }
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOBUFS) => {
                // Those that wait are older than those that were lost. Taken after a list of all, a
                // beginning among them would never get its end.
                self.lost = true;
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

//! The memory that inspectors work in: each has it while it works, and idle ones have none.

use std::collections::VecDeque;

use super::pending::Pending;
use super::transfer::Finishing;
use super::{Action, Inspector};

/// Empty buffers of one inspector for the next; a driver has one for each thread.
///
/// Their size is bounded by what one session may hold.
#[derive(Debug, Default)]
pub struct Room {
    line: Vec<u8>,
    client: Vec<u8>,
    server: Vec<u8>,
    pending: VecDeque<Pending>,
    finishing: VecDeque<Finishing>,
    actions: VecDeque<Action>,
}

impl Inspector {
    /// Lends buffers to an inspector that is given something; where it has its own, it keeps them. It works
    /// without as well, and makes its own then.
    pub fn lend(&mut self, room: &mut Room) {
        lend(&mut self.line, &mut room.line);
        if let Some(own) = self.client.buffer.room() {
            lend(own, &mut room.client);
        }
        if let Some(own) = self.server.buffer.room() {
            lend(own, &mut room.server);
        }
        lend(&mut self.pending, &mut room.pending);
        lend(&mut self.transfers.finishing, &mut room.finishing);
        lend(&mut self.actions, &mut room.actions);
    }

    /// Takes the buffers in which nothing is held, the inspector's own among them.
    pub fn give_back(&mut self, room: &mut Room) {
        give_back(&mut self.line, &mut room.line);
        if let Some(own) = self.client.buffer.room() {
            give_back(own, &mut room.client);
        }
        if let Some(own) = self.server.buffer.room() {
            give_back(own, &mut room.server);
        }
        give_back(&mut self.pending, &mut room.pending);
        give_back(&mut self.transfers.finishing, &mut room.finishing);
        give_back(&mut self.actions, &mut room.actions);
    }
}

fn lend<B: Buffer>(own: &mut B, room: &mut B) {
    if own.room() == 0 {
        std::mem::swap(own, room);
    }
}

fn give_back<B: Buffer>(own: &mut B, room: &mut B) {
    if own.is_unused() && own.room() > 0 {
        let given = std::mem::take(own);
        if given.room() > room.room() {
            *room = given;
        }
    }
}

/// What has room and may hold nothing.
trait Buffer: Default {
    /// How many elements it can hold as it is.
    fn room(&self) -> usize;
    /// Whether it holds nothing.
    fn is_unused(&self) -> bool;
}

impl Buffer for Vec<u8> {
    fn room(&self) -> usize {
        self.capacity()
    }

    fn is_unused(&self) -> bool {
        self.is_empty()
    }
}

impl<T> Buffer for VecDeque<T> {
    fn room(&self) -> usize {
        self.capacity()
    }

    fn is_unused(&self) -> bool {
        self.is_empty()
    }
}

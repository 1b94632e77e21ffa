//! What is on its way to the one who may open pinholes, and who waits for which answer.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::handle::MAX_OPEN_REQUESTS;
use super::order::{Answers, MAX_ORDERS, Order, Orders, Outcome, Ticket};
use super::subject::Subject;
use crate::net::line::{Line, Listening, encode};

/// How long what used pinholes left may stay where no other is opened.
const USED_PAUSE: Duration = Duration::from_millis(250);

/// The way there, shared by all who ask: orders are carried out as they were posted.
#[derive(Debug)]
pub(super) struct Outbox {
    line: Line,
    state: Mutex<State>,
    /// Wakes the one who tends it.
    tend: Arc<Notify>,
    /// Turns for orders to open, [`MAX_OPEN_REQUESTS`].
    pub(super) turns: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    /// Pinholes that have been used, to be taken out with the next order. At most as many as are open.
    used: Vec<Subject>,
    /// Messages there was no room for. Bounded by the orders that may be on their way: those to open have
    /// turns, and what is open is closed once.
    unsent: VecDeque<Vec<u8>>,
    /// Somebody looks after the two above within [`USED_PAUSE`].
    tended: bool,
    /// Memory for what is posted.
    orders: Orders,
    bytes: Vec<u8>,
}

impl Outbox {
    pub(super) fn new(line: Line) -> Self {
        Self {
            line,
            state: Mutex::default(),
            tend: Arc::default(),
            turns: Arc::new(Semaphore::new(MAX_OPEN_REQUESTS)),
        }
    }

    /// Sends an order, behind those that are there and the closings of what was used: one of them may come
    /// again with it.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] where nobody is there to carry it out.
    pub(super) fn post(&self, order: Order) -> io::Result<()> {
        let mut state = self.lock();
        state.orders.clear();
        state.take_used(MAX_ORDERS - 1);
        state.orders.push(order);
        self.send(&mut state)
    }

    /// Notes what was used, to be closed with the next order, or within a quarter of a second.
    pub(super) fn note_used(&self, subject: Subject) {
        let mut state = self.lock();
        state.used.push(subject);
        self.be_tended(&mut state);
    }

    fn be_tended(&self, state: &mut State) {
        if !state.tended {
            state.tended = true;
            self.tend.notify_one();
        }
    }

    /// Sends what `state.orders` says.
    fn send(&self, state: &mut State) -> io::Result<()> {
        let State { orders, bytes, .. } = state;
        encode(orders, bytes)?;
        self.send_unsent(state)?;
        if state.unsent.is_empty() {
            match self.line.try_send(&state.bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
        }
        let message = state.bytes.clone();
        state.unsent.push_back(message);
        self.be_tended(state);
        Ok(())
    }

    fn send_unsent(&self, state: &mut State) -> io::Result<()> {
        while let Some(message) = state.unsent.front() {
            match self.line.try_send(message) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                outcome => outcome?,
            }
            state.unsent.pop_front();
        }
        Ok(())
    }

    /// Sends what waits; whether there was anything.
    fn flush(&self) -> io::Result<bool> {
        let mut state = self.lock();
        state.tended = !state.used.is_empty() || !state.unsent.is_empty();
        let there_was = state.tended;
        self.send_unsent(&mut state)?;
        while !state.used.is_empty() {
            state.orders.clear();
            state.take_used(MAX_ORDERS);
            self.send(&mut state)?;
        }
        Ok(there_was)
    }

    /// Sends what nobody's order takes along, until the outbox is dropped. Needs a tokio runtime.
    pub(super) fn tend(self: &Arc<Self>) -> impl Future<Output = ()> + use<> {
        let (outbox, woken) = (Arc::downgrade(self), Arc::clone(&self.tend));
        async move {
            loop {
                woken.notified().await;
                while tend_once(&outbox).await {}
                if outbox.strong_count() == 0 {
                    return;
                }
            }
        }
    }

    /// A panic elsewhere leaves it usable: what is half done is an order of which nobody has heard.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn tend_once(outbox: &Weak<Outbox>) -> bool {
    tokio::time::sleep(USED_PAUSE).await;
    let Some(outbox) = outbox.upgrade() else {
        return false;
    };
    outbox.flush().unwrap_or_else(|error| {
        tracing::debug!(%error, "nobody takes orders any longer");
        false
    })
}

impl Drop for Outbox {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::debug!(%error, "what used pinholes left goes with their lifetime");
        }
        self.tend.notify_one();
    }
}

impl State {
    fn take_used(&mut self, most: usize) {
        let count = self.used.len().min(most);
        let closings = self.used.drain(..count).map(|subject| Order::Close {
            ticket: None,
            subject,
        });
        self.orders.extend(closings);
    }
}

/// Those who wait for answers on one line.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    /// Each until it is answered, even if nobody waits for that any longer.
    by_number: HashMap<u64, Reply>,
    next: u64,
    /// Nobody will answer.
    ended: bool,
}

#[derive(Debug)]
struct Reply {
    to: oneshot::Sender<Outcome>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Waiting {
    /// Gives the number of an order to come, and where its answer will be; `None` where none will.
    pub(super) fn add(
        &self,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Option<(u64, oneshot::Receiver<Outcome>)> {
        let (to, answer) = oneshot::channel();
        let mut asked = self.lock();
        if asked.ended {
            return None;
        }
        let number = asked.next;
        asked.next = asked.next.wrapping_add(1);
        asked.by_number.insert(number, Reply { to, _turn: turn });
        Some((number, answer))
    }

    /// The order was not sent.
    pub(super) fn forget(&self, ticket: Ticket) {
        self.lock().by_number.remove(&ticket.number);
    }

    /// Passes on answers as they come, until nobody sends any. Needs a tokio runtime.
    pub(super) async fn listen(&self, line: Line) {
        if let Err(error) = self.pass_on(line).await {
            tracing::error!("the answers to what is asked of nftables cannot be read: {error}");
        }
        let mut asked = self.lock();
        asked.ended = true;
        asked.by_number.clear();
    }

    async fn pass_on(&self, line: Line) -> io::Result<()> {
        let mut line = Listening::new(line)?;
        while let Some(answers) = line.receive::<Answers>().await? {
            self.settle(answers);
        }
        Ok(())
    }

    fn settle(&self, answers: Answers) {
        let mut asked = self.lock();
        for (number, outcome) in answers {
            if let Some(reply) = asked.by_number.remove(&number) {
                // Where nobody waits any longer, a close follows.
                let _ = reply.to.send(outcome);
            }
        }
    }

    /// A panic elsewhere leaves the list usable: every change to it is one call.
    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

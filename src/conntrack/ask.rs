//! Questions to connection tracking, and the one who may ask them: what the kernel counted on connections
//! with our mark, and which there are.
//!
//! Whoever answers takes questions from a process that reads what strangers send, and tells of no other
//! connection.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::message::{Entry, Flow, ask_for, ask_for_all, decode, has_mark};
use crate::config::Mark;
use crate::net::line::{Line, Room, encode};
use crate::net::netlink::{Builder, Family, Message, Socket, messages};

/// Connections that are asked about at one time: as many answers fit any receive buffer.
pub(super) const MAX_ASKED: usize = 64;
/// Entries of one message.
const MAX_TOLD: usize = 256;
/// How long the kernel may take to answer a question.
const KERNEL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an answer may take in all, and each part of a long one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    number: u64,
    about: About,
}

#[derive(Debug, Serialize, Deserialize)]
enum About {
    Flows(Vec<Flow>),
    All,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    number: u64,
    part: Part,
}

#[derive(Debug, Serialize, Deserialize)]
enum Part {
    /// What was asked about, in its order.
    Flows(Vec<Option<Entry>>),
    /// Some of all.
    Some(Vec<Entry>),
    /// These were all.
    End,
    /// There are none; why.
    Failed(String),
}

/// The way to the one who may ask.
#[derive(Debug)]
pub struct Questions {
    asking: Mutex<Asking>,
}

#[derive(Debug)]
struct Asking {
    line: Line,
    number: u64,
    room: Room,
    bytes: Vec<u8>,
}

/// Makes a way, and the end of the one who may ask, for [`Answering::new`].
///
/// # Errors
/// Passes on what the system says.
pub fn questions() -> io::Result<(Questions, Line)> {
    let (line, asked) = Line::pair()?;
    line.set_patience(Some(ANSWER_TIMEOUT))?;
    let asking = Asking {
        line,
        number: 0,
        room: Room::default(),
        bytes: Vec::new(),
    };
    let asking = Mutex::new(asking);
    Ok((Questions { asking }, asked))
}

impl Questions {
    /// The entries of some connections, in their order; `None` for those that are gone or are not ours, or
    /// where there is no answer.
    pub(super) fn ask(&self, flows: &[Flow]) -> Vec<Option<Entry>> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = Vec::with_capacity(flows.len());
        for some in flows.chunks(MAX_ASKED) {
            let answer = asking.exchange(About::Flows(some.to_vec()));
            let mut told = match answer {
                Ok(Part::Flows(told)) => told,
                Ok(Part::Some(_) | Part::End | Part::Failed(_)) => Vec::new(),
                Err(error) => {
                    tracing::debug!(%error, "connection tracking is not asked");
                    Vec::new()
                }
            };
            told.resize(some.len(), None);
            entries.extend(told);
        }
        entries
    }

    /// All connections that there are with our mark.
    pub(super) fn list(&self) -> io::Result<Vec<Entry>> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = Vec::new();
        let mut part = asking.exchange(About::All)?;
        loop {
            match part {
                Part::Some(some) => entries.extend(some),
                Part::End => return Ok(entries),
                Part::Failed(why) => return Err(io::Error::other(why)),
                Part::Flows(_) => return Err(io::ErrorKind::InvalidData.into()),
            }
            part = asking.hear()?;
        }
    }
}

impl Asking {
    fn exchange(&mut self, about: About) -> io::Result<Part> {
        self.number = self.number.wrapping_add(1);
        let question = Question {
            number: self.number,
            about,
        };
        encode(&question, &mut self.bytes)?;
        self.line.send(&self.bytes)?;
        self.hear()
    }

    /// The next part of the answer. Those to an earlier question may come after its time was over.
    fn hear(&mut self) -> io::Result<Part> {
        loop {
            match self.line.receive::<Answer>(&mut self.room)? {
                Some(answer) if answer.number == self.number => return Ok(answer.part),
                Some(_) => {}
                None => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }
}

/// The one who may ask.
#[derive(Debug)]
pub struct Answering {
    line: Line,
    socket: Socket,
    mark: Mark,
}

impl Answering {
    /// Answers what comes over `line`, about connections with `mark` alone.
    ///
    /// # Errors
    /// Passes on what the kernel says.
    pub fn new(line: Line, mark: Mark) -> io::Result<Self> {
        let socket = Socket::open(Family::Netfilter, 0, KERNEL_TIMEOUT, |_| Ok(()))?;
        Ok(Self { line, socket, mark })
    }

    /// Serves until all who ask are gone. Needs CAP_NET_ADMIN.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] where what comes is no question.
    pub fn run(mut self) -> io::Result<()> {
        let mut room = Room::default();
        while let Some(Question { number, about }) = self.line.receive(&mut room)? {
            let told = match about {
                About::Flows(flows) => {
                    let entries = flows.chunks(MAX_ASKED).flat_map(|some| self.look_up(some));
                    let part = Part::Flows(entries.collect());
                    self.tell(number, part)
                }
                About::All => self.tell_all(number),
            };
            match told {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                outcome => outcome?,
            }
        }
        Ok(())
    }

    fn tell(&self, number: u64, part: Part) -> io::Result<()> {
        let mut bytes = Vec::new();
        encode(&Answer { number, part }, &mut bytes)?;
        self.line.send(&bytes)
    }

    fn tell_all(&mut self, number: u64) -> io::Result<()> {
        match self.list() {
            Ok(entries) => {
                for some in entries.chunks(MAX_TOLD) {
                    self.tell(number, Part::Some(some.to_vec()))?;
                }
                self.tell(number, Part::End)
            }
            Err(error) => self.tell(number, Part::Failed(error.to_string())),
        }
    }

    /// Asks for some in one call; each is answered by a message of its own.
    fn look_up(&mut self, flows: &[Flow]) -> Vec<Option<Entry>> {
        let mut entries = vec![None; flows.len()];
        let Ok(count) = u32::try_from(flows.len()) else {
            return entries;
        };
        let first = self.socket.reserve(count);
        let mut builder = Builder::default();
        for (sequence, flow) in (first..).zip(flows) {
            ask_for(&mut builder, sequence, flow);
        }
        if let Err(error) = self.socket.send(builder.bytes()) {
            tracing::debug!(%error, "connection tracking took no question");
            return entries;
        }
        let mut open = flows.len();
        while open > 0 {
            let datagram = match self.socket.receive() {
                Ok(datagram) => datagram,
                Err(error) => {
                    tracing::debug!(%error, open, "connection tracking left questions open");
                    break;
                }
            };
            for message in messages(datagram) {
                // Answers to an earlier question may come after its timeout.
                let index = message.sequence.checked_sub(first);
                let place = index.and_then(|index| entries.get_mut(usize::try_from(index).ok()?));
                if let Some(place) = place {
                    *place = own(&message, self.mark);
                    open -= 1;
                }
            }
        }
        entries
    }

    fn list(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mark = self.mark;
        let ask = |builder: &mut Builder, sequence| ask_for_all(builder, sequence, mark);
        self.socket.list(ask, |message| match message {
            Some(message) => entries.extend(own(message, mark)),
            None => entries.clear(),
        })?;
        Ok(entries)
    }
}

/// The entry that a message tells of, where it is one of ours.
fn own(message: &Message<'_>, mark: Mark) -> Option<Entry> {
    has_mark(message, mark).then(|| decode(message)).flatten()
}

//! Netlink as bytes: builds messages, walks answers, holds one socket to the kernel.
//!
//! Owns framing and attributes alone (`include/uapi/linux/netlink.h`); what the messages mean is
//! known in `firewall` and `conntrack`. Reading never panics, whatever the bytes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::{
    self, AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt,
};

/// `NLM_F_REQUEST`.
pub const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub const ACK: u16 = 0x4;
/// `NLM_F_DUMP_INTR`: a dump may have missed entries.
pub const DUMP_INTERRUPTED: u16 = 0x10;
/// `NLM_F_REPLACE`.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_DUMP`.
pub const DUMP: u16 = 0x300;
/// `NLM_F_CREATE`.
pub const CREATE: u16 = 0x400;
/// `NLMSG_ERROR`, which is an acknowledgement where its code is 0.
pub const ERROR: u16 = 2;
/// `NLMSG_DONE`, the end of a dump.
pub const DONE: u16 = 3;

const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;

/// Messages under construction, to be sent in one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets all messages and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Appends one message: netlink header, the family's own `header`, and what `fill` adds.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        sequence: u32,
        header: &[u8],
        fill: impl FnOnce(&mut Self),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        self.pad();
        fill(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        if let Some(field) = self.bytes.get_mut(start..start + 4) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
    }

    /// Appends an attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value);
        self.close(start);
    }

    /// Appends a text attribute, NUL added.
    pub fn text(&mut self, kind: u16, value: &str) {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.close(start);
    }

    /// Appends a nested attribute holding what `fill` adds, at most 65,531 bytes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.open(kind | NESTED);
        fill(self);
        self.close(start);
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        // An over-long attribute gets a length the kernel refuses; nothing here comes near it.
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        if let Some(field) = self.bytes.get_mut(start..start + 2) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// One message as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub sequence: u32,
    /// What follows the netlink header.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The errno of an `NLMSG_ERROR` or `NLMSG_DONE`, 0 for an acknowledgement; `None` for other messages.
    pub fn errno(&self) -> Option<i32> {
        match self.kind {
            ERROR => i32::from_ne_bytes(*self.body.first_chunk()?).checked_neg(),
            DONE => Some(
                self.body
                    .first_chunk()
                    .and_then(|&code| i32::from_ne_bytes(code).checked_neg())
                    .unwrap_or(0),
            ),
            _ => None,
        }
    }

    /// The attributes behind the family's own header of `header` bytes.
    pub fn attributes(&self, header: usize) -> Attributes<'a> {
        attributes(self.body.get(header..).unwrap_or(&[]))
    }
}

/// Walks the messages of one datagram; stops at the first that is not whole.
pub fn messages(bytes: &[u8]) -> Messages<'_> {
    Messages { rest: bytes }
}

/// The messages of one datagram.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = u32::from_ne_bytes(*self.rest.first_chunk()?);
        let length = usize::try_from(length).ok()?;
        let message = Message {
            kind: u16::from_ne_bytes(*self.rest.get(4..)?.first_chunk()?),
            flags: u16::from_ne_bytes(*self.rest.get(6..)?.first_chunk()?),
            sequence: u32::from_ne_bytes(*self.rest.get(8..)?.first_chunk()?),
            body: self.rest.get(HEADER..length)?,
        };
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    }
}

/// Walks attributes; stops at the first that is not whole.
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { rest: bytes }
}

/// The attributes of a message or of a nested attribute, as type and value.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16::from_ne_bytes(*self.rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*self.rest.get(2..)?.first_chunk()?) & TYPE_MASK;
        let value = self.rest.get(4..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    }
}

/// One netlink socket, talking to the kernel alone.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// The netlink families in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `NETLINK_ROUTE`.
    Route,
    /// `NETLINK_NETFILTER`.
    Netfilter,
}

/// Bytes of one received datagram; the kernel's dumps use at most 32 KiB.
const DATAGRAM: usize = 65_536;
/// How often a list that was cut short is begun anew: each takes some 100 µs, and a busy gate changes its table
/// and its connections some hundred times a second.
const MAX_LISTS: usize = 50;
/// How long one list may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

impl Socket {
    /// Opens a socket that joins the multicast `groups` (a bit mask, 0 for none). `prepare` sees the
    /// socket before it is bound, so that a filter holds from the first message on.
    ///
    /// # Errors
    /// Passes on what the kernel says.
    pub fn open(
        family: Family,
        groups: u32,
        timeout: Duration,
        prepare: impl FnOnce(&OwnedFd) -> io::Result<()>,
    ) -> io::Result<Self> {
        let protocol: Option<Protocol> = match family {
            Family::Route => None,
            Family::Netfilter => Some(netlink::NETFILTER),
        };
        let fd = net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(timeout))?;
        prepare(&fd)?;
        net::bind(&fd, &netlink::SocketAddrNetlink::new(0, groups))?;
        // Only the kernel may answer.
        net::connect(&fd, &netlink::SocketAddrNetlink::new(0, 0))?;
        Ok(Self {
            fd,
            sequence: 0,
            buffer: vec![0; DATAGRAM],
        })
    }

    /// Reserves `count` sequence numbers and gives the first; none is 0, the number of events.
    pub fn reserve(&mut self, count: u32) -> u32 {
        let first = match self.sequence.checked_add(1) {
            Some(first) if first.checked_add(count).is_some() => first,
            _ => 1,
        };
        self.sequence = first + count.saturating_sub(1);
        first
    }

    /// Sends messages in one call.
    ///
    /// # Errors
    /// Passes on what the kernel says.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match net::send(&self.fd, bytes, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for one datagram, as long as the timeout given to [`Socket::open`].
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] at the timeout; `ENOBUFS` where the kernel dropped events.
    pub fn receive(&mut self) -> io::Result<&[u8]> {
        let length = self.receive_with(RecvFlags::empty())?;
        Ok(self.buffer.get(..length).unwrap_or(&self.buffer))
    }

    /// Takes one datagram if one waits.
    ///
    /// # Errors
    /// `ENOBUFS` where the kernel dropped events.
    pub fn receive_waiting(&mut self) -> io::Result<Option<&[u8]>> {
        match self.receive_with(RecvFlags::DONTWAIT) {
            Ok(length) => Ok(self.buffer.get(..length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn receive_with(&mut self, flags: RecvFlags) -> io::Result<usize> {
        loop {
            match net::recv(&self.fd, self.buffer.as_mut_slice(), flags) {
                Ok((_, length)) => return Ok(length),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends one request built by `build` from its sequence number, and waits for its acknowledgement.
    ///
    /// # Errors
    /// The errno that the kernel answers.
    pub fn ask(&mut self, build: impl FnOnce(&mut Builder, u32)) -> io::Result<()> {
        let sequence = self.reserve(1);
        let mut builder = Builder::default();
        build(&mut builder, sequence);
        self.send(builder.bytes())?;
        loop {
            let answer = messages(self.receive()?)
                .filter(|message| message.sequence == sequence)
                .find_map(|message| message.errno());
            match answer {
                Some(0) => return Ok(()),
                Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
                None => {}
            }
        }
    }

    /// Sends one request for a list, built by `build` from its sequence number, and gives each entry to `take`, until
    /// the list is whole: entries that come and go meanwhile cut it short, and it is begun anew then, with
    /// `take` told so by `None`.
    ///
    /// # Errors
    /// The errno that the kernel answers; [`io::ErrorKind::Interrupted`] where all of [`MAX_LISTS`] were cut short.
    pub fn list(
        &mut self,
        build: impl Fn(&mut Builder, u32),
        mut take: impl FnMut(Option<&Message<'_>>),
    ) -> io::Result<()> {
        for _ in 0..MAX_LISTS {
            take(None);
            if self.list_once(&build, &mut take)? {
                return Ok(());
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    /// Whether the list is whole.
    fn list_once(
        &mut self,
        build: impl Fn(&mut Builder, u32),
        mut take: impl FnMut(Option<&Message<'_>>),
    ) -> io::Result<bool> {
        let sequence = self.reserve(1);
        let mut builder = Builder::default();
        build(&mut builder, sequence);
        self.send(builder.bytes())?;
        let (begun, mut whole) = (Instant::now(), true);
        while begun.elapsed() < LIST_TIMEOUT {
            for message in messages(self.receive()?) {
                if message.sequence != sequence {
                    continue;
                }
                whole &= message.flags & DUMP_INTERRUPTED == 0;
                match message.errno() {
                    Some(0) if message.kind == DONE => return Ok(whole),
                    Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
                    None => take(Some(&message)),
                }
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_built_reads_back() {
        let mut builder = Builder::default();
        builder.message(7, REQUEST | ACK, 42, &[1, 2, 3, 4], |builder| {
            builder.text(1, "table");
            builder.nest(3, |builder| builder.attribute(9, &[5; 7]));
        });
        let all: Vec<_> = messages(builder.bytes()).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].kind, all[0].flags, all[0].sequence), (7, 5, 42));
        let found: Vec<_> = all[0].attributes(4).collect();
        assert_eq!(found[0], (1, b"table\0".as_slice()));
        assert_eq!(attributes(found[1].1).next(), Some((9, [5; 7].as_slice())));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for message in messages(&bytes) {
                let _ = message.errno();
                for (_, value) in message.attributes(4) {
                    let _ = attributes(value).count();
                }
            }
        }
    }
}

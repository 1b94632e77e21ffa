//! Lines between two processes of the program: Unix sockets that keep messages apart and in order
//! (`SOCK_SEQPACKET`, unix(7)), and how a process that is started gets its ends (`SCM_RIGHTS`).
//!
//! Messages are values of serde; what they mean is known to those who exchange them. Reading never
//! panics, whatever the other side sends.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sockopt,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Bytes of one message at most.
pub const MAX_MESSAGE: usize = 65_536;
/// Ends that [`hand_over`] can give at one time.
pub const MAX_HANDED: usize = 250;

/// Room for messages that wait, bytes; the kernel counts about a thousand for a short one.
const SEND_BUFFER: usize = 4 << 20;

/// One end of a line.
#[derive(Debug)]
pub struct Line {
    fd: OwnedFd,
}

impl Line {
    /// Makes a line; each end is one of a kind with the other.
    ///
    /// # Errors
    /// Passes on what the system says.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        for fd in [&one, &other] {
            // More than the machine grants to everyone needs CAP_NET_ADMIN; with less, more has to wait.
            if sockopt::set_socket_send_buffer_size_force(fd, SEND_BUFFER).is_err() {
                sockopt::set_socket_send_buffer_size(fd, SEND_BUFFER)?;
            }
        }
        Ok((Self { fd: one }, Self { fd: other }))
    }

    /// Waits for a message, or for the other end to go; whether either came in time.
    ///
    /// # Errors
    /// Passes on what the system says.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        let mut awaited = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut awaited, Some(&limit)) {
            Err(Errno::INTR) => Ok(false),
            outcome => Ok(outcome? > 0),
        }
    }

    /// Bounds how long [`Self::receive`] waits; for ever where there is no limit.
    ///
    /// # Errors
    /// Passes on what the system says.
    pub fn set_patience(&self, limit: Option<Duration>) -> io::Result<()> {
        Ok(sockopt::set_socket_timeout(
            &self.fd,
            sockopt::Timeout::Recv,
            limit,
        )?)
    }

    /// Sends one message; waits for room where there is none.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] where the other end is gone.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        self.send_with(message, SendFlags::NOSIGNAL)
    }

    /// Sends one message if there is room.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where there is none, [`io::ErrorKind::BrokenPipe`] where the other end
    /// is gone.
    pub fn try_send(&self, message: &[u8]) -> io::Result<()> {
        self.send_with(message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    fn send_with(&self, message: &[u8], flags: SendFlags) -> io::Result<()> {
        loop {
            match net::send(&self.fd, message, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for a message; `None` where the other end is gone.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where none came in time, [`io::ErrorKind::InvalidData`] where it is
    /// no such value.
    pub fn receive<T: DeserializeOwned>(&self, room: &mut Room) -> io::Result<Option<T>> {
        self.receive_with(room, RecvFlags::empty())
    }

    /// Takes a message that has come.
    ///
    /// # Errors
    /// As [`Self::receive`], and [`io::ErrorKind::WouldBlock`] where none has.
    pub fn try_receive<T: DeserializeOwned>(&self, room: &mut Room) -> io::Result<Option<T>> {
        self.receive_with(room, RecvFlags::DONTWAIT)
    }

    fn receive_with<T: DeserializeOwned>(
        &self,
        room: &mut Room,
        flags: RecvFlags,
    ) -> io::Result<Option<T>> {
        receive(self.fd.as_fd(), room, flags)
    }
}

fn receive<T: DeserializeOwned>(
    fd: BorrowedFd<'_>,
    room: &mut Room,
    flags: RecvFlags,
) -> io::Result<Option<T>> {
    let length = loop {
        match net::recv(fd, room.bytes.as_mut_slice(), flags) {
            Ok((_, length)) => break length,
            Err(Errno::INTR) => {}
            // Its process ended with messages of ours unread.
            Err(Errno::CONNRESET) => break 0,
            Err(error) => return Err(error.into()),
        }
    };
    match room.bytes.get(..length) {
        Some([]) => Ok(None),
        Some(message) => decode(message).map(Some),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One end of a line whose messages a task waits for.
#[derive(Debug)]
pub struct Listening {
    /// Tokio knows no sockets of this kind; nothing but whether there is something is asked of it.
    socket: UnixStream,
    room: Room,
}

impl Listening {
    /// Begins to listen. Needs a tokio runtime.
    ///
    /// # Errors
    /// Passes on what the system says.
    pub fn new(line: Line) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(line.fd);
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UnixStream::from_std(socket)?,
            room: Room::default(),
        })
    }

    /// Waits for a message; `None` where the other end is gone.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] where it is no such value.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            self.socket.readable().await?;
            let (fd, room) = (self.socket.as_fd(), &mut self.room);
            let received = self.socket.try_io(Interest::READABLE, || {
                receive(fd, room, RecvFlags::DONTWAIT)
            });
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
        }
    }
}

/// Where a message is put that is received.
#[derive(Debug)]
pub struct Room {
    bytes: Vec<u8>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            bytes: vec![0; MAX_MESSAGE],
        }
    }
}

/// Writes a value as a message into `bytes`, in place of what was there.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] where it cannot be written.
pub fn encode<T: Serialize>(value: &T, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = std::mem::take(bytes);
    buffer.clear();
    *bytes = postcard::to_extend(value, buffer).map_err(invalid)?;
    Ok(())
}

/// Reads a message; all of it has to be the value.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] where it is not.
pub fn decode<T: DeserializeOwned>(message: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(message).map_err(invalid)? {
        (value, []) => Ok(value),
        (_, _) => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn invalid(error: postcard::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Gives ends of lines to the process at the other end of `socket`, at most [`MAX_HANDED`].
///
/// # Errors
/// Passes on what the system says.
pub fn hand_over(socket: impl AsFd, lines: &[&Line]) -> io::Result<()> {
    let handed: Vec<BorrowedFd<'_>> = lines.iter().map(|line| line.as_fd()).collect();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_HANDED))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if handed.len() > MAX_HANDED || !rights.push(SendAncillaryMessage::ScmRights(&handed)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // Rights go along with a byte at least.
    let byte = [IoSlice::new(&[0])];
    net::sendmsg(&socket, &byte, &mut rights, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes the ends that [`hand_over`] gave.
///
/// # Errors
/// Passes on what the system says.
pub fn take_over(socket: impl AsFd) -> io::Result<Vec<Line>> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_HANDED))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut into = [IoSliceMut::new(&mut byte)];
    net::recvmsg(&socket, &mut into, &mut rights, RecvFlags::CMSG_CLOEXEC)?;
    let mut lines = Vec::new();
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(handed) = message {
            lines.extend(handed.map(|fd| Line { fd }));
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_stay_apart_and_the_end_is_seen() {
        let (one, other) = Line::pair().unwrap();
        let (mut bytes, mut room) = (Vec::new(), Room::default());
        for number in [1_u64, 1 << 40] {
            encode(&number, &mut bytes).unwrap();
            one.send(&bytes).unwrap();
        }
        assert_eq!(other.receive(&mut room).unwrap(), Some(1_u64));
        assert_eq!(other.receive(&mut room).unwrap(), Some(1_u64 << 40));
        let nothing = other.try_receive::<u64>(&mut room).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        drop(one);
        assert_eq!(other.receive::<u64>(&mut room).unwrap(), None);
        assert_eq!(
            other.send(&bytes).unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    #[test]
    fn a_message_that_is_no_such_value_is_an_error() {
        let (one, other) = Line::pair().unwrap();
        let mut room = Room::default();
        for message in [&b"\x05ab"[..], b"\x01a rest", &[b'x'; MAX_MESSAGE + 1]] {
            one.send(message).unwrap();
            let error = other.receive::<String>(&mut room).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn ends_are_handed_over() {
        let (parent, child) = Line::pair().unwrap();
        let ends: Vec<_> = (0..MAX_HANDED).map(|_| Line::pair().unwrap()).collect();
        let handed: Vec<&Line> = ends.iter().map(|(_, other)| other).collect();
        hand_over(&parent, &handed).unwrap();
        let taken = take_over(&child).unwrap();
        assert_eq!(taken.len(), MAX_HANDED);
        let mut bytes = Vec::new();
        for (number, (own, _)) in ends.iter().enumerate() {
            encode(&number, &mut bytes).unwrap();
            own.send(&bytes).unwrap();
        }
        for (number, line) in taken.iter().enumerate() {
            let got: Option<usize> = line.receive(&mut Room::default()).unwrap();
            assert_eq!(got, Some(number));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<Vec<(u64, String)>>(&bytes);
        }
    }
}

//! The two control connections as sockets: reading, writing, half-close and reset.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::ftp::{SYNCH_LEAD, SYNCH_MARK};
use crate::net;

/// Bytes that may wait for a peer to take them before the other side is no longer read.
const MAX_UNSENT: usize = 64 * 1024;

/// Bytes that may wait for a peer before it is itself no longer read: what it says is answered here, at
/// the worst with thirty times its size.
const MAX_UNTAKEN: usize = 2 * MAX_UNSENT;

/// When a silent connection is asked whether its peer is still there, how often, and how many times in
/// vain: a transfer may run for days, and a peer that is gone must not hold its session for ever.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(300))
    .with_interval(Duration::from_secs(30))
    .with_retries(6);

/// Bytes taken in one read.
const READ_SIZE: usize = 8 * 1024;

thread_local! {
    /// Where a thread reads to, whichever session it serves: idle ones have no room for it, and it is
    /// never filled with zeros first.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// One control connection.
#[derive(Debug)]
pub(super) struct Leg {
    stream: Option<TcpStream>,
    unsent: Vec<u8>,
    sent: usize,
    /// Where among the unsent bytes the mark of a Synch goes as urgent data.
    urgent_at: Option<usize>,
    /// The next byte to be read is an urgent one.
    at_mark: bool,
    finishing: bool,
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// This many bytes were handed on.
    Bytes,
    /// The peer sends no more.
    Finished,
    /// Nothing to read.
    Nothing,
}

impl Leg {
    pub(super) fn new(stream: TcpStream) -> Self {
        // Small lines in both directions: waiting to fill a segment only costs time.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY not set");
        }
        // A Synch stays in its place among the bytes, where it is looked for.
        if let Err(error) = SockRef::from(&stream).set_out_of_band_inline(true) {
            tracing::debug!(%error, "SO_OOBINLINE not set");
        }
        if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE) {
            tracing::debug!(%error, "SO_KEEPALIVE not set");
        }
        Self {
            urgent_at: None,
            at_mark: false,
            stream: Some(stream),
            unsent: Vec::new(),
            sent: 0,
            finishing: false,
        }
    }

    /// Sends these behind what is unsent.
    pub(super) fn push(&mut self, bytes: Vec<u8>) {
        if self.stream.is_none() {
            return;
        }
        if self.unsent.is_empty() {
            self.unsent = bytes;
        } else {
            self.unsent.extend_from_slice(&bytes);
        }
    }

    /// Sends a Telnet Synch behind what is unsent; one that is still unsent stands for both.
    pub(super) fn push_synch(&mut self) {
        if self.stream.is_some() && self.urgent_at.is_none() {
            self.unsent.extend_from_slice(&SYNCH_LEAD);
            self.urgent_at = Some(self.unsent.len());
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.stream.is_some() && (self.sent < self.unsent.len() || self.urgent_at.is_some())
    }

    pub(super) fn is_full(&self) -> bool {
        self.unsent.len() - self.sent >= MAX_UNSENT
    }

    /// Whether the peer takes so little that it is no longer read itself.
    pub(super) fn takes_nothing(&self) -> bool {
        self.unsent.len() - self.sent >= MAX_UNTAKEN
    }

    /// Ready when there may be something to read; never on a closed leg.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        match &self.stream {
            // An error shows again in the read that follows.
            Some(stream) => stream.poll_read_ready(context).map(drop),
            None => Poll::Pending,
        }
    }

    /// Ready when there are bytes to write and the peer may take some.
    pub(super) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<()> {
        match &self.stream {
            Some(stream) if self.has_unsent() => stream.poll_write_ready(context).map(drop),
            Some(_) | None => Poll::Pending,
        }
    }

    /// Waits until the peer may take some of what is to be written; for ever where there is nothing.
    pub(super) async fn writable(&self) {
        poll_fn(|context| self.poll_writable(context)).await;
    }

    /// Reads what is there and hands it on.
    ///
    /// Says whether the first of the bytes is an urgent one.
    pub(super) fn take(&mut self, hand_on: impl FnOnce(&[u8], bool)) -> io::Result<Taken> {
        let Some(stream) = &self.stream else {
            return Ok(Taken::Nothing);
        };
        let mut room = ROOM.take();
        room.resize(READ_SIZE, 0);
        let taken = match read(stream, &mut room) {
            Ok((0, _)) => Ok(Taken::Finished),
            Ok((count, at_mark)) => {
                let bytes = room.get(..count).unwrap_or_default();
                let urgent = std::mem::take(&mut self.at_mark);
                // Lines end with LF: where a read did, the mark is of no line.
                self.at_mark = at_mark && bytes.last() != Some(&b'\n');
                hand_on(bytes, urgent);
                Ok(Taken::Bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Taken::Nothing),
            Err(error) => Err(error),
        };
        ROOM.set(room);
        taken
    }

    /// Writes what the peer takes, and passes on the end once all is written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &self.stream else {
            return Ok(());
        };
        loop {
            let end = self.urgent_at.unwrap_or(self.unsent.len());
            let Some(rest) = self.unsent.get(self.sent..end) else {
                break;
            };
            let written = match (rest.is_empty(), self.urgent_at) {
                (true, None) => break,
                (true, Some(_)) => {
                    let mark = || SockRef::from(stream).send_out_of_band(&[SYNCH_MARK]);
                    stream.try_io(Interest::WRITABLE, mark).map(|_| {
                        self.urgent_at = None;
                        0
                    })
                }
                (false, _) => stream.try_write(rest),
            };
            match written {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.sent == self.unsent.len() && self.urgent_at.is_none() {
            self.unsent = Vec::new();
            self.sent = 0;
            if std::mem::take(&mut self.finishing) {
                SockRef::from(stream).shutdown(Shutdown::Write)?;
            }
        }
        Ok(())
    }

    /// Passes on the end of the other side's stream, behind what is unsent.
    pub(super) fn finish(&mut self) {
        self.finishing = true;
    }

    /// Closes with FIN.
    pub(super) fn close(&mut self) {
        self.stream = None;
        self.unsent = Vec::new();
        self.sent = 0;
    }

    /// Closes with RST.
    pub(super) fn reset(&mut self) {
        if let Some(stream) = self.stream.take() {
            net::reset(stream);
        }
        self.close();
    }
}

/// Reads once; gives how many bytes, and whether the next is an urgent one.
fn read(stream: &TcpStream, room: &mut [u8]) -> io::Result<(usize, bool)> {
    let size = room.len();
    let mut read = Err(io::ErrorKind::WouldBlock.into());
    let left = stream.try_io(Interest::READABLE, || {
        let (_, count) = recv(stream, room, RecvFlags::empty())?;
        // A read ends at a mark, whatever is behind it.
        let at_mark = count > 0 && net::at_mark(stream)?;
        read = Ok((count, at_mark));
        match count == 0 || count == size || at_mark {
            true => Ok(()),
            // That was all: tokio waits for more, and nobody asks the kernel only to hear that there is none.
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    });
    match left {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        Ok(()) | Err(_) => read,
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::net::TcpListener;
    use tokio::time;

    use super::*;

    #[tokio::test]
    async fn what_stands_behind_a_mark_is_read_though_the_kernel_has_said_all() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (receiver, _) = listener.accept().await.unwrap();
        let mut leg = Leg::new(receiver);
        sender.writable().await.unwrap();
        let sender = SockRef::from(&sender);
        sender.set_tcp_nodelay(true).unwrap();
        sender.send(b"NOOP\r\n").unwrap();
        sender.send_out_of_band(b"A").unwrap();
        sender.send(b"BOR\r\n").unwrap();
        // One event for all of it.
        time::sleep(Duration::from_millis(20)).await;
        let mut pieces = Vec::<Vec<u8>>::new();
        while pieces.concat().len() < 12 {
            let readable = poll_fn(|context| leg.poll_readable(context));
            time::timeout(Duration::from_secs(5), readable)
                .await
                .unwrap();
            leg.take(|bytes, _| pieces.push(bytes.to_vec())).unwrap();
        }
        assert_eq!(pieces, [b"NOOP\r\n".as_slice(), b"ABOR\r\n"]);
        assert_eq!(leg.take(|_, _| {}).unwrap(), Taken::Nothing);
    }
}

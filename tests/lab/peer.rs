//! A scripted end of a control connection: says lines, expects lines.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use rustix::net::{RecvFlags, recv};
use socket2::SockRef;

use super::{Host, PATIENCE};

/// A client or a server that does exactly as it is told.
pub(crate) struct Peer {
    stream: BufReader<TcpStream>,
}

impl Peer {
    /// A client on `host` that dials `to`.
    pub(crate) fn dial(host: &Host, to: &str) -> Self {
        let stream = host
            .connect(to)
            .unwrap_or_else(|error| panic!("dialling {to}: {error}"));
        Self::new(stream)
    }

    /// The same from one of the host's addresses, with a port or 0.
    pub(crate) fn dial_from(host: &Host, from: &str, to: &str) -> Self {
        let stream = host
            .connect_from(from, to, PATIENCE)
            .unwrap_or_else(|error| panic!("dialling {to} from {from}: {error}"));
        Self::new(stream)
    }

    /// A server that takes the next connection.
    pub(crate) fn accept(listener: &TcpListener) -> Self {
        listener.set_nonblocking(true).expect("it is a socket");
        let (stream, _) = super::wait_until("somebody to connect", || listener.accept().ok());
        Self::new(stream)
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("it is TCP");
        stream.set_nonblocking(false).expect("it is a socket");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("it is a socket");
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// The address at the other end.
    pub(crate) fn other_end(&self) -> SocketAddr {
        self.stream.get_ref().peer_addr().expect("it is connected")
    }

    /// Sends these bytes as they are, in a segment of their own.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.stream
            .get_mut()
            .write_all(bytes)
            .unwrap_or_else(|error| {
                panic!("sending {:?}: {error}", String::from_utf8_lossy(bytes))
            });
    }

    /// Sends these bytes with the last of them as urgent data.
    pub(crate) fn send_urgent(&mut self, bytes: &[u8]) {
        let sent = SockRef::from(self.stream.get_ref()).send_out_of_band(bytes);
        assert_eq!(sent.ok(), Some(bytes.len()), "urgent data was not sent");
    }

    /// Waits for urgent data and takes its one byte out of the stream.
    pub(crate) fn take_urgent(&self) -> u8 {
        let mut byte = [0];
        super::wait_until("urgent data", || {
            let taken = recv(self.stream.get_ref(), &mut byte[..], RecvFlags::OOB);
            taken.is_ok_and(|(count, _)| count == 1).then_some(())
        });
        byte[0]
    }

    /// Sends a line.
    pub(crate) fn say(&mut self, line: &str) {
        self.send(format!("{line}\r\n"));
    }

    /// Takes a line, its end removed; `None` where the other end closed or reset instead.
    pub(crate) fn hear(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => {
                let line = String::from_utf8_lossy(&line);
                Some(line.trim_end_matches(['\r', '\n']).to_owned())
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("waiting for a line: {error}"),
        }
    }

    /// Takes a line that has to start like this.
    pub(crate) fn expect(&mut self, start: &str) -> String {
        let line = self
            .hear()
            .unwrap_or_else(|| panic!("the connection ended where '{start}…' was due"));
        assert!(
            line.starts_with(start),
            "'{line}' came where '{start}…' was due"
        );
        line
    }

    /// Says a line and takes the answer, which has to start like this.
    pub(crate) fn ask(&mut self, line: &str, start: &str) -> String {
        self.say(line);
        self.expect(start)
    }

    /// Takes the greeting and logs in as anonymous.
    pub(crate) fn log_in(&mut self) {
        self.expect("220");
        self.ask("USER anonymous", "331");
        self.ask("PASS guest", "230");
    }

    /// The server's half of [`Peer::log_in`].
    pub(crate) fn let_in(&mut self) {
        self.say("220 a script");
        self.expect("USER anonymous");
        self.say("331 password");
        self.expect("PASS guest");
        self.say("230 welcome");
    }

    /// Closes the sending half.
    pub(crate) fn finish_sending(&self) {
        self.stream
            .get_ref()
            .shutdown(Shutdown::Write)
            .expect("it is connected");
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        let socket = socket2::Socket::from(self.stream.into_inner());
        socket
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("it is TCP");
    }

    /// How the connection ended: `Ok` for an orderly end, the error's kind otherwise.
    pub(crate) fn end(mut self) -> Result<(), ErrorKind> {
        let mut rest = Vec::new();
        self.stream
            .read_to_end(&mut rest)
            .map(drop)
            .map_err(|error| error.kind())
    }
}

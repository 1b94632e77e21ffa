//! An honest client: logs in, fetches files, hears what it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::ground::PATIENCE;

/// A control connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects from an address of loopback.
    pub(crate) fn dial(from: Ipv4Addr, to: SocketAddr) -> Self {
        let stream = BufReader::new(connect(from, to));
        Self { stream }
    }

    /// Connects and logs in.
    pub(crate) fn login(from: Ipv4Addr, to: SocketAddr) -> Self {
        let mut client = Self::dial(from, to);
        client.expect("220");
        client.log_in();
        client
    }

    pub(crate) fn log_in(&mut self) {
        self.ask("USER anna", "331");
        self.ask("PASS secret", "230");
    }

    /// The next line; empty at the end of the connection.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        drop(self.stream.read_line(&mut line));
        line.trim_end().to_owned()
    }

    /// All lines to the end of the connection.
    pub(crate) fn rest(mut self) -> String {
        let mut rest = Vec::new();
        drop(self.stream.read_to_end(&mut rest));
        String::from_utf8_lossy(&rest).into_owned()
    }

    pub(crate) fn expect(&mut self, start: &str) -> String {
        let line = self.hear();
        assert!(line.starts_with(start), "'{line}' where {start} was due");
        line
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    pub(crate) fn ask(&mut self, line: &str, start: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.expect(start)
    }

    /// Fetches a file to its end.
    pub(crate) fn fetch(&mut self) -> Vec<u8> {
        let reply = self.ask("EPSV", "229");
        let port: u16 = reply.split('|').nth(3).unwrap().parse().unwrap();
        let control = self.stream.get_ref();
        let SocketAddr::V4(own) = control.local_addr().unwrap() else {
            panic!("loopback is IPv4 here");
        };
        let gate = control.peer_addr().unwrap().ip();
        let mut data = connect(*own.ip(), SocketAddr::new(gate, port));
        self.ask("RETR file", "150");
        let mut file = Vec::new();
        data.read_to_end(&mut file).unwrap();
        self.expect("226");
        file
    }
}

fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

impl Client {
    /// Ends the session in order; gives what was said to the end.
    pub(crate) fn rest_after_quit(mut self) -> String {
        self.ask("QUIT", "221");
        drop(self.stream.get_ref().shutdown(std::net::Shutdown::Write));
        format!("221\n{}", self.rest())
    }
}

//! Syslog: RFC 5424 messages over UDP (RFC 5426), TCP with octet counting (RFC 6587 §3.4.1), or a local socket.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;

use time::OffsetDateTime;

use crate::config::SyslogPeer;

use super::{Message, SEND_TIMEOUT};

/// Facility local0 (RFC 5424 §6.2.1): what no other program of a system claims.
const FACILITY: u8 = 16;

/// Severities warning and informational (RFC 5424 §6.2.1).
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;

/// A syslog peer; connected when the first line goes to it, and again after an error.
pub(super) struct Syslog {
    peer: SyslogPeer,
    connection: Option<Connection>,
    host: String,
}

enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Unix(UnixDatagram),
}

impl Syslog {
    pub(super) fn new(peer: SyslogPeer) -> Self {
        Self {
            peer,
            connection: None,
            host: host_name(),
        }
    }

    pub(super) fn name(&self) -> String {
        match &self.peer {
            SyslogPeer::Udp(place) => format!("syslog udp://{place}"),
            SyslogPeer::Tcp(place) => format!("syslog tcp://{place}"),
            SyslogPeer::Unix(path) => format!("syslog unix:{}", path.display()),
        }
    }

    /// Sends one message. After an error the connection is made anew: of a message that TCP took a
    /// part of, the peer could not tell the end.
    pub(super) fn send(&mut self, message: &Message) -> io::Result<()> {
        let text = format(message, &self.host);
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(connect(&self.peer)?),
        };
        let sent = match connection {
            Connection::Udp(socket) => socket.send(text.as_bytes()).map(drop),
            Connection::Unix(socket) => socket.send(text.as_bytes()).map(drop),
            Connection::Tcp(stream) => {
                stream.write_all(format!("{} {text}", text.len()).as_bytes())
            }
        };
        if sent.is_err() {
            self.connection = None;
        }
        sent
    }
}

/// `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID - MSG` (RFC 5424 §6); MSGID is the kind of event.
fn format(message: &Message, host: &str) -> String {
    let severity = if message.refused {
        WARNING
    } else {
        INFORMATIONAL
    };
    let priority = FACILITY * 8 + severity;
    let process = std::process::id();
    let time = timestamp(message.time);
    let (kind, line) = (&message.kind, &message.line);
    format!("<{priority}>1 {time} {host} portcullis {process} {kind} - {line}")
}

/// RFC 5424 §6.2.3, in UTC.
fn timestamp(micros: i64) -> String {
    let utc = OffsetDateTime::from_unix_timestamp(micros.div_euclid(1_000_000))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        utc.year(),
        u8::from(utc.month()),
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second(),
        micros.rem_euclid(1_000_000)
    )
}

fn connect(peer: &SyslogPeer) -> io::Result<Connection> {
    match peer {
        SyslogPeer::Udp(place) => {
            let address = resolve(place)?;
            let any: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(address)?;
            socket.set_write_timeout(Some(SEND_TIMEOUT))?;
            Ok(Connection::Udp(socket))
        }
        SyslogPeer::Tcp(place) => {
            let stream = TcpStream::connect_timeout(&resolve(place)?, SEND_TIMEOUT)?;
            stream.set_write_timeout(Some(SEND_TIMEOUT))?;
            Ok(Connection::Tcp(stream))
        }
        SyslogPeer::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            socket.set_write_timeout(Some(SEND_TIMEOUT))?;
            Ok(Connection::Unix(socket))
        }
    }
}

fn resolve(place: &str) -> io::Result<SocketAddr> {
    let mut found = place.to_socket_addrs()?;
    found
        .next()
        .ok_or_else(|| io::Error::other("the name has no address"))
}

/// The name of this machine, `-` where it cannot be told (RFC 5424 §6.2.4).
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.chars().filter(char::is_ascii_graphic).collect();
    if name.is_empty() {
        "-".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_fields_of_rfc_5424() {
        let message = Message {
            time: 1_795_187_564_123_456,
            kind: "decision".into(),
            refused: true,
            line: "{}".into(),
        };
        let process = std::process::id();
        assert_eq!(
            format(&message, "edge"),
            format!("<132>1 2026-11-20T15:12:44.123456Z edge portcullis {process} decision - {{}}")
        );
    }
}

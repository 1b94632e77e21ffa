//! One end of a control connection: lines out, lines and replies in, with no system call that can be spared.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of a line at most.
const MAX_LINE: usize = 8 * 1024;
/// Bytes there is room for at first: there are many thousand connections.
const FIRST_ROOM: usize = 256;

/// A control connection and what was read of it ahead.
#[derive(Debug)]
pub struct Control {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Control {
    /// Takes a connected socket; lines leave at once from here on.
    ///
    /// # Errors
    /// Passes on what the kernel says.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: vec![0; FIRST_ROOM],
            start: 0,
            end: 0,
        })
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Passes on what the kernel says.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Takes the next line, its end removed; `None` at the end of the connection.
    ///
    /// # Errors
    /// Passes on what the kernel says; a line that is too long or no UTF-8 is an error.
    pub async fn line(&mut self) -> anyhow::Result<Option<&str>> {
        let mut looked = self.start;
        let end = loop {
            let unseen = &self.buffer[looked..self.end];
            if let Some(found) = unseen.iter().position(|&byte| byte == b'\n') {
                break looked + found;
            }
            looked = self.end;
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                looked -= self.start;
                self.start = 0;
            }
            if self.end == self.buffer.len() {
                ensure!(
                    self.end < MAX_LINE,
                    "a line is longer than {MAX_LINE} bytes"
                );
                self.buffer.resize(2 * self.end, 0);
            }
            let read = self.stream.read(&mut self.buffer[self.end..]).await?;
            if read == 0 {
                return Ok(None);
            }
            self.end += read;
        };
        let line = &self.buffer[self.start..end];
        self.start = end + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok(Some(
            std::str::from_utf8(line).context("a line is no UTF-8")?,
        ))
    }

    /// Takes the next reply: its code and its last line.
    ///
    /// # Errors
    /// As [`Control::line`]; also where the connection ends or a line is no reply.
    pub async fn reply(&mut self) -> anyhow::Result<(u16, &str)> {
        let mut of_many = None;
        loop {
            let Some(line) = self.line().await? else {
                bail!("the control connection ended where a reply was due");
            };
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let last = line.as_bytes().get(3) != Some(&b'-');
            match (code, of_many) {
                (Some(code), None) if !last => of_many = Some(code),
                (None, None) => bail!("no reply: {line}"),
                (Some(code), None) => return Ok((code, self.last_line())),
                (Some(code), Some(many)) if last && code == many => {
                    return Ok((code, self.last_line()));
                }
                (_, Some(_)) => {}
            }
        }
    }

    /// The line that [`Control::line`] has just given: borrowed anew, because a loop cannot give it on.
    fn last_line(&self) -> &str {
        let end = self.start.saturating_sub(1);
        let begin = self.buffer[..end].iter().rposition(|&byte| byte == b'\n');
        let begin = begin.map_or(0, |place| place + 1);
        let line = std::str::from_utf8(&self.buffer[begin..end]).unwrap_or_default();
        line.trim_end_matches('\r')
    }
}

/// Writes an address as PORT and 227 do.
pub fn port_argument(ip: Ipv4Addr, port: u16) -> String {
    let [a, b, c, d] = ip.octets();
    let [high, low] = port.to_be_bytes();
    format!("{a},{b},{c},{d},{high},{low}")
}

/// Writes an address as EPRT does.
pub fn eprt_argument(ip: IpAddr, port: u16) -> String {
    let family = if ip.is_ipv4() { 1 } else { 2 };
    format!("|{family}|{ip}|{port}|")
}

/// Reads the six numbers of PORT, or of the brackets of a 227.
pub fn read_port(text: &str) -> Option<SocketAddr> {
    let inner = text.rsplit_once('(').map_or(text, |(_, inner)| inner);
    let inner = inner.split_once(')').map_or(inner, |(inner, _)| inner);
    let mut numbers = inner.split(',').map(|number| number.trim().parse::<u8>());
    let mut next = || numbers.next()?.ok();
    let ip = Ipv4Addr::new(next()?, next()?, next()?, next()?);
    let port = u16::from_be_bytes([next()?, next()?]);
    Some((ip, port).into())
}

/// Reads the address of EPRT.
pub fn read_eprt(text: &str) -> Option<SocketAddr> {
    let mut fields = text.split('|').skip(2);
    let ip: IpAddr = fields.next()?.parse().ok()?;
    let port = fields.next()?.parse().ok()?;
    Some((ip, port).into())
}

/// Reads the port of a 229.
pub fn read_epsv(text: &str) -> Option<u16> {
    text.split('|').nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let ip = Ipv4Addr::new(10, 60, 1, 2);
        let at = SocketAddr::from((ip, 40_001));
        assert_eq!(read_port(&port_argument(ip, 40_001)), Some(at));
        let passive = format!(
            "227 Entering Passive Mode ({}). @1",
            port_argument(ip, 40_001)
        );
        assert_eq!(read_port(&passive), Some(at));
        assert_eq!(read_eprt(&eprt_argument(ip.into(), 40_001)), Some(at));
        assert_eq!(
            read_epsv("229 Entering Extended Passive Mode (|||40001|)"),
            Some(40_001)
        );
        assert_eq!(read_port("227 no address"), None);
    }
}

//! A control connection of a hostile client: says what it likes, within a bounded time.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portcullis::ftp;
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// How long an answer is waited for: far more than it takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a connection is tried that must not come about.
const REFUSAL: Duration = Duration::from_millis(300);
/// Bytes of a line at most.
const MAX_LINE: u64 = 16_384;

pub(super) struct Wire {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    pub(super) own: SocketAddr,
    pub(super) peer: SocketAddr,
}

/// Connects from an address of the host, within a time.
pub(super) async fn connect(from: IpAddr, to: SocketAddr, within: Duration) -> Option<TcpStream> {
    let socket = match from {
        IpAddr::V4(_) => TcpSocket::new_v4(),
        IpAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.ok()?;
    socket.bind((from, 0).into()).ok()?;
    timeout(within, socket.connect(to)).await.ok()?.ok()
}

/// Listens on an address of the host, any port.
pub(super) fn listen(at: IpAddr) -> Option<TcpListener> {
    let listener = std::net::TcpListener::bind((at, 0)).ok()?;
    listener.set_nonblocking(true).ok()?;
    TcpListener::from_std(listener).ok()
}

/// Whether somebody who must not get anywhere gets there; says something to be known by.
pub(super) async fn intrude(from: IpAddr, to: SocketAddr) {
    if let Some(mut stream) = connect(from, to, REFUSAL).await {
        drop(stream.write_all(b"stranger").await);
    }
}

/// All that comes on a data connection.
pub(super) async fn data(mut stream: TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    timeout(PATIENCE, read).await.ok()?.ok()?;
    Some(bytes)
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Option<Self> {
        stream.set_nodelay(true).ok()?;
        let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        let (own, peer) = (stream.local_addr().ok()?, stream.peer_addr().ok()?);
        let (read, write) = stream.into_split();
        Some(Self {
            read: BufReader::new(read),
            write,
            own: canonical(own),
            peer: canonical(peer),
        })
    }

    pub(super) async fn dial(from: IpAddr, to: SocketAddr) -> Option<Self> {
        Self::new(connect(from, to, PATIENCE).await?)
    }

    /// The next line, its end removed.
    pub(super) async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.read).take(MAX_LINE);
        let read = bounded.read_until(b'\n', &mut line);
        match timeout(PATIENCE, read).await {
            // Telnet's options are answered in the stream, in front of what comes next.
            Ok(Ok(1..)) => {
                let line = String::from_utf8_lossy(&line);
                let text = line.trim_start_matches(|first: char| !first.is_ascii_graphic());
                Some(text.trim_end().to_owned())
            }
            Ok(Ok(0) | Err(_)) | Err(_) => None,
        }
    }

    /// The last line of the next reply.
    pub(super) async fn reply(&mut self) -> Option<String> {
        loop {
            let line = self.line().await?;
            let bytes = line.as_bytes();
            if bytes.len() >= 3 && bytes[..3].iter().all(u8::is_ascii_digit) {
                let code = line[..3].to_owned();
                if bytes.get(3) != Some(&b'-') {
                    return Some(line);
                }
                let end = format!("{code} ");
                loop {
                    let line = self.line().await?;
                    if line.starts_with(&end) {
                        return Some(line);
                    }
                }
            }
        }
    }

    /// Sends bytes as they are; `None` where nobody takes them.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Option<()> {
        timeout(PATIENCE, self.write.write_all(bytes))
            .await
            .ok()?
            .ok()
    }

    pub(super) async fn say(&mut self, line: &str) -> Option<()> {
        self.send(format!("{line}\r\n").as_bytes()).await
    }

    pub(super) async fn ask(&mut self, line: &str) -> Option<String> {
        self.say(line).await?;
        self.reply().await
    }

    /// Asks what has to be answered so.
    pub(super) async fn expect(&mut self, line: &str, start: &str) -> Option<String> {
        self.ask(line)
            .await
            .filter(|answer| answer.starts_with(start))
    }

    pub(super) async fn log_in(&mut self, user: &str) -> Option<()> {
        self.expect(&format!("USER {user}"), "331").await?;
        self.expect("PASS guest", "230").await.map(drop)
    }

    /// PASV or EPSV, by the family; the endpoint that the client is told.
    pub(super) async fn passive(&mut self) -> Option<SocketAddr> {
        if self.own.is_ipv4() {
            let told = self.expect("PASV", "227").await?;
            Some(ftp::parse_227(told.as_bytes()).ok()?.into())
        } else {
            let told = self.expect("EPSV", "229").await?;
            let port = ftp::parse_229(told.as_bytes()).ok()?;
            Some((self.peer.ip(), port).into())
        }
    }

    /// Reads until the other end closes or resets.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut bounded = (&mut self.read).take(1 << 20);
        drop(timeout(PATIENCE, bounded.read_to_end(&mut bytes)).await);
        bytes
    }

    /// Says goodbye, and waits until that is over.
    pub(super) async fn quit(mut self) -> Option<()> {
        self.expect("QUIT", "221").await?;
        drop(self.write.shutdown().await);
        self.rest().await;
        Some(())
    }

    /// Resets the connection.
    pub(super) fn reset(self) {
        let linger = SockRef::from(self.write.as_ref()).set_linger(Some(Duration::ZERO));
        drop(linger);
    }
}

/// PORT or EPRT, by the family.
pub(super) fn announce(at: SocketAddr) -> String {
    match at {
        SocketAddr::V4(at) => {
            let [a, b, c, d] = at.ip().octets();
            let [high, low] = at.port().to_be_bytes();
            format!("PORT {a},{b},{c},{d},{high},{low}")
        }
        SocketAddr::V6(at) => format!("EPRT |2|{}|{}|", at.ip(), at.port()),
    }
}

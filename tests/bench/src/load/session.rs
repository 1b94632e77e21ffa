//! One session: logs in, then does what it is asked for, one thing after the other.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Arguments, Mode, Work, dial};
use crate::clock;
use crate::control::{Control, eprt_argument, port_argument, read_epsv, read_port};

/// A session that is logged in.
pub(super) struct Session {
    arguments: Arc<Arguments>,
    to: SocketAddr,
    from: Option<IpAddr>,
    control: Control,
    own: IpAddr,
    peer: IpAddr,
    /// `RETR file` or `STOR file`, with its line end.
    command: String,
    line: String,
    buffer: Vec<u8>,
    /// How long the last reply that carried a stamp was on its way, nanoseconds.
    pub(super) reply_delay: Option<u64>,
    /// What data connections carried.
    pub(super) bytes: u64,
}

impl Session {
    /// Connects and logs in.
    pub(super) async fn begin(arguments: &Arc<Arguments>, number: usize) -> anyhow::Result<Self> {
        let from = arguments.from.map(|addresses| addresses.nth(number));
        let servers = &arguments.to;
        let to = servers
            .get(number % servers.len().max(1))
            .context("no server is named")?;
        let control = log_in(arguments, *to, from).await?;
        let own = control.stream().local_addr()?.ip();
        let peer = control.stream().peer_addr()?.ip();
        let verb = match arguments.upload {
            Some(_) => "STOR",
            None => "RETR",
        };
        // Several sessions that store must not store the same.
        let file = match arguments.upload {
            Some(_) => format!("{}.{number}", arguments.file),
            None => arguments.file.clone(),
        };
        let room = match arguments.work {
            Work::Transfer => arguments.buffer,
            Work::Login | Work::Noop | Work::Idle => 0,
        };
        Ok(Self {
            arguments: Arc::clone(arguments),
            to: *to,
            from,
            control,
            own,
            peer,
            command: format!("{verb} {file}\r\n"),
            line: String::new(),
            buffer: vec![0; room],
            reply_delay: None,
            bytes: 0,
        })
    }

    /// Does the work once.
    pub(super) async fn work(&mut self) -> anyhow::Result<()> {
        match self.arguments.work {
            Work::Transfer => match self.arguments.mode {
                Mode::Active | Mode::Eprt => self.active().await,
                Mode::Passive | Mode::Epsv => self.passive().await,
            },
            Work::Login => {
                let mut control = log_in(&self.arguments, self.to, self.from).await?;
                quit(&mut control).await
            }
            Work::Noop => {
                self.control.send(b"NOOP\r\n").await?;
                expect(&mut self.control, "NOOP", 200).await.map(drop)
            }
            Work::Idle => Ok(()),
        }
    }

    /// Ends in order.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        quit(&mut self.control).await
    }

    /// Whether neither end has closed it.
    pub(super) fn is_open(&self) -> bool {
        let read = self.control.stream().try_read(&mut [0; 1]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    async fn active(&mut self) -> anyhow::Result<()> {
        let (listener, port) = dial::listen(self.own).context("listening for data")?;
        let announced = self.arguments.announce.unwrap_or(self.own);
        self.line.clear();
        match (self.arguments.mode, announced) {
            (Mode::Active, IpAddr::V4(ip)) => {
                let _ = write!(self.line, "PORT {}\r\n", port_argument(ip, port));
            }
            (_, ip) => {
                let _ = write!(self.line, "EPRT {}\r\n", eprt_argument(ip, port));
            }
        }
        self.control.send(self.line.as_bytes()).await?;
        let reply = expect(&mut self.control, "PORT", 200).await?;
        self.reply_delay = delay(reply);
        self.control.send(self.command.as_bytes()).await?;
        expect(&mut self.control, &self.command, 150).await?;
        let data = dial::accept(listener)
            .await
            .context("taking the data connection")?;
        self.carry(data).await
    }

    async fn passive(&mut self) -> anyhow::Result<()> {
        let (asked, code) = match self.arguments.mode {
            Mode::Epsv => ("EPSV\r\n", 229),
            _ => ("PASV\r\n", 227),
        };
        self.control.send(asked.as_bytes()).await?;
        let reply = expect(&mut self.control, asked, code).await?;
        self.reply_delay = delay(reply);
        // As clients do that do not trust the address: they dial the one of the control connection.
        let port = match code {
            229 => read_epsv(reply),
            _ => read_port(reply).map(|address| address.port()),
        };
        let Some(port) = port else {
            bail!("{} was answered without a port: {reply}", asked.trim_end());
        };
        let data = dial::connect(self.from, (self.peer, port).into()).await;
        let data = data.with_context(|| format!("dialling port {port} for data"))?;
        self.control.send(self.command.as_bytes()).await?;
        expect(&mut self.control, &self.command, 150).await?;
        self.carry(data).await
    }

    async fn carry(&mut self, mut data: TcpStream) -> anyhow::Result<()> {
        match self.arguments.upload {
            None => loop {
                let read = data.read(&mut self.buffer).await.context("reading data")?;
                if read == 0 {
                    break;
                }
                self.bytes += read as u64;
            },
            Some(length) => {
                let mut left = length;
                while left > 0 {
                    let piece = self.buffer.len().min(usize::try_from(left)?);
                    let sent = data
                        .write(&self.buffer[..piece])
                        .await
                        .context("writing data")?;
                    left -= sent as u64;
                }
                data.shutdown().await.context("ending the data")?;
                self.bytes += length;
            }
        }
        drop(data);
        expect(&mut self.control, &self.command, 226)
            .await
            .map(drop)
    }
}

/// How long a stamped reply was on its way.
fn delay(reply: &str) -> Option<u64> {
    let now = clock::nanoseconds();
    clock::stamped(reply).map(|written| now.saturating_sub(written))
}

async fn log_in(
    arguments: &Arguments,
    to: SocketAddr,
    from: Option<IpAddr>,
) -> anyhow::Result<Control> {
    let stream = dial::connect(from, to).await.context("connecting")?;
    let mut control = Control::new(stream)?;
    expect(&mut control, "the connection", 220).await?;
    control
        .send(format!("USER {}\r\n", arguments.user).as_bytes())
        .await?;
    expect(&mut control, "USER", 331).await?;
    control
        .send(format!("PASS {}\r\n", arguments.password).as_bytes())
        .await?;
    expect(&mut control, "PASS", 230).await?;
    Ok(control)
}

/// Ends a session as servers like it: they close first.
async fn quit(control: &mut Control) -> anyhow::Result<()> {
    control.send(b"QUIT\r\n").await?;
    expect(control, "QUIT", 221).await?;
    while control.line().await?.is_some() {}
    Ok(())
}

/// Takes the reply that is due; 125 stands for 150, and 250 for 226 (RFC 959 §5.4).
async fn expect<'a>(control: &'a mut Control, to: &str, due: u16) -> anyhow::Result<&'a str> {
    let (code, line) = control
        .reply()
        .await
        .with_context(|| format!("after {}", to.trim_end()))?;
    match (code, due) {
        (125, 150) | (250, 226) => Ok(line),
        _ if code == due => Ok(line),
        _ => bail!(
            "{} was answered '{line}' where {due} was due",
            to.trim_end()
        ),
    }
}

//! Hostile servers: what one does is told by the name that its client logs in with, up to `-`.
//!
//! Watches over what it hears as well: no address but its client's may be announced to it, and nobody else may come.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portcullis::ftp;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::Play;
use super::places::{HOSTILE_PORTS, STRANGERS, Side, VICTIM_PORTS, Who};
use super::wire::{Wire, connect, intrude, listen};
use crate::lab::Family;

/// What a good data connection says.
pub(super) const CONTENT: &[u8] = b"server";

/// Manners in which a data connection comes about all the same, passive ones.
pub(super) const WORKING: [&str; 3] = ["plain", "third", "strange"];
/// Manners in which none may come about, passive ones.
pub(super) const FAILING: [&str; 6] = ["low", "kind", "late", "folds", "unasked", "twice"];

/// How long a client may take to come to the port that it was told.
const PATIENCE: Duration = Duration::from_secs(5);

/// Listens on a host for clients of the other side, for as long as its local tasks run.
pub(super) fn serve(play: &Arc<Play>, host: Side) {
    for port in HOSTILE_PORTS {
        let listener = everywhere(port).expect("nobody has it");
        let play = Arc::clone(play);
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let play = Arc::clone(&play);
                spawn_local(async move {
                    if let Some(talk) = Talk::new(play, host, stream) {
                        talk.hold().await;
                    }
                });
            }
        });
    }
    for port in VICTIM_PORTS {
        let listener = everywhere(port).expect("nobody has it");
        let play = Arc::clone(play);
        spawn_local(async move {
            while let Ok((_, from)) = listener.accept().await {
                let how = format!("port {port} of {} was reached from {from}", host.word());
                play.ledger.fell(how);
            }
        });
    }
}

fn everywhere(port: u16) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// One control connection.
struct Talk {
    play: Arc<Play>,
    host: Side,
    wire: Wire,
    manner: String,
    passive: Option<TcpListener>,
    active: Option<SocketAddr>,
}

impl Talk {
    fn new(play: Arc<Play>, host: Side, stream: TcpStream) -> Option<Self> {
        let wire = Wire::new(stream)?;
        Some(Self {
            play,
            host,
            wire,
            manner: String::new(),
            passive: None,
            active: None,
        })
    }

    async fn hold(mut self) {
        // Before anybody has asked: one line in it looks like an announcement.
        let victim = self.victim();
        let greeting = format!("220-Welcome\r\n{}\r\n220 ready\r\n", entering(victim));
        if self.wire.send(greeting.as_bytes()).await.is_none() {
            return;
        }
        while let Some(line) = self.wire.line().await {
            if self.answer(&line).await.is_none() {
                return;
            }
        }
    }

    async fn answer(&mut self, line: &str) -> Option<()> {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "USER" => {
                self.manner = argument.split('-').next().unwrap_or_default().to_owned();
                self.wire.say("331 password").await
            }
            "PASS" => {
                self.wire.say("230 welcome").await?;
                match self.manner.as_str() {
                    "unasked" => self.wire.say(&entering(self.victim())).await,
                    "babble" => self.babble().await,
                    _ => Some(()),
                }
            }
            "PASV" | "EPSV" => self.announce().await,
            "PORT" | "EPRT" => self.told(line).await,
            "RETR" => self.transfer().await,
            "STAT" => {
                let text = format!(
                    "211-Status\r\n{}\r\n{} \r\n211 End",
                    entering(self.victim()),
                    extended(self.victim().port())
                );
                self.wire.say(&text).await
            }
            "AUTH" => {
                self.wire.say("234 go on").await?;
                // And never a word more.
                self.wire.rest().await;
                None
            }
            "QUIT" => {
                self.wire.say("221 bye").await?;
                None
            }
            "DELE" => {
                let how = "a server heard DELE, which the rules deny".to_owned();
                self.play.ledger.fell(how);
                None
            }
            "CWD" => self.wire.say(&format!("250 {argument}")).await,
            _ => self.wire.say("200 in step").await,
        }
    }

    /// Everything that is no reply to anything.
    async fn babble(&mut self) -> Option<()> {
        let victim = entering(self.victim());
        let text = format!("\0\u{7}nonsense\r\n\r\n2 2 7\r\n550-never\r\n{victim}\r\n");
        self.wire.send(text.as_bytes()).await?;
        self.wire.send(&[b'2'; 9000]).await
    }

    /// Where nothing may ever come.
    fn victim(&self) -> SocketAddr {
        let [_, port] = VICTIM_PORTS;
        SocketAddr::new(self.wire.own.ip(), port)
    }

    /// Answers PASV and EPSV, in its manner.
    async fn announce(&mut self) -> Option<()> {
        let listener = listen(self.wire.own.ip())?;
        let at = listener.local_addr().ok()?;
        let victim = self.victim();
        let in_kind = |at: SocketAddr| match at {
            SocketAddr::V4(_) => entering(at),
            SocketAddr::V6(_) => extended(at.port()),
        };
        let [low, high] = VICTIM_PORTS;
        let text = match self.manner.as_str() {
            "third" if at.is_ipv4() => {
                let third = stranger(self.host, 7, Family::V4);
                entering(SocketAddr::new(third, at.port()))
            }
            "low" => in_kind(SocketAddr::new(at.ip(), low)),
            "kind" if at.is_ipv4() => extended(high),
            "kind" => entering(SocketAddr::new([10, 0, 0, 1].into(), high)),
            "late" => format!("500 no\r\n{}", in_kind(victim)),
            "folds" if at.is_ipv4() => {
                let high = u32::from(high) + 65536;
                let (a, b) = (high / 256, high % 256);
                format!("227 Entering (198,51,100,20,{a},{b})")
            }
            "folds" => format!("229 (|||{}|)", u32::from(high) + 65536),
            "twice" => format!("{}\r\n{}", in_kind(at), in_kind(victim)),
            _ => in_kind(at),
        };
        self.passive = Some(listener);
        self.active = None;
        self.wire.say(&text).await
    }

    /// Hears PORT and EPRT, and answers in its manner.
    async fn told(&mut self, line: &str) -> Option<()> {
        let command = ftp::Command::parse(line.as_bytes()).ok()?;
        let read = ftp::read_announcement(&command.verb, command.trimmed());
        let Some(Ok(at)) = read else {
            self.play.ledger.fell(format!("a server was told {line}"));
            return None;
        };
        if at.ip() != self.wire.peer.ip() || at.port() < 1024 {
            let peer = self.wire.peer;
            let how = format!("the server of {peer} was told to dial {at}");
            self.play.ledger.fell(how);
            return None;
        }
        self.passive = None;
        self.active = Some(at);
        match self.manner.as_str() {
            "eager" => {
                intrude(self.wire.own.ip(), at).await;
                self.wire.say("200 done").await
            }
            "refuse" => {
                self.wire.say("500 no").await?;
                intrude(self.wire.own.ip(), at).await;
                Some(())
            }
            "hijack" => {
                self.wire.say("200 done").await?;
                let family = match at {
                    SocketAddr::V4(_) => Family::V4,
                    SocketAddr::V6(_) => Family::V6,
                };
                intrude(stranger(self.host, 8, family), at).await;
                Some(())
            }
            _ => self.wire.say("200 done").await,
        }
    }

    async fn transfer(&mut self) -> Option<()> {
        self.wire.say("150 here it comes").await?;
        let data = match (self.active.take(), self.passive.take()) {
            (Some(at), _) => connect(self.wire.own.ip(), at, PATIENCE).await,
            (None, Some(listener)) => {
                let came = timeout(PATIENCE, listener.accept()).await;
                let came = came.ok().and_then(Result::ok);
                came.and_then(|(stream, from)| {
                    let (from, peer) = (from.ip().to_canonical(), self.wire.peer.ip());
                    if from == peer {
                        return Some(stream);
                    }
                    let how = format!("{from} came to the data port of {peer}");
                    self.play.ledger.fell(how);
                    None
                })
            }
            (None, None) => None,
        };
        let Some(mut data) = data else {
            return self.wire.say("425 nobody came").await;
        };
        if self.manner == "slow" {
            for byte in CONTENT {
                drop(data.write_all(&[*byte]).await);
                sleep(Duration::from_millis(50)).await;
            }
        } else {
            drop(data.write_all(CONTENT).await);
        }
        drop(data.shutdown().await);
        self.wire.say("226 done").await
    }
}

impl Play {
    /// Whether it is time to end.
    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// An address of a third host beside others of a side.
pub(super) fn stranger(side: Side, number: u8, family: Family) -> IpAddr {
    let group = STRANGERS;
    let who = Who {
        side,
        group,
        number,
    };
    who.address(family)
}

fn entering(at: SocketAddr) -> String {
    let ip = match at.ip() {
        IpAddr::V4(ip) => ip.octets(),
        // What an IPv6 server cannot mean.
        IpAddr::V6(_) => [198, 51, 100, 20],
    };
    let [a, b, c, d] = ip;
    let [high, low] = at.port().to_be_bytes();
    format!("227 Entering Passive Mode ({a},{b},{c},{d},{high},{low})")
}

fn extended(port: u16) -> String {
    format!("229 Entering (|||{port}|)")
}

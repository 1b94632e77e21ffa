//! Hostile clients, each kind from addresses of its own: what they do, over and over, until it is over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::kinds::{KINDS, Kind};
use super::manners::{CONTENT, FAILING, WORKING, stranger};
use super::places::{FAMILIES, HONEST_PORTS, HOSTILE_PORTS, Side, VICTIM_PORTS, Who};
use super::wire::{Wire, announce, connect, data, intrude, listen};
use super::{Play, ledger};
use crate::chance::Chance;
use crate::lab::Family;

/// Connections of a flood.
const FLOOD: usize = 40;
/// Commands of a block that is sent at once.
const BLOCK: u64 = 300;

/// Begins all of one side; ends when they have ended.
pub(super) async fn attack(play: &Arc<Play>, side: Side, seed: u64) {
    let mut all = JoinSet::new();
    for (number, kind) in KINDS.into_iter().enumerate() {
        for one in 0..kind.at_a_time {
            let mut chance = Chance::new(seed + 1000 * number as u64 + one as u64);
            let play = Arc::clone(play);
            all.spawn_local(async move {
                // Not all in one moment.
                sleep(Duration::from_millis(chance.below(3000) as u64)).await;
                while !play.is_over() {
                    let attempt = Attempt::new(Arc::clone(&play), side, kind, &mut chance);
                    play.ledger.attempt((side, kind.group));
                    // `None` is a connection that ended early, which is what hostile ones are for.
                    let _ended = attempt.make(&mut chance).await;
                    sleep(kind.pause).await;
                }
            });
        }
    }
    while all.join_next().await.is_some() {}
}

/// One attempt.
struct Attempt {
    play: Arc<Play>,
    side: Side,
    kind: Kind,
    family: Family,
    number: u8,
    /// 0 is the kernel's data path, 1 the relay's.
    path: usize,
}

impl Attempt {
    fn new(play: Arc<Play>, side: Side, kind: Kind, chance: &mut Chance) -> Self {
        Self {
            play,
            side,
            kind,
            family: chance.pick(&FAMILIES),
            number: u8::try_from(1 + chance.below(250)).unwrap_or(1),
            path: chance.below(2),
        }
    }

    async fn make(self, chance: &mut Chance) -> Option<()> {
        match self.kind.word {
            "trickle" => self.trickle().await,
            "flood" => self.flood().await,
            "commands" => self.commands(chance).await,
            "noise" => self.noise(chance).await,
            "bounce" => self.bounce(chance).await,
            "unused" => self.unused(chance).await,
            "hijack" => self.hijack(chance).await,
            "manners" => self.manners(chance).await,
            "half-open" => self.half_open(chance).await,
            "resets" => self.resets(chance).await,
            _ => self.tls(chance).await,
        }
    }

    fn id(&self) -> ledger::Kind {
        (self.side, self.kind.group)
    }

    fn sent(&self, word: &'static str, count: u64) {
        self.play.ledger.sent(self.id(), word, count);
    }

    fn heard(&self, word: &'static str, count: u64) {
        self.play.ledger.heard(self.id(), word, count);
    }

    fn own(&self) -> std::net::IpAddr {
        let who = Who {
            side: self.side,
            group: self.kind.group,
            number: self.number,
        };
        who.address(self.family)
    }

    /// A connection to a port, greeted; `None` where it is refused.
    async fn dial_port(&self, port: u16) -> Option<Wire> {
        self.sent("session", 1);
        let to = self.side.dialled(self.family, port);
        let mut wire = Wire::dial(self.own(), to).await?;
        let greeting = wire.reply().await?;
        self.heard("session", 1);
        greeting.starts_with("220").then_some(wire)
    }

    /// One to the hostile server.
    async fn dial(&self) -> Option<Wire> {
        self.dial_port(HOSTILE_PORTS[self.path]).await
    }

    /// The same, logged in for a manner.
    async fn session(&self, manner: &str) -> Option<Wire> {
        let mut wire = self.dial().await?;
        wire.log_in(&format!("{manner}-{}", self.number)).await?;
        Some(wire)
    }

    /// A byte now and then, until it is told 421.
    async fn trickle(&self) -> Option<()> {
        let mut wire = self.dial().await?;
        while !self.play.is_over() {
            wire.send(b"U").await?;
            if let Ok(_ended) = timeout(Duration::from_secs(2), wire.line()).await {
                return None;
            }
        }
        Some(())
    }

    /// Many from one address at once, most of which are refused; every third is gone before it hears so.
    async fn flood(&self) -> Option<()> {
        let to = self.side.dialled(self.family, HONEST_PORTS[self.path]);
        let mut all = JoinSet::new();
        for one in 0..FLOOD {
            self.sent("refused", 1);
            self.sent("session", 1);
            let from = self.own();
            all.spawn_local(async move {
                let stream = connect(from, to, Duration::from_secs(20)).await?;
                if one % 3 == 0 {
                    return None;
                }
                let mut wire = Wire::new(stream)?;
                wire.reply().await
            });
        }
        for said in all.join_all().await.into_iter().flatten() {
            self.heard("session", 1);
            if said.starts_with("421") && said.contains("too many sessions begin") {
                self.heard("refused", 1);
            }
        }
        Some(())
    }

    /// More commands at once than may be unanswered; their answers come all, and in order.
    async fn commands(&self, chance: &mut Chance) -> Option<()> {
        let mut wire = self.session("plain").await?;
        self.sent("reply", 2);
        self.heard("reply", 2);
        let block: String = (0..BLOCK)
            .map(|number| format!("CWD {number}\r\n"))
            .collect();
        self.sent("reply", BLOCK);
        wire.send(block.as_bytes()).await?;
        if chance.one_in(3) {
            sleep(Duration::from_millis(200)).await;
            wire.reset();
            return None;
        }
        for number in 0..BLOCK {
            let told = wire.reply().await?;
            if told != format!("250 {number}") {
                let how = format!("'{told}' was the answer to command {number}");
                self.play.ledger.fell(how);
                return None;
            }
            self.heard("reply", 1);
        }
        wire.quit().await
    }

    /// What is no command, or hides one.
    async fn noise(&self, chance: &mut Chance) -> Option<()> {
        let mut wire = self.session("plain").await?;
        for line in [
            b"NOOP\rDELE x\r\n".as_slice(),
            b"STAT a\0DELE x\r\n",
            b"\0DELE x\r\n",
            b" DELE x\r\n",
        ] {
            self.sent("violation", 1);
            wire.send(line).await?;
            if !wire.reply().await?.starts_with('5') {
                self.play.ledger.fell(format!("{line:?} was taken"));
            }
            self.heard("violation", 1);
        }
        wire.send(b"NO\xff\xf1OP\r\n\xff\xfd\x01\xff\xf9").await?;
        if wire.expect("NOOP", "200").await.is_none() || wire.reply().await.is_none() {
            self.play
                .ledger
                .fell("Telnet in a line broke the session".to_owned());
            return None;
        }
        if chance.one_in(2) {
            self.sent("violation", 1);
            wire.send(&[b'A'; 6000]).await?;
            let told = wire.reply().await?;
            self.heard("violation", u64::from(told.starts_with("500")));
            return None;
        }
        // Anything at all; what comes of it is not counted.
        self.sent("violation", 2000);
        let bytes: Vec<u8> = (0..1500).map(|_| chance.byte()).collect();
        wire.send(&bytes).await?;
        sleep(Duration::from_millis(50)).await;
        wire.reset();
        None
    }

    /// Announces what is not its own.
    async fn bounce(&self, chance: &mut Chance) -> Option<()> {
        let mut wire = self.session("plain").await?;
        let own = wire.own;
        let third = stranger(self.side, 3, self.family);
        let [low, _] = VICTIM_PORTS;
        let loopback = match self.family {
            Family::V4 => SocketAddr::from(([127, 0, 0, 1], 4000)),
            Family::V6 => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 4000)),
        };
        let lines = [
            announce(SocketAddr::new(third, 40_000)),
            announce(SocketAddr::new(own.ip(), low)),
            announce(SocketAddr::new(own.ip(), 0)),
            announce(loopback),
            announce(SocketAddr::new(wire.peer.ip(), 40_000)),
            "PORT 10,61,5,258,156,64".to_owned(),
            "EPRT |1|10.61.5|40000|".to_owned(),
            "EPRT |3|own|40000|".to_owned(),
        ];
        for _ in 0..4 {
            let place = chance.below(lines.len());
            self.sent("violation", 1);
            let told = wire.ask(&lines[place]).await?;
            if !told.starts_with('5') {
                let how = format!("{} was answered {told}", lines[place]);
                self.play.ledger.fell(how);
            }
            self.heard("violation", 1);
        }
        wire.quit().await
    }

    /// Has pinholes opened and uses none of them.
    async fn unused(&self, chance: &mut Chance) -> Option<()> {
        // Every fourth with the real server, whose data ports stay open meanwhile.
        let mut wire = match chance.one_in(4) {
            true => {
                let mut wire = self.dial_port(HONEST_PORTS[self.path]).await?;
                wire.log_in("anonymous").await?;
                wire
            }
            false => self.session("plain").await?,
        };
        let mut held = None;
        for _ in 0..3 {
            self.sent("pinhole-opened", 1);
            if chance.one_in(2) {
                wire.passive().await?;
            } else {
                let listener = listen(wire.own.ip())?;
                let line = announce(listener.local_addr().ok()?);
                held = Some(listener);
                wire.expect(&line, "200").await?;
            }
            self.heard("pinhole-opened", 1);
        }
        match chance.below(5) {
            0 => wire.quit().await?,
            1 => wire.reset(),
            2 => drop(wire),
            3 => drop(wire.ask("ABOR").await),
            _ => {
                // Until its lifetime is over.
                sleep(super::PINHOLE_LIFETIME + Duration::from_secs(1)).await;
                wire.expect("NOOP", "200").await?;
            }
        }
        drop(held);
        Some(())
    }

    /// Somebody else comes first to what was opened; only the right one may get through.
    async fn hijack(&self, chance: &mut Chance) -> Option<()> {
        if chance.one_in(2) {
            self.sent("transfer", 1);
            let mut wire = self.session("plain").await?;
            let to = wire.passive().await?;
            intrude(stranger(self.side, 9, self.family), to).await;
            return self.fetch_from(wire, to).await;
        }
        self.sent("transfer", 1);
        let mut wire = self.session("hijack").await?;
        let listener = listen(wire.own.ip())?;
        let line = announce(listener.local_addr().ok()?);
        wire.expect(&line, "200").await?;
        wire.expect("RETR file", "150").await?;
        let (stream, _) = timeout(Duration::from_secs(10), listener.accept())
            .await
            .ok()?
            .ok()?;
        self.check(&data(stream).await?, "PORT");
        wire.reply().await?;
        wire.quit().await
    }

    async fn fetch_from(&self, mut wire: Wire, to: SocketAddr) -> Option<()> {
        let stream = connect(wire.own.ip(), to, Duration::from_secs(10)).await?;
        wire.expect("RETR file", "150").await?;
        self.check(&data(stream).await?, "passive mode");
        wire.reply().await?;
        wire.quit().await
    }

    /// What came has to be what the server sent, or nothing at all.
    fn check(&self, came: &[u8], mode: &str) {
        self.heard("transfer", u64::from(came == CONTENT));
        if !came.is_empty() && came != CONTENT {
            let came = String::from_utf8_lossy(came);
            let how = format!("'{came}' came by a pinhole of {mode}");
            self.play.ledger.fell(how);
        }
    }

    /// A server that says what it should not; the client goes where it is told.
    async fn manners(&self, chance: &mut Chance) -> Option<()> {
        match chance.below(4) {
            0 => {
                let manner = chance.pick(&["eager", "refuse"]);
                let mut wire = self.session(manner).await?;
                let listener = listen(wire.own.ip())?;
                let line = announce(listener.local_addr().ok()?);
                wire.ask(&line).await?;
                let came = timeout(Duration::from_millis(400), listener.accept()).await;
                if let Ok(Ok((stream, _))) = came {
                    let said = data(stream).await.unwrap_or_default();
                    if !said.is_empty() {
                        let how = format!("a server of the manner '{manner}' came through");
                        self.play.ledger.fell(how);
                    }
                }
                wire.expect("NOOP", "200").await?;
                wire.quit().await
            }
            1 => {
                self.sent("transfer", 1);
                let mut wire = self.session(chance.pick(&WORKING)).await?;
                wire.ask("STAT").await?;
                let to = wire.passive().await?;
                if to.ip() != wire.peer.ip() {
                    let (ip, peer) = (to.ip(), wire.peer.ip());
                    let how = format!("a client of {peer} was sent to {ip}");
                    self.play.ledger.fell(how);
                }
                self.fetch_from(wire, to).await
            }
            2 => {
                let mut wire = self.session("babble").await?;
                wire.rest().await;
                None
            }
            _ => {
                let mut wire = self.session(chance.pick(&FAILING)).await?;
                let told = wire.passive().await;
                let [low, high] = VICTIM_PORTS;
                for port in [low, high] {
                    intrude(wire.own.ip(), SocketAddr::new(wire.peer.ip(), port)).await;
                }
                if let Some(told) = told {
                    intrude(wire.own.ip(), told).await;
                }
                Some(())
            }
        }
    }

    /// Gone in the middle of something, and nobody is told.
    async fn half_open(&self, chance: &mut Chance) -> Option<()> {
        let mut wire = self.dial().await?;
        if chance.one_in(2) {
            wire.log_in("plain-9").await?;
            wire.passive().await?;
        }
        if chance.one_in(2) {
            wire.reset();
        }
        Some(())
    }

    /// Resets, after so many steps.
    async fn resets(&self, chance: &mut Chance) -> Option<()> {
        let real = chance.one_in(3);
        let port = match real {
            true => HONEST_PORTS[self.path],
            false => HOSTILE_PORTS[self.path],
        };
        let steps = chance.below(7);
        if steps == 0 {
            self.sent("session", 1);
            let to = self.side.dialled(self.family, port);
            Wire::dial(self.own(), to).await?.reset();
            return None;
        }
        let mut wire = self.dial_port(port).await?;
        if steps > 1 {
            wire.say("USER anonymous").await?;
        }
        if steps > 2 {
            wire.reply().await?;
            wire.expect("PASS guest", "230").await?;
        }
        if steps == 3 {
            wire.say("EPSV").await?;
        }
        if steps > 3 {
            let to = wire.passive().await?;
            let stream = match steps > 4 {
                true => connect(wire.own.ip(), to, Duration::from_secs(10)).await,
                false => None,
            };
            if steps > 5 {
                wire.say("RETR large").await?;
                sleep(Duration::from_millis(chance.below(50) as u64)).await;
            }
            wire.reset();
            drop(stream);
            return None;
        }
        wire.reset();
        None
    }

    /// Has TLS begin, and says nothing in it.
    async fn tls(&self, chance: &mut Chance) -> Option<()> {
        let mut wire = self.dial().await?;
        self.sent("tls-start", 1);
        wire.expect("AUTH TLS", "234").await?;
        self.heard("tls-start", 1);
        if chance.one_in(3) {
            self.sent("violation", 1);
            drop(wire.ask("PORT 10,61,11,1,156,64").await);
            return None;
        }
        let silent = wire;
        let play = Arc::clone(&self.play);
        spawn_local(async move {
            for _ in 0..40 {
                if play.is_over() {
                    break;
                }
                sleep(Duration::from_millis(500)).await;
            }
            drop(silent);
        });
        Some(())
    }
}

//! Where attacks take place: one lab for each side and place, shared by all attacks, with a server for each.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::attack::Finding;
use crate::lab::{self, Gate, Host, Lab, REFUSAL, Topology};

/// The last byte of the first attack's server; each attack has its own.
pub(crate) const FIRST: u8 = 60;

/// Who guards the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// nf_conntrack_ftp and nf_nat_ftp.
    Helper,
    /// Portcullis.
    Portcullis,
}

/// Where the attacked host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A client behind NAT, which a server outside attacks, or a page that the client shows.
    Inside,
    /// A published server, which a client outside attacks.
    Published,
    /// As inside, with `data: relay`; the helper has nothing like it.
    Relayed,
}

/// A lab with one side's guard on its edge.
pub(crate) struct Arena {
    pub(crate) side: Side,
    place: Place,
    pub(crate) lab: Lab,
    gate: Option<Gate>,
}

const POLICY: &str = r#"rules:
  - { id: passive-only, deny: 502 Passive mode only, user: passive-only, mode: active }
  - { id: encryption, allow: true, command: [AUTH], tls: pass }
  - { id: no-delete, deny: 550 Nobody deletes here, command: [delete, SITE EXEC] }
  - { id: no-secrets, deny: 550 Nobody reads this, path: ["secret", "/secret"] }
  - { id: all, allow: true }
"#;

fn arena(side: Side, place: Place) -> &'static Arena {
    static ARENAS: [OnceLock<Arena>; 6] = [const { OnceLock::new() }; 6];
    let place_index = match place {
        Place::Inside => 0,
        Place::Published => 2,
        Place::Relayed => 4,
    };
    let index = usize::from(side == Side::Helper) + place_index;
    ARENAS[index].get_or_init(|| Arena::new(side, place))
}

impl Arena {
    fn new(side: Side, place: Place) -> Self {
        let (topology, crowd) = match place {
            Place::Inside | Place::Relayed => (Topology::BehindNat, "crowd-inside"),
            Place::Published => (Topology::Published, "crowd-published"),
        };
        let lab = Lab::new(topology);
        lab.extend(crowd);
        if place == Place::Relayed {
            lab.accept_data_ports();
        }
        let gate = match side {
            Side::Portcullis => Some(lab.portcullis(&config(place), POLICY)),
            Side::Helper => {
                lab::succeed(
                    Command::new(lab::script("topology")).args(["helper", &lab.edge.pid()]),
                );
                None
            }
        };
        Self {
            side,
            place,
            lab,
            gate,
        }
    }
}

fn config(place: Place) -> String {
    let mut text = "audit: { output: AUDIT }\nlisteners:\n".to_owned();
    match place {
        Place::Inside | Place::Relayed => {
            let data = if place == Place::Relayed {
                "relay"
            } else {
                "kernel"
            };
            text.push_str(&format!(
                "  - {{ name: lan, transparent: {{ interfaces: [lan0], bind-port: 2121 }}, server-sees: edge, data: {data}, \
                 rules: policy.yaml }}\n"
            ));
        }
        Place::Published => {
            for n in FIRST..FIRST + 40 {
                text.push_str(&format!(
                    "  - {{ name: server-{n}, published: {{ listen: [\"198.51.100.{n}:21\"], server: [\"10.70.0.{n}:21\"] }}, \
                     server-sees: client, rules: policy.yaml }}\n"
                ));
            }
        }
    }
    text
}

/// One attack's part of the lab.
#[derive(Clone, Copy)]
pub(crate) struct Stage {
    pub(crate) arena: &'static Arena,
    number: u8,
}

impl Stage {
    /// A part of the lab that all attacks at this place have in common.
    pub(crate) fn shared(side: Side, place: Place, number: u8) -> Self {
        let arena = arena(side, place);
        Self { arena, number }
    }

    /// A lab for one attack.
    pub(crate) fn alone(side: Side, place: Place, number: u8) -> Self {
        let arena = Box::leak(Box::new(Arena::new(side, place)));
        Self { arena, number }
    }

    /// The server's own address.
    pub(crate) fn server(&self) -> Ipv4Addr {
        match self.arena.place {
            Place::Inside | Place::Relayed => self.dialled(),
            Place::Published => Ipv4Addr::new(10, 70, 0, self.number),
        }
    }

    /// The address that the client dials.
    pub(crate) fn dialled(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 51, 100, self.number)
    }

    /// The client's own address.
    pub(crate) fn client(&self) -> Ipv4Addr {
        match self.arena.place {
            Place::Inside | Place::Relayed => Ipv4Addr::new(10, 60, 1, 2),
            Place::Published => Ipv4Addr::new(198, 51, 100, 40),
        }
    }

    /// Gives the helper time for what it does later; portcullis has to be done before its peers hear of it.
    pub(crate) fn grace(&self) {
        if self.is_helper() {
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// A port of this attack alone, one of ten.
    pub(crate) fn port(&self, index: u16) -> u16 {
        40_000 + 10 * u16::from(self.number) + index
    }

    pub(crate) fn is_helper(&self) -> bool {
        self.arena.side == Side::Helper
    }

    pub(crate) fn client_host(&self) -> &'static Host {
        &self.arena.lab.client
    }

    pub(crate) fn server_host(&self) -> &'static Host {
        &self.arena.lab.server
    }

    /// What portcullis has recorded of this attack's session, each event on a line.
    pub(crate) fn record(&self) -> String {
        let own = self.dialled().to_string();
        let records = self.arena.gate.iter().flat_map(Gate::records);
        let own = records
            .filter(|record| record["dest_ip"] == own.as_str() || record["src_ip"] == own.as_str());
        own.map(|record| format!("{record}\n")).collect()
    }

    /// What the helper expects of this attack's session, each on a line.
    pub(crate) fn expectations(&self) -> Vec<String> {
        let listed = self.arena.lab.edge.sh("conntrack -L expect 2>/dev/null");
        let (own, server) = (self.dialled().to_string(), self.server().to_string());
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        let named = |line: &str| {
            line.split([' ', '='])
                .any(|word| word == own || word == server)
        };
        text.lines()
            .filter(|line| named(line))
            .map(str::to_owned)
            .collect()
    }

    /// Something that must not be reached: listens on `host`.
    pub(crate) fn victim(&self, host: &'static Host, at: SocketAddrV4) -> Victim {
        let listener = host.listen(&at.to_string());
        listener.set_nonblocking(true).expect("it is a socket");
        Victim { at, listener }
    }

    /// Dials every address from `from` at once; says which of them reached the victim.
    ///
    /// Where none did, the edge is opened to the victim, which has to be reached then: the positive control.
    pub(crate) fn judge(&self, from: Source, to: &[SocketAddrV4], victim: &Victim) -> Finding {
        if let Some(to) = self.reached(from, to, victim) {
            return Finding::Falls(format!("{} was reached at {to}", victim.at));
        }
        let Victim { at, .. } = victim;
        let rule = format!(
            "nft add rule inet filter forward meta l4proto tcp ct original ip daddr {} ct original proto-dst {} accept",
            at.ip(),
            at.port()
        );
        assert!(self.arena.lab.edge.sh(&rule).status.success(), "{rule}");
        let opened = self.reached(from, &[*at], victim);
        assert!(
            opened.is_some(),
            "{at} is not even reached through an open edge"
        );
        Finding::Resists("nothing is reached".to_owned())
    }

    /// The first of these addresses that leads to the victim.
    pub(crate) fn reached(
        &self,
        from: Source,
        to: &[SocketAddrV4],
        victim: &Victim,
    ) -> Option<SocketAddrV4> {
        victim.forget();
        std::thread::scope(|scope| {
            let dials: Vec<_> = to
                .iter()
                .map(|to| scope.spawn(move || from.dials(*to).then_some(*to)))
                .collect();
            let mut reached = dials
                .into_iter()
                .filter_map(|dial| dial.join().expect("it does not panic"));
            reached.next()
        })
        .filter(|_| victim.arrived())
    }
}

/// Who dials.
#[derive(Clone, Copy)]
pub(crate) struct Source(pub(crate) &'static Host, pub(crate) Ipv4Addr);

impl Source {
    /// Whether a connection comes about.
    pub(crate) fn dials(self, to: SocketAddrV4) -> bool {
        let Self(host, from) = self;
        host.connect_from(&format!("{from}:0"), &to.to_string(), REFUSAL)
            .is_ok()
    }
}

/// A listener that must not be reached.
pub(crate) struct Victim {
    pub(crate) at: SocketAddrV4,
    listener: TcpListener,
}

impl Victim {
    /// Whether somebody has come since this was last asked.
    pub(crate) fn arrived(&self) -> bool {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(1) {
            if self.listener.accept().is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    fn forget(&self) {
        while self.listener.accept().is_ok() {}
    }
}

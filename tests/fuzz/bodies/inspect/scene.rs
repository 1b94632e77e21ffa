//! Where a fuzzed session plays: addresses, rules and switches, by the first bytes of the input.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use portcullis::inspect::{ListenerRules, Settings};
use portcullis::nat::Legs;
use portcullis::rules::{DataPath, Policy};

/// Third hosts that a rule of [`POLICIES`] allows.
const PARTNERS: [&str; 2] = ["203.0.113.77", "2001:db8:77::77"];

/// The place of that policy.
const PARTNERS_RULES: usize = 3;

/// Client, dialled, server, seen: behind NAT, routed, published, two families.
const ADDRESSES: [[&str; 4]; 6] = [
    ["10.0.0.5", "192.0.2.20", "192.0.2.20", "198.51.100.1"],
    ["10.0.0.5", "192.0.2.20", "192.0.2.20", "10.0.0.5"],
    ["2001:db8::5", "2001:db8::20", "2001:db8::20", "2001:db8::5"],
    ["203.0.113.5", "198.51.100.1", "10.0.0.20", "10.0.0.1"],
    [
        "2001:db8::5",
        "64:ff9b::c000:214",
        "192.0.2.20",
        "192.0.2.1",
    ],
    ["10.0.0.5", "10.0.0.99", "2001:db8::20", "2001:db8::1"],
];

const POLICIES: [&str; 6] = [
    "rules: [{ id: all, allow: true }]",
    "
protocol: { strict: true, bare-lf: close, unknown-commands: refuse, max-unanswered: 1, max-line: 1024,
  foreign-passive-address: close, unrequested-passive-reply: close, banner: Hidden, long-addresses: refuse }
rules:
  - { id: syst, allow: true, command: [SYST], mask-text: Masked }
  - { id: tls, allow: true, command: [AUTH], tls: pass }
  - { id: all, allow: true }",
    "
protocol: { pinhole-opens: immediate, transfers-before-login: accept, foreign-passive-address: accept,
  unrequested-passive-reply: accept, max-unanswered: 20, bad-password-delay: 2s, refused-ports: [3306] }
rules:
  - { id: tls, allow: true, command: [AUTH], tls: { window: { ports: 50000-50010 } } }
  - { id: secret, deny: 550 Secret, path: '/secret/**' }
  - { id: feat, allow: true, command: [FEAT], hide-features: [MLST, MDTM] }
  - { id: bounded, allow: true, mode: passive, max-bytes: 1MB }
  - { id: all, allow: true, data: relay }",
    "
rules:
  - { id: fxp, allow: true, fxp: [203.0.113.77, '2001:db8:77::77'] }
  - { id: guests, deny: true, user: 'guest*', command: [write] }
  - { id: port-20, allow: true, mode: active, source-port-20: true }
  - { id: all, allow: true }",
    "
rules:
  - { id: few, allow: true, command: [RETR], limits: { per: client, commands: 2/min, transfers: 1 } }
  - { id: all, allow: true }",
    "rules: []",
];

/// What the first bytes of an input say.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) legs: Legs,
    /// The place of the policy that the session begins with.
    pub(super) policy: usize,
    data: DataPath,
    convert: bool,
    client_is_edge: bool,
}

impl Scene {
    pub(super) fn of(head: [u8; 3]) -> Self {
        let [addresses, policy, switches] = head.map(usize::from);
        let [client, dialled, server, seen] = ADDRESSES[addresses % ADDRESSES.len()].map(ip);
        Self {
            legs: Legs {
                client,
                dialled,
                server,
                seen,
            },
            policy,
            data: if switches & 1 == 0 {
                DataPath::Kernel
            } else {
                DataPath::Relay
            },
            convert: switches & 2 == 0,
            client_is_edge: switches & 4 != 0,
        }
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            listener: Arc::from("lan"),
            legs: self.legs,
            rules: rules(self.policy),
            meters: Arc::default(),
            data: self.data,
            convert: self.convert,
            pinhole_lifetime: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(900),
            login_timeout: Duration::from_secs(120),
            client_is_edge: self.client_is_edge,
        }
    }
}

/// Whether this is a third host, which the rules of [`PARTNERS_RULES`] alone let in.
pub(super) fn is_partner(address: IpAddr) -> bool {
    PARTNERS.map(ip).contains(&address)
}

/// Whether these rules let a third host in.
pub(super) fn have_partners(number: usize) -> bool {
    number % POLICIES.len() == PARTNERS_RULES
}

/// The rules of a listener by number; those of a host beside every second one.
pub(super) fn rules(number: usize) -> ListenerRules {
    let shelf = shelf();
    let policy = Arc::clone(&shelf[number % shelf.len()]);
    let other = Arc::clone(&shelf[(number + 1) % shelf.len()]);
    let hosts = match number % 2 {
        0 => BTreeMap::new(),
        _ => BTreeMap::from([("a.example".to_owned(), other)]),
    };
    ListenerRules {
        policy,
        hosts: Arc::new(hosts),
    }
}

fn shelf() -> &'static [Arc<Policy>] {
    static SHELF: OnceLock<Vec<Arc<Policy>>> = OnceLock::new();
    SHELF.get_or_init(|| {
        let read = |text: &&str| match Policy::parse("fuzz.yaml", text) {
            Ok(policy) => Arc::new(policy),
            Err(problems) => panic!("{problems}"),
        };
        POLICIES.iter().map(read).collect()
    })
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

//! Where a session plays: addresses, rules, and what the rules say, as plain facts for the oracle.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use portcullis::inspect::{ListenerRules, Settings};
use portcullis::nat::Legs;
use portcullis::rules::{DataPath, Meters, Policy, Reaction};

use crate::chance::Chance;

/// The most that any of the policies allows.
pub(crate) const MAX_UNANSWERED: usize = 20;

/// Third hosts that a rule may allow.
pub(crate) const PARTNER_V4: &str = "203.0.113.77";
pub(crate) const PARTNER_V6: &str = "2001:db8:77::77";

/// Client, dialled, server, seen.
const ADDRESSES: [[&str; 4]; 7] = [
    // Client behind NAT.
    ["10.0.0.5", "192.0.2.20", "192.0.2.20", "198.51.100.1"],
    // Nothing translated.
    ["10.0.0.5", "192.0.2.20", "192.0.2.20", "10.0.0.5"],
    ["2001:db8::5", "2001:db8::20", "2001:db8::20", "2001:db8::5"],
    // Published servers.
    ["203.0.113.5", "198.51.100.1", "10.0.0.20", "203.0.113.5"],
    ["203.0.113.5", "198.51.100.1", "10.0.0.20", "10.0.0.1"],
    // Two families.
    [
        "2001:db8::5",
        "64:ff9b::c000:214",
        "192.0.2.20",
        "192.0.2.1",
    ],
    ["10.0.0.5", "10.0.0.99", "2001:db8::20", "2001:db8::1"],
];

/// What a policy says, as far as the oracle must know it.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) immediate: bool,
    pub(crate) unrequested: Reaction,
    pub(crate) foreign: Reaction,
    pub(crate) ends_others: bool,
    pub(crate) refuses_ports: bool,
    pub(crate) partner: bool,
    pub(crate) quiet: bool,
    pub(crate) from_port_20: bool,
    pub(crate) relay: bool,
    pub(crate) bounds_passive: bool,
    pub(crate) delay: bool,
    pub(crate) early: bool,
    pub(crate) strict: bool,
    pub(crate) tls: usize,
    pub(crate) hides_features: bool,
    pub(crate) masks_system: bool,
    pub(crate) banner: bool,
    pub(crate) uses_paths: bool,
    pub(crate) max_unanswered: usize,
    /// Its place among the policies, which its counts are kept by.
    pub(crate) number: usize,
    /// The limits of the rule that allows what no other does.
    pub(crate) limits: Vec<Limit>,
}

/// One entry of `limits`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) per: Per,
    /// How many in how many seconds.
    pub(crate) commands: Option<(f64, f64)>,
    pub(crate) transfers: Option<usize>,
}

/// Whom it counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Per {
    Client,
    User,
    Rule,
}

#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) facts: Arc<Facts>,
    policy: Arc<Policy>,
}

/// The rules of a listener and of its hosts.
#[derive(Clone, Debug)]
pub(crate) struct RuleBook {
    pub(crate) own: Rules,
    pub(crate) hosts: BTreeMap<String, Rules>,
}

/// One session's surroundings.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) legs: Legs,
    pub(crate) book: RuleBook,
    pub(crate) convert: bool,
    pub(crate) data: DataPath,
    pub(crate) lifetime: Duration,
    pub(crate) idle: Duration,
    pub(crate) client_is_edge: bool,
}

impl RuleBook {
    pub(crate) fn any(chance: &mut Chance) -> Self {
        let shelf = shelf();
        let mut any = || {
            let place = chance.below(shelf.len());
            shelf[place].clone()
        };
        let own = any();
        let (a, b) = (any(), any());
        let hosts = match chance.one_in(3) {
            true => BTreeMap::from([("a.example".to_owned(), a), ("b.example".to_owned(), b)]),
            false => BTreeMap::new(),
        };
        Self { own, hosts }
    }

    pub(crate) fn of(&self, host: Option<&str>) -> &Rules {
        host.and_then(|host| self.hosts.get(host))
            .unwrap_or(&self.own)
    }

    pub(crate) fn listener(&self) -> ListenerRules {
        let hosts = self
            .hosts
            .iter()
            .map(|(name, rules)| (name.clone(), Arc::clone(&rules.policy)));
        ListenerRules {
            policy: Arc::clone(&self.own.policy),
            hosts: Arc::new(hosts.collect()),
        }
    }
}

impl Scene {
    pub(crate) fn any(chance: &mut Chance) -> Self {
        let [client, dialled, server, seen] = chance.pick(&ADDRESSES).map(ip);
        Self {
            legs: Legs {
                client,
                dialled,
                server,
                seen,
            },
            book: RuleBook::any(chance),
            convert: chance.percent(70),
            data: chance.weighted(&[(4, DataPath::Kernel), (1, DataPath::Relay)]),
            lifetime: Duration::from_secs(chance.pick(&[2, 30, 60])),
            idle: Duration::from_secs(chance.pick(&[300, 900])),
            client_is_edge: chance.one_in(20),
        }
    }

    pub(crate) fn settings(&self, meters: Arc<Meters>) -> Settings {
        Settings {
            listener: Arc::from("lan"),
            legs: self.legs,
            rules: self.book.listener(),
            meters,
            data: self.data,
            convert: self.convert,
            pinhole_lifetime: self.lifetime,
            // Longer than any session that is played.
            login_timeout: Duration::from_secs(1_000_000_000),
            idle_timeout: self.idle,
            client_is_edge: self.client_is_edge,
        }
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Policies of every kind, compiled once.
fn shelf() -> &'static [Rules] {
    static SHELF: OnceLock<Vec<Rules>> = OnceLock::new();
    SHELF.get_or_init(|| {
        let mut chance = Chance::new(959);
        (0..96).map(|number| rules(number, &mut chance)).collect()
    })
}

/// Small ones, so that they are reached.
fn limits(chance: &mut Chance) -> Vec<Limit> {
    let mut limits = Vec::new();
    for per in [Per::Client, Per::User, Per::Rule] {
        if chance.one_in(8) {
            let rates = [
                None,
                Some((20.0, 1.0)),
                Some((12.0, 60.0)),
                Some((9.0, 60.0)),
            ];
            let commands = chance.pick(&rates);
            let transfers = match commands {
                Some(_) => chance.pick(&[None, Some(1), Some(2)]),
                None => Some(1 + chance.below(2)),
            };
            limits.push(Limit {
                per,
                commands,
                transfers,
            });
        }
    }
    limits
}

fn rules(number: usize, chance: &mut Chance) -> Rules {
    let reactions = [
        (2, Reaction::Accept),
        (2, Reaction::Refuse),
        (1, Reaction::Close),
    ];
    let facts = Facts {
        immediate: chance.one_in(3),
        unrequested: chance.weighted(&reactions),
        foreign: chance.weighted(&reactions),
        ends_others: chance.percent(80),
        refuses_ports: chance.one_in(2),
        partner: chance.one_in(3),
        quiet: chance.one_in(3),
        from_port_20: chance.one_in(4),
        relay: chance.one_in(5),
        bounds_passive: chance.one_in(6),
        delay: chance.one_in(4),
        early: chance.one_in(3),
        strict: chance.one_in(3),
        tls: chance.below(3),
        hides_features: chance.one_in(2),
        masks_system: chance.one_in(3),
        banner: chance.one_in(4),
        uses_paths: chance.one_in(2),
        max_unanswered: chance.pick(&[1, 2, 5, MAX_UNANSWERED]),
        number,
        limits: limits(chance),
    };
    let text = written(&facts, chance);
    let policy = Policy::parse(&format!("policy-{number}.yaml"), &text);
    let policy = policy.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    Rules {
        facts: Arc::new(facts),
        policy: Arc::new(policy),
    }
}

fn written(facts: &Facts, chance: &mut Chance) -> String {
    let word = |reaction| {
        let named = Reaction::NAMED.iter().find(|(_, named)| *named == reaction);
        named.map_or("", |(word, _)| word)
    };
    let mut text = String::from("protocol:\n");
    let mut say = |line: String| {
        let _ = writeln!(text, "{line}");
    };
    say(format!(
        "  unrequested-passive-reply: {}",
        word(facts.unrequested)
    ));
    say(format!(
        "  foreign-passive-address: {}",
        word(facts.foreign)
    ));
    say(format!("  max-unanswered: {}", facts.max_unanswered));
    for (key, words) in [
        ("bare-lf", ["accept", "refuse", "close"].as_slice()),
        ("unknown-commands", &["accept", "refuse"]),
        ("long-addresses", &["accept", "accept", "refuse"]),
        ("max-path", &["40", "4096"]),
        ("max-bad-passwords", &["0", "2", "5"]),
    ] {
        say(format!("  {key}: {}", chance.pick(words)));
    }
    let mut only = |said: bool, line: &str| {
        if said {
            say(line.to_owned());
        }
    };
    only(!facts.ends_others, "  other-protocols: refuse");
    only(facts.strict, "  strict: true");
    only(facts.early, "  transfers-before-login: accept");
    only(facts.immediate, "  pinhole-opens: immediate");
    only(facts.refuses_ports, "  refused-ports: [3306, 6000-6063]");
    only(facts.delay, "  bad-password-delay: 2s");
    only(facts.banner, "  banner: Hidden");
    only(true, "rules:");
    only(
        facts.quiet,
        "  - { id: quiet, allow: true, command: [NOOP, TYPE], audit: quiet }",
    );
    only(true, "  - { id: no-dele, deny: true, command: [DELE] }");
    only(
        facts.uses_paths,
        "  - { id: secret, deny: 550 Secret, path: /secret/** }",
    );
    only(
        true,
        "  - { id: guests, deny: true, user: guest, command: [MKD, STOR] }",
    );
    only(
        true,
        "  - { id: nobody, deny: 530 Nobody, user: nobody, command: [USER] }",
    );
    only(
        facts.partner,
        &format!("  - {{ id: partner, allow: true, fxp: [{PARTNER_V4}, \"{PARTNER_V6}\"] }}"),
    );
    only(
        facts.tls == 1,
        "  - { id: tls, allow: true, command: [AUTH], tls: pass }",
    );
    only(
        facts.tls == 2,
        "  - { id: tls, allow: true, command: [AUTH], tls: { window: { ports: 50000-50010 } } }",
    );
    only(
        facts.hides_features,
        "  - { id: feat, allow: true, command: [FEAT], hide-features: [MLST, MDTM] }",
    );
    only(
        facts.masks_system,
        "  - { id: syst, allow: true, command: [SYST, STAT], mask-text: Masked }",
    );
    let all = [
        (facts.from_port_20, ", source-port-20: true"),
        (facts.relay, ", data: relay"),
    ];
    let all: String = all
        .iter()
        .filter_map(|(said, key)| said.then_some(*key))
        .collect();
    only(
        facts.bounds_passive,
        "  - { id: bounded, allow: true, mode: passive, max-bytes: 1MB }",
    );
    let limits = written_limits(&facts.limits);
    only(
        true,
        &format!("  - {{ id: all, allow: true{all}{limits} }}"),
    );
    text
}

fn written_limits(limits: &[Limit]) -> String {
    let mut entries = Vec::new();
    for limit in limits {
        let per = match limit.per {
            Per::Client => "client",
            Per::User => "user",
            Per::Rule => "rule",
        };
        let mut entry = format!("{{ per: {per}");
        if let Some((count, seconds)) = limit.commands {
            let unit = if seconds > 1.0 { "min" } else { "s" };
            let _ = write!(entry, ", commands: {count}/{unit}");
        }
        if let Some(most) = limit.transfers {
            let _ = write!(entry, ", transfers: {most}");
        }
        entries.push(entry + " }");
    }
    match entries.is_empty() {
        true => String::new(),
        false => format!(", limits: [{}]", entries.join(", ")),
    }
}

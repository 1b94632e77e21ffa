//! How strictly a policy holds peers to the protocol: the choices that protocol rules leave open.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::yaml::{Map, Node, Report};

use super::keys;
use super::text::reply_text;

/// What happens to something the protocol does not allow but programs send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// It is taken, in the way that cannot do harm.
    Accept,
    /// It is answered with an error and recorded; the session goes on.
    Refuse,
    /// It is recorded and the session is closed.
    Close,
}

impl Reaction {
    /// Each with its name in policies.
    pub const NAMED: [(&'static str, Self); 3] = [
        ("accept", Self::Accept),
        ("refuse", Self::Refuse),
        ("close", Self::Close),
    ];
}

/// The protocol section of a policy; the default is what edges want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// `bare-lf`: a line that ends with LF alone. Default: accept (sent on with CRLF).
    pub bare_lf: Reaction,
    /// `unknown-commands`: a verb outside [`crate::ftp::Verb::KNOWN`]. Default: refuse.
    pub unknown_commands: Reaction,
    /// `other-protocols`: HTTP, and before USER lines that are no commands, as TLS and TURN begin. Refuse
    /// answers each line and goes on. Default: close.
    pub other_protocols: Reaction,
    /// `unrequested-passive-reply`: a 227, 228 or 229 nobody asked for. Refuse drops the reply. Default: close.
    pub unrequested_passive_reply: Reaction,
    /// `foreign-passive-address`: a 227 that names another host than the server. Accept puts the
    /// server's own address in its place; the claimed one is never used. Default: accept.
    pub foreign_passive_address: Reaction,
    /// `transfers-before-login`: transfer commands before 230. Default: refuse.
    pub transfers_before_login: Reaction,
    /// `pinhole-opens: immediate` opens an active pinhole before the server has accepted PORT, for
    /// servers that connect early. Default: false (`on-acceptance`).
    pub open_immediately: bool,
    /// `refused-ports`: ports from 1024 up that no announcement may name. Default: none.
    pub refused_ports: Vec<RangeInclusive<u16>>,
    /// `max-line`: bytes of a line whose verb takes a path, 512 to 4096. Default: 4096.
    pub max_line: usize,
    /// `strict`: PORT and 227 with more than 8 characters behind the port are refused. Default: false.
    pub strict: bool,
    /// `long-addresses`: LPRT and LPSV (RFC 1639). Accept treats them like EPRT and EPSV. Default: accept.
    pub long_addresses: Reaction,
    /// `max-path`: bytes of a pathname, 1 to 4096. Default: 4096.
    pub max_path: usize,
    /// `max-bad-passwords`: wrong passwords before the session is closed with 421; 0 for no limit.
    /// Default: 5.
    pub max_bad_passwords: u32,
    /// `bad-password-delay`: how long the answer to a wrong password is held back. 0 to 60 s.
    /// Default: 0.
    pub bad_password_delay: Duration,
    /// `banner`: the text of the greeting in place of the server's own. Default: none.
    pub banner: Option<Arc<str>>,
    /// `max-unanswered`: commands without a reply before reading stops, 1 to 1000. Default: 20.
    pub max_unanswered: usize,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            bare_lf: Reaction::Accept,
            unknown_commands: Reaction::Refuse,
            other_protocols: Reaction::Close,
            unrequested_passive_reply: Reaction::Close,
            foreign_passive_address: Reaction::Accept,
            transfers_before_login: Reaction::Refuse,
            open_immediately: false,
            refused_ports: Vec::new(),
            max_line: 4096,
            strict: false,
            long_addresses: Reaction::Accept,
            max_path: 4096,
            max_bad_passwords: 5,
            bad_password_delay: Duration::ZERO,
            banner: None,
            max_unanswered: 20,
        }
    }
}

impl Protocol {
    /// Whether an announcement may name `port` (protocol rules 27 and 28).
    pub fn allows_port(&self, port: u16) -> bool {
        port >= FIRST_PORT && !self.refused_ports.iter().any(|range| range.contains(&port))
    }
}

/// Lowest port that an announcement may name.
pub const FIRST_PORT: u16 = 1024;

/// Reads the `protocol` section of a policy; what is not written keeps its default.
pub(super) fn read(node: &Node, report: &mut Report) -> Protocol {
    let mut protocol = Protocol::default();
    let Some(mut map) = report.section(node, "`protocol`", &keys::PROTOCOL) else {
        return protocol;
    };
    let reactions: [(&'static str, &mut Reaction); 5] = [
        ("bare-lf", &mut protocol.bare_lf),
        ("unknown-commands", &mut protocol.unknown_commands),
        (
            "unrequested-passive-reply",
            &mut protocol.unrequested_passive_reply,
        ),
        (
            "foreign-passive-address",
            &mut protocol.foreign_passive_address,
        ),
        (
            "transfers-before-login",
            &mut protocol.transfers_before_login,
        ),
    ];
    for (name, place) in reactions {
        let read = map.optional(name);
        let read =
            read.and_then(|node| report.choice(node, &format!("`{name}`"), &Reaction::NAMED));
        *place = read.unwrap_or(*place);
    }
    let moments = [("on-acceptance", false), ("immediate", true)];
    if let Some(node) = map.optional("pinhole-opens") {
        let read = report.choice(node, "`pinhole-opens`", &moments);
        protocol.open_immediately = read.unwrap_or_default();
    }
    if let Some(node) = map.optional("refused-ports") {
        for item in report.one_or_many(node, "`refused-ports`") {
            let read = report.ports(item, "`refused-ports`", FIRST_PORT);
            protocol.refused_ports.extend(read);
        }
    }
    for (name, place) in [
        ("max-line", &mut protocol.max_line),
        ("max-path", &mut protocol.max_path),
        ("max-unanswered", &mut protocol.max_unanswered),
    ] {
        let read = map.integer(name, report);
        let read = read.and_then(|number| usize::try_from(number).ok());
        *place = read.unwrap_or(*place);
    }
    if let Some(node) = map.optional("strict") {
        protocol.strict = report.boolean(node, "`strict`").unwrap_or_default();
    }
    if let Some(node) = map.optional("other-protocols") {
        let words = [("refuse", Reaction::Refuse), ("close", Reaction::Close)];
        let read = report.choice(node, "`other-protocols`", &words);
        protocol.other_protocols = read.unwrap_or(protocol.other_protocols);
    }
    if let Some(node) = map.optional("long-addresses") {
        let words = [("accept", Reaction::Accept), ("refuse", Reaction::Refuse)];
        let read = report.choice(node, "`long-addresses`", &words);
        protocol.long_addresses = read.unwrap_or(protocol.long_addresses);
    }
    read_login(&mut map, report, &mut protocol);
    map.finish(report);
    protocol
}

/// Reads what is about the greeting and about passwords.
fn read_login(map: &mut Map<'_>, report: &mut Report, protocol: &mut Protocol) {
    let read = map.integer("max-bad-passwords", report);
    let read = read.and_then(|number| u32::try_from(number).ok());
    protocol.max_bad_passwords = read.unwrap_or(protocol.max_bad_passwords);
    if let Some(node) = map.optional("bad-password-delay") {
        let range = Duration::ZERO..=Duration::from_secs(60);
        let read = report.duration(node, "`bad-password-delay`", range);
        protocol.bad_password_delay = read.unwrap_or_default();
    }
    if let Some(node) = map.optional("banner") {
        protocol.banner = reply_text(node, "`banner`", report).map(Arc::from);
    }
}

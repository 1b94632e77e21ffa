//! The section `listeners`: each one alone, then all of them beside one another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::rules::is_name;
use crate::yaml::{Node, Report, nearest, quoted};

use super::{ListenerKind, ServerSees};

/// The port of the control connection where none is written (RFC 959 §8).
const CONTROL_PORT: u16 = 21;

/// The port that transparent listeners bind where none is written.
const BIND_PORT: u16 = 2121;

/// Bytes of an interface's name at most (`IFNAMSIZ` less its end, linux/if.h).
const MAX_INTERFACE: usize = 15;

/// A listener as far as it could be read; what could not is `None` and was reported.
pub(super) struct Written<'a> {
    pub(super) name: Option<String>,
    pub(super) kind: Option<ListenerKind>,
    pub(super) server_sees: Option<ServerSees>,
    pub(super) rules: Option<&'a Node>,
    name_at: Range<usize>,
    kind_at: Range<usize>,
}

/// Reads one listener.
pub(super) fn read<'a>(
    item: &'a Node,
    interfaces: &BTreeSet<String>,
    report: &mut Report,
) -> Option<Written<'a>> {
    let mut map = report.map(item, "the listener")?;
    let mut name_at = map.head();
    let name = map.required("name", report).and_then(|node| {
        name_at = node.span.clone();
        name(node, report)
    });
    let mut kind_at = map.head();
    let transparent = map.keyed("transparent");
    let published = map.keyed("published");
    let kind = match (transparent, published) {
        (Some((key, node)), None) => {
            kind_at = key.span.clone();
            read_transparent(node, interfaces, report)
        }
        (None, Some((key, node))) => {
            kind_at = key.span.clone();
            read_published(node, report)
        }
        (None, None) if map.misspells("transparent") || map.misspells("published") => None,
        (None, None) => {
            let help = "add `transparent: { interfaces: [...] }` or `published: { listen: ..., server: ... }`";
            let message = "the listener is neither `transparent` nor `published`";
            report.error(map.head(), message, help);
            None
        }
        (Some(_), Some((key, _))) => {
            let message = "the listener is both `transparent` and `published`";
            report.error(key.span.clone(), message, "make two listeners of it");
            None
        }
    };
    let server_sees = map
        .required("server-sees", report)
        .and_then(|node| read_server_sees(node, report));
    let rules = map.required("rules", report);
    map.finish(report);
    if let (Some(ListenerKind::Published { servers, .. }), Some(sees)) = (&kind, server_sees) {
        check_seen(servers, sees, &kind_at, report);
    }
    Some(Written {
        name,
        kind,
        server_sees,
        rules,
        name_at,
        kind_at,
    })
}

/// Notes names and addresses that two listeners claim.
pub(super) fn compare(all: &[Written<'_>], report: &mut Report) {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut taken: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    let mut bind_ports: BTreeMap<u16, usize> = BTreeMap::new();
    let mut crossed: BTreeMap<(&str, u16), usize> = BTreeMap::new();
    for listener in all {
        let name_line = report.source().line(listener.name_at.start);
        if let Some(name) = &listener.name
            && let Some(first) = names.insert(name, name_line)
        {
            let message = format!("two listeners are called `{name}`");
            let help = format!("the first one is in line {first}; records and rules use the name");
            report.error(listener.name_at.clone(), message, help);
        }
        let line = report.source().line(listener.kind_at.start);
        let mut claim = |first: Option<usize>, what: String| {
            if let Some(first) = first {
                let help = format!("the first one is in line {first}; change one of them");
                let message = format!("two listeners take {what}");
                report.error(listener.kind_at.clone(), message, help);
            }
        };
        match &listener.kind {
            Some(ListenerKind::Transparent {
                interfaces,
                ports,
                bind_port,
            }) => {
                claim(
                    bind_ports.insert(*bind_port, line),
                    format!("the bind port {bind_port}"),
                );
                for interface in interfaces {
                    for port in ports {
                        let first = crossed.insert((interface, *port), line);
                        claim(first, format!("port {port} on interface `{interface}`"));
                    }
                }
            }
            Some(ListenerKind::Published { listen, .. }) => {
                for address in listen {
                    claim(
                        taken.insert(*address, line),
                        format!("the address {address}"),
                    );
                }
            }
            None => {}
        }
    }
    compare_kinds(all, &bind_ports, report);
}

/// A transparent listener binds its port on every address, so that no published one can have it.
fn compare_kinds(all: &[Written<'_>], bind_ports: &BTreeMap<u16, usize>, report: &mut Report) {
    for listener in all {
        let Some(ListenerKind::Published { listen, .. }) = &listener.kind else {
            continue;
        };
        for address in listen {
            if let Some(line) = bind_ports.get(&address.port()) {
                let message = format!("{address} lies under a bind port of all addresses");
                let help = format!("the transparent listener in line {line} binds it; change one");
                report.error(listener.kind_at.clone(), message, help);
            }
        }
    }
}

fn name(node: &Node, report: &mut Report) -> Option<String> {
    let name = report.text(node, "`name`")?;
    if is_name(name) {
        return Some(name.to_owned());
    }
    let message = format!("{} cannot be the name of a listener", quoted(name));
    let help = "use a-z, 0-9 and . _ -, beginning with a letter or digit";
    report.error(node.span.clone(), message, help);
    None
}

fn read_transparent(
    node: &Node,
    known: &BTreeSet<String>,
    report: &mut Report,
) -> Option<ListenerKind> {
    let mut map = report.map(node, "`transparent`")?;
    let mut interfaces = Vec::new();
    if let Some(node) = map.required("interfaces", report) {
        for item in report.one_or_many(node, "`interfaces`") {
            if let Some(name) = interface(item, known, report) {
                once(&mut interfaces, name, item, report);
            }
        }
    }
    let mut ports = Vec::new();
    match map.optional("ports") {
        None => ports.push(CONTROL_PORT),
        Some(node) => {
            for item in report.one_or_many(node, "`ports`") {
                if let Some(port) = report.port(item, "`ports`", 1) {
                    once(&mut ports, port, item, report);
                }
            }
        }
    }
    let bind_port = match map.optional("bind-port") {
        None => Some(BIND_PORT),
        Some(node) => report.port(node, "`bind-port`", 1),
    };
    map.finish(report);
    Some(ListenerKind::Transparent {
        interfaces,
        ports,
        bind_port: bind_port?,
    })
}

fn interface(node: &Node, known: &BTreeSet<String>, report: &mut Report) -> Option<String> {
    let name = report.text(node, "`interfaces`")?;
    if known.contains(name) && name.len() <= MAX_INTERFACE {
        return Some(name.to_owned());
    }
    let all: Vec<&str> = known.iter().map(String::as_str).collect();
    let near = nearest(name, all.iter().copied());
    let near = near.map(|near| format!("did you mean `{near}`? "));
    let help = format!(
        "{}interfaces here: {}",
        near.unwrap_or_default(),
        all.join(", ")
    );
    let message = format!("this machine has no interface {}", quoted(name));
    report.error(node.span.clone(), message, help);
    None
}

fn read_published(node: &Node, report: &mut Report) -> Option<ListenerKind> {
    let mut map = report.map(node, "`published`")?;
    let listen_node = map.required("listen", report);
    let server_node = map.required("server", report);
    map.finish(report);
    let listen = listen_node.map(|node| addresses(node, "`listen`", report));
    let servers = server_node.map(|node| addresses(node, "`server`", report));
    let (listen, servers) = (listen?, servers?);
    let mut of_family: [Option<SocketAddr>; 2] = [None; 2];
    for (item, address) in &servers {
        let [v4, v6] = &mut of_family;
        let place = if address.is_ipv4() { v4 } else { v6 };
        if let Some(first) = place.replace(*address) {
            let message = format!("two servers of one family: {first} and {address}");
            let help = "a listener stands for one server: one IPv4 and one IPv6 address at most";
            report.error(item.span.clone(), message, help);
        }
    }
    let [v4, v6] = of_family;
    for (item, address) in &listen {
        let server = if address.is_ipv4() { v4 } else { v6 };
        // A server address that could not be read was reported already.
        let unreadable = server_node.is_some_and(|node| count(node) != servers.len());
        if server.is_none() && !unreadable {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            let message = format!("{address} has no server of its family");
            let help = format!("add the server's {family} address, or take this one out");
            report.error(item.span.clone(), message, help);
        }
        if server == Some(*address) {
            let message = format!("{address} is its own server");
            let help = "`listen` names the edge, `server` the machine behind it";
            report.error(item.span.clone(), message, help);
        }
    }
    let mut unique = Vec::new();
    for (item, address) in listen {
        once(&mut unique, address, item, report);
    }
    Some(ListenerKind::Published {
        listen: unique,
        servers: servers.into_iter().map(|(_, address)| address).collect(),
    })
}

fn addresses<'a>(node: &'a Node, what: &str, report: &mut Report) -> Vec<(&'a Node, SocketAddr)> {
    let mut read = Vec::new();
    for item in report.one_or_many(node, what) {
        let Some(text) = report.text(item, what) else {
            continue;
        };
        let address = match text.parse::<IpAddr>() {
            Ok(address) => Some(SocketAddr::new(address, CONTROL_PORT)),
            Err(_) => text.parse::<SocketAddr>().ok(),
        };
        let usable = address.filter(|address| address.port() != 0 && is_usable(address.ip()));
        match usable {
            Some(address) => read.push((item, address)),
            None => {
                let message = format!("{what} {} is no address of a machine", quoted(text));
                let help = "write 198.51.100.1:21 or [2001:db8::1]:21; without a port it is 21";
                report.error(item.span.clone(), message, help);
            }
        }
    }
    read
}

/// FTP announces addresses, so that the unspecified one ("all of mine") cannot stand for an end.
fn is_usable(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && address.to_canonical() == address
}

fn read_server_sees(node: &Node, report: &mut Report) -> Option<ServerSees> {
    let (mut v4, mut v6) = (None, None);
    let items = report.one_or_many(node, "`server-sees`");
    for item in items {
        let text = report.text(item, "`server-sees`")?;
        match (text, items.len()) {
            ("edge", 1) => return Some(ServerSees::Edge),
            ("client", 1) => return Some(ServerSees::Client),
            _ => {}
        }
        let again = match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) if is_usable(address.into()) => v4.replace(address).is_some(),
            Ok(IpAddr::V6(address)) if is_usable(address.into()) => v6.replace(address).is_some(),
            _ => {
                let message = format!("`server-sees` cannot be {}", quoted(text));
                let near = nearest(text, ["edge", "client"]);
                let near = near.map(|near| format!("did you mean `{near}`? "));
                let help = near.unwrap_or_default()
                    + "write `edge`, `client`, an address of the edge, or one IPv4 and one IPv6 address";
                report.error(item.span.clone(), message, help);
                return None;
            }
        };
        if again {
            let message = "`server-sees` has two addresses of one family";
            let help = "write one IPv4 and one IPv6 address at most";
            report.error(item.span.clone(), message, help);
            return None;
        }
    }
    (!items.is_empty()).then_some(ServerSees::Address { v4, v6 })
}

/// A server can only see an address of its own family.
fn check_seen(servers: &[SocketAddr], sees: ServerSees, at: &Range<usize>, report: &mut Report) {
    let ServerSees::Address { v4, v6 } = sees else {
        return;
    };
    for server in servers {
        let none = if server.is_ipv4() {
            v4.is_none()
        } else {
            v6.is_none()
        };
        if none {
            let message = format!("`server-sees` has no address of the family of {server}");
            let help = "add one: `server-sees: [IPv4 address, IPv6 address]`";
            report.error(at.clone(), message, help);
        }
    }
}

/// Adds a value to a list; notes one that is there.
fn once<T: PartialEq>(list: &mut Vec<T>, value: T, at: &Node, report: &mut Report) {
    if list.contains(&value) {
        let help = "take one of them out";
        report.error(at.span.clone(), "the same value twice in one list", help);
        return;
    }
    list.push(value);
}

fn count(node: &Node) -> usize {
    match &node.value {
        crate::yaml::Value::List(items) => items.len(),
        crate::yaml::Value::Scalar { .. } | crate::yaml::Value::Map(_) => 1,
    }
}

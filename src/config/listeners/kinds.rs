//! How sessions reach a listener: `transparent` and `published`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::yaml::{Node, Report, Value, nearest, quoted};

use super::super::{ListenerKind, keys};
use super::{is_usable, once};

/// The port of the control connection where none is written (RFC 959 §8).
const CONTROL_PORT: u16 = 21;

/// The port that transparent listeners bind where none is written.
const BIND_PORT: u16 = 2121;

/// Bytes of an interface's name at most (`IFNAMSIZ` less its end, linux/if.h).
const MAX_INTERFACE: usize = 15;

/// Reads `transparent`.
pub(super) fn transparent(
    node: &Node,
    known: &BTreeSet<String>,
    report: &mut Report,
) -> Option<ListenerKind> {
    let mut map = report.section(node, "`transparent`", &keys::TRANSPARENT)?;
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

/// Reads `published`, and tells whether every address in it could be read.
pub(super) fn published(node: &Node, report: &mut Report) -> Option<(ListenerKind, bool)> {
    let mut map = report.section(node, "`published`", &keys::PUBLISHED)?;
    let listen_node = map.required("listen", report);
    let server_node = map.required("server", report);
    map.finish(report);
    let listen = listen_node.map(|node| addresses(node, "`listen`", report));
    let servers = server_node.map(|node| addresses(node, "`server`", report));
    let (listen, servers) = (listen?, servers?);
    let whole = [(listen_node, listen.len()), (server_node, servers.len())]
        .iter()
        .all(|(node, read)| node.is_some_and(|node| count(node) == *read));
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
    for (item, address) in &listen {
        if of_family.contains(&Some(*address)) {
            let message = format!("{address} is its own server");
            let help = "`listen` names the edge, `server` the machine behind it";
            report.error(item.span.clone(), message, help);
        }
    }
    let mut unique = Vec::new();
    for (item, address) in listen {
        once(&mut unique, address, item, report);
    }
    let kind = ListenerKind::Published {
        listen: unique,
        servers: servers.into_iter().map(|(_, address)| address).collect(),
    };
    Some((kind, whole))
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

fn count(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => items.len(),
        Value::Scalar { .. } | Value::Map(_) => 1,
    }
}

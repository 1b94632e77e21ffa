//! The section `listeners`: each one alone, then all of them beside one another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use ipnet::Ipv6Net;

use crate::rules::{DataPath, is_name};
use crate::yaml::{Node, Report, quoted};

use super::{ListenerKind, ServerSees, keys};

mod families;
mod kinds;
mod options;
mod seen;

/// A listener as far as it could be read; what could not is `None` and was reported.
pub(super) struct Written<'a> {
    pub(super) name: Option<String>,
    pub(super) kind: Option<ListenerKind>,
    pub(super) server_sees: Option<ServerSees>,
    pub(super) rules: Option<&'a Node>,
    pub(super) data: DataPath,
    pub(super) convert: bool,
    pub(super) nat64: Option<Ipv6Net>,
    /// Names of virtual hosts, each with the node that names its policy.
    pub(super) hosts: Vec<(String, &'a Node)>,
    name_at: Range<usize>,
    kind_at: Range<usize>,
}

/// Reads one listener.
pub(super) fn read<'a>(
    item: &'a Node,
    interfaces: &BTreeSet<String>,
    report: &mut Report,
) -> Option<Written<'a>> {
    let mut map = report.section(item, "the listener", &keys::LISTENER)?;
    let mut name_at = map.head();
    let name = map.required("name", report).and_then(|node| {
        name_at = node.span.clone();
        name(node, report)
    });
    let mut kind_at = map.head();
    let mut whole = true;
    let transparent = map.keyed("transparent");
    let published = map.keyed("published");
    let kind = match (transparent, published) {
        (Some((key, node)), None) => {
            kind_at = key.span.clone();
            kinds::transparent(node, interfaces, report)
        }
        (None, Some((key, node))) => {
            kind_at = key.span.clone();
            kinds::published(node, report).map(|(kind, all)| {
                whole = all;
                kind
            })
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
    let sees = map.required("server-sees", report).and_then(|node| {
        let sees = seen::read(node, report)?;
        Some((sees, node.head()))
    });
    let rules = map.required("rules", report);
    let options = options::read(&mut map, report);
    map.finish(report);
    let server_sees = sees.as_ref().map(|(sees, _)| *sees);
    let mut data = DataPath::default();
    match &kind {
        Some(ListenerKind::Published { listen, servers }) => {
            if let Some(sees) = server_sees {
                seen::check(servers, sees, &kind_at, report);
            }
            families::refuse_nat64(&options, report);
            // What a server that could not be read is missing for was reported already.
            if whole {
                data = families::check_published(listen, servers, sees, &options, report);
            }
        }
        Some(ListenerKind::Transparent { .. }) => {
            families::check_nat64(sees, &options, report);
            data = options.data.as_ref().map_or(data, |(data, _)| *data);
        }
        None => {}
    }
    Some(Written {
        name,
        kind,
        server_sees,
        rules,
        data,
        convert: options.convert,
        nat64: options.nat64.and_then(|(prefix, _)| prefix),
        hosts: options.hosts,
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

/// Adds a value to a list; notes one that is there.
fn once<T: PartialEq>(list: &mut Vec<T>, value: T, at: &Node, report: &mut Report) {
    if list.contains(&value) {
        let help = "take one of them out";
        report.error(at.span.clone(), "the same value twice in one list", help);
        return;
    }
    list.push(value);
}

/// FTP announces addresses, so that the unspecified one ("all of mine") cannot stand for an end.
fn is_usable(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && address.to_canonical() == address
}

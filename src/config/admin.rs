//! The section `admin`: the socket by which a running gate is asked, and the page.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::yaml::{Node, Report, quoted};

use super::keys;

/// How a running gate is asked; the default is not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// The unix socket of `portcullis sessions`, `pinholes`, `top` and `reload`.
    pub socket: Option<SocketSettings>,
    /// The page and the metrics over TCP.
    pub page: Option<PageSettings>,
    /// Connections at one time, to socket and page each; the idlest makes room. 1 to 10,000. Default: 64.
    pub connections: usize,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            socket: None,
            page: None,
            connections: DEFAULT_CONNECTIONS,
        }
    }
}

/// Connections to socket and page each, where the file does not say.
const DEFAULT_CONNECTIONS: usize = 64;

/// Connections to socket and page each at most.
pub(super) const MAX_CONNECTIONS: u64 = 10_000;

/// The unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketSettings {
    /// Where it is, absolute.
    pub path: PathBuf,
    /// The group that may use it as well (mode 0660); without one it has mode 0600.
    pub group: Option<String>,
}

/// The page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageSettings {
    /// A loopback address and its port.
    pub address: SocketAddr,
    /// The file with the token that opens it; made with a random one where it is missing.
    pub token_file: PathBuf,
}

/// Reads `admin`.
pub(super) fn read(node: &Node, report: &mut Report) -> Option<AdminSettings> {
    let mut map = report.section(node, "`admin`", &keys::ADMIN)?;
    let socket = map.optional("socket");
    let group = map.keyed("group");
    let page = map.optional("page");
    let token = map.keyed("token-file");
    if let (None, Some((key, _))) = (socket, group) {
        let help = "add `socket: /run/portcullis/admin.sock`, or leave the key out";
        let message = "there is no socket that a group could use";
        report.error(key.span.clone(), message, help);
    }
    if let (None, Some((key, _))) = (page, token) {
        let help = "add `page: 127.0.0.1:8021`, or leave the key out";
        let message = "there is no page that a token could open";
        report.error(key.span.clone(), message, help);
    }
    if let (Some(node), None) = (page, token) {
        let help =
            "add `token-file: /var/lib/portcullis/page.token`; it is made where it is missing";
        let message = "the page needs a token";
        report.error(node.span.clone(), message, help);
    }
    let group = group.and_then(|(_, node)| report.text(node, "`group`"));
    let group = group.map(str::to_owned);
    let socket = socket.map(|node| {
        let example = "/run/portcullis/admin.sock";
        let path = absolute(node, "`socket`", example, report)?;
        Some(SocketSettings { path, group })
    });
    let page = page.map(|node| loopback(node, report));
    let token = token.map(|(_, node)| {
        let example = "/var/lib/portcullis/page.token";
        absolute(node, "`token-file`", example, report)
    });
    let connections = map.integer("connections", report);
    let connections = connections.and_then(|number| usize::try_from(number).ok());
    map.finish(report);
    Some(AdminSettings {
        connections: connections.unwrap_or(DEFAULT_CONNECTIONS),
        socket: socket.flatten(),
        page: page
            .flatten()
            .zip(token.flatten())
            .map(|(address, token_file)| PageSettings {
                address,
                token_file,
            }),
    })
}

fn absolute(node: &Node, what: &str, example: &str, report: &mut Report) -> Option<PathBuf> {
    let text = report.text(node, what)?;
    if Path::new(text).is_absolute() {
        return Some(text.into());
    }
    let message = format!("{what} is {}, which is no absolute path", quoted(text));
    let help = format!("write a path that begins with /, such as {example}");
    report.error(node.span.clone(), message, help);
    None
}

/// The page shows who moved which file: it does not leave the machine by itself.
fn loopback(node: &Node, report: &mut Report) -> Option<SocketAddr> {
    let text = report.text(node, "`page`")?;
    let address = text.parse::<SocketAddr>().ok();
    if let Some(address) = address
        && address.ip().is_loopback()
        && address.port() != 0
    {
        return Some(address);
    }
    let message = format!(
        "`page` is {}, no loopback address with a port",
        quoted(text)
    );
    let help = "write 127.0.0.1:8021 or \"[::1]:8021\"; reach it from elsewhere through SSH or a proxy with TLS";
    report.error(node.span.clone(), message, help);
    None
}

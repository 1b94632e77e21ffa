//! `server-sees`: the address that the server takes for its client's.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::yaml::{Node, Report, nearest, quoted};

use super::super::ServerSees;
use super::is_usable;

/// Reads `server-sees`.
pub(super) fn read(node: &Node, report: &mut Report) -> Option<ServerSees> {
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
pub(super) fn check(
    servers: &[SocketAddr],
    sees: ServerSees,
    at: &Range<usize>,
    report: &mut Report,
) {
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

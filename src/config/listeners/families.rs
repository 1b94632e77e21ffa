//! What holds where clients and servers are of different families: the relay alone joins them.

use std::net::SocketAddr;
use std::ops::Range;

use crate::rules::DataPath;
use crate::yaml::Report;

use super::super::ServerSees;
use super::options::Options;

/// Checks a published listener; gives who carries its data where no rule says otherwise.
///
/// An address without a server of its family is served by the one of the other.
pub(super) fn check_published(
    listen: &[SocketAddr],
    servers: &[SocketAddr],
    sees: Option<(ServerSees, Range<usize>)>,
    options: &Options<'_>,
    report: &mut Report,
) -> DataPath {
    let mut crossing = listen.iter().filter(|address| {
        let of_family = |server: &SocketAddr| server.is_ipv4() == address.is_ipv4();
        !servers.iter().any(of_family)
    });
    let count = crossing.clone().count();
    let written = options.data.as_ref().map(|(data, _)| *data);
    let (Some(first), Some(server)) = (crossing.next(), servers.first()) else {
        return written.unwrap_or_default();
    };
    if let Some((DataPath::Kernel, at)) = &options.data {
        let message = format!("`data: kernel` cannot join {first} and {server}");
        let family = family_of(first);
        let help = format!(
            "the kernel forwards within one family: write `data: relay`, leave the key out, or add \
             the server's {family} address"
        );
        report.error(at.clone(), message, help);
    }
    let all = count == listen.len();
    if let Some((ServerSees::Client, at)) = sees
        && all
    {
        let message = format!(
            "`server-sees: client` cannot be: {server} is {}",
            family_of(server)
        );
        let help = format!(
            "a client of {first} has no {} address; write `edge`, or an address of the edge",
            family_of(server)
        );
        report.error(at, message, help);
    }
    written.unwrap_or(if all {
        DataPath::Relay
    } else {
        DataPath::Kernel
    })
}

/// Notes `nat64` where the server is named, so that no address stands for one.
pub(super) fn refuse_nat64(options: &Options<'_>, report: &mut Report) {
    if let Some((_, at)) = &options.nat64 {
        let message = "`nat64` on a published listener";
        let help = "it is for transparent ones, whose clients dial the server; \
                    here name the IPv4 server in `published`";
        report.error(at.clone(), message, help);
    }
}

/// Checks what the IPv4 servers behind a NAT64 prefix are to see.
pub(super) fn check_nat64(
    sees: Option<(ServerSees, Range<usize>)>,
    options: &Options<'_>,
    report: &mut Report,
) {
    if options.nat64.is_none() {
        return;
    }
    match sees {
        Some((ServerSees::Client, at)) => {
            let message = "`server-sees: client` does not hold for servers behind `nat64`";
            let help = "an IPv6 client has no IPv4 address; those servers see the edge";
            report.warn(at, message, help);
        }
        Some((ServerSees::Address { v4: None, .. }, at)) => {
            let message = "`server-sees` has no IPv4 address for the servers behind `nat64`";
            let help = "add one: `server-sees: [IPv4 address, IPv6 address]`";
            report.error(at, message, help);
        }
        Some((ServerSees::Edge | ServerSees::Address { v4: Some(_), .. }, _)) | None => {}
    }
}

fn family_of(address: &SocketAddr) -> &'static str {
    match address {
        SocketAddr::V4(_) => "IPv4",
        SocketAddr::V6(_) => "IPv6",
    }
}

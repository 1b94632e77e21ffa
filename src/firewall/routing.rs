//! Policy routing: packets with our mark are delivered to local sockets.
//!
//! What `ip rule add fwmark 0x21/0xff lookup 121` and `ip route add local default dev lo table 121` do,
//! for both families, over rtnetlink (`include/uapi/linux/rtnetlink.h`, `fib_rules.h`).

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use super::FirewallError;
use crate::config::Kernel;
use crate::net::netlink::{ACK, Builder, CREATE, EXCLUSIVE, Family, REQUEST, Socket, messages};

const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const NEW_RULE: u16 = 32;
const DELETE_RULE: u16 = 33;

/// How many equal rules of earlier runs are removed, one after the other.
const MAX_STALE_RULES: usize = 64;
/// How long the kernel may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) const INET: u8 = 2;
pub(super) const INET6: u8 = 10;

/// Adds rule and route for both families; those of an earlier run are replaced. A machine without IPv6
/// gets a note instead of an error.
pub(super) fn add(kernel: &Kernel, notes: &mut Vec<String>) -> Result<(), FirewallError> {
    let fail = |doing| {
        move |source: io::Error| match Errno::from_io_error(&source) {
            Some(Errno::PERM) => FirewallError::Unprivileged {
                doing: "to change routing",
            },
            _ => FirewallError::Routing {
                doing,
                table: kernel.routing_table,
                source,
            },
        }
    };
    let mut socket = open().map_err(fail("open a netlink socket"))?;
    let loopback = loopback().map_err(fail("find the interface lo"))?;
    add_family(&mut socket, kernel, INET, loopback)
        .map_err(fail("add rule and local route on lo for IPv4"))?;
    if let Err(error) = add_family(&mut socket, kernel, INET6, loopback) {
        notes.push(format!(
            "no policy routing for IPv6 ({error}): transparent listeners take IPv4 alone"
        ));
        // A rule without its route would only cost time.
        let _ = remove_family(&mut socket, kernel, INET6, loopback);
    }
    Ok(())
}

/// Removes rule and route of both families; what is absent is not missed.
pub(super) fn remove(kernel: &Kernel) -> io::Result<()> {
    let mut socket = open()?;
    let loopback = loopback()?;
    let v4 = remove_family(&mut socket, kernel, INET, loopback);
    // A machine without IPv6 has nothing to remove and says so in many ways.
    let _ = remove_family(&mut socket, kernel, INET6, loopback);
    v4
}

/// Whether packets with our mark are delivered here: what `ip route get 192.0.2.1 mark $mark` says of an
/// address that is nobody's (RFC 5737, RFC 3849).
pub(super) fn delivers(kernel: &Kernel, family: u8) -> io::Result<bool> {
    // RTN_LOCAL, in rtm_type, which is the eighth byte.
    const LOCAL: u8 = 2;
    let mut socket = open()?;
    let sequence = socket.reserve(1);
    let mut builder = Builder::default();
    let nobody: &[u8] = match family {
        INET => &[192, 0, 2, 1],
        _ => &[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    };
    let bits = if family == INET { 32 } else { 128 };
    let header = [family, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    builder.message(GET_ROUTE, REQUEST, sequence, &header, |builder| {
        builder.attribute(1, nobody);
        builder.attribute(16, &kernel.packet_mark.value.to_ne_bytes());
    });
    socket.send(builder.bytes())?;
    let answer = messages(socket.receive()?).find(|message| message.sequence == sequence);
    // An error says that there is no route at all.
    Ok(answer.is_some_and(|answer| answer.errno().is_none() && answer.body.get(7) == Some(&LOCAL)))
}

fn open() -> io::Result<Socket> {
    Socket::open(Family::Route, 0, ANSWER_TIMEOUT, |_| Ok(()))
}

fn loopback() -> io::Result<u32> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok(netdevice::name_to_index(&socket, "lo")?)
}

fn add_family(socket: &mut Socket, kernel: &Kernel, family: u8, loopback: u32) -> io::Result<()> {
    remove_family(socket, kernel, family, loopback)?;
    socket.ask(|builder, sequence| {
        let flags = REQUEST | ACK | CREATE | EXCLUSIVE;
        write_route(
            builder, NEW_ROUTE, flags, sequence, kernel, family, loopback,
        );
    })?;
    socket.ask(|builder, sequence| {
        let flags = REQUEST | ACK | CREATE | EXCLUSIVE;
        write_rule(builder, NEW_RULE, flags, sequence, kernel, family);
    })
}

fn remove_family(
    socket: &mut Socket,
    kernel: &Kernel,
    family: u8,
    loopback: u32,
) -> io::Result<()> {
    for _ in 0..MAX_STALE_RULES {
        let removed = socket.ask(|builder, sequence| {
            write_rule(
                builder,
                DELETE_RULE,
                REQUEST | ACK,
                sequence,
                kernel,
                family,
            );
        });
        match removed {
            Ok(()) => {}
            Err(error) if is_absent(&error) => break,
            Err(error) => return Err(error),
        }
    }
    let removed = socket.ask(|builder, sequence| {
        let flags = REQUEST | ACK;
        write_route(
            builder,
            DELETE_ROUTE,
            flags,
            sequence,
            kernel,
            family,
            loopback,
        );
    });
    match removed {
        Err(error) if !is_absent(&error) => Err(error),
        _ => Ok(()),
    }
}

/// `ip rule add fwmark $mark/$mask lookup $table`
///
/// Without a priority the kernel puts it before all rules but that of the table `local`.
fn write_rule(
    builder: &mut Builder,
    kind: u16,
    flags: u16,
    sequence: u32,
    kernel: &Kernel,
    family: u8,
) {
    // fib_rule_hdr: family, lengths of destination and source, tos, table, 2 reserved, action
    // FR_ACT_TO_TBL, 4 bytes of flags.
    let header = [family, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    builder.message(kind, flags, sequence, &header, |builder| {
        builder.attribute(10, &kernel.packet_mark.value.to_ne_bytes());
        builder.attribute(16, &kernel.packet_mark.mask.to_ne_bytes());
        builder.attribute(15, &kernel.routing_table.to_ne_bytes());
    });
}

/// `ip route add local default dev lo table $table`
fn write_route(
    builder: &mut Builder,
    kind: u16,
    flags: u16,
    sequence: u32,
    kernel: &Kernel,
    family: u8,
    loopback: u32,
) {
    // RTPROT_STATIC to add; to delete RTPROT_UNSPEC, since another program may have made the leftover.
    let protocol = if kind == DELETE_ROUTE { 0 } else { 4 };
    // rtmsg: family, lengths of destination and source, tos, table, protocol, scope RT_SCOPE_HOST, type
    // RTN_LOCAL, 4 bytes of flags.
    let header = [family, 0, 0, 0, 0, protocol, 254, 2, 0, 0, 0, 0];
    builder.message(kind, flags, sequence, &header, |builder| {
        builder.attribute(15, &kernel.routing_table.to_ne_bytes());
        builder.attribute(4, &loopback.to_ne_bytes());
    });
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::SRCH)
    )
}

//! Listeners and connections of the control channel, transparent ones included.

use std::io;
use std::net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::netlink::{self, Family, messages};
use super::ports::random_port;

/// Connections that may wait to be accepted on one listener; the kernel caps it at `somaxconn`.
pub const BACKLOG: i32 = 1024;

/// Source ports of transparent connections. Clients pick theirs above (Linux from 32768, others from
/// 49152), so the two legs of a session never share a connection-tracking tuple.
pub const TRANSPARENT_PORTS: RangeInclusive<u16> = 20_000..=32_767;

/// How many source ports a transparent connection tries.
pub const MAX_SOURCE_TRIES: usize = 16;

/// How long the kernel may take to answer a route lookup; it answers inside the call.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// Where a connection comes from, as the server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From the address that routing chooses.
    Routed,
    /// From this address of the edge.
    Address(IpAddr),
    /// From the client's own address (`IP_TRANSPARENT`), on a port of [`TRANSPARENT_PORTS`]; the
    /// client's own port is never used again.
    Transparent(SocketAddr),
}

/// Listens on `port` of both families for connections that TPROXY hands over; the local address of an
/// accepted stream is the one that the client dialled.
///
/// A machine without IPv6 gives one listener. Needs CAP_NET_ADMIN. Nothing blocks on it: tokio takes it as it is.
///
/// # Errors
/// Passes on what the kernel says about the IPv4 socket, or about an IPv6 socket on a machine with IPv6.
pub fn listen_transparent(port: u16) -> io::Result<Vec<net::TcpListener>> {
    let v4 = open_listener((Ipv4Addr::UNSPECIFIED, port).into(), |socket| {
        socket.set_ip_transparent_v4(true)
    })?;
    let v6 = open_listener((Ipv6Addr::UNSPECIFIED, port).into(), |socket| {
        socket.set_ip_transparent_v6(true)
    });
    match v6 {
        Ok(v6) => Ok(vec![v4, v6]),
        Err(error) if lacks_ipv6(&error) => Ok(vec![v4]),
        Err(error) => Err(error),
    }
}

/// Listens on an address of the edge, which need not be up yet (`IP_FREEBIND`). Nothing blocks on it:
/// tokio takes it as it is.
///
/// # Errors
/// Passes on what the kernel says, `AddrInUse` above all.
pub fn listen(address: SocketAddr) -> io::Result<net::TcpListener> {
    open_listener(address, |socket| match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true),
        SocketAddr::V6(_) => socket.set_freebind_v6(true),
    })
}

/// Connects to a server, with `TCP_NODELAY` set.
///
/// # Errors
/// `TimedOut` after `timeout`; `AddrInUse` or `AddrNotAvailable` where no source port could be had;
/// `InvalidInput` where server and source are of different families; else what the network says.
pub async fn connect(
    server: SocketAddr,
    source: Source,
    timeout: Duration,
) -> io::Result<TcpStream> {
    match tokio::time::timeout(timeout, dial(server, source)).await {
        Ok(connected) => {
            let stream = connected?;
            stream.set_nodelay(true)?;
            Ok(stream)
        }
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("{server} did not answer within {} s", timeout.as_secs()),
        )),
    }
}

/// Closes a connection with RST, so that the peer learns at once and nothing lingers.
pub fn reset(stream: TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "Could not set SO_LINGER");
    }
}

/// Takes the IPv4 address out of an IPv4-mapped one: `::ffff:10.0.0.5` becomes `10.0.0.5`.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether the kernel delivers packets for `ip` to this machine, asked of its routing tables at this
/// moment: an address that comes or goes counts from then on. Takes some 10 µs.
///
/// # Errors
/// Passes on what the kernel says, except that an address without a route is not local.
pub fn is_local(ip: IpAddr) -> io::Result<bool> {
    // RTM_GETROUTE 26, RTA_DST 1; rtmsg: family, prefix length of the destination, ten bytes of 0.
    const GET_ROUTE: u16 = 26;
    const DESTINATION: u16 = 1;
    const LOCAL: u8 = 2;
    let mut socket = netlink::Socket::open(Family::Route, 0, LOOKUP_TIMEOUT, |_| Ok(()))?;
    let sequence = socket.reserve(1);
    let mut builder = netlink::Builder::default();
    let (family, bits) = match ip {
        IpAddr::V4(_) => (2, 32),
        IpAddr::V6(_) => (10, 128),
    };
    let header = [family, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    builder.message(
        GET_ROUTE,
        netlink::REQUEST,
        sequence,
        &header,
        |builder| match ip {
            IpAddr::V4(ip) => builder.attribute(DESTINATION, &ip.octets()),
            IpAddr::V6(ip) => builder.attribute(DESTINATION, &ip.octets()),
        },
    );
    socket.send(builder.bytes())?;
    let answer = socket.receive()?;
    let Some(message) = messages(answer).find(|message| message.sequence == sequence) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    match message.errno().map(Errno::from_raw_os_error) {
        // rtm_type is the eighth byte.
        None => Ok(message.body.get(7) == Some(&LOCAL)),
        Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS | Errno::INVAL) => Ok(false),
        Some(Errno::AFNOSUPPORT | Errno::OPNOTSUPP) => Ok(false),
        Some(errno) => Err(errno.into()),
    }
}

fn open_listener(
    address: SocketAddr,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> io::Result<net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    // A restart must not wait for connections of the last run to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    prepare(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn dial(server: SocketAddr, source: Source) -> io::Result<TcpStream> {
    match source {
        Source::Routed => open_socket(server)?.connect(server).await,
        Source::Address(ip) => {
            same_family(server, ip)?;
            let socket = open_socket(server)?;
            socket.bind(SocketAddr::new(ip, 0))?;
            socket.connect(server).await
        }
        Source::Transparent(client) => {
            same_family(server, client.ip())?;
            dial_as(server, client).await
        }
    }
}

async fn dial_as(server: SocketAddr, client: SocketAddr) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for _ in 0..MAX_SOURCE_TRIES {
        let Some(port) = random_port(&TRANSPARENT_PORTS) else {
            break;
        };
        // The client's own leg has this port in connection tracking.
        if port == client.port() {
            continue;
        }
        let socket = Socket::new(
            Domain::for_address(server),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        match client {
            SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
            SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
        }
        let attempt = match socket.bind(&SocketAddr::new(client.ip(), port).into()) {
            Ok(()) => {
                TcpSocket::from_std_stream(socket.into())
                    .connect(server)
                    .await
            }
            Err(error) => Err(error),
        };
        match attempt {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
                ) =>
            {
                last = error;
            }
            outcome => return outcome,
        }
    }
    Err(last)
}

fn open_socket(server: SocketAddr) -> io::Result<TcpSocket> {
    match server {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

fn same_family(server: SocketAddr, source: IpAddr) -> io::Result<()> {
    if server.is_ipv4() == source.is_ipv4() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{server} cannot be dialled from {source}, an address of the other family"),
    ))
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_mapped_address_becomes_ipv4() {
        let mapped: SocketAddr = "[::ffff:10.0.0.5]:21".parse().unwrap();
        assert_eq!(canonical(mapped), "10.0.0.5:21".parse().unwrap());
    }

    #[test]
    fn loopback_is_local_and_a_documentation_address_is_not() {
        assert!(is_local("127.0.0.1".parse().unwrap()).unwrap());
        assert!(!is_local("192.0.2.1".parse().unwrap()).unwrap());
        assert!(!is_local("2001:db8::1".parse().unwrap()).unwrap());
    }

    #[tokio::test]
    async fn dials_a_listener_from_a_chosen_address() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let server = listener.local_addr().unwrap();
        let source = Source::Address("127.0.0.9".parse().unwrap());
        let (stream, accepted) = tokio::join!(
            connect(server, source, Duration::from_secs(5)),
            listener.accept()
        );
        assert!(stream.unwrap().nodelay().unwrap());
        assert_eq!(
            accepted.unwrap().1.ip(),
            "127.0.0.9".parse::<IpAddr>().unwrap()
        );
    }

    #[tokio::test]
    async fn refuses_a_source_of_the_other_family() {
        let source = Source::Address("::1".parse().unwrap());
        let error = connect(
            "127.0.0.1:9".parse().unwrap(),
            source,
            Duration::from_secs(5),
        )
        .await
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}

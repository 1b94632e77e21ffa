//! Ports that the edge announces for others: picked at random, proved free, held while announced.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use rustix::rand::{GetRandomFlags, getrandom};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// How many random ports are tried before [`Ports::lease`] gives up.
pub const MAX_TRIES: usize = 64;

/// Connections that may wait on a lease that listens: one is expected, and strays are taken at once.
const LEASE_BACKLOG: i32 = 16;

/// Random numbers that a thread has in store.
const NUMBERS_DRAWN: usize = 16;

/// A range of ports to announce from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    range: RangeInclusive<u16>,
}

impl Ports {
    /// Takes the range to pick from, both ends included.
    pub fn new(range: RangeInclusive<u16>) -> Self {
        Self { range }
    }

    /// Picks a port of `ip` that is free on this machine, at random (RFC 2577 §8), and holds it.
    ///
    /// `ip` need not be an address of this machine at the moment. `None` after [`MAX_TRIES`] taken
    /// ports, for an empty range, or where the address cannot be bound at all.
    pub fn lease(&self, ip: IpAddr) -> Option<PortLease> {
        self.lease_with(ip, Presence::Freebind)
    }

    /// As [`Ports::lease`], for an address that is another machine's or nobody's, to listen there for those
    /// who dial it (`IP_TRANSPARENT`). Needs CAP_NET_RAW or CAP_NET_ADMIN; and that the firewall delivers what is for
    /// transparent sockets, as the table of portcullis does.
    pub fn lease_transparent(&self, ip: IpAddr) -> Option<PortLease> {
        self.lease_with(ip, Presence::Transparent)
    }

    fn lease_with(&self, ip: IpAddr, presence: Presence) -> Option<PortLease> {
        for _ in 0..MAX_TRIES {
            match PortLease::take(ip, random_port(&self.range)?, presence) {
                Ok(lease) => return Some(lease),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => {
                    tracing::debug!(%ip, %error, "Could not bind a port to announce");
                    return None;
                }
            }
        }
        None
    }
}

/// Proof that a port is free on this machine; dropping it frees the port.
///
/// A TCP socket bound to the port and not listening: the kernel refuses the port to every other
/// socket meanwhile, and answers a SYN that reaches it with RST.
#[derive(Debug)]
pub struct PortLease {
    address: SocketAddr,
    bound: Socket,
}

impl PortLease {
    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The address and the port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens on the port, which others cannot have had meanwhile. Needs a tokio runtime.
    ///
    /// # Errors
    /// Passes on what the kernel says.
    pub fn listen(self) -> io::Result<TcpListener> {
        self.bound.set_nonblocking(true)?;
        self.bound.listen(LEASE_BACKLOG)?;
        TcpListener::from_std(self.bound.into())
    }

    fn take(ip: IpAddr, port: u16, presence: Presence) -> io::Result<Self> {
        let address = SocketAddr::new(ip, port);
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if ip.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        match (presence, ip) {
            (Presence::Freebind, _) => {}
            (Presence::Transparent, IpAddr::V4(_)) => socket.set_ip_transparent_v4(true)?,
            (Presence::Transparent, IpAddr::V6(_)) => socket.set_ip_transparent_v6(true)?,
        }
        // Without SO_REUSEADDR on purpose: sharing the port would prove nothing.
        match (socket.bind(&address.into()), presence) {
            // Asked for where it is needed: almost always the address is here.
            (Err(error), Presence::Freebind) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                match ip {
                    IpAddr::V4(_) => socket.set_freebind_v4(true)?,
                    IpAddr::V6(_) => socket.set_freebind_v6(true)?,
                }
                socket.bind(&address.into())?;
            }
            (bound, _) => bound?,
        }
        Ok(Self {
            address,
            bound: socket,
        })
    }
}

/// Why an address can be bound that this machine does not have.
#[derive(Clone, Copy, Debug)]
enum Presence {
    /// It may come to this machine later (`IP_FREEBIND`), which needs no privilege.
    Freebind,
    /// It is another machine's (`IP_TRANSPARENT`).
    Transparent,
}

/// Picks one port of `range` with the kernel's generator; `None` for an empty range.
pub(super) fn random_port(range: &RangeInclusive<u16>) -> Option<u16> {
    let span = u32::from(range.end().checked_sub(*range.start())?) + 1;
    let random = random_number()?;
    // The bias of the remainder is below 2^-16.
    let offset = u16::try_from(random % span).ok()?;
    range.start().checked_add(offset)
}

/// The next number of the kernel's generator, which is asked for many at a time.
fn random_number() -> Option<u32> {
    thread_local! {
        static DRAWN: Cell<([u32; NUMBERS_DRAWN], usize)> = const { Cell::new(([0; NUMBERS_DRAWN], 0)) };
    }
    let (mut drawn, mut left) = DRAWN.get();
    if left == 0 {
        let mut bytes = [0; NUMBERS_DRAWN * 4];
        // Fewer than 256 bytes are never cut short once the generator is seeded.
        getrandom(&mut bytes, GetRandomFlags::empty()).ok()?;
        let (numbers, _) = bytes.as_chunks();
        for (number, &bytes) in drawn.iter_mut().zip(numbers) {
            *number = u32::from_ne_bytes(bytes);
        }
        left = NUMBERS_DRAWN;
    }
    left -= 1;
    // Each is given once, and is nowhere afterwards.
    let number = drawn.get_mut(left).map(std::mem::take);
    DRAWN.set((drawn, left));
    number
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_leased_port_is_refused_to_others_until_dropped() {
        let lease = Ports::new(40_000..=48_000).lease(HERE).unwrap();
        let address = SocketAddr::new(HERE, lease.port());
        assert!(TcpListener::bind(address).is_err());
        drop(lease);
        assert!(TcpListener::bind(address).is_ok());
    }

    #[test]
    fn skips_a_port_that_is_taken() {
        let taken = TcpListener::bind((HERE, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(Ports::new(port..=port).lease(HERE).is_none());
    }

    #[test]
    fn leases_a_port_of_an_address_that_is_not_here_yet() {
        let absent = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77));
        assert!(Ports::new(40_000..=48_000).lease(absent).is_some());
        let absent = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7));
        assert!(Ports::new(40_000..=48_000).lease(absent).is_some());
    }

    #[tokio::test]
    async fn a_lease_that_listens_takes_connections_on_its_port() {
        let lease = Ports::new(40_000..=48_000).lease(HERE).unwrap();
        let address = lease.address();
        let listener = lease.listen().unwrap();
        let (dialled, taken) =
            tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        assert_eq!(dialled.unwrap().local_addr().unwrap(), taken.unwrap().1);
    }

    #[test]
    fn p32_picked_ports_are_random_and_not_sequential() {
        let ports = Ports::new(49152..=65535);
        let picked: Vec<u16> = (0..64)
            .map(|_| ports.lease(Ipv4Addr::LOCALHOST.into()).unwrap().port())
            .collect();
        let next = |pair: &[u16]| pair[0].abs_diff(pair[1]) == 1;
        let sequential = picked.windows(2).filter(|pair| next(pair)).count();
        // 63 pairs, each with a chance of 1 in 8192 by chance.
        assert!(sequential < 3, "{picked:?}");
        let distinct: std::collections::BTreeSet<_> = picked.iter().collect();
        assert!(distinct.len() > 56, "{picked:?}");
    }

    #[test]
    fn random_ports_stay_in_the_range_and_reach_both_ends() {
        let seen: std::collections::BTreeSet<_> = (0..500)
            .filter_map(|_| random_port(&(5000..=5003)))
            .collect();
        assert_eq!(seen, [5000, 5001, 5002, 5003].into());
        let (high, low) = (9, 5);
        assert_eq!(random_port(&(high..=low)), None);
    }
}

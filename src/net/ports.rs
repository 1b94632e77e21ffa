//! Ports that the edge announces for others: picked at random, proved free, held while announced.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use rustix::rand::{GetRandomFlags, getrandom};
use socket2::{Domain, Protocol, Socket, Type};

/// How many random ports are tried before [`Ports::lease`] gives up.
pub const MAX_TRIES: usize = 64;

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
        for _ in 0..MAX_TRIES {
            match PortLease::take(ip, random_port(&self.range)?) {
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
/// A TCP socket bound to the port and never listening: the kernel refuses the port to every other
/// socket meanwhile, and answers a SYN that reaches it with RST.
#[derive(Debug)]
pub struct PortLease {
    port: u16,
    _bound: Socket,
}

impl PortLease {
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn take(ip: IpAddr, port: u16) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(SocketAddr::new(ip, port)),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        match ip {
            IpAddr::V4(_) => socket.set_freebind_v4(true)?,
            IpAddr::V6(_) => {
                socket.set_only_v6(true)?;
                socket.set_freebind_v6(true)?;
            }
        }
        // Without SO_REUSEADDR on purpose: sharing the port would prove nothing.
        socket.bind(&SocketAddr::new(ip, port).into())?;
        Ok(Self {
            port,
            _bound: socket,
        })
    }
}

/// Picks one port of `range` with the kernel's generator; `None` for an empty range.
pub(super) fn random_port(range: &RangeInclusive<u16>) -> Option<u16> {
    let span = u32::from(range.end().checked_sub(*range.start())?) + 1;
    let mut bytes = [0; 4];
    // Fewer than 256 bytes are never cut short once the generator is seeded.
    getrandom(&mut bytes, GetRandomFlags::empty()).ok()?;
    // The bias of the remainder is below 2^-16.
    let offset = u16::try_from(u32::from_ne_bytes(bytes) % span).ok()?;
    range.start().checked_add(offset)
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

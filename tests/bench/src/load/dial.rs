//! Sockets of the client: from which address, and no call more than needed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use anyhow::{Context, ensure};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A network whose hosts the client has all.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    first: IpAddr,
    count: u128,
}

impl FromStr for Addresses {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (address, bits) = text.split_once('/').unwrap_or((text, ""));
        let first: IpAddr = address.parse().context("no address")?;
        let width = if first.is_ipv4() { 32 } else { 128 };
        let bits: u32 = match bits {
            "" => width,
            bits => bits.parse().context("no number of bits")?,
        };
        ensure!(bits <= width, "more bits than an address has");
        let hosts = 1u128.checked_shl(width - bits).unwrap_or(u128::MAX);
        // Neither the network's own address nor the one that reaches all.
        let (skipped, count) = match hosts {
            0..=2 => (0, hosts),
            _ => (1, hosts - 2),
        };
        let first = add(first, skipped);
        Ok(Self { first, count })
    }
}

impl Addresses {
    /// The address of a session; they go round.
    pub fn nth(self, session: usize) -> IpAddr {
        add(self.first, session as u128 % self.count)
    }
}

fn add(ip: IpAddr, offset: u128) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let offset = u32::try_from(offset).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits().wrapping_add(offset)).into()
        }
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits().wrapping_add(offset)).into(),
    }
}

/// Connects, from an address where one is given.
pub(super) async fn connect(from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.connect(to).await
}

/// Listens for one data connection; gives the port as well.
pub(super) fn listen(ip: IpAddr) -> io::Result<(Socket, u16)> {
    let at = SocketAddr::new(ip, 0);
    let socket = Socket::new(Domain::for_address(at), Type::STREAM.nonblocking(), None)?;
    socket.bind(&at.into())?;
    socket.listen(1)?;
    let own = socket.local_addr()?.as_socket();
    let port = own.ok_or(io::ErrorKind::Unsupported)?.port();
    Ok((socket, port))
}

/// Takes the one connection; as a rule it is there by now, and nothing has to be waited for.
pub(super) async fn accept(listener: Socket) -> io::Result<TcpStream> {
    match accept_with(&listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
        Ok(stream) => TcpStream::from_std(stream.into()),
        Err(Errno::AGAIN) => {
            let listener = TcpListener::from_std(listener.into())?;
            Ok(listener.accept().await?.0)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_take_the_hosts_of_a_network_in_turn() {
        let pair: Addresses = "10.61.0.0/30".parse().unwrap();
        let told: Vec<String> = (0..3).map(|n| pair.nth(n).to_string()).collect();
        assert_eq!(told, ["10.61.0.1", "10.61.0.2", "10.61.0.1"]);
        let one: Addresses = "fd60:1::2".parse().unwrap();
        assert_eq!(one.nth(7).to_string(), "fd60:1::2");
        assert!("10.61.0.0/33".parse::<Addresses>().is_err());
    }
}

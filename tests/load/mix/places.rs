//! Who is where: addresses that tell of each connection which side and which client it belongs to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::lab::{Family, Host, Lab};

/// Where a client is; its servers are on the other side of the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// Behind NAT: its connections are taken on their way.
    Inside,
    /// Outside, with the published servers.
    Outside,
}

pub(super) const SIDES: [Side; 2] = [Side::Inside, Side::Outside];
pub(super) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// vsftpd's port as clients dial it: by the kernel's data path, by the relay.
pub(super) const HONEST_PORTS: [u16; 2] = [21, 2100];
/// The same of hostile servers.
pub(super) const HOSTILE_PORTS: [u16; 2] = [2021, 2022];
/// Ports that nobody announces in good faith: whoever comes there came through the edge.
pub(super) const VICTIM_PORTS: [u16; 2] = [22, 40_022];

/// The group of addresses that honest clients have; hostile ones have their kind's number.
pub(super) const HONEST: u8 = 100;
/// The group of third hosts.
pub(super) const STRANGERS: u8 = 101;

/// Whose address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Who {
    pub(super) side: Side,
    pub(super) group: u8,
    pub(super) number: u8,
}

impl Side {
    /// The other one.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Inside => Self::Outside,
            Self::Outside => Self::Inside,
        }
    }

    /// The host of its clients, and of the servers of the other side's clients.
    pub(super) fn host(self, lab: &Lab) -> &Host {
        match self {
            Self::Inside => &lab.client,
            Self::Outside => &lab.server,
        }
    }

    /// What its clients dial.
    pub(super) fn dialled(self, family: Family, port: u16) -> SocketAddr {
        let ip: IpAddr = match (self, family) {
            (Self::Inside, Family::V4) => Ipv4Addr::new(198, 51, 100, 20).into(),
            (Self::Inside, Family::V6) => {
                Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 0x20).into()
            }
            (Self::Outside, Family::V4) => Ipv4Addr::new(198, 51, 100, 1).into(),
            (Self::Outside, Family::V6) => Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 1).into(),
        };
        (ip, port).into()
    }

    /// The word for it in a line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
        }
    }
}

impl Who {
    pub(super) fn address(self, family: Family) -> IpAddr {
        let (group, number) = (self.group, self.number);
        let [high, low] = [group, number].map(u16::from);
        match (self.side, family) {
            (Side::Inside, Family::V4) => Ipv4Addr::new(10, 61, group, number).into(),
            (Side::Outside, Family::V4) => Ipv4Addr::new(198, 18, group, number).into(),
            (Side::Inside, Family::V6) => Ipv6Addr::new(0xfd61, 0, 0, 0, 0, 0, high, low).into(),
            (Side::Outside, Family::V6) => {
                Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, high, low).into()
            }
        }
    }

    /// Reads it from an address; `None` for those of the topology itself.
    pub(super) fn of(ip: IpAddr) -> Option<Self> {
        let (side, group, number) = match ip {
            IpAddr::V4(ip) => match ip.octets() {
                [10, 61, group, number] => (Side::Inside, group, number),
                [198, 18, group, number] => (Side::Outside, group, number),
                _ => return None,
            },
            IpAddr::V6(ip) => match ip.segments() {
                [0xfd61, 0, 0, 0, 0, 0, group, number] => (Side::Inside, low(group), low(number)),
                [0x2001, 0xdb8, 0x18, 0, 0, 0, group, number] => {
                    (Side::Outside, low(group), low(number))
                }
                _ => return None,
            },
        };
        Some(Self {
            side,
            group,
            number,
        })
    }
}

fn low(segment: u16) -> u8 {
    u8::try_from(segment).unwrap_or(0)
}

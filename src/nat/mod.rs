//! Translation: which addresses a data connection has at each end, decided by one plan.
//!
//! Each end must see the data connection come from, and go to, the same peer address as its control
//! connection. Four addresses say all there is to say about a session's control legs, and every
//! case (client behind NAT, published server, no translation, both at once) follows from them.

use std::net::{IpAddr, SocketAddr};

use crate::pinhole::Pinhole;

/// The addresses of the two control connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Legs {
    /// The client's own address, as the edge sees it.
    pub client: IpAddr,
    /// The address that the client dialled.
    pub dialled: IpAddr,
    /// The server's own address.
    pub server: IpAddr,
    /// The address that the server sees as its client.
    pub seen: IpAddr,
}

impl Legs {
    /// Whether all four are of one family, as the kernel's translation needs.
    pub fn of_one_family(&self) -> bool {
        let v4 = self.client.is_ipv4();
        [self.dialled, self.server, self.seen]
            .iter()
            .all(|address| address.is_ipv4() == v4)
    }

    /// The address of the edge that an active transfer is announced at, where that is not the
    /// client's own; a free port is needed there.
    pub fn active_needs_port_at(&self) -> Option<IpAddr> {
        (self.seen != self.client).then_some(self.seen)
    }

    /// The address of the edge that a passive transfer is announced at, where that is not the
    /// server's own; a free port is needed there.
    pub fn passive_needs_port_at(&self) -> Option<IpAddr> {
        (self.dialled != self.server).then_some(self.dialled)
    }

    /// The pinhole for a server that dials the client's `port`.
    ///
    /// `leased` is the port at [`Self::active_needs_port_at`], or at `seen` where the data is relayed.
    pub fn plan_active(&self, port: u16, leased: Option<u16>, from_port_20: bool) -> Pinhole {
        let announced = leased.unwrap_or(port);
        Pinhole {
            initiator: self.server,
            announced: SocketAddr::new(self.seen, announced),
            target: SocketAddr::new(self.client, port),
            source: self.dialled,
            from_port_20,
        }
    }

    /// The pinhole for a client that dials the server's `port`.
    ///
    /// `leased` is the port at [`Self::passive_needs_port_at`], or at `dialled` where the data is
    /// relayed.
    pub fn plan_passive(&self, port: u16, leased: Option<u16>) -> Pinhole {
        let announced = leased.unwrap_or(port);
        Pinhole {
            initiator: self.client,
            announced: SocketAddr::new(self.dialled, announced),
            target: SocketAddr::new(self.server, port),
            source: self.seen,
            from_port_20: false,
        }
    }

    /// The pinhole for a server that dials a third host (FXP), which is announced as it is.
    pub fn plan_foreign(&self, endpoint: SocketAddr, from_port_20: bool) -> Pinhole {
        Pinhole {
            initiator: self.server,
            announced: endpoint,
            target: endpoint,
            source: self.dialled,
            from_port_20,
        }
    }
}

/// Whether no data connection may ever have this address (protocol rule 30): unspecified, loopback,
/// multicast, broadcast or link-local.
pub fn is_forbidden(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_unspecified()
                || v4.octets().first() == Some(&0)
                || v4.is_loopback()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_link_local()
        }
        IpAddr::V6(v6) => {
            v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legs(client: &str, dialled: &str, server: &str, seen: &str) -> Legs {
        let ip = |text: &str| text.parse().unwrap();
        Legs {
            client: ip(client),
            dialled: ip(dialled),
            server: ip(server),
            seen: ip(seen),
        }
    }

    fn shown(pinhole: Pinhole) -> String {
        pinhole.to_string()
    }

    #[test]
    fn client_behind_nat() {
        let legs = legs(
            "10.60.1.2",
            "198.51.100.20",
            "198.51.100.20",
            "198.51.100.1",
        );
        assert_eq!(
            shown(legs.plan_active(4000, legs.active_needs_port_at().map(|_| 50000), false)),
            "198.51.100.20 → 198.51.100.1:50000 → 10.60.1.2:4000"
        );
        assert_eq!(
            shown(legs.plan_passive(3000, legs.passive_needs_port_at().map(|_| 50000))),
            "10.60.1.2 → 198.51.100.20:3000 as 198.51.100.1"
        );
    }

    #[test]
    fn published_server_that_sees_the_client() {
        let legs = legs(
            "198.51.100.40",
            "198.51.100.1",
            "10.70.0.2",
            "198.51.100.40",
        );
        assert_eq!(
            shown(legs.plan_active(4000, legs.active_needs_port_at().map(|_| 50000), false)),
            "10.70.0.2 → 198.51.100.40:4000 as 198.51.100.1"
        );
        assert_eq!(
            shown(legs.plan_passive(3000, legs.passive_needs_port_at().map(|_| 50000))),
            "198.51.100.40 → 198.51.100.1:50000 → 10.70.0.2:3000"
        );
    }

    #[test]
    fn published_server_that_sees_the_edge() {
        let legs = legs("198.51.100.40", "198.51.100.1", "10.70.0.2", "10.70.0.1");
        assert_eq!(
            shown(legs.plan_active(4000, legs.active_needs_port_at().map(|_| 50000), false)),
            "10.70.0.2 → 10.70.0.1:50000 → 198.51.100.40:4000 as 198.51.100.1"
        );
        assert_eq!(
            shown(legs.plan_passive(3000, legs.passive_needs_port_at().map(|_| 50000))),
            "198.51.100.40 → 198.51.100.1:50000 → 10.70.0.2:3000 as 10.70.0.1"
        );
    }

    #[test]
    fn pure_firewall() {
        let legs = legs(
            "2001:db8:1::2",
            "2001:db8:2::2",
            "2001:db8:2::2",
            "2001:db8:1::2",
        );
        assert_eq!(
            shown(legs.plan_active(4000, legs.active_needs_port_at().map(|_| 50000), false)),
            "2001:db8:2::2 → [2001:db8:1::2]:4000"
        );
        assert_eq!(
            shown(legs.plan_passive(3000, legs.passive_needs_port_at().map(|_| 50000))),
            "2001:db8:1::2 → [2001:db8:2::2]:3000"
        );
    }

    #[test]
    fn p30_addresses_that_no_data_connection_may_have() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "169.254.1.1",
            "::",
            "::1",
            "ff02::1",
            "fe80::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(is_forbidden(text.parse().unwrap()), "{text}");
        }
        for text in ["10.0.0.1", "198.51.100.1", "2001:db8::1", "fd00::1"] {
            assert!(!is_forbidden(text.parse().unwrap()), "{text}");
        }
    }
}

//! Sets of addresses, and the reading of networks as operators write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A set of addresses, as sorted ranges that do not touch: a look-up halves them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Networks {
    written: Vec<IpNet>,
    ranges: Vec<(IpAddr, IpAddr)>,
}

impl Networks {
    /// Takes networks in any order, overlapping or not.
    pub(super) fn new(written: Vec<IpNet>) -> Self {
        let mut all: Vec<(IpAddr, IpAddr)> = written
            .iter()
            .map(|net| (net.network(), net.broadcast()))
            .collect();
        all.sort();
        let mut ranges: Vec<(IpAddr, IpAddr)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match ranges.last_mut() {
                // IPv4 sorts before IPv6, so a range never spans both.
                Some(range)
                    if range.0.is_ipv4() == first.is_ipv4()
                        && (first <= range.1 || next(range.1) == Some(first)) =>
                {
                    range.1 = range.1.max(last);
                }
                _ => ranges.push((first, last)),
            }
        }
        Self { written, ranges }
    }

    /// Whether the address is in the set; an IPv4-mapped one counts as IPv4.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let after = self.ranges.partition_point(|(first, _)| *first <= address);
        after
            .checked_sub(1)
            .and_then(|index| self.ranges.get(index))
            .is_some_and(|(first, last)| first.is_ipv4() == address.is_ipv4() && address <= *last)
    }

    /// Whether every address of `other` is in the set; `None` stands for every address there is.
    pub(super) fn covers(&self, other: Option<&Self>) -> bool {
        let everything = [
            (
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V4(Ipv4Addr::BROADCAST),
            ),
            (
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
            ),
        ];
        let theirs = other.map_or(everything.as_slice(), |other| other.ranges.as_slice());
        theirs.iter().all(|(first, last)| {
            let mut ours = self.ranges.iter();
            ours.any(|(from, to)| from.is_ipv4() == first.is_ipv4() && from <= first && last <= to)
        })
    }

    /// Gives the networks as written.
    pub(super) fn written(&self) -> &[IpNet] {
        &self.written
    }
}

/// Reads a network or a single address; `None` where it is neither.
///
/// # Errors
/// Gives the network meant where bits are set outside the mask (`10.0.0.1/8`), or where IPv4 is
/// written in IPv6 (`::ffff:10.0.0.0/104`), which no address would match.
pub(super) fn parse(text: &str) -> Option<Result<IpNet, IpNet>> {
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().ok()?,
    };
    let meant = unmapped(net).unwrap_or_else(|| net.trunc());
    Some(if meant == net { Ok(net) } else { Err(meant) })
}

/// The address behind one, in its family.
fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4
            .to_bits()
            .checked_add(1)
            .map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(v6) => v6
            .to_bits()
            .checked_add(1)
            .map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

fn unmapped(net: IpNet) -> Option<IpNet> {
    let length = net.prefix_len().checked_sub(96)?;
    match net.network().to_canonical() {
        IpAddr::V4(address) if matches!(net, IpNet::V6(_)) => {
            IpNet::new(address.into(), length).ok()
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(written: &[&str]) -> Networks {
        Networks::new(written.iter().map(|net| net.parse().unwrap()).collect())
    }

    #[test]
    fn contains_what_is_written_and_nothing_beside_it() {
        let nets = networks(&["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "192.0.2.1/32"]);
        for inside in [
            "10.255.255.255",
            "2001:db8::1",
            "192.0.2.1",
            "::ffff:10.0.0.1",
        ] {
            assert!(nets.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "11.0.0.0",
            "9.255.255.255",
            "2001:db9::",
            "192.0.2.2",
            "::1",
        ] {
            assert!(!nets.contains(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn families_stay_apart() {
        assert!(!networks(&["0.0.0.0/0"]).contains("::1".parse().unwrap()));
        assert!(!networks(&["::/0"]).contains("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn sets_cover_one_another_by_their_addresses() {
        let halves = networks(&["10.0.0.0/9", "10.128.0.0/9"]);
        assert!(halves.covers(Some(&networks(&["10.0.0.0/8", "10.127.255.0/23"]))));
        assert!(!halves.covers(Some(&networks(&["10.0.0.0/7"]))));
        assert!(!halves.covers(None));
        assert!(!networks(&["0.0.0.0/0"]).covers(None));
        assert!(networks(&["0.0.0.0/0", "::/0"]).covers(None));
    }

    #[test]
    fn names_the_network_that_was_meant() {
        assert_eq!(
            parse("10.0.0.1/8"),
            Some(Err("10.0.0.0/8".parse().unwrap()))
        );
        assert_eq!(
            parse("::ffff:10.0.0.0/104"),
            Some(Err("10.0.0.0/8".parse().unwrap()))
        );
        assert_eq!(
            parse("2001:db8::1"),
            Some(Ok("2001:db8::1/128".parse().unwrap()))
        );
        assert_eq!(parse("partners"), None);
    }
}

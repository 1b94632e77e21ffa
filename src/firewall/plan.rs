//! What opening and closing a pinhole changes in the table, as values.
//!
//! Pure. Each element is given with the nft text it equals.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::pinhole::Pinhole;

/// How much longer translations live than the permission itself: a SYN admitted in the last moment must
/// still find where it goes.
pub const TRANSLATION_GRACE: Duration = Duration::from_secs(2);

/// One element of a set, or of a map where it has data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The set's name.
    pub set: Cow<'static, str>,
    /// The key: fields in network order, each padded to 4 bytes.
    pub key: Vec<u8>,
    /// What a map gives for the key, laid out in the same way.
    pub data: Option<Vec<u8>>,
}

/// One change to the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds an element that must not be there.
    Add {
        /// The element.
        element: Element,
        /// How long the kernel keeps it.
        lifetime: Duration,
    },
    /// Removes an element, which may be gone already.
    Remove {
        /// The element; its data is not looked at.
        element: Element,
    },
}

/// Plans the changes that open `pinhole` for `lifetime`; all must happen in one transaction.
pub fn plan_open(pinhole: &Pinhole, lifetime: Duration) -> Vec<Change> {
    let translations = translations(pinhole).map(|element| Change::Add {
        element,
        lifetime: lifetime.saturating_add(TRANSLATION_GRACE),
    });
    translations
        .chain([Change::Add {
            element: admission(pinhole),
            lifetime,
        }])
        .collect()
}

/// Plans the changes that close `pinhole`, whether it was used or not.
pub fn plan_close(pinhole: &Pinhole) -> Vec<Change> {
    [admission(pinhole)]
        .into_iter()
        .chain(translations(pinhole))
        .map(|element| Change::Remove { element })
        .collect()
}

/// `add element inet portcullis admit4 { $initiator . $announced_ip . $announced_port timeout $lifetime }`,
/// and `admit4_from20` where the source port must be 20
fn admission(pinhole: &Pinhole) -> Element {
    let set = match (pinhole.initiator, pinhole.from_port_20) {
        (IpAddr::V4(_), false) => "admit4",
        (IpAddr::V4(_), true) => "admit4_from20",
        (IpAddr::V6(_), false) => "admit6",
        (IpAddr::V6(_), true) => "admit6_from20",
    };
    Element {
        set: Cow::Borrowed(set),
        key: tuple(pinhole.initiator, pinhole.announced),
        data: None,
    }
}

fn translations(pinhole: &Pinhole) -> impl Iterator<Item = Element> {
    let redirected = pinhole.redirects();
    [
        redirected.then(|| redirect(pinhole)),
        redirected.then(|| lease(pinhole)),
        pinhole.translates_source().then(|| source(pinhole)),
    ]
    .into_iter()
    .flatten()
}

/// `add element inet portcullis redirect4 { $initiator . $announced_ip . $announced_port timeout $lifetime :
/// $target_ip . $target_port }`
fn redirect(pinhole: &Pinhole) -> Element {
    Element {
        set: by_family(pinhole, "redirect4", "redirect6"),
        key: tuple(pinhole.initiator, pinhole.announced),
        data: Some(endpoint(pinhole.target)),
    }
}

/// `add element inet portcullis leased4 { $announced_ip . $announced_port timeout $lifetime }`
fn lease(pinhole: &Pinhole) -> Element {
    Element {
        set: by_family(pinhole, "leased4", "leased6"),
        key: endpoint(pinhole.announced),
        data: None,
    }
}

/// `add element inet portcullis source4 { $initiator . $target_ip . $target_port timeout $lifetime : $source }`
///
/// The key is what the packet looks like behind the other translation.
fn source(pinhole: &Pinhole) -> Element {
    Element {
        set: by_family(pinhole, "source4", "source6"),
        key: tuple(pinhole.initiator, pinhole.target),
        data: Some(address(pinhole.source)),
    }
}

fn by_family(pinhole: &Pinhole, v4: &'static str, v6: &'static str) -> Cow<'static, str> {
    match pinhole.initiator {
        IpAddr::V4(_) => Cow::Borrowed(v4),
        IpAddr::V6(_) => Cow::Borrowed(v6),
    }
}

fn tuple(from: IpAddr, to: SocketAddr) -> Vec<u8> {
    [address(from), endpoint(to)].concat()
}

fn endpoint(endpoint: SocketAddr) -> Vec<u8> {
    let [high, low] = endpoint.port().to_be_bytes();
    let mut bytes = address(endpoint.ip());
    bytes.extend_from_slice(&[high, low, 0, 0]);
    bytes
}

pub(super) fn address(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(60);

    pub(in crate::firewall) fn pinhole(
        initiator: &str,
        announced: &str,
        target: &str,
        source: &str,
    ) -> Pinhole {
        Pinhole {
            initiator: initiator.parse().unwrap(),
            announced: announced.parse().unwrap(),
            target: target.parse().unwrap(),
            source: source.parse().unwrap(),
            from_port_20: false,
        }
    }

    fn sets(changes: &[Change]) -> Vec<&str> {
        changes
            .iter()
            .map(|change| match change {
                Change::Add { element, .. } | Change::Remove { element } => &*element.set,
            })
            .collect()
    }

    #[test]
    fn a_pinhole_without_translation_is_one_element() {
        let plain = pinhole(
            "10.0.0.2",
            "198.51.100.20:5000",
            "198.51.100.20:5000",
            "10.0.0.2",
        );
        assert_eq!(sets(&plan_open(&plain, LIFETIME)), ["admit4"]);
        assert_eq!(sets(&plan_close(&plain)), ["admit4"]);
    }

    #[test]
    fn source_port_20_goes_by_its_own_set() {
        let mut plain = pinhole("fd00::2", "[fd01::3]:5000", "[fd01::3]:5000", "fd00::2");
        plain.from_port_20 = true;
        assert_eq!(sets(&plan_open(&plain, LIFETIME)), ["admit6_from20"]);
    }

    #[test]
    fn a_translated_source_is_looked_up_by_the_target() {
        let masked = pinhole("10.0.0.2", "192.0.2.1:5000", "10.9.0.3:6000", "10.9.0.1");
        let changes = plan_open(&masked, LIFETIME);
        assert_eq!(
            sets(&changes),
            ["redirect4", "leased4", "source4", "admit4"]
        );
        assert_eq!(
            changes[2],
            Change::Add {
                element: Element {
                    set: "source4".into(),
                    key: vec![10, 0, 0, 2, 10, 9, 0, 3, 0x17, 0x70, 0, 0],
                    data: Some(vec![10, 9, 0, 1]),
                },
                lifetime: LIFETIME + TRANSLATION_GRACE,
            }
        );
    }

    #[test]
    fn closing_removes_what_opening_added() {
        for pinhole in [
            pinhole("10.0.0.2", "192.0.2.1:5000", "10.9.0.3:6000", "10.9.0.1"),
            pinhole("10.0.0.2", "192.0.2.1:5000", "10.9.0.3:6000", "10.0.0.2"),
            pinhole("fd00::2", "[fd01::3]:5000", "[fd01::3]:5000", "fd01::1"),
        ] {
            let mut added: Vec<_> = plan_open(&pinhole, LIFETIME)
                .into_iter()
                .filter_map(|change| match change {
                    Change::Add { element, .. } => Some((element.set, element.key)),
                    Change::Remove { .. } => None,
                })
                .collect();
            let mut removed: Vec<_> = plan_close(&pinhole)
                .into_iter()
                .filter_map(|change| match change {
                    Change::Remove { element } => Some((element.set, element.key)),
                    Change::Add { .. } => None,
                })
                .collect();
            added.sort();
            removed.sort();
            assert_eq!(added, removed);
        }
    }
}

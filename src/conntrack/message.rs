//! ctnetlink messages: events and entries decoded, questions encoded.
//!
//! Numbers are those of `include/uapi/linux/netfilter/nfnetlink_conntrack.h`. Decoding never panics,
//! whatever the bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::Key;
use crate::config::Mark;
use crate::net::netlink::{Builder, CREATE, DUMP, Message, REQUEST, attributes};
use crate::pinhole::Counters;

/// IPCTNL_MSG_CT_NEW, which also says that an entry changed.
pub(super) const CT_NEW: u16 = 1 << 8;
/// IPCTNL_MSG_CT_GET.
const CT_GET: u16 = (1 << 8) | 1;
/// IPCTNL_MSG_CT_DELETE.
pub(super) const CT_DELETE: u16 = (1 << 8) | 2;
/// CTA_PROTOINFO.
pub(super) const PROTOINFO: u16 = 4;
/// Where the attributes begin: behind nlmsghdr and nfgenmsg.
pub(super) const ATTRIBUTES_AT: u32 = 20;
/// TCP_CONNTRACK_TIME_WAIT.
pub(super) const TIME_WAIT: u8 = 7;
/// TCP_CONNTRACK_CLOSE.
pub(super) const CLOSED: u8 = 8;

const NFGENMSG: usize = 4;
const TCP: u8 = 6;

/// One connection in the direction in which it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// Who dialled what.
    pub key: Key,
    /// From which port.
    pub source_port: u16,
    /// The connection tracking zone; 0 where none is set.
    pub zone: u16,
}

/// How far a TCP connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TcpState {
    /// Not ended.
    Running,
    /// Closed by both sides (TIME_WAIT) or reset (CLOSE).
    Ended,
}

/// What a message says about one TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which.
    pub flow: Flow,
    /// The kernel's name for the entry; two entries of the same flow differ in it.
    pub id: u32,
    /// How far it is.
    pub state: TcpState,
    /// What was counted; `None` in events other than the last, or where counting is off.
    pub counters: Option<Counters>,
    /// When it began, nanoseconds since 1970; `None` where timestamps are off.
    pub started: Option<u64>,
    /// When the entry went, nanoseconds since 1970.
    pub stopped: Option<u64>,
}

/// What kind of message an entry came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The connection began.
    New,
    /// It changed, or it is the answer to a question.
    Update,
    /// Its entry went.
    Destroyed,
}

/// Tells what kind of message this is; `None` for those of other subsystems.
pub(super) fn kind(message: &Message<'_>) -> Option<Kind> {
    match message.kind {
        CT_NEW if message.flags & CREATE != 0 => Some(Kind::New),
        CT_NEW => Some(Kind::Update),
        CT_DELETE => Some(Kind::Destroyed),
        _ => None,
    }
}

/// Reads an entry; `None` for anything but a TCP connection.
pub fn decode(message: &Message<'_>) -> Option<Entry> {
    let mut flow = None;
    let mut zone = 0;
    let mut entry = Entry {
        flow: Flow {
            key: Key {
                initiator: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                announced: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            },
            source_port: 0,
            zone: 0,
        },
        id: 0,
        state: TcpState::Running,
        counters: None,
        started: None,
        stopped: None,
    };
    let (mut forth, mut back) = (None, None);
    for (kind, value) in message.attributes(NFGENMSG) {
        match kind {
            1 => flow = decode_tuple(value),
            PROTOINFO => entry.state = decode_state(value),
            9 => forth = decode_counter(value),
            10 => back = decode_counter(value),
            12 => entry.id = u32::from_be_bytes(*value.first_chunk()?),
            18 => zone = u16::from_be_bytes(*value.first_chunk()?),
            20 => {
                entry.started = find(value, 1).and_then(be64);
                entry.stopped = find(value, 2).and_then(be64);
            }
            _ => {}
        }
    }
    entry.flow = Flow { zone, ..flow? };
    if let (Some((packets_forth, bytes_forth)), Some((packets_back, bytes_back))) = (forth, back) {
        entry.counters = Some(Counters {
            packets_forth,
            bytes_forth,
            packets_back,
            bytes_back,
        });
    }
    Some(entry)
}

/// Whether this is about a connection with `mark`.
pub(super) fn has_mark(message: &Message<'_>, mark: Mark) -> bool {
    let attribute = message.attributes(NFGENMSG).find(|&(kind, _)| kind == 8);
    // CTA_MARK is left out where it is 0.
    let found = attribute.and_then(|(_, value)| Some(u32::from_be_bytes(*value.first_chunk()?)));
    found.unwrap_or(0) & mark.mask == mark.value
}

/// Asks for the entry of `flow`.
pub(super) fn ask_for(builder: &mut Builder, sequence: u32, flow: &Flow) {
    let family = family(flow.key.initiator);
    builder.message(CT_GET, REQUEST, sequence, &[family, 0, 0, 0], |builder| {
        builder.nest(1, |builder| {
            builder.nest(1, |builder| {
                write_address(builder, flow.key.initiator, (1, 3));
                write_address(builder, flow.key.announced.ip(), (2, 4));
            });
            builder.nest(2, |builder| {
                builder.attribute(1, &[TCP]);
                builder.attribute(2, &flow.source_port.to_be_bytes());
                builder.attribute(3, &flow.key.announced.port().to_be_bytes());
            });
        });
        if flow.zone != 0 {
            builder.attribute(18, &flow.zone.to_be_bytes());
        }
    });
}

/// Asks for all entries with `mark`, of both families.
pub(super) fn ask_for_all(builder: &mut Builder, sequence: u32, mark: Mark) {
    builder.message(CT_GET, REQUEST | DUMP, sequence, &[0; 4], |builder| {
        builder.attribute(8, &mark.value.to_be_bytes());
        builder.attribute(21, &mark.mask.to_be_bytes());
    });
}

fn family(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 10,
    }
}

fn write_address(builder: &mut Builder, ip: IpAddr, (v4, v6): (u16, u16)) {
    match ip {
        IpAddr::V4(ip) => builder.attribute(v4, &ip.octets()),
        IpAddr::V6(ip) => builder.attribute(v6, &ip.octets()),
    }
}

fn decode_tuple(tuple: &[u8]) -> Option<Flow> {
    let addresses = find(tuple, 1)?;
    let ports = find(tuple, 2)?;
    if find(ports, 1)? != [TCP] {
        return None;
    }
    Some(Flow {
        key: Key {
            initiator: decode_address(addresses, (1, 3))?,
            announced: SocketAddr::new(
                decode_address(addresses, (2, 4))?,
                find(ports, 3).and_then(be16)?,
            ),
        },
        source_port: find(ports, 2).and_then(be16)?,
        zone: 0,
    })
}

fn decode_address(addresses: &[u8], (v4, v6): (u16, u16)) -> Option<IpAddr> {
    let v4 = find(addresses, v4).and_then(|value| <[u8; 4]>::try_from(value).ok());
    let v6 = find(addresses, v6).and_then(|value| <[u8; 16]>::try_from(value).ok());
    v4.map(|octets| Ipv4Addr::from(octets).into())
        .or_else(|| v6.map(|octets| Ipv6Addr::from(octets).into()))
}

fn decode_state(protocol: &[u8]) -> TcpState {
    match find(protocol, 1).and_then(|tcp| find(tcp, 1)) {
        Some([TIME_WAIT | CLOSED]) => TcpState::Ended,
        _ => TcpState::Running,
    }
}

fn decode_counter(counter: &[u8]) -> Option<(u64, u64)> {
    Some((
        find(counter, 1).and_then(be64)?,
        find(counter, 2).and_then(be64)?,
    ))
}

fn find(nest: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(nest).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

fn be16(value: &[u8]) -> Option<u16> {
    value.try_into().map(u16::from_be_bytes).ok()
}

fn be64(value: &[u8]) -> Option<u64> {
    value.try_into().map(u64::from_be_bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::net::netlink::messages;

    fn flow(initiator: &str, announced: &str) -> Flow {
        Flow {
            key: Key {
                initiator: initiator.parse().unwrap(),
                announced: announced.parse().unwrap(),
            },
            source_port: 40_001,
            zone: 7,
        }
    }

    #[test]
    fn a_question_names_the_flow_it_asks_for() {
        for flow in [
            flow("10.0.0.2", "192.0.2.1:5000"),
            flow("fd00::2", "[fd01::3]:5000"),
        ] {
            let mut builder = Builder::default();
            ask_for(&mut builder, 9, &flow);
            let message = messages(builder.bytes()).next().unwrap();
            assert_eq!(decode(&message).unwrap().flow, flow);
        }
    }

    #[test]
    fn an_entry_gives_counters_state_and_times() {
        let mut builder = Builder::default();
        let count = |builder: &mut Builder, packets: u64, bytes: u64| {
            builder.attribute(1, &packets.to_be_bytes());
            builder.attribute(2, &bytes.to_be_bytes());
        };
        builder.message(CT_DELETE, 0, 0, &[2, 0, 0, 0], |builder| {
            builder.nest(1, |builder| {
                builder.nest(1, |builder| {
                    builder.attribute(1, &[10, 0, 0, 2]);
                    builder.attribute(2, &[10, 0, 0, 3]);
                });
                builder.nest(2, |builder| {
                    builder.attribute(1, &[6]);
                    builder.attribute(2, &[0, 20]);
                    builder.attribute(3, &[0x13, 0x88]);
                });
            });
            builder.nest(PROTOINFO, |builder| {
                builder.nest(1, |builder| builder.attribute(1, &[TIME_WAIT]));
            });
            builder.nest(9, |builder| count(builder, 3, 180));
            builder.nest(10, |builder| count(builder, 2, 120));
            builder.nest(20, |builder| {
                builder.attribute(1, &5_u64.to_be_bytes());
                builder.attribute(2, &9_u64.to_be_bytes());
            });
        });
        let message = messages(builder.bytes()).next().unwrap();
        let entry = decode(&message).unwrap();
        assert_eq!(kind(&message), Some(Kind::Destroyed));
        assert_eq!(entry.flow.source_port, 20);
        assert_eq!(entry.state, TcpState::Ended);
        assert_eq!((entry.started, entry.stopped), (Some(5), Some(9)));
        assert_eq!(
            entry.counters,
            Some(Counters {
                packets_forth: 3,
                bytes_forth: 180,
                packets_back: 2,
                bytes_back: 120
            })
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for message in messages(&bytes) {
                let _ = (kind(&message), decode(&message));
            }
        }

        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..400), flags in any::<u16>()) {
            let message = Message { kind: CT_NEW, flags, sequence: 0, body: &body };
            let _ = (kind(&message), decode(&message));
        }

        #[test]
        fn no_cut_or_bent_question_panics(at in 0_usize..80, byte in any::<u8>(), length in 0_usize..80) {
            let mut builder = Builder::default();
            ask_for(&mut builder, 1, &flow("10.0.0.2", "192.0.2.1:5000"));
            let mut bytes = builder.bytes().to_vec();
            if let Some(bent) = bytes.get_mut(at) { *bent = byte; }
            bytes.truncate(length.max(20));
            for message in messages(&bytes) { let _ = decode(&message); }
        }
    }
}

//! The sections `limits` and `kernel`: single values with a default and a range each.

use std::time::Duration;

use crate::rules::{FIRST_PORT, Rate, rate_of_count};
use crate::yaml::{Map, Node, Report, number, quoted};

use super::{Kernel, Limits, Mark, keys};

/// Sessions and pinholes at most; the kernel's maps are sized by it.
pub(super) const MAX_COUNT: u64 = 1_000_000;

/// Bytes of a table's name at most (`NFT_NAME_MAXLEN` less its end, linux/netfilter/nf_tables.h).
const MAX_TABLE_NAME: usize = 255;

/// Words that nft does not take for the name of a table (tried on nft 1.0.6).
const NFT_KEYWORDS: &str = "accept add ah all and arp auto-merge bridge cgroup chain comment comp \
    constant continue counter cpu create ct day dccp define delete describe device \
    devices dnat drop dst dup dynamic ecn element elements eq esp ether \
    exists expires export exthdr fib flags flow flowtable flush frag fwd gc-interval \
    ge get goto gt handle hbh hook hour ibrname icmp icmpv6 igmp \
    iif iifgroup iifname iiftype import include index inet insert interval ip ip6 \
    ipsec jhash jump le limit list log lt map mark masquerade meta \
    meter mh missing monitor ne netdev nftrace not notrack numgen obrname offload \
    oif oifgroup oifname oiftype or osf pkttype policy position priority queue quota \
    random redefine redirect reject rename replace reset return rt rtclassid rule ruleset \
    sctp secmark set size skgid skuid snat socket srh symhash synproxy table \
    tcp th time timeout tproxy type typeof udp udplite undefine update vlan \
    vmap xt";

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Reads `limits`; what is not written keeps its default.
pub(super) fn limits(node: &Node, report: &mut Report) -> Limits {
    let mut limits = Limits::default();
    let Some(mut map) = report.section(node, "`limits`", &keys::LIMITS) else {
        return limits;
    };
    for (name, place) in [
        ("sessions", &mut limits.sessions),
        ("sessions-per-client", &mut limits.sessions_per_client),
        ("pinholes", &mut limits.pinholes),
        ("pinholes-per-client", &mut limits.pinholes_per_client),
    ] {
        let read = map.integer(name, report);
        let read = read.and_then(|number| usize::try_from(number).ok());
        *place = read.unwrap_or(*place);
    }
    for (name, like, place) in [
        ("session-rate", "200/s", &mut limits.session_rate),
        (
            "session-rate-per-client",
            "20/s",
            &mut limits.session_rate_per_client,
        ),
    ] {
        let read = map.optional(name);
        let read = read.and_then(|node| session_rate(node, name, like, report));
        *place = read.unwrap_or(*place);
    }
    for (name, place, range) in [
        (
            "pinhole-lifetime",
            &mut limits.pinhole_lifetime,
            seconds(1)..=seconds(600),
        ),
        (
            "connect-timeout",
            &mut limits.connect_timeout,
            seconds(1)..=seconds(300),
        ),
        (
            "login-timeout",
            &mut limits.login_timeout,
            seconds(1)..=seconds(3600),
        ),
        (
            "idle-timeout",
            &mut limits.idle_timeout,
            seconds(5)..=seconds(86_400),
        ),
    ] {
        let read = map.optional(name);
        let read = read.and_then(|node| report.duration(node, &format!("`{name}`"), range));
        *place = read.unwrap_or(*place);
    }
    map.finish(report);
    limits
}

fn session_rate(node: &Node, name: &str, like: &str, report: &mut Report) -> Option<Rate> {
    let what = format!("`{name}`");
    let rate = rate_of_count(node, &what, like, report)?;
    if rate.count <= MAX_COUNT {
        return Some(rate);
    }
    let message = format!("{what} is {} sessions, which is out of range", rate.count);
    let help = format!("write at most {MAX_COUNT} in a unit of time, such as {like}");
    report.error(node.span.clone(), message, help);
    None
}

/// Reads `kernel`; what is not written keeps its default.
pub(super) fn kernel(node: &Node, report: &mut Report) -> Kernel {
    let mut kernel = Kernel::default();
    let Some(mut map) = report.section(node, "`kernel`", &keys::KERNEL) else {
        return kernel;
    };
    if let Some(node) = map.optional("table")
        && let Some(name) = table(node, report)
    {
        kernel.table = name;
    }
    for (name, place) in [
        ("packet-mark", &mut kernel.packet_mark),
        ("connection-mark", &mut kernel.connection_mark),
    ] {
        *place = mark(&mut map, name, report).unwrap_or(*place);
    }
    if let Some(node) = map.optional("routing-table")
        && let Some(number) = routing_table(node, report)
    {
        kernel.routing_table = number;
    }
    if let Some(node) = map.optional("data-ports")
        && let Some(ports) = report.ports(node, "`data-ports`", FIRST_PORT)
    {
        kernel.data_ports = ports;
    }
    map.finish(report);
    kernel
}

fn table(node: &Node, report: &mut Report) -> Option<String> {
    let name = report.text(node, "`table`")?;
    let word = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        && name.starts_with(|c: char| c.is_ascii_alphabetic());
    if word && name.len() <= MAX_TABLE_NAME && !NFT_KEYWORDS.split(' ').any(|word| word == name) {
        return Some(name.to_owned());
    }
    let message = format!("{} cannot be the name of an nftables table", quoted(name));
    let help = "use letters, digits, _ and -, beginning with a letter; no word of nft's own";
    report.error(node.span.clone(), message, help);
    None
}

/// A mark is written `value/mask`, both decimal or hexadecimal.
fn mark(map: &mut Map<'_>, name: &'static str, report: &mut Report) -> Option<Mark> {
    let node = map.optional(name)?;
    let text = report.text(node, &format!("`{name}`"))?;
    let bits = |text: &str| number(text).and_then(|bits| u32::try_from(bits).ok());
    let parts = text.split_once('/');
    let mark = parts.and_then(|(value, mask)| {
        Some(Mark {
            value: bits(value)?,
            mask: bits(mask)?,
        })
    });
    let Some(mark) = mark else {
        let message = format!("`{name}` is {}, not a mark", quoted(text));
        let help = "write value/mask in 32 bits each, such as 0x21/0xff";
        report.error(node.span.clone(), message, help);
        return None;
    };
    let outside = mark.value & !mark.mask;
    if mark.value == 0 || outside != 0 {
        let message = if outside == 0 {
            format!("`{name}` sets no bit, so nothing would carry it")
        } else {
            format!(
                "`{name}` sets bits {outside:#x} outside its mask {:#x}",
                mark.mask
            )
        };
        let help = "the value must be a part of the mask, and not 0";
        report.error(node.span.clone(), message, help);
        return None;
    }
    Some(mark)
}

/// 253 to 255 are the kernel's own tables default, main and local, 0 means none (linux/rtnetlink.h).
fn routing_table(node: &Node, report: &mut Report) -> Option<u32> {
    let number = report.integer(node, "`routing-table`", 1..=u64::from(u32::MAX))?;
    if (253..=255).contains(&number) {
        let message = format!("routing table {number} is one of the kernel's own");
        let help = "write a number from 1 to 252, or from 256 up";
        report.error(node.span.clone(), message, help);
        return None;
    }
    u32::try_from(number).ok()
}

//! What a listener may say beside its kind: `data`, `convert`, `nat64`, `hosts`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;

use ipnet::Ipv6Net;

use crate::rules::DataPath;
use crate::yaml::{Map, Node, Report, quoted};

/// The only length of a NAT64 prefix that leaves the IPv4 address in one piece (RFC 6052 §2.2).
const NAT64_LENGTH: u8 = 96;

/// Bytes of a host's name at most (RFC 1035 §2.3.4, less the lengths around it).
const MAX_HOST: usize = 253;

/// Bytes between two dots of a host's name at most (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// The options as far as they could be read; what could not was reported.
pub(super) struct Options<'a> {
    /// `data` where it is written, with its place.
    pub(super) data: Option<(DataPath, Range<usize>)>,
    pub(super) convert: bool,
    /// `nat64` where it is written, with the place of the key.
    pub(super) nat64: Option<(Option<Ipv6Net>, Range<usize>)>,
    /// Names in the form that [`host_name`] gives, each with the node that names its policy.
    pub(super) hosts: Vec<(String, &'a Node)>,
}

/// Reads the options.
pub(super) fn read<'a>(map: &mut Map<'a>, report: &mut Report) -> Options<'a> {
    let data = map.optional("data").and_then(|node| {
        let read = report.choice(node, "`data`", &DataPath::NAMED)?;
        Some((read, node.span.clone()))
    });
    let convert = map.optional("convert");
    let convert = convert.and_then(|node| report.boolean(node, "`convert`"));
    let nat64 = map.keyed("nat64");
    let nat64 = nat64.map(|(key, node)| (prefix(node, report), key.span.clone()));
    let hosts = map.optional("hosts");
    Options {
        data,
        convert: convert.unwrap_or(true),
        nat64,
        hosts: hosts
            .map(|node| read_hosts(node, report))
            .unwrap_or_default(),
    }
}

fn prefix(node: &Node, report: &mut Report) -> Option<Ipv6Net> {
    let text = report.text(node, "`nat64`")?;
    let net = text.parse::<Ipv6Net>().ok();
    let (message, help) = match net {
        None => (
            "is no IPv6 prefix".to_owned(),
            "write one of 96 bits, such as 64:ff9b::/96".to_owned(),
        ),
        Some(net) if net.prefix_len() != NAT64_LENGTH => (
            format!("has {} bits, not {NAT64_LENGTH}", net.prefix_len()),
            "only /96 holds the server's IPv4 address in one piece, in the last 32 bits: write \
             such a prefix, as in 64:ff9b::/96"
                .to_owned(),
        ),
        Some(net) if net != net.trunc() => (
            "is not the prefix it covers".to_owned(),
            format!("did you mean `{}`?", net.trunc()),
        ),
        Some(net) if !is_nat64(net.addr()) => (
            "is no prefix for IPv4 servers".to_owned(),
            "write 64:ff9b::/96, or a /96 of your own network whose bits 64 to 71 are 0 \
             (RFC 6052 §2.2)"
                .to_owned(),
        ),
        Some(net) => return Some(net),
    };
    let message = format!("`nat64` {} {message}", quoted(text));
    report.error(node.span.clone(), message, help);
    None
}

/// Not `::` (among it the IPv4-mapped addresses), not multicast, and the reserved octet is 0.
fn is_nat64(prefix: Ipv6Addr) -> bool {
    let [high, .., reserved, _, _, _, _, _, _, _] = prefix.octets();
    let [a, b, c, d, ..] = prefix.segments();
    high != 0xff && reserved == 0 && [a, b, c, d] != [0; 4]
}

fn read_hosts<'a>(node: &'a Node, report: &mut Report) -> Vec<(String, &'a Node)> {
    let Some(mut map) = report.map(node, "`hosts`") else {
        return Vec::new();
    };
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    let mut hosts = Vec::new();
    for (key, text, rules) in map.named() {
        let Some(name) = host_name(text) else {
            let message = format!("{} cannot be the name of a host", quoted(text));
            let help = "write a name such as ftp.example.org (international ones as xn--…), an IPv4 \
                        address, or an IPv6 address in brackets; no port";
            report.error(key.span.clone(), message, help);
            continue;
        };
        let line = report.source().line(key.span.start);
        if let Some(first) = lines.insert(name.clone(), line) {
            let message = format!("the host `{name}` twice in `hosts`");
            let help =
                format!("the first one is in line {first}; upper and lower case do not differ");
            report.error(key.span.clone(), message, help);
            continue;
        }
        hosts.push((name, rules));
    }
    if map.is_empty() {
        let help = "leave the key out, or name at least one host";
        report.error(node.span.clone(), "`hosts` is empty", help);
    }
    hosts
}

/// Gives the name that HOST may carry (RFC 7151 §3) in one form: lower case, an IPv6 address in
/// brackets and as RFC 5952 writes it.
fn host_name(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => return Some(format!("[{address}]")),
        Ok(IpAddr::V4(address)) if bare.is_none() => return Some(address.to_string()),
        Ok(IpAddr::V4(_)) | Err(_) => {}
    }
    let fits = |label: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        !label.is_empty()
            && label.len() <= MAX_LABEL
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    // A last label of digits alone is an address that is none (RFC 1123 §2.1).
    let looks_like_address = last.bytes().all(|b| b.is_ascii_digit());
    let good = text.len() <= MAX_HOST && text.split('.').all(fits) && !looks_like_address;
    good.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_form() {
        for (written, form) in [
            ("FTP.Example.org", "ftp.example.org"),
            ("localhost", "localhost"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0::1", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
        ] {
            assert_eq!(host_name(written).as_deref(), Some(form));
        }
        for text in [
            "",
            ".",
            "a.",
            "a..b",
            "-a",
            "a-",
            "a_b",
            "bücher.example",
            "ftp.example.org:21",
            "192.0.2",
            "192.0.2.256",
            "[192.0.2.1]",
            "[::1",
            "*.example.org",
        ] {
            assert_eq!(host_name(text), None, "{text}");
        }
        assert_eq!(host_name(&"a".repeat(64)), None);
        assert_eq!(host_name(&format!("{}a", "a.".repeat(127))), None);
    }

    #[test]
    fn prefixes_that_hold_no_ipv4_servers_are_told() {
        let is = |text: &str| is_nat64(text.parse::<Ipv6Addr>().unwrap());
        assert!(is("64:ff9b::"));
        assert!(is("64:ff9b:1::"));
        assert!(is("2001:db8:1:2::"));
        for text in ["::", "::ffff:0:0", "ff02::", "2001:db8:1:2:ff00::"] {
            assert!(!is(text), "{text}");
        }
    }
}

//! The table as `nft -f -` reads it: pure text from settings.
//!
//! Tried with nft 1.0.6 on Linux 6.18. The order of the rules is the design; see [`ruleset`].

use std::fmt::Write as _;

use super::{Intercept, Settings, window};
use crate::config::Mark;

/// Places of a set for each pinhole that may be open. An expired or used element keeps its place until
/// the kernel's collector runs, 1 to 2.3 s later.
pub const SET_HEADROOM: usize = 4;
/// The smallest set, elements.
pub const MIN_SET_SIZE: usize = 1024;
/// The largest set, elements.
pub const MAX_SET_SIZE: usize = 8_388_608;

/// Sizes the sets for `capacity` pinholes open at one time.
pub fn set_size(capacity: usize) -> usize {
    capacity
        .saturating_mul(SET_HEADROOM)
        .clamp(MIN_SET_SIZE, MAX_SET_SIZE)
}

/// Writes the whole table as one nft transaction that replaces a table of an earlier run.
///
/// Names must have been checked (`install` does): they are written as they are.
///
/// Why in this order, in `intercept`:
/// - admitted connections leave first: it is only cost;
/// - pinholes come before everything of the control channel, so that a data port which equals an
///   intercepted or a bound port still belongs to the pinhole;
/// - single use is enforced here, before translation, so that a second SYN is not even translated. The
///   `delete` frees the place; the element's own `limit` decides between two SYNs handled at once on two
///   processors, which a lookup and a delete alone would both admit;
/// - windows come behind all pinholes, so that a connection which has one of its own takes no place in
///   a window, and is translated as its pinhole says;
/// - `deliver` passes over wildcard sockets: otherwise the listener on 0.0.0.0 matches as well, and every
///   connection through the edge to the bound port of any host would end here. A match on `socket
///   wildcard 0` would not do, since no half-open connection and none in TIME_WAIT matches it, and those
///   that a transparent listener of one address takes would never be complete.
pub fn ruleset(settings: &Settings) -> String {
    let table = &settings.kernel.table;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "table inet {table}");
    let _ = writeln!(text, "delete table inet {table}");
    let _ = writeln!(text, "table inet {table} {{");
    for family in FAMILIES {
        declare_sets(&mut text, family, set_size(settings.capacity));
    }
    window::declare(&mut text, &settings.windows, set_size(settings.capacity));
    text.push_str("\tcounter strays {\n\t}\n");
    intercept(&mut text, settings);
    translate(&mut text, settings);
    text.push_str("}\n");
    text
}

/// One of the two families, as names are made of it.
#[derive(Clone, Copy)]
pub(super) struct Family {
    /// Ends the names of the sets.
    pub(super) digit: char,
    /// The protocol's name in nft.
    pub(super) ip: &'static str,
}

pub(super) const FAMILIES: [Family; 2] = [
    Family {
        digit: '4',
        ip: "ip",
    },
    Family {
        digit: '6',
        ip: "ip6",
    },
];

fn declare_sets(text: &mut String, Family { digit, ip }: Family, size: usize) {
    let tuple = format!("{ip} saddr . {ip} daddr . tcp dport");
    for name in [format!("admit{digit}"), format!("admit{digit}_from20")] {
        let _ = writeln!(
            text,
            "\tset {name} {{\n\t\ttypeof {tuple}\n\t\tflags dynamic,timeout\n\t\tsize {size}\n\
             \t\ttimeout 1m\n\t\tlimit rate 1/day burst 1 packets\n\t}}"
        );
    }
    let _ = writeln!(
        text,
        "\tset leased{digit} {{\n\t\ttypeof {ip} daddr . tcp dport\n\t\tflags timeout\n\t\tsize {size}\n\t}}"
    );
    for (name, data) in [
        ("redirect", format!("{ip} daddr . tcp dport")),
        ("source", format!("{ip} saddr")),
    ] {
        let _ = writeln!(
            text,
            "\tmap {name}{digit} {{\n\t\ttypeof {tuple} : {data}\n\t\tflags timeout\n\t\tsize {size}\n\t}}"
        );
    }
}

fn intercept(text: &mut String, settings: &Settings) {
    let admitted = matches_mark("ct", settings.kernel.connection_mark);
    let admit = sets_mark("ct", settings.kernel.connection_mark);
    let deliver = sets_mark("meta", settings.kernel.packet_mark);
    let _ = writeln!(
        text,
        "\tchain deliver {{\n\t\tsocket wildcard 1 return\n\t\tsocket transparent 1 {deliver} accept\n\t}}"
    );
    text.push_str(
        "\tchain intercept {\n\t\ttype filter hook prerouting priority mangle; policy accept;\n",
    );
    let _ = writeln!(text, "\t\t{admitted} accept");
    let syn = "ct state new tcp flags & (fin|syn|rst|ack) == syn";
    for Family { digit, ip } in FAMILIES {
        let tuple = format!("{ip} saddr . {ip} daddr . tcp dport");
        for (port, set) in [
            ("", format!("admit{digit}")),
            ("tcp sport 20 ", format!("admit{digit}_from20")),
        ] {
            let _ = writeln!(
                text,
                "\t\t{syn} {port}{tuple} @{set} {admit} delete @{set} {{ {tuple} }} accept"
            );
        }
    }
    for Family { digit, ip } in FAMILIES {
        let _ = writeln!(
            text,
            "\t\tct state new meta l4proto tcp {ip} daddr . tcp dport @leased{digit} counter name strays drop"
        );
    }
    window::admit(text, &settings.windows, syn, &admit);
    text.push_str("\t\tmeta l4proto tcp jump deliver\n");
    for listener in &settings.intercepts {
        take_control_connections(text, listener, &deliver);
    }
    text.push_str("\t}\n");
}

fn take_control_connections(text: &mut String, listener: &Intercept, deliver: &str) {
    if listener.interfaces.is_empty() || listener.ports.is_empty() {
        return;
    }
    let interfaces: Vec<_> = listener
        .interfaces
        .iter()
        .map(|name| format!("\"{name}\""))
        .collect();
    let ports: Vec<_> = listener.ports.iter().map(u16::to_string).collect();
    for Family { ip, .. } in FAMILIES {
        let _ = writeln!(
            text,
            "\t\tiifname {{ {} }} tcp dport {{ {} }} tproxy {ip} to :{} {deliver} accept",
            interfaces.join(", "),
            ports.join(", "),
            listener.bind_port
        );
    }
}

fn translate(text: &mut String, settings: &Settings) {
    let admitted = matches_mark("ct", settings.kernel.connection_mark);
    // 5 before the usual places, so that a masquerade rule of the operator's does not win.
    for (chain, hook, action, map, window_map) in [
        (
            "translate_in",
            "prerouting priority dstnat - 5",
            "dnat",
            "redirect",
            "_to",
        ),
        (
            "translate_out",
            "postrouting priority srcnat - 5",
            "snat",
            "source",
            "_from",
        ),
    ] {
        let _ = writeln!(
            text,
            "\tchain {chain} {{\n\t\ttype nat hook {hook}; policy accept;"
        );
        for Family { digit, ip } in FAMILIES {
            let _ = writeln!(
                text,
                "\t\t{admitted} {action} {ip} to {ip} saddr . {ip} daddr . tcp dport map @{map}{digit}"
            );
        }
        window::translate(text, &settings.windows, &admitted, action, window_map);
        text.push_str("\t}\n");
    }
    let _ = writeln!(
        text,
        "\tchain admit {{\n\t\ttype filter hook forward priority filter - 10; policy accept;\n\
         \t\t{admitted} accept\n\t}}"
    );
}

/// `ct mark & 0xff00 == 0x2100`
fn matches_mark(what: &str, mark: Mark) -> String {
    format!("{what} mark & {:#x} == {:#x}", mark.mask, mark.value)
}

/// `ct mark set ct mark & 0xffff00ff | 0x2100`: the bits of other programs stay.
fn sets_mark(what: &str, mark: Mark) -> String {
    format!(
        "{what} mark set {what} mark & {:#x} | {:#x}",
        !mark.mask, mark.value
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Kernel;
    use crate::rules::Window;

    fn settings() -> Settings {
        Settings {
            kernel: Kernel::default(),
            intercepts: vec![Intercept {
                interfaces: vec!["lan0".into(), "lan1".into()],
                ports: vec![21, 2121],
                bind_port: 2121,
            }],
            windows: vec![Window {
                first: 50_000,
                last: 50_100,
                at_most: 4,
            }],
            capacity: 10_000,
            pinhole_lifetime: std::time::Duration::from_secs(60),
            servers: std::collections::BTreeSet::new(),
        }
    }

    fn position(text: &str, part: &str) -> usize {
        text.find(part)
            .unwrap_or_else(|| panic!("{part:?} is missing in\n{text}"))
    }

    #[test]
    fn replaces_the_table_in_one_transaction() {
        let text = ruleset(&settings());
        assert!(text.starts_with(
            "table inet portcullis\ndelete table inet portcullis\ntable inet portcullis {\n"
        ));
    }

    #[test]
    fn sets_and_matches_only_the_configured_bits() {
        let text = ruleset(&settings());
        position(&text, "ct mark set ct mark & 0xffff00ff | 0x2100");
        position(&text, "ct mark & 0xff00 == 0x2100 accept");
        position(&text, "meta mark set meta mark & 0xffffff00 | 0x21 accept");
    }

    #[test]
    fn pinholes_come_before_strays_and_both_before_the_control_channel() {
        let text = ruleset(&settings());
        let order = [
            "@admit4 ct mark set",
            "tcp sport 20 ip6 saddr . ip6 daddr . tcp dport @admit6_from20",
            "@leased4 counter name strays drop",
            "@window0_4 add @window0_live4",
            "jump deliver",
            "tproxy ip to :2121",
        ];
        let places: Vec<_> = order.iter().map(|part| position(&text, part)).collect();
        assert!(places.is_sorted(), "{places:?}");
    }

    #[test]
    fn takes_control_connections_on_the_named_interfaces_and_ports() {
        let text = ruleset(&settings());
        for ip in ["ip", "ip6"] {
            let rule = format!(
                "iifname {{ \"lan0\", \"lan1\" }} tcp dport {{ 21, 2121 }} tproxy {ip} to :2121"
            );
            position(&text, &rule);
        }
    }

    #[test]
    fn a_listener_without_interfaces_takes_nothing() {
        let mut settings = settings();
        settings.intercepts[0].interfaces.clear();
        assert!(!ruleset(&settings).contains("tproxy"));
    }

    #[test]
    fn sets_hold_several_times_the_pinholes() {
        assert_eq!(set_size(10_000), 40_000);
        assert_eq!(set_size(1), MIN_SET_SIZE);
        assert_eq!(set_size(usize::MAX), MAX_SET_SIZE);
    }
}

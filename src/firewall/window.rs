//! Windows: a static range of ports, open between one client and one server for a while.
//!
//! Pure: the sets and rules of each window as text, and what opening one for a pair changes, as values.
//! Sets and maps are keyed by `ip saddr . ip daddr`, so that a place in them serves all ports of the range.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::plan::{Element, address};
use super::ruleset::{FAMILIES, Family};
use crate::rules::Window;

/// A window opened for one pair of hosts.
///
/// All addresses are of one family. Connections keep their port on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WindowSpec {
    /// Which of [`super::Settings::windows`], counted from 0.
    pub window: usize,
    /// Who opens data connections.
    pub client: IpAddr,
    /// The address that the client dials.
    pub dialled: IpAddr,
    /// Where the connections end; equal to `dialled` where nothing is translated.
    pub server: IpAddr,
    /// The source address that the server sees; equal to `client` where it is unchanged.
    pub source: IpAddr,
}

impl WindowSpec {
    /// The elements that make it open, translations first.
    pub(super) fn elements(&self) -> (Vec<Element>, Element) {
        let mut translations = Vec::new();
        if self.dialled != self.server {
            translations.push(self.element("_to", self.dialled, Some(self.server)));
        }
        if self.source != self.client {
            // Behind the other translation the packet goes to the server.
            translations.push(self.element("_from", self.server, Some(self.source)));
        }
        (translations, self.element("_", self.dialled, None))
    }

    /// `add element inet portcullis window0_to4 { $client . $to timeout $lifetime : $data }`
    fn element(&self, part: &str, to: IpAddr, data: Option<IpAddr>) -> Element {
        let digit = if self.client.is_ipv4() { '4' } else { '6' };
        Element {
            set: Cow::Owned(format!("window{}{part}{digit}", self.window)),
            key: [address(self.client), address(to)].concat(),
            data: data.map(address),
        }
    }
}

impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → {}", self.window, self.client, self.dialled)?;
        if self.dialled != self.server {
            write!(f, " → {}", self.server)?;
        }
        if self.source != self.client {
            write!(f, " as {}", self.source)?;
        }
        Ok(())
    }
}

/// Declares the sets of all windows: who may come, what is translated, and who is there (`live`).
pub(super) fn declare(text: &mut String, windows: &[Window], size: usize) {
    if !windows.is_empty() {
        text.push_str("\tcounter crowded {\n\t}\n");
    }
    for (number, family) in each(windows) {
        let Family { digit, ip } = family;
        let pair = format!("{ip} saddr . {ip} daddr");
        let sets = [
            ("set", "_", pair.clone(), "timeout"),
            // The kernel removes the elements in which nothing is counted any more.
            ("set", "_live", pair.clone(), "dynamic"),
            ("map", "_to", format!("{pair} : {ip} daddr"), "timeout"),
            ("map", "_from", format!("{pair} : {ip} saddr"), "timeout"),
        ];
        for (kind, part, types, flags) in sets {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "\t{kind} window{number}{part}{digit} {{\n\t\ttypeof {types}\n\t\tflags {flags}\n\
                 \t\tsize {size}\n\t}}"
            );
        }
    }
}

/// Lets SYNs in through the windows, as many as they admit, and drops the others that come to them.
///
/// Why in this order:
/// - the count stands behind the lookup, so that only those it is about are counted; the kernel takes
///   those that ended out of it by itself;
/// - a full `live` set admits nothing, since then the rule does not match;
/// - what comes to a crowded window is dropped here, since a firewall that forwards everything would
///   let it pass uncounted, and it would take a place in the count.
pub(super) fn admit(text: &mut String, windows: &[Window], syn: &str, admit: &str) {
    for (number, Family { digit, ip }) in each(windows) {
        let Some(window) = windows.get(number) else {
            continue;
        };
        let pair = format!("{ip} saddr . {ip} daddr");
        let _ = writeln!(
            text,
            "\t\t{syn} {} {pair} @window{number}_{digit} add @window{number}_live{digit} {{ {pair} ct count {} }} {admit} accept",
            ports(window),
            window.at_most
        );
    }
    for (number, Family { digit, ip }) in each(windows) {
        let Some(window) = windows.get(number) else {
            continue;
        };
        let _ = writeln!(
            text,
            "\t\t{syn} {} {ip} saddr . {ip} daddr @window{number}_{digit} counter name crowded drop",
            ports(window)
        );
    }
}

/// Translates what came through a window: `action` is `dnat` with the map `_to`, or `snat` with `_from`.
pub(super) fn translate(
    text: &mut String,
    windows: &[Window],
    admitted: &str,
    action: &str,
    map: &str,
) {
    for (number, Family { digit, ip }) in each(windows) {
        let Some(window) = windows.get(number) else {
            continue;
        };
        let _ = writeln!(
            text,
            "\t\t{admitted} {} {action} {ip} to {ip} saddr . {ip} daddr map @window{number}{map}{digit}",
            ports(window)
        );
    }
}

fn ports(window: &Window) -> String {
    format!("tcp dport {}-{}", window.first, window.last)
}

fn each(windows: &[Window]) -> impl Iterator<Item = (usize, Family)> {
    (0..windows.len()).flat_map(|number| FAMILIES.map(|family| (number, family)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(client: &str, dialled: &str, server: &str, source: &str) -> WindowSpec {
        WindowSpec {
            window: 3,
            client: client.parse().unwrap(),
            dialled: dialled.parse().unwrap(),
            server: server.parse().unwrap(),
            source: source.parse().unwrap(),
        }
    }

    #[test]
    fn a_window_without_translation_is_one_element() {
        let spec = spec("fd00::2", "fd01::3", "fd01::3", "fd00::2");
        let (translations, admission) = spec.elements();
        assert_eq!(
            (translations, admission.set),
            (Vec::new(), "window3_6".into())
        );
    }

    #[test]
    fn the_source_is_looked_up_by_the_server() {
        let spec = spec("10.0.0.2", "192.0.2.1", "10.9.0.3", "10.9.0.1");
        let (translations, admission) = spec.elements();
        let parts = translations.iter().chain([&admission]);
        let parts: Vec<_> = parts
            .map(|part| (&*part.set, &*part.key, part.data.as_deref()))
            .collect();
        assert_eq!(
            parts,
            [
                (
                    "window3_to4",
                    &[10, 0, 0, 2, 192, 0, 2, 1][..],
                    Some(&[10, 9, 0, 3][..])
                ),
                (
                    "window3_from4",
                    &[10, 0, 0, 2, 10, 9, 0, 3],
                    Some(&[10, 9, 0, 1])
                ),
                ("window3_4", &[10, 0, 0, 2, 192, 0, 2, 1], None),
            ]
        );
    }

    #[test]
    fn the_text_names_range_and_number() {
        let window = Window {
            first: 50_000,
            last: 50_100,
            at_most: 4,
        };
        let mut text = String::new();
        admit(&mut text, &[window], "syn", "mark");
        let rule = "syn tcp dport 50000-50100 ip saddr . ip daddr @window0_4 \
                    add @window0_live4 { ip saddr . ip daddr ct count 4 } mark accept";
        assert!(text.contains(rule), "{text}");
        assert!(
            text.ends_with("@window0_6 counter name crowded drop\n"),
            "{text}"
        );
    }
}

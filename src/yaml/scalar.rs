//! Single values: text, booleans, numbers, durations, ports and fixed words, each strict and bounded.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Node, Report, Value, nearest, quoted};

/// Seconds in the units that durations are written in.
const UNITS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3600), ("d", 86_400)];

/// Bytes in the units that sizes are written in.
const SIZES: [(&str, u64); 8] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

impl Report {
    /// Reads text, quoted or not; an empty one is noted.
    pub fn text<'a>(&mut self, node: &'a Node, what: &str) -> Option<&'a str> {
        match &node.value {
            Value::Scalar { text, .. } if !node.is_nothing() && !text.is_empty() => Some(text),
            Value::Scalar { .. } => {
                let help = "write a value behind the colon, or leave the key out";
                self.error(node.span.clone(), format!("{what} is empty"), help);
                None
            }
            Value::List(_) | Value::Map(_) => {
                let message = format!("{what} is {}, not a single value", node.kind());
                self.error(node.head(), message, "write one value");
                None
            }
        }
    }

    /// Reads `true` or `false`; `yes`, `on` and quoted words are noted.
    pub fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        let text = self.text(node, what)?;
        match (text, is_plain(node)) {
            ("true", true) => Some(true),
            ("false", true) => Some(false),
            _ => {
                let message = format!("{what} is {}, neither true nor false", quoted(text));
                self.error(node.span.clone(), message, "write `true` or `false`");
                None
            }
        }
    }

    /// Reads a whole number, decimal or hexadecimal (`0x2100`), within `range`.
    pub fn integer(&mut self, node: &Node, what: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let text = self.text(node, what)?;
        let help = format!("write a number from {} to {}", range.start(), range.end());
        let Some(number) = is_plain(node).then(|| number(text)).flatten() else {
            let kind = if is_plain(node) { "" } else { "the text " };
            let message = format!("{what} is {kind}{}, not a whole number", quoted(text));
            self.error(node.span.clone(), message, help);
            return None;
        };
        if range.contains(&number) {
            return Some(number);
        }
        let message = format!("{what} is {number}, which is out of range");
        self.error(node.span.clone(), message, help);
        None
    }

    /// Reads a duration with its unit (`60s`, `15min`, `2h`, `1d`), within `range`.
    pub fn duration(
        &mut self,
        node: &Node,
        what: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let text = self.text(node, what)?;
        let (low, high) = (shown(*range.start()), shown(*range.end()));
        let help = format!("write a number and s, min, h or d, from {low} to {high}");
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = text.strip_prefix(digits).unwrap_or_default();
        let seconds = UNITS.iter().find(|(name, _)| *name == unit);
        let duration = number_decimal(digits)
            .zip(seconds)
            .and_then(|(count, (_, seconds))| count.checked_mul(*seconds))
            .map(Duration::from_secs);
        match duration {
            Some(duration) if range.contains(&duration) => Some(duration),
            Some(_) => {
                let message = format!("{what} is {}, which is out of range", quoted(text));
                self.error(node.span.clone(), message, help);
                None
            }
            None => {
                let message = format!("{what} is {}, not a duration", quoted(text));
                self.error(node.span.clone(), message, help);
                None
            }
        }
    }

    /// Reads a size with its unit (`100MB`, `4GiB`), in bytes; none and more than 64 bits are noted.
    pub fn size(&mut self, node: &Node, what: &str) -> Option<u64> {
        let text = self.text(node, what)?;
        let fault = match size(text) {
            None => "not a size",
            Some(0 | u64::MAX) => "which is out of range",
            Some(size) => return Some(size),
        };
        let message = format!("{what} is {}, {fault}", quoted(text));
        let help = "write a number from 1 and B, kB, MB, GB, KiB, MiB or GiB, such as 100MB";
        self.error(node.span.clone(), message, help);
        None
    }

    /// Reads one of some fixed words.
    pub fn choice<T: Clone>(
        &mut self,
        node: &Node,
        what: &str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(node, what)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(value.clone());
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let mut help = match nearest(text, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`? "),
            None => String::new(),
        };
        help.push_str(&format!("possible: {}", known.join(", ")));
        let message = format!("{what} cannot be {}", quoted(text));
        self.error(node.span.clone(), message, help);
        None
    }

    /// Reads a port, not lower than `lowest`.
    pub fn port(&mut self, node: &Node, what: &str, lowest: u16) -> Option<u16> {
        let text = self.text(node, what)?;
        let port = number_decimal(text).and_then(|port| u16::try_from(port).ok());
        match port {
            Some(port) if port >= lowest => Some(port),
            _ => {
                let message = format!("{what} is {}, not a port that can be used", quoted(text));
                let help = format!("write a number from {lowest} to 65535");
                self.error(node.span.clone(), message, help);
                None
            }
        }
    }

    /// Reads a port or a range of ports (`6000-6063`), none lower than `lowest`.
    pub fn ports(&mut self, node: &Node, what: &str, lowest: u16) -> Option<RangeInclusive<u16>> {
        let text = self.text(node, what)?;
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let bound = |text: &str| number_decimal(text.trim()).and_then(|p| u16::try_from(p).ok());
        match (bound(first), bound(last)) {
            (Some(first), Some(last)) if lowest <= first && first <= last => Some(first..=last),
            (Some(first), Some(last)) if first > last => {
                let message = format!("{what} is {}, an empty range of ports", quoted(text));
                let help = format!("write the lower port first: `{last}-{first}`");
                self.error(node.span.clone(), message, help);
                None
            }
            _ => {
                let message = format!("{what} is {}, not a range of ports", quoted(text));
                let help = format!("write `first-last`, both from {lowest} to 65535");
                self.error(node.span.clone(), message, help);
                None
            }
        }
    }
}

/// Reads a whole number, decimal or hexadecimal, without sign.
pub fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        // from_str_radix would take a sign.
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
            u64::from_str_radix(digits, 16).ok()
        }
        Some(_) => None,
        None => number_decimal(text),
    }
}

/// Reads a size with its unit, in bytes; more than 64 bits are `u64::MAX`.
pub fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit)?;
    Some(number_decimal(digits)?.saturating_mul(*bytes))
}

/// A leading zero is refused: other YAML readers take such a number for an octal one.
fn number_decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let octal = text.len() > 1 && text.starts_with('0');
    (digits && !octal).then(|| text.parse().ok()).flatten()
}

fn is_plain(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar { plain: true, .. })
}

/// Writes a duration in the largest unit that leaves no rest.
fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        return "0s".to_owned();
    }
    UNITS
        .iter()
        .rev()
        .find(|(_, unit)| seconds.is_multiple_of(*unit))
        .map_or_else(
            || format!("{seconds}s"),
            |(name, unit)| format!("{}{name}", seconds / unit),
        )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Source, parse};
    use super::*;

    fn read<T>(text: &str, read: impl FnOnce(&mut Report, &Node) -> Option<T>) -> Option<T> {
        let source = Arc::new(Source::new("f", text));
        let node = parse(&source).unwrap();
        let mut report = Report::new(source);
        let value = read(&mut report, &node);
        assert_eq!(value.is_none(), report.has_errors());
        value
    }

    #[test]
    fn takes_only_true_and_false_for_booleans() {
        let boolean = |text| read(text, |report, node| report.boolean(node, "x"));
        assert_eq!(boolean("true"), Some(true));
        assert_eq!(boolean("false"), Some(false));
        for text in ["yes", "on", "True", "'true'", "1", ""] {
            assert_eq!(boolean(text), None, "{text}");
        }
    }

    #[test]
    fn takes_numbers_within_their_range() {
        let integer = |text| read(text, |report, node| report.integer(node, "x", 1..=300));
        assert_eq!(integer("300"), Some(300));
        assert_eq!(integer("0x21"), Some(0x21));
        for text in [
            "0", "301", "-1", "+1", "1.0", "0x", "0x+1", "012", "'12'", "1e2",
        ] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn takes_durations_with_a_unit() {
        let range = Duration::from_secs(1)..=Duration::from_secs(86_400);
        let duration = |text| {
            read(text, |report, node| {
                report.duration(node, "x", range.clone())
            })
        };
        assert_eq!(duration("60s"), Some(Duration::from_secs(60)));
        assert_eq!(duration("15min"), Some(Duration::from_secs(900)));
        assert_eq!(duration("2h"), Some(Duration::from_secs(7200)));
        for text in [
            "60",
            "5m",
            "0s",
            "25h",
            "s",
            "1.5h",
            "99999999999999999999d",
            "ü",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn takes_sizes_with_a_unit() {
        let size = |text| read(text, |report, node| report.size(node, "x"));
        assert_eq!(size("1B"), Some(1));
        assert_eq!(size("7kB"), size("7KB"));
        assert_eq!(size("100MB"), Some(100_000_000));
        assert_eq!(size("2GB"), Some(2_000_000_000));
        assert_eq!(size("3KiB"), Some(3072));
        assert_eq!(size("4GiB"), Some(4 << 30));
        for text in [
            "100",
            "0MB",
            "1.5GB",
            "100 mb",
            "100Mb",
            "-1B",
            "010B",
            "GB",
            "99999999999GB",
            "1ü",
        ] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn takes_ranges_of_ports() {
        let ports = |text| read(text, |report, node| report.ports(node, "x", 1024));
        assert_eq!(ports("3306"), Some(3306..=3306));
        assert_eq!(ports("6000-6063"), Some(6000..=6063));
        for text in ["1023", "6063-6000", "65536", "6000-", "-", "a-b"] {
            assert_eq!(ports(text), None, "{text}");
        }
    }
}

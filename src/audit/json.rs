//! JSON as lines have it: sections whose fields are keys, written straight into the buffer.
//!
//! Keys are known to be plain and most text is, so neither is looked at byte by byte; text that is not goes by serde_json.

use std::borrow::Cow;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// Declares a section: a struct that writes itself as an object, its fields in order. A field that is
/// `None` is left out.
macro_rules! section {
    (
        $(#[$attribute:meta])*
        pub(super) struct $name:ident $(<$life:lifetime>)? { $(pub(super) $field:ident: $kind:ty,)+ }
    ) => {
        $(#[$attribute])*
        pub(super) struct $name $(<$life>)? { $(pub(super) $field: $kind,)+ }

        impl $(<$life>)? crate::audit::json::Value for $name $(<$life>)? {
            fn write(&self, out: &mut Vec<u8>) {
                out.push(b'{');
                $(crate::audit::json::Field::put(
                    &self.$field,
                    concat!(",\"", stringify!($field), "\":").as_bytes(),
                    out,
                );)+
                out.push(b'}');
            }
        }
    };
}

pub(super) use section;

/// Something that stands behind a key.
pub(super) trait Value {
    /// Appends it.
    fn write(&self, out: &mut Vec<u8>);
}

/// A field of a section.
pub(super) trait Field {
    /// Appends key and value; `key` begins with the comma that the first one goes without.
    fn put(&self, key: &'static [u8], out: &mut Vec<u8>);
}

impl<T: Value> Field for T {
    // Where the length of the key is known, copying it takes a few instructions.
    #[inline(always)]
    fn put(&self, key: &'static [u8], out: &mut Vec<u8>) {
        // Values end with quotes, digits and closing brackets: only an object that was just opened
        // ends like this.
        if out.last() == Some(&b'{') {
            out.extend_from_slice(key.get(1..).unwrap_or_default());
        } else {
            out.extend_from_slice(key);
        }
        self.write(out);
    }
}

impl<T: Value> Field for Option<T> {
    #[inline(always)]
    fn put(&self, key: &'static [u8], out: &mut Vec<u8>) {
        if let Some(value) = self {
            value.put(key, out);
        }
    }
}

impl Value for &str {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        escape(self, out);
        out.push(b'"');
    }
}

impl Value for String {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_str().write(out);
    }
}

macro_rules! numbers {
    ($($kind:ty)+) => {
        $(impl Value for $kind {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(itoa::Buffer::new().format(*self).as_bytes());
            }
        })+
    };
}

numbers!(u8 u16 u32 u64);

impl<T: Value> Value for [T; 1] {
    fn write(&self, out: &mut Vec<u8>) {
        let [only] = self;
        out.push(b'[');
        only.write(out);
        out.push(b']');
    }
}

impl Value for IpAddr {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        ip(*self, out);
        out.push(b'"');
    }
}

impl Value for SocketAddr {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        place(*self, out);
        out.push(b'"');
    }
}

impl Value for Cow<'_, str> {
    fn write(&self, out: &mut Vec<u8>) {
        (&**self).write(out);
    }
}

/// Text of several pieces.
impl Value for [Cow<'_, str>; 4] {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        for piece in self {
            escape(piece, out);
        }
        out.push(b'"');
    }
}

/// A time as EVE has it: UTC, microseconds, `+0000`.
impl Value for SystemTime {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        time(*self, out);
        out.push(b'"');
    }
}

/// Appends text as it stands within quotes.
fn escape(text: &str, out: &mut Vec<u8>) {
    if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let quoted = serde_json::Value::from(text).to_string();
    let bare = quoted
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    out.extend_from_slice(bare.unwrap_or_default().as_bytes());
}

/// Whether text stands within quotes as it is: no control characters, quotes or backslashes in it.
fn is_plain(text: &[u8]) -> bool {
    let plain = |byte: &u8| *byte >= b' ' && *byte != b'"' && *byte != b'\\';
    // The last eight bytes again, which overlap with those before, instead of a rest one by one.
    match text.last_chunk() {
        Some(last) => {
            let (words, _) = text.as_chunks();
            words.iter().chain([last]).all(|word| is_plain_word(*word))
        }
        None => text.iter().all(plain),
    }
}

/// The same for eight bytes at once: subtracting borrows into the high bit of a byte that is too small,
/// and of one that is 0 once the byte looked for is taken off (exclusive or).
fn is_plain_word(bytes: [u8; 8]) -> bool {
    const HIGH: u64 = each(0x80);
    const fn each(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let word = u64::from_ne_bytes(bytes);
    let below = |word: u64, byte: u8| word.wrapping_sub(each(byte)) & !word & HIGH;
    let special = below(word, b' ') | below(word ^ each(b'"'), 1) | below(word ^ each(b'\\'), 1);
    special == 0
}

/// What is appended, as a text of its own.
pub(super) fn text(append: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut text = Vec::with_capacity(32);
    append(&mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// What is appended, in place of what a text was.
pub(super) fn refill(text: &mut String, append: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::mem::take(text).into_bytes();
    bytes.clear();
    append(&mut bytes);
    *text = String::from_utf8(bytes).unwrap_or_default();
}

/// Appends an address without quotes.
pub(super) fn ip(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(v4) => {
            // Put together in a number of 16 bytes: 15 and the point behind the last octet.
            let (mut text, mut length) = (0_u128, 0);
            for octet in v4.octets() {
                let (piece, bytes) = OCTETS.get(usize::from(octet)).copied().unwrap_or_default();
                text |= u128::from(piece) << (8 * length);
                length += bytes;
            }
            // The last point, and what is not used of the number, go again.
            let end = out.len() + length - 1;
            out.extend_from_slice(&text.to_le_bytes());
            out.truncate(end);
        }
        IpAddr::V6(v6) => show(v6, out),
    }
}

/// The numbers of an IPv4 address with a point behind, the first byte lowest, and how many bytes each has.
const OCTETS: [(u32, usize); 256] = {
    let mut octets = [(0, 0); 256];
    let (mut rest, mut number) = (octets.as_mut_slice(), 0);
    while let Some((first, others)) = rest.split_first_mut() {
        let (hundreds, tens, ones) = (number / 100, number / 10 % 10, number % 10);
        let digits = u32::from_le_bytes(*b"000.") + hundreds + (tens << 8) + (ones << 16);
        *first = match number {
            0..10 => (digits >> 16, 2),
            10..100 => (digits >> 8, 3),
            _ => (digits, 4),
        };
        rest = others;
        number += 1;
    }
    octets
};

/// Appends an address and its port without quotes.
pub(super) fn place(address: SocketAddr, out: &mut Vec<u8>) {
    match address {
        SocketAddr::V4(v4) => {
            ip((*v4.ip()).into(), out);
            out.push(b':');
            v4.port().write(out);
        }
        SocketAddr::V6(v6) => show(v6, out),
    }
}

/// Appends what a type says of itself.
fn show(shown: impl std::fmt::Display, out: &mut Vec<u8>) {
    // A vector takes everything.
    let _ = write!(out, "{shown}");
}

/// Appends a time without quotes.
pub(super) fn time(timestamp: SystemTime, out: &mut Vec<u8>) {
    let since = timestamp.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let utc = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, clock) = (utc.date(), utc.time());
    let (year, fraction) = (date.year().unsigned_abs(), since.subsec_micros());
    let [c, y] = [year / 100, year].map(pair);
    let [mo, d] = [u8::from(date.month()), date.day()].map(pair);
    let [h, mi, s] = [clock.hour(), clock.minute(), clock.second()].map(pair);
    let [f, g, k] = [fraction / 10_000, fraction / 100, fraction].map(pair);
    for piece in [
        [c[0], c[1], y[0], y[1], b'-', mo[0], mo[1], b'-'],
        [d[0], d[1], b'T', h[0], h[1], b':', mi[0], mi[1]],
        [b':', s[0], s[1], b'.', f[0], f[1], g[0], g[1]],
    ] {
        out.extend_from_slice(&piece);
    }
    out.extend_from_slice(&[k[0], k[1], b'+', b'0', b'0', b'0', b'0']);
}

/// The last two digits of a number.
fn pair(number: impl Into<u32>) -> [u8; 2] {
    let digit = |number: u32| b'0' + u8::try_from(number % 10).unwrap_or_default();
    let number = number.into();
    [digit(number / 10), digit(number)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_as_by_serde_json_wherever_the_special_byte_stands() {
        let plain = "aé~\u{7f}\u{80}ÿ€😀 z!#[]z";
        let specials = ["", "\"", "\\", "\u{1f}", "\0", "\n", "\u{1}\"\\"];
        for (at, _) in plain.char_indices().chain([(plain.len(), ' ')]) {
            for (special, length) in specials
                .iter()
                .flat_map(|s| (0..=plain.len()).map(move |n| (s, n)))
            {
                let mut text = plain.to_owned();
                text.insert_str(at, special);
                let Some(text) = text.get(..length) else {
                    continue;
                };
                let mut out = Vec::new();
                text.write(&mut out);
                assert_eq!(out, serde_json::to_vec(text).unwrap());
            }
        }
    }

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        for text in [
            "0.0.0.0:0",
            "255.99.100.9:65535",
            "[2001:db8::1]:21",
            "[::ffff:10.0.0.1]:1",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(super::text(|out| place(address, out)), text);
            assert_eq!(
                super::text(|out| ip(address.ip(), out)),
                address.ip().to_string()
            );
        }
    }
}

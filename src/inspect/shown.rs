//! Lines as they are sent on and as they may be shown.

use std::borrow::Cow;

/// A line and its end.
pub(super) fn with_line_end(line: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(line.len() + 2);
    whole.extend_from_slice(line);
    whole.extend_from_slice(b"\r\n");
    whole
}

/// Bytes of an offending line that are shown.
const MAX_SHOWN: usize = 256;

/// A line as it may be shown: bytes outside UTF-8 replaced, and nothing behind PASS or ACCT, even
/// where the line is too broken to have a verb (protocol rule 60).
pub(super) fn shown_line(line: &[u8]) -> String {
    let (end, mark) = match end_of_secret_word(line.get(..MAX_SHOWN).unwrap_or(line)) {
        Some(end) => (end, " ***"),
        None if line.len() > MAX_SHOWN => (MAX_SHOWN, " …"),
        None => (line.len(), ""),
    };
    let mut text = shown(line.get(..end).unwrap_or(line)).into_owned();
    text.push_str(mark);
    text
}

/// Bytes as text, those outside UTF-8 replaced.
pub(super) fn shown(bytes: &[u8]) -> Cow<'_, str> {
    // That all is UTF-8 is seen many bytes at a time; looking for what to replace is slow.
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// Where PASS or ACCT ends, in any letter case, within the first word.
fn end_of_secret_word(line: &[u8]) -> Option<usize> {
    let indent = line.len() - line.trim_ascii_start().len();
    let word = line.iter().skip(indent).position(|&byte| byte == b' ');
    // A match may reach beyond the word, but has to begin in it.
    let starts = word.map_or(line.len(), |length| indent + length);
    let mut words = line.windows(4).take(starts + 1);
    let secret =
        |word: &[u8]| word.eq_ignore_ascii_case(b"PASS") || word.eq_ignore_ascii_case(b"ACCT");
    words.position(secret).map(|start| start + 4)
}

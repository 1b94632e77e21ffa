//! Text that stands in a reply in place of the peer's own.

use crate::yaml::{Node, Report, quoted};

/// Bytes of a reply's text at most.
const MAX_TEXT: usize = 200;

/// Reads the text of one reply line; the code before it stays the server's own.
pub(super) fn reply_text<'a>(node: &'a Node, what: &str, report: &mut Report) -> Option<&'a str> {
    let text = report.text(node, what)?;
    let (message, help) = if text.chars().any(char::is_control) {
        (
            "has control characters".to_owned(),
            "write one line of text".to_owned(),
        )
    } else if text.len() > MAX_TEXT {
        (
            format!("has {} bytes", text.len()),
            format!("at most {MAX_TEXT}"),
        )
    } else if begins_with_code(text) {
        (
            "begins with a reply code".to_owned(),
            "write the text alone; the code stays the server's own".to_owned(),
        )
    } else if text.trim().is_empty() {
        ("is blank".to_owned(), "write one line of text".to_owned())
    } else {
        return Some(text);
    };
    let message = format!("{what} {} {message}", quoted(text));
    report.error(node.span.clone(), message, help);
    None
}

/// Whether a client could take the text for the beginning of a reply (RFC 959 §4.2).
fn begins_with_code(text: &str) -> bool {
    match text.trim_start().as_bytes() {
        [a, b, c, rest @ ..] => {
            [a, b, c].iter().all(|byte| byte.is_ascii_digit())
                && matches!(rest.first(), None | Some(b' ' | b'-'))
        }
        _ => false,
    }
}

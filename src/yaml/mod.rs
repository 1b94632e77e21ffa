//! YAML files as trees with positions, and a reader over them that reports every problem at once.
//!
//! The one module that knows the YAML parser. It takes the parser's events rather than its serde
//! front, because serde stops at the first fault and drops duplicate keys. Reads no file: text comes in.

mod node;
mod problem;
mod read;
mod scalar;
mod shape;
mod source;
mod suggest;

pub use node::{Node, Value, parse};
pub use problem::{Problem, Problems, Severity};
pub use read::{Map, Report};
pub use scalar::{number, size};
pub use shape::{Key, Section, Shape};
pub use source::Source;
pub use suggest::nearest;

/// Bytes of a file that is read at most, 16 MiB.
pub const MAX_FILE: usize = 16 * 1024 * 1024;

/// Nodes of one tree at most, what aliases stand for included.
pub const MAX_NODES: usize = 1_000_000;

/// Lists and mappings inside one another at most.
pub const MAX_DEPTH: usize = 32;

/// Problems kept of one load; what is beyond is counted, not kept.
pub const MAX_PROBLEMS: usize = 1_000;

/// Shows text from a file inside a message: between backticks, control characters escaped, cut at 60 characters.
pub fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .flat_map(|c| {
            let escaped = c.is_control();
            escaped
                .then(|| c.escape_default())
                .into_iter()
                .flatten()
                .chain((!escaped).then_some(c))
        })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

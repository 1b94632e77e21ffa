//! Policies of any size: rules for partners, as an edge gathers them over the years, each for a network,
//! for a user or for a folder. Short ones, because a file may have no more than a million values.

use std::fmt::Write as _;

/// Writes a policy of so many rules; the last of them lets everybody log in and move files.
pub(super) fn policy(count: u64) -> String {
    let mut text = String::from("rules:\n");
    for number in 0..count.saturating_sub(1) {
        // Writing to a String cannot fail.
        let _ = match number % 3 {
            0 => writeln!(
                text,
                "  - {{ id: net-{number}, allow: true, client: {}, command: read }}",
                network(number)
            ),
            1 => writeln!(
                text,
                "  - {{ id: user-{number}, allow: true, user: partner-{number}, command: read }}"
            ),
            _ => writeln!(
                text,
                "  - {{ id: folder-{number}, deny: true, command: write, path: /archive/{number}/** }}"
            ),
        };
    }
    text.push_str("  - { id: everybody, allow: true, command: [basic, list, read, write] }\n");
    text
}

/// A network that one rule is about.
pub(super) fn network(number: u64) -> String {
    let [.., high, low] = number.to_be_bytes();
    let [.., second, _, _] = number.to_be_bytes();
    format!("172.{}.{high}.{low}/32", 16 + second % 16)
}

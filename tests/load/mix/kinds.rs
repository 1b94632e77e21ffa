//! The kinds of hostile clients.

use std::time::Duration;

/// A kind of hostile client; its number is its group of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) group: u8,
    pub(super) word: &'static str,
    /// How many of them there are on each side.
    pub(super) at_a_time: usize,
    pub(super) pause: Duration,
}

const fn kind(group: u8, word: &'static str, at_a_time: usize, pause_ms: u64) -> Kind {
    Kind {
        group,
        word,
        at_a_time,
        pause: Duration::from_millis(pause_ms),
    }
}

/// All kinds.
pub(super) const KINDS: [Kind; 11] = [
    kind(1, "trickle", 150, 100),
    kind(2, "flood", 1, 1500),
    kind(3, "commands", 2, 500),
    kind(4, "noise", 2, 300),
    kind(5, "bounce", 2, 300),
    kind(6, "unused", 6, 300),
    kind(7, "hijack", 2, 300),
    kind(8, "manners", 4, 200),
    // The lab's hosts let nobody hear how connections of this group end.
    kind(9, "half-open", 2, 700),
    kind(10, "resets", 3, 100),
    kind(11, "tls", 1, 1000),
];

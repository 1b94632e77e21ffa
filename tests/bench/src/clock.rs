//! The one clock that processes of all namespaces share, and the stamps that replies carry of it.

use rustix::time::{ClockId, clock_gettime};

/// What stands before a stamp in a reply.
const MARK: &str = " @";

/// Nanoseconds since the machine started (`CLOCK_MONOTONIC`).
pub fn nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Appends the moment at which a reply is written, in front of its line end.
pub fn stamp(reply: &mut String) {
    use std::fmt::Write as _;
    // Writing to a String cannot fail.
    let _ = write!(reply, "{MARK}{}", nanoseconds());
}

/// Gives the moment at which a reply was written, where it says so.
pub fn stamped(line: &str) -> Option<u64> {
    let (_, stamp) = line.rsplit_once(MARK)?;
    stamp.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let before = nanoseconds();
        let mut reply = "227 Entering Passive Mode (1,2,3,4,5,6)".to_owned();
        stamp(&mut reply);
        let read = stamped(&reply).unwrap_or(0);
        assert!(before <= read && read <= nanoseconds());
        assert_eq!(stamped("200 PORT done"), None);
    }
}

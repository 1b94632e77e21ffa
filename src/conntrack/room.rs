//! How full connection tracking is. Where it is full, the kernel drops what begins, before any rule sees it:
//! clients and data connections get no answer, and nothing else tells why.

use std::fs;
use std::time::{Duration, Instant};

/// How often [`watch_room`] looks, and says so at most.
pub const ROOM_CHECK: Duration = Duration::from_secs(10);

const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
const LIMIT: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const STATISTICS: &str = "/proc/self/net/stat/nf_conntrack";

/// What the kernel tells of this network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Connections that are tracked.
    pub entries: u64,
    /// How many there may be; of all namespaces together where the machine has several.
    pub limit: u64,
    /// Packets dropped for want of an entry, since the namespace began; 0 where the kernel does not tell.
    pub dropped: u64,
}

impl Room {
    /// Looks. `None` where the kernel tracks nothing, or does not tell.
    pub fn look() -> Option<Self> {
        let number = |file| fs::read_to_string(file).ok()?.trim().parse().ok();
        let statistics = fs::read_to_string(STATISTICS).unwrap_or_default();
        Some(Self {
            entries: number(COUNT)?,
            limit: number(LIMIT)?,
            dropped: dropped(&statistics).unwrap_or(0),
        })
    }
}

/// Warns while packets are dropped, for ever. Needs a tokio runtime.
pub async fn watch_room() {
    let mut before = Room::look().map(|room| (room.dropped, Instant::now()));
    loop {
        tokio::time::sleep(ROOM_CHECK).await;
        let (Some(room), now) = (Room::look(), Instant::now()) else {
            continue;
        };
        let (known, since) = before.replace((room.dropped, now)).unwrap_or((0, now));
        let more = room.dropped.saturating_sub(known);
        if more > 0 {
            tracing::warn!(
                entries = room.entries,
                limit = room.limit,
                "connection tracking is full: the kernel dropped {more} packets that begin connections in the last {} s; \
                 raise net.netfilter.nf_conntrack_max, or find out who fills it (`conntrack -L`)",
                now.saturating_duration_since(since).as_secs()
            );
        }
    }
}

/// Sums the column `drop`: a line of names, then one of hexadecimal numbers for each processor.
fn dropped(statistics: &str) -> Option<u64> {
    let mut lines = statistics.lines();
    let column = lines
        .next()?
        .split_whitespace()
        .position(|name| name == "drop")?;
    let of = lines.filter_map(|line| {
        let number = line.split_whitespace().nth(column)?;
        u64::from_str_radix(number, 16).ok()
    });
    Some(of.fold(0, u64::saturating_add))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_those_of_all_processors() {
        let text = "entries  clashres found drop early_drop\n\
                    00000010  00000000 00000001 0000000a 00000005\n\
                    00000010  00000000 00000001 00000010 00000005\n";
        assert_eq!(dropped(text), Some(26));
        assert_eq!(dropped("entries found\n1 2\n"), None);
        assert_eq!(dropped(""), None);
    }
}

//! What the machine runs short of when it gives no socket, and how often that is worth a line in the log.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// How long the log is silent after a line of the same kind.
const SILENCE: Duration = Duration::from_secs(10);

/// What the machine has too little of for one more socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Open files, of the process (EMFILE) or in all (ENFILE).
    Files,
    /// Memory, of the kernel (ENOMEM) or for sockets (ENOBUFS).
    Memory,
}

impl Shortage {
    /// Reads it from what the system said; `None` for errors of every other kind.
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.raw_os_error().map(Errno::from_raw_os_error)? {
            Errno::MFILE | Errno::NFILE => Some(Self::Files),
            Errno::NOMEM | Errno::NOBUFS => Some(Self::Memory),
            _ => None,
        }
    }
}

/// Whether accept(2) failed for the one connection that it took: the next may be taken at once. Linux
/// passes on what is wrong with the connection's network, and what a firewall says (EPERM).
pub fn failed_for_one(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(
            Errno::CONNABORTED
                | Errno::PERM
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NONET
        )
    )
}

/// Keeps what happens over and over from flooding the log: one line in ten seconds.
#[derive(Debug, Default)]
pub struct Seldom {
    /// When a line was last due, and how often none was since.
    last: Mutex<(Option<Instant>, u64)>,
}

impl Seldom {
    /// Nothing was told so far.
    pub const fn new() -> Self {
        Self {
            last: Mutex::new((None, 0)),
        }
    }

    /// Counts one time at `now`; gives how many times went untold since the last line, where one is due.
    pub fn due(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |then: Instant| now.saturating_duration_since(then) < SILENCE;
        if last.0.is_some_and(recent) {
            last.1 = last.1.saturating_add(1);
            return None;
        }
        last.0 = Some(now);
        Some(std::mem::take(&mut last.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[test]
    fn errors_say_what_is_short() {
        assert_eq!(Shortage::of(&of(Errno::MFILE)), Some(Shortage::Files));
        assert_eq!(Shortage::of(&of(Errno::NFILE)), Some(Shortage::Files));
        assert_eq!(Shortage::of(&of(Errno::NOMEM)), Some(Shortage::Memory));
        assert_eq!(Shortage::of(&of(Errno::NOBUFS)), Some(Shortage::Memory));
        assert_eq!(Shortage::of(&of(Errno::CONNABORTED)), None);
        assert!(failed_for_one(&of(Errno::CONNABORTED)));
        assert!(!failed_for_one(&of(Errno::MFILE)));
    }

    #[test]
    fn one_line_in_ten_seconds_says_how_many_are_missing() {
        let (seldom, now) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.due(now), Some(0));
        for millis in [0, 100, 9_999] {
            assert_eq!(seldom.due(now + Duration::from_millis(millis)), None);
        }
        assert_eq!(seldom.due(now + SILENCE), Some(3));
        assert_eq!(seldom.due(now + SILENCE), None);
    }
}

//! Moves bytes between two connections, each direction for itself, until both are done.
//!
//! An end is carried over as an end of that direction, a reset as a reset. A reader that does not read
//! stops its own transfer and no other, since nothing is read that cannot be handed on.

use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socket2::SockRef;
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time;

use super::bound::Bound;
use super::pipe::Pipe;
use crate::net;
use crate::pinhole::Counters;

/// How long not one byte may move in either direction before a transfer is given up, both ends reset.
pub const MAX_SILENCE: Duration = Duration::from_secs(15 * 60);

/// What ends a transfer that would go on.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// Bytes of both directions together.
    pub(super) bound: Bound,
    /// See [`MAX_SILENCE`].
    pub(super) max_silence: Duration,
}

/// How a transfer went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) counters: Counters,
    pub(super) truncated: bool,
}

/// Why a transfer ended before both directions were done.
#[derive(Debug, Error)]
enum Cut {
    /// One of the connections broke.
    #[error("a connection broke: {0}")]
    Broken(io::Error),
    /// One byte more than is allowed was to be carried.
    #[error("the limit on bytes is reached")]
    OverLimit,
    /// Nothing moved for too long.
    #[error("nothing moved for too long")]
    Silent,
}

impl From<io::Error> for Cut {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// How far a transfer is; both directions share it.
#[derive(Debug)]
struct Progress {
    forth: AtomicU64,
    back: AtomicU64,
    /// Bytes taken so far, which may be more than were handed on.
    taken: AtomicU64,
    bound: Bound,
    begun: Instant,
    /// When bytes moved last, milliseconds from `begun` on.
    moved_at: AtomicU64,
}

/// Carries until both directions are done or the transfer is cut; then both connections are closed.
pub(super) async fn carry(initiator: TcpStream, target: TcpStream, bounds: Bounds) -> Carried {
    // The last segment of a transfer must not wait for an acknowledgement.
    for stream in [&initiator, &target] {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY not set");
        }
    }
    let progress = Progress {
        forth: AtomicU64::new(0),
        back: AtomicU64::new(0),
        taken: AtomicU64::new(0),
        bound: bounds.bound,
        begun: Instant::now(),
        moved_at: AtomicU64::new(0),
    };
    let outcome = tokio::select! {
        outcome = both_ways(&initiator, &target, &progress) => outcome,
        () = progress.silence(bounds.max_silence) => Err(Cut::Silent),
    };
    if let Err(cut) = &outcome {
        tracing::debug!(%cut, "Cut a relayed transfer");
        net::reset(initiator);
        net::reset(target);
    }
    Carried {
        counters: Counters {
            bytes_forth: progress.forth.load(Ordering::Relaxed),
            bytes_back: progress.back.load(Ordering::Relaxed),
            ..Counters::default()
        },
        truncated: matches!(outcome, Err(Cut::OverLimit)),
    }
}

async fn both_ways(
    initiator: &TcpStream,
    target: &TcpStream,
    progress: &Progress,
) -> Result<(), Cut> {
    let mut forth = std::pin::pin!(one_way(initiator, target, &progress.forth, progress));
    let mut back = std::pin::pin!(one_way(target, initiator, &progress.back, progress));
    tokio::select! {
        done = &mut forth => {
            done?;
            tokio::select! { done = back => done, cut = breaks(initiator) => Err(cut) }
        }
        done = &mut back => {
            done?;
            tokio::select! { done = forth => done, cut = breaks(target) => Err(cut) }
        }
    }
}

/// Carries one direction to its end and passes the end on.
async fn one_way(
    from: &TcpStream,
    to: &TcpStream,
    moved: &AtomicU64,
    progress: &Progress,
) -> Result<(), Cut> {
    let mut pipe = None;
    loop {
        // Looked at first where there is no pipe, since many directions never carry a byte; and where
        // nothing more is allowed, since an end that comes now is in order.
        if pipe.is_none() || progress.left() == 0 {
            if from.peek(&mut [0]).await? == 0 {
                break;
            }
            if progress.left() == 0 {
                return Err(Cut::OverLimit);
            }
        }
        let pipe = match &pipe {
            Some(pipe) => pipe,
            None => pipe.insert(Pipe::new()?),
        };
        // Told apart from the end of the stream: the other direction may have taken the rest.
        let taken = match pipe.fill(from, || progress.allowed()).await {
            Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => continue,
            taken => taken?,
        };
        if taken == 0 {
            break;
        }
        progress.take(taken);
        let mut held = taken;
        while held > 0 {
            let given = pipe.drain(to, held).await?;
            if given == 0 {
                return Err(Cut::Broken(io::ErrorKind::WriteZero.into()));
            }
            held = held.saturating_sub(given);
            moved.fetch_add(count(given), Ordering::Relaxed);
            progress.touch();
        }
    }
    SockRef::from(to).shutdown(Shutdown::Write)?;
    Ok(())
}

/// Waits until a connection breaks whose stream has ended, and which nobody reads for that reason.
async fn breaks(stream: &TcpStream) -> Cut {
    let broken = match stream.ready(Interest::ERROR).await {
        Ok(_) => stream.take_error().ok().flatten(),
        Err(error) => Some(error),
    };
    Cut::Broken(broken.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()))
}

impl Progress {
    fn left(&self) -> u64 {
        let taken = self.taken.load(Ordering::Relaxed);
        self.bound.bytes().saturating_sub(taken)
    }

    /// How much may be taken at once, never 0.
    fn allowed(&self) -> io::Result<usize> {
        match self.left() {
            0 => Err(io::ErrorKind::QuotaExceeded.into()),
            left => Ok(usize::try_from(left).unwrap_or(usize::MAX)),
        }
    }

    /// Notes what was taken. Both directions run in one task, so that nothing is taken between a look at
    /// what is left and this.
    fn take(&self, bytes: usize) {
        self.taken.fetch_add(count(bytes), Ordering::Relaxed);
        self.touch();
    }

    fn touch(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_at.store(now, Ordering::Relaxed);
    }

    /// Waits until nothing moved for `bound`.
    async fn silence(&self, bound: Duration) {
        loop {
            let moved_at = Duration::from_millis(self.moved_at.load(Ordering::Relaxed));
            let due = self.begun + moved_at + bound;
            if Instant::now() >= due {
                return;
            }
            time::sleep_until(due.into()).await;
        }
    }
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap());
        let (dialled, taken) = tokio::join!(dialled, listener.accept());
        (dialled.unwrap(), taken.unwrap().0)
    }

    #[tokio::test]
    async fn a_silent_transfer_is_reset_and_a_slow_one_is_not() {
        let (mut client, near) = pair().await;
        let (far, mut server) = pair().await;
        let bounds = Bounds {
            bound: Bound::new(None),
            max_silence: Duration::from_millis(300),
        };
        let carried = tokio::spawn(carry(near, far, bounds));
        let begun = Instant::now();
        for _ in 0..6 {
            client.write_all(&[1]).await.unwrap();
            time::sleep(Duration::from_millis(100)).await;
        }
        let carried = carried.await.unwrap();
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(750), "ended after {took:?}");
        assert_eq!(
            (carried.counters.bytes_forth, carried.truncated),
            (6, false)
        );
        let mut got = Vec::new();
        let error = server.read_to_end(&mut got).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn the_last_allowed_byte_may_be_the_last() {
        for (sent, truncated) in [(1000, false), (1001, true)] {
            let (mut client, near) = pair().await;
            let (far, mut server) = pair().await;
            let bounds = Bounds {
                bound: Bound::new(Some(1000)),
                max_silence: MAX_SILENCE,
            };
            let carried = tokio::spawn(carry(near, far, bounds));
            client.write_all(&vec![1; sent]).await.unwrap();
            client.shutdown().await.unwrap();
            let mut got = vec![0; 1000];
            server.read_exact(&mut got).await.unwrap();
            assert_eq!(server.read(&mut [0]).await.is_err(), truncated, "{sent}");
            drop(server);
            let carried = carried.await.unwrap();
            assert_eq!(
                (carried.counters.bytes_forth, carried.truncated),
                (1000, truncated)
            );
        }
    }

    #[tokio::test]
    async fn a_bound_that_comes_later_holds_and_none_becomes_larger() {
        let (mut client, near) = pair().await;
        let (far, mut server) = pair().await;
        let bound = Bound::new(None);
        let bounds = Bounds {
            bound: bound.clone(),
            max_silence: MAX_SILENCE,
        };
        let carried = tokio::spawn(carry(near, far, bounds));
        let mut got = vec![0; 1000];
        client.write_all(&got).await.unwrap();
        server.read_exact(&mut got).await.unwrap();

        bound.lower(1500);
        bound.lower(9000);
        client.write_all(&vec![1; 5000]).await.unwrap();

        let carried = carried.await.unwrap();
        assert_eq!(
            (carried.counters.bytes_forth, carried.truncated),
            (1500, true)
        );
    }
}

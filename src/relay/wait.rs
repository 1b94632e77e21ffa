//! Waits for the expected initiator, turns others away, and dials the target.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time;

use super::bound::Bound;
use super::carry::{Bounds, MAX_SILENCE, carry};
use super::{Order, RelayEvent};
use crate::net::{self, Seldom, Source, failed_for_one};
use crate::pinhole::{Counters, Pinhole};

/// How long taking connections pauses when the machine has no room for one more.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that are looked at once the waiting is over; the backlog holds no more.
const MAX_WAITING: usize = 32;

/// The source port of active data connections (RFC 959 §3.2).
const FTP_DATA: u16 = 20;

static STRAYS: AtomicU64 = AtomicU64::new(0);

/// Of all pinholes together: where files run out, they do for each that waits.
static UNTAKEN: Seldom = Seldom::new();

/// Connections that came to a listening port and were not the expected one, since the process began.
pub fn strays() -> u64 {
    STRAYS.load(Ordering::Relaxed)
}

/// Serves an order to its end.
pub(super) async fn serve(
    order: Order,
    bound: Bound,
    listener: TcpListener,
    given_up: oneshot::Receiver<()>,
    tell: impl Fn(RelayEvent) + Send + 'static,
) {
    let Order {
        pinhole,
        lifetime,
        connect_timeout,
        ..
    } = order;
    let come = tokio::select! {
        biased;
        _ = given_up => None,
        () = time::sleep(lifetime) => None,
        come = take_expected(&listener, &pinhole) => Some(come),
    };
    // With the listener goes whoever waits behind the one who was taken.
    let come = match come {
        Some(come) => Some(come),
        None => take_waiting(listener, &pinhole),
    };
    let Some((initiator, peer)) = come else {
        return;
    };
    let begun = Instant::now();
    tell(RelayEvent::Used);
    let (counters, truncated) = match dial(&pinhole, peer, connect_timeout).await {
        Ok(target) => {
            let bounds = Bounds {
                bound,
                max_silence: MAX_SILENCE,
            };
            let carried = carry(initiator, target, bounds).await;
            (carried.counters, carried.truncated)
        }
        Err(error) => {
            tracing::debug!(%pinhole, %error, "Could not reach the target of a relayed transfer");
            net::reset(initiator);
            (Counters::default(), false)
        }
    };
    tell(RelayEvent::Closed {
        counters,
        duration: begun.elapsed(),
        truncated,
    });
}

async fn take_expected(listener: &TcpListener, pinhole: &Pinhole) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) if is_expected(peer, pinhole) => return (stream, peer),
            Ok((stream, peer)) => {
                STRAYS.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%peer, %pinhole, "Reset a connection that nobody expected");
                net::reset(stream);
            }
            Err(error) if failed_for_one(&error) => {
                tracing::debug!(%pinhole, %error, "A data connection was gone");
            }
            Err(error) => {
                if let Some(untold) = UNTAKEN.due(Instant::now()) {
                    tracing::warn!(%error, untold, "data connections cannot be taken");
                }
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Who came before the waiting was over and was not taken so far: a fast server has sent all, and said so,
/// before its connection is looked at.
fn take_waiting(listener: TcpListener, pinhole: &Pinhole) -> Option<(TcpStream, SocketAddr)> {
    // Asked of the kernel itself: the runtime may not have heard of it yet.
    let listener = listener.into_std().ok()?;
    for _ in 0..MAX_WAITING {
        let (stream, peer) = match listener.accept() {
            Ok(come) => come,
            Err(error) if failed_for_one(&error) => continue,
            Err(_nobody) => return None,
        };
        if is_expected(peer, pinhole) {
            stream.set_nonblocking(true).ok()?;
            return Some((TcpStream::from_std(stream).ok()?, peer));
        }
        STRAYS.fetch_add(1, Ordering::Relaxed);
    }
    None
}

fn is_expected(peer: SocketAddr, pinhole: &Pinhole) -> bool {
    peer.ip() == pinhole.initiator && (!pinhole.from_port_20 || peer.port() == FTP_DATA)
}

async fn dial(pinhole: &Pinhole, peer: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let ip = pinhole.source;
    let source = if ip.is_unspecified() {
        Source::Routed
    } else if net::is_local(ip)? {
        Source::Address(ip)
    } else {
        // The initiator's own port is in connection tracking; of another source no port is.
        let port = if ip == peer.ip() { peer.port() } else { 0 };
        Source::Transparent(SocketAddr::new(ip, port))
    };
    net::connect(pinhole.target, source, timeout).await
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{IpAddr, Ipv4Addr};
    use std::thread;

    use super::super::expect;
    use super::*;
    use crate::net::Ports;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn who_came_before_the_waiting_was_over_is_carried() {
        let target = std::net::TcpListener::bind((HERE, 0)).unwrap();
        let lease = Ports::new(40_000..=48_000).lease(HERE).unwrap();
        let pinhole = Pinhole {
            initiator: HERE,
            announced: lease.address(),
            target: target.local_addr().unwrap(),
            source: Ipv4Addr::UNSPECIFIED.into(),
            from_port_20: false,
        };
        let order = Order {
            pinhole,
            lifetime: Duration::from_secs(20),
            max_bytes: None,
            connect_timeout: Duration::from_secs(20),
        };
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let expected = expect(order, lease, move |event| {
            let _ = told.send(event);
        })
        .unwrap();
        // All of it before the task of the relay runs for the first time.
        let mut initiator = std::net::TcpStream::connect(pinhole.announced).unwrap();
        initiator.write_all(b"all of it").unwrap();
        drop(initiator);
        expected.close();

        let taken = thread::spawn(move || {
            let mut content = String::new();
            let (mut stream, _) = target.accept().unwrap();
            stream.read_to_string(&mut content).unwrap();
            content
        });
        assert_eq!(heard.recv().await, Some(RelayEvent::Used));
        assert!(matches!(
            heard.recv().await,
            Some(RelayEvent::Closed { .. })
        ));
        assert_eq!(taken.join().unwrap(), "all of it");
    }
}

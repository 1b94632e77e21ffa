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
        // Given up or over comes first: who arrives at the same moment is late.
        biased;
        _ = given_up => None,
        () = time::sleep(lifetime) => None,
        come = take_expected(&listener, &pinhole) => Some(come),
    };
    // With the listener goes whoever waits behind the one who was taken.
    drop(listener);
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

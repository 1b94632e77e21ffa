//! One listening socket: takes connections, also where the machine gives no more files.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::{TcpListener, TcpStream};
use tokio::time;

use crate::monitor::Monitor;
use crate::net::{Seldom, Shortage, failed_for_one};

/// How long taking connections pauses when the machine has no room for one more.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that connections are taken from.
#[derive(Debug)]
pub(super) struct Door {
    name: Arc<str>,
    socket: TcpListener,
    monitor: Arc<Monitor>,
    /// A file kept open for nothing: closed, it makes room for a connection that is to hear why it
    /// cannot stay. Without, it would wait unheard until a session ends.
    spare: Option<OwnedFd>,
    log: Seldom,
}

/// Who came.
#[derive(Debug)]
pub(super) enum Arrived {
    /// A client that may be served.
    Client(TcpStream),
    /// A client in the place of the spare file: to be told 421, and closed before the next is taken.
    Beyond(TcpStream),
}

impl Door {
    pub(super) fn new(name: Arc<str>, socket: TcpListener, monitor: Arc<Monitor>) -> Self {
        Self {
            name,
            socket,
            monitor,
            spare: None,
            log: Seldom::default(),
        }
    }

    /// Waits for the next client. Nothing is lost where it is dropped before.
    pub(super) async fn next(&mut self) -> Arrived {
        loop {
            if self.spare.is_none() {
                self.spare = self.socket.as_fd().try_clone_to_owned().ok();
            }
            let error = match self.socket.accept().await {
                Ok((client, _)) => return Arrived::Client(client),
                Err(error) if failed_for_one(&error) => {
                    tracing::debug!(listener = %self.name, %error, "connection was gone");
                    continue;
                }
                Err(error) => error,
            };
            // The kernel looks for a file first: it says so also where nobody waits, and the spare one would
            // go to whoever asks next.
            if self.somebody_waits() {
                self.tell(&error);
                if Shortage::of(&error) == Some(Shortage::Files) && self.spare.take().is_some() {
                    // Taken in this instant, or somebody else has had the file.
                    let taken = time::timeout(Duration::ZERO, self.socket.accept()).await;
                    if let Ok(Ok((client, _))) = taken {
                        return Arrived::Beyond(client);
                    }
                }
            }
            time::sleep(ACCEPT_PAUSE).await;
        }
    }

    /// Whether a connection could be taken, were there a file for it.
    fn somebody_waits(&self) -> bool {
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        let at_once = Timespec::default();
        // What cannot be asked is tried.
        poll(&mut polled, Some(&at_once)).map_or(true, |ready| ready > 0)
    }

    fn tell(&self, error: &io::Error) {
        self.monitor.accept_failed(Shortage::of(error));
        if let Some(untold) = self.log.due(Instant::now()) {
            tracing::warn!(listener = %self.name, %error, untold, "connections cannot be taken");
        }
    }
}

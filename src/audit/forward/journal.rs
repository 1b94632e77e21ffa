//! The systemd journal by its native protocol: one datagram of `FIELD=value` lines an event.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::{Message, SEND_TIMEOUT};

/// Where the journal listens (systemd, "Native Journal Protocol").
const SOCKET: &str = "/run/systemd/journal/socket";

/// The journal; connected when the first line goes to it, and again after an error.
pub(super) struct Journal {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Default for Journal {
    fn default() -> Self {
        Self::at(Path::new(SOCKET))
    }
}

impl Journal {
    pub(super) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            socket: None,
        }
    }

    /// Sends one event: the line is the message, its kind is `PORTCULLIS_EVENT`.
    pub(super) fn send(&mut self, message: &Message) -> io::Result<()> {
        let priority = if message.refused { 4 } else { 6 };
        // No value has a line end in it: JSON writes those as \n, and kinds are fixed words.
        let text = format!(
            "PRIORITY={priority}\nSYSLOG_IDENTIFIER=portcullis\nPORTCULLIS_EVENT={}\nMESSAGE={}\n",
            message.kind, message.line
        );
        let socket = match &self.socket {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(&self.path)?;
                socket.set_write_timeout(Some(SEND_TIMEOUT))?;
                self.socket.insert(socket)
            }
        };
        let sent = socket.send(text.as_bytes()).map(drop);
        if sent.is_err() {
            self.socket = None;
        }
        sent
    }
}

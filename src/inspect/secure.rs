//! TLS on the control connection, without its keys: where it begins, that nothing is read of it, and
//! where it ends again (RFC 4217).
//!
//! From the byte behind 234 on, both directions are carried as they come. TLS records are followed by
//! their headers alone; where a record ends and something that is no record follows, the sender has
//! gone back to plain text (CCC), and inspection resumes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ftp::Verb;
use crate::rules::{Class, RuleName, Tls, Window};

use super::{Action, EndReason, Event, Inspector, PinholeEnd, Side, Violation, WindowNews};

/// How long a window stands in the kernel unless it is renewed.
pub const WINDOW_LIFETIME: Duration = Duration::from_secs(60);
/// How long the ends of a window's connections are waited for once the session is over.
const WINDOW_DRAIN: Duration = Duration::from_secs(60);
/// How often it is renewed.
const WINDOW_RENEWAL: Duration = Duration::from_secs(25);

/// Whether the control connection can be read.
#[derive(Debug, Default)]
pub(super) enum Channel {
    /// All of it.
    #[default]
    Plain,
    /// Nothing of it.
    Opaque(Box<Opaque>),
    /// Plain again after CCC; the server's last records may still come.
    Cleared {
        /// Follows what is left of the server's records.
        server: Box<Records>,
    },
    /// Over, while connections that came through its window are still to be counted.
    Draining {
        /// How many.
        connections: u32,
        /// Until when they are waited for.
        until: Instant,
    },
}

#[derive(Debug)]
pub(super) struct Opaque {
    client: Records,
    server: Records,
    window: Option<OpenWindow>,
}

#[derive(Debug)]
struct OpenWindow {
    window: Window,
    renew_at: Instant,
    /// Data connections that stand in it.
    connections: u32,
}

/// Follows TLS records by their headers (RFC 8446 §5.1), however they are cut.
#[derive(Debug, Default)]
pub(super) struct Records {
    header: Vec<u8>,
    body_left: usize,
    /// A whole header was read.
    begun: bool,
}

/// A record's header: type, version (2), length (2).
const HEADER: usize = 5;

impl Records {
    /// How many of these bytes are TLS; what follows them is plain text for good.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(&byte) = bytes.get(taken) {
            if self.body_left > 0 {
                let step = self.body_left.min(bytes.len() - taken);
                self.body_left -= step;
                taken += step;
                continue;
            }
            // 20 to 24 are the record types there are; text never begins with one of them.
            if self.header.is_empty() && !(20..=24).contains(&byte) {
                return taken;
            }
            self.header.push(byte);
            taken += 1;
            if let [_, _, _, high, low] = *self.header.as_slice() {
                self.body_left = usize::from(u16::from_be_bytes([high, low]));
                self.header.clear();
                self.begun = true;
            }
        }
        debug_assert!(
            self.header.len() < HEADER,
            "a whole header is taken at once"
        );
        taken
    }
}

impl Inspector {
    /// Takes the client's bytes while they can't be read; gives those that are plain text again.
    pub(super) fn carry_client<'a>(&mut self, bytes: &'a [u8], now: Instant) -> &'a [u8] {
        let Channel::Opaque(opaque) = &mut self.channel else {
            return bytes;
        };
        let taken = opaque.client.take(bytes);
        let (tls, plain) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
        if !tls.is_empty() {
            self.send_server(tls.to_vec());
        }
        if plain.is_empty() {
            return plain;
        }
        if !self.handshake_began() {
            self.violated(Side::Client, Violation::SpokePlainForTls, b"");
            self.end(EndReason::Violation, now);
            return &[];
        }
        self.clear_channel(now);
        plain
    }

    /// The same for the server's bytes. Plain text behind the client's first record is an error message:
    /// the server can't begin TLS. Before it, nobody has asked for anything.
    pub(super) fn carry_server<'a>(&mut self, bytes: &'a [u8], now: Instant) -> &'a [u8] {
        let records = match &mut self.channel {
            Channel::Plain | Channel::Draining { .. } => return bytes,
            Channel::Opaque(opaque) => &mut opaque.server,
            Channel::Cleared { server } => &mut **server,
        };
        let taken = records.take(bytes);
        let (tls, plain) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
        if !tls.is_empty() {
            self.send_client(tls.to_vec());
        }
        if plain.is_empty() {
            return plain;
        }
        if let Channel::Opaque(opaque) = &self.channel
            && !self.handshake_began()
        {
            if opaque.client.begun {
                self.send_client(plain.to_vec());
                return &[];
            }
            // In TLS the client speaks first. A client that has read ahead would take this for something
            // said inside TLS.
            self.violated(Side::Server, Violation::SpokePlainForTls, plain);
            self.end(EndReason::Violation, now);
            return &[];
        }
        self.clear_channel(now);
        self.channel = Channel::Plain;
        plain
    }

    /// Whether both sides have sent a TLS record.
    fn handshake_began(&self) -> bool {
        match &self.channel {
            Channel::Opaque(opaque) => opaque.client.begun && opaque.server.begun,
            Channel::Plain | Channel::Cleared { .. } | Channel::Draining { .. } => true,
        }
    }

    /// Whether both sides speak TLS, in which nothing can be read.
    pub(super) fn is_veiled(&self) -> bool {
        matches!(self.channel, Channel::Opaque(_)) && self.handshake_began()
    }

    /// The server answered AUTH with 234: nothing is read from the next byte on.
    pub(super) fn begin_tls(&mut self, tls: &Tls, rule: &Arc<RuleName>, now: Instant) {
        self.retire_pinhole(PinholeEnd::Secured, now);
        if !self.client.buffer.is_empty() {
            // Whoever wrote it, it would be taken for something said inside TLS.
            self.violated(Side::Client, Violation::PipelinedIntoTls, b"");
            return self.end(EndReason::Violation, now);
        }
        let window = match tls {
            Tls::Window(window) if self.settings.legs.of_one_family() => Some(window.clone()),
            Tls::Window(_) | Tls::Pass | Tls::Refuse => None,
        };
        self.record(Event::Secured {
            rule: Arc::clone(rule),
            window: window.clone(),
        });
        self.user = None;
        self.hidden_features = None;
        self.directory.forget();
        let window = window.map(|window| {
            let open = Action::OpenWindow {
                window: window.clone(),
                lifetime: WINDOW_LIFETIME,
            };
            self.actions.push_back(open);
            OpenWindow {
                window,
                renew_at: now + WINDOW_RENEWAL,
                connections: 0,
            }
        });
        let (client, server) = (Records::default(), Records::default());
        self.channel = Channel::Opaque(Box::new(Opaque {
            client,
            server,
            window,
        }));
        // What the server sent behind its 234 is not text.
        let rest = self.server.buffer.take_all();
        let plain = self.carry_server(&rest, now);
        self.server.buffer.extend(plain);
    }

    /// CCC: both sides speak plain text from here on.
    fn clear_channel(&mut self, now: Instant) {
        let Channel::Opaque(opaque) = std::mem::take(&mut self.channel) else {
            return;
        };
        self.close_window(opaque.window);
        self.channel = Channel::Cleared {
            server: Box::new(opaque.server),
        };
        // Who logged in could not be read; that somebody did is what CCC needs (RFC 4217 §5).
        self.logged_in = true;
        self.cleared = true;
        self.moved = now;
        self.record(Event::Unsecured);
    }

    /// Closes the window, if one is open; for the end of the session. What came through it is counted
    /// when it ends, or when this session can wait no longer.
    pub(super) fn abandon_channel(&mut self, now: Instant) {
        let Channel::Opaque(opaque) = std::mem::take(&mut self.channel) else {
            return;
        };
        let connections = opaque.window.as_ref().map_or(0, |open| open.connections);
        self.close_window(opaque.window);
        if connections > 0 {
            let until = now + WINDOW_DRAIN;
            self.channel = Channel::Draining { connections, until };
        }
    }

    /// Whether no connection of a window that is over is waited for.
    pub(super) fn window_is_drained(&self) -> bool {
        !matches!(self.channel, Channel::Draining { .. })
    }

    /// Waits no longer for the ends of a window's connections.
    pub(super) fn hurry_window(&mut self) {
        if !self.window_is_drained() {
            self.channel = Channel::default();
        }
    }

    fn close_window(&mut self, window: Option<OpenWindow>) {
        if let Some(OpenWindow { window, .. }) = window {
            self.actions.push_back(Action::CloseWindow { window });
        }
    }

    pub(super) fn window_changed(&mut self, news: WindowNews, now: Instant) {
        self.moved = now;
        if let Channel::Opaque(opaque) = &mut self.channel
            && let Some(open) = &mut opaque.window
        {
            match &news {
                WindowNews::Used { .. } => open.connections = open.connections.saturating_add(1),
                WindowNews::Closed { .. } => open.connections = open.connections.saturating_sub(1),
                WindowNews::Refused(_) => {}
            }
        }
        if let Channel::Draining { connections, .. } = &mut self.channel
            && matches!(news, WindowNews::Closed { .. })
        {
            *connections -= 1;
            if *connections == 0 {
                self.channel = Channel::default();
            }
        }
        match news {
            WindowNews::Used { announced } => self.record(Event::WindowUsed { announced }),
            WindowNews::Closed {
                announced,
                counters,
                duration,
            } => {
                self.record(Event::WindowMoved {
                    announced,
                    counters,
                    duration,
                });
            }
            WindowNews::Refused(reason) => {
                self.record(Event::PinholeRefused {
                    pinhole: None,
                    reason,
                });
            }
        }
    }

    /// When the window must be renewed; `None` where there is none.
    pub(super) fn window_deadline(&self) -> Option<Instant> {
        match &self.channel {
            Channel::Opaque(opaque) => opaque.window.as_ref().map(|window| window.renew_at),
            Channel::Draining { until, .. } => Some(*until),
            Channel::Plain | Channel::Cleared { .. } => None,
        }
    }

    pub(super) fn window_timed_out(&mut self, now: Instant) {
        if matches!(&self.channel, Channel::Draining { until, .. } if now >= *until) {
            return self.hurry_window();
        }
        if let Channel::Opaque(opaque) = &mut self.channel
            && let Some(open) = &mut opaque.window
            && now >= open.renew_at
        {
            open.renew_at = now + WINDOW_RENEWAL;
            let window = open.window.clone();
            self.actions.push_back(Action::OpenWindow {
                window,
                lifetime: WINDOW_LIFETIME,
            });
        }
    }

    /// Whether data moves that nothing but the kernel knows of.
    pub(super) fn window_is_used(&self) -> bool {
        match &self.channel {
            Channel::Opaque(opaque) => opaque
                .window
                .as_ref()
                .is_some_and(|window| window.connections > 0),
            Channel::Plain | Channel::Cleared { .. } | Channel::Draining { .. } => false,
        }
    }
}

/// Whether AUTH names what begins TLS (RFC 4217 §2, and the older names in use); other mechanisms
/// would go on in lines that are encrypted one by one.
pub(super) fn names_tls(argument: &[u8]) -> bool {
    [b"TLS".as_slice(), b"TLS-C", b"SSL", b"TLS-P"]
        .iter()
        .any(|name| argument.eq_ignore_ascii_case(name))
}

/// What belongs to a security exchange and means nothing outside of one (RFC 2228 §3).
pub(super) fn belongs_to_security(verb: &Verb) -> bool {
    *verb != Verb::Auth && Class::of(verb, false) == Class::Security
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_followed_however_they_are_cut() {
        let records = [
            &[22, 3, 1, 0, 3],
            b"abc".as_slice(),
            &[21, 3, 3, 0, 2, 1, 0],
        ]
        .concat();
        let whole = [records.as_slice(), b"PASV\r\n"].concat();
        assert_eq!(Records::default().take(&whole), records.len());
        let mut follower = Records::default();
        let taken: usize = whole.iter().map(|byte| follower.take(&[*byte])).sum();
        assert_eq!(taken, records.len());
    }
}

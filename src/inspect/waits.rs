//! How long a session is waited for: a client that does not log in, two sides that say nothing, and a
//! client that does not close although its server has.

use std::time::{Duration, Instant};

use crate::rules::Reaction;

use super::{EndReason, Inspector};

/// How long the client may take to close after the server has.
const LINGER_TIMEOUT: Duration = Duration::from_secs(10);

impl Inspector {
    /// Protocol rule 67: control is not idle while data moves.
    pub(super) fn idle_deadline(&self) -> Option<Instant> {
        if self.ending.is_some() {
            None
        } else if self.server.finish_passed_on || (self.server.finished && self.client.finished) {
            Some(self.moved + LINGER_TIMEOUT)
        } else if self.transfer_runs() {
            None
        } else {
            Some(self.moved + self.settings.idle_timeout)
        }
    }

    pub(super) fn idle_timed_out(&mut self, now: Instant) {
        if self.idle_deadline().is_some_and(|deadline| now >= deadline) {
            let reason = if self.server.finished {
                EndReason::ServerClosed
            } else {
                self.say_goodbye("Idle for too long, closing.");
                EndReason::Idle
            };
            self.end(reason, now);
        }
    }

    /// Until when somebody has to have logged in. A login inside TLS is not seen: there only the idle
    /// timeout holds, from the moment that both sides have begun to speak TLS. Where transfers need no
    /// login (`transfers-before-login: accept`), none is waited for.
    pub(super) fn login_deadline(&self) -> Option<Instant> {
        let needed = self.policy.protocol().transfers_before_login != Reaction::Accept;
        let awaited = needed && self.ending.is_none() && !self.logged_in && !self.is_veiled();
        awaited.then(|| self.anonymous_since + self.settings.login_timeout)
    }

    pub(super) fn login_timed_out(&mut self, now: Instant) {
        if self.login_deadline().is_some_and(|until| now >= until) {
            self.say_goodbye("Nobody has logged in for too long, closing.");
            self.end(EndReason::LoginTimeout, now);
        }
    }
}

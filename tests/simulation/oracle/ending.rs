//! What ends the session: what is said that may not go on, and what the gate says before it closes.

use portcullis::inspect::Violation;
use portcullis::rules::{Decision, Verdict};

use crate::Held;
use crate::ledger::Asking;
use crate::wire;

use super::{Oracle, is_one_line};

/// Stray lines of a server that one session bears.
const MAX_STRAYS: u32 = 100;

/// Lines of the server that belong to no reply.
#[derive(Debug, Default)]
pub(super) struct Strays {
    read: u32,
    recorded: u32,
}

impl Oracle {
    /// The server said a line that is no reply.
    pub(super) fn strayed(&mut self) {
        self.strays.read += 1;
        if self.strays.read >= MAX_STRAYS {
            self.ends_for = Some("a server that sends no replies is listened to");
        }
    }

    pub(super) fn server_violated(&mut self, violation: &Violation) -> Held {
        match violation {
            Violation::SpokePlainForTls => {
                let spoke = |oracle: &Self| oracle.ends_for == Some(PLAIN_FOR_TLS);
                self.read_until("the server does not begin TLS", spoke)
            }
            Violation::SentNoReply | Violation::SpokeForOtherSide => {
                self.strays.recorded += 1;
                let strayed = |oracle: &Self| oracle.strays.read >= oracle.strays.recorded;
                self.read_until("a stray line is recorded", strayed)
            }
            _ => Ok(()),
        }
    }

    /// Whether this line of the client is of another protocol, and ends the session for it.
    pub(super) fn ends_by(&self, line: &[u8]) -> bool {
        self.facts.ends_others && is_http(line, self.logged_in != Some(false))
    }

    /// A line of the client was recorded as wrong; true if the session must end for it.
    pub(super) fn check_protocol(&mut self, line: &[u8], violation: &Violation) -> Held<bool> {
        let text = String::from_utf8_lossy(line).into_owned();
        match violation {
            Violation::SpokeHttp => {
                if !self.ends_by(line) {
                    return Err(format!("{text:?} is taken for HTTP"));
                }
            }
            Violation::SpokeOtherProtocol => {
                let nobody = self.user.is_none() && self.logged_in == Some(false);
                if !self.facts.ends_others || !nobody || line.trim_ascii().is_empty() {
                    return Err(format!("{text:?} is taken for another protocol"));
                }
            }
            // Not read any further; no browser writes such a line.
            Violation::EndedLineWithBareLf
            | Violation::SentNul
            | Violation::SentBareCr
            | Violation::SentNoVerb => return Ok(false),
            _ if self.ends_by(line) => return Err(format!("{text:?} is only refused")),
            _ => return Ok(false),
        }
        self.ends_for = Some("another protocol goes on");
        Ok(true)
    }

    /// Limits hold back what they are reached for, and nothing else.
    pub(super) fn check_limits(&self, verb: &str, verdict: &Verdict) -> Held {
        let asking = Asking {
            session: self.session,
            client: self.scene.legs.client,
            user: self
                .user
                .as_deref()
                .filter(|_| verb != "USER" && self.logged_in != Some(false)),
            verb,
            at: self.now,
        };
        let limited = (verdict.rule.id == "all").then_some(&*self.facts);
        let mut ledger = self.ledger.borrow_mut();
        match (&verdict.decision, limited) {
            (Decision::Deny(_), Some(facts)) if verdict.limit.is_some() => {
                ledger.refused(facts, &asking)
            }
            (Decision::Deny(_), _) if verdict.limit.is_some() => {
                Err(format!("{verb} is refused for a limit that no rule has"))
            }
            (Decision::Deny(_), _) => Ok(()),
            (Decision::Allow, facts) => {
                if let Some(facts) = facts {
                    ledger.allowed(facts, &asking)?;
                }
                if super::client::transfers(verb) {
                    ledger.begins(facts, &asking);
                }
                Ok(())
            }
        }
    }

    /// What was said so far lets the session go on, and is on the record.
    pub(super) fn check_goes_on(&self) -> Held {
        if let Some(why) = self.ends_for {
            return Err(why.to_owned());
        }
        match self.strays.read == self.strays.recorded {
            true => Ok(()),
            false => Err("a stray line is not on the record".into()),
        }
    }

    /// The client is told what is not due: right before the end, wrong anywhere else.
    pub(super) fn untold(&mut self, bytes: &[u8], due: &str) -> Held {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let error = format!("the client is told {text:?}, and {due}");
        if !is_goodbye(bytes) {
            return Err(error);
        }
        self.farewell = Some(error);
        Ok(())
    }
}

/// Text behind 234 before the client has asked for TLS; it would be taken for something said inside.
pub(super) const PLAIN_FOR_TLS: &str = "text reaches a client that waits for TLS";

/// Methods of HTTP.
const METHODS: [&str; 11] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PROPFIND",
    "LOCK",
];

/// Whether a line is one that begins an HTTP request; pathnames that end like one are named only by
/// users that are logged in.
pub(super) fn is_http(line: &[u8], logged_in: bool) -> bool {
    let (verb, _) = wire::words(line);
    let ends = |version: &[u8]| line.ends_with(version);
    METHODS.contains(&verb.as_str())
        || (!logged_in
            && [b" HTTP/1.0", b" HTTP/1.1", b" HTTP/2.0"]
                .into_iter()
                .any(|version| ends(version)))
}

/// What the gate says before it closes.
fn is_goodbye(bytes: &[u8]) -> bool {
    let code = wire::code(bytes).map(|(code, _)| code);
    is_one_line(bytes) && matches!(code, Some(421 | 425 | 451 | 500))
}

//! The limits of the rule that allows a command: what they refuse, what a transfer holds of them, and
//! the bound on its bytes.

use std::sync::Arc;
use std::time::Instant;

use crate::ftp::Verb;
use crate::rules::{Asking, Decision, Permit, Refusal, TransferMode, Verdict};

use super::client::Permitted;
use super::pending::Expects;
use super::{Action, Inspector};

impl Inspector {
    /// Takes what the command needs of each limit of the rule that allows it; where one is reached, the
    /// verdict becomes a deny that names it.
    pub(super) fn meter(&self, verdict: Verdict, verb: &Verb, now: Instant) -> (Verdict, Permit) {
        let allowed = verdict.decision == Decision::Allow;
        let Some(limits) = verdict.grants.limits.as_ref().filter(|_| allowed) else {
            return (verdict, Permit::default());
        };
        let asking = Asking {
            client: self.settings.legs.client,
            // A name that no server has accepted is anybody's claim: it must not use up another's limits.
            user: self.user.as_ref().filter(|_| self.logged_in),
            verb,
        };
        match self.settings.meters.take(limits, &asking, now) {
            Ok(permit) => (verdict, permit),
            Err(refusal) => {
                let refused = Verdict {
                    decision: Decision::Deny(reply(verb, &refusal)),
                    limit: Some(refusal),
                    ..verdict
                };
                (refused, Permit::default())
            }
        }
    }

    /// A command with a data connection goes to the server: the open pinhole is for it, holds its
    /// permit, and carries no more than its rule says.
    pub(super) fn begin_transfer(&mut self, permitted: &mut Permitted<'_>) -> Expects {
        let served = self.transfers.open.as_mut();
        let Some(open) = served.filter(|open| open.command.is_none()) else {
            return Expects::TransferEnd(None);
        };
        open.command = Some((permitted.shown.clone(), Arc::clone(&permitted.rule)));
        open.permit = std::mem::take(&mut permitted.permit);
        let id = open.id;
        if let Some(max_bytes) = permitted.grants.max_bytes {
            self.actions
                .push_back(Action::BoundPinhole { id, max_bytes });
        }
        Expects::TransferEnd(Some(id))
    }
}

/// The reply to a command that a limit refuses: for the time being, with a code that the command may
/// get (RFC 959 §5.4, RFC 2428 §2, RFC 2228 §5).
fn reply(verb: &Verb, refusal: &Refusal) -> Arc<str> {
    let code = if matches!(verb, Verb::User | Verb::Pass | Verb::Acct) {
        // §5.4 has nothing but 421 for these, which ends the session; 3 in the middle speaks of logins
        // (§4.2.1), and clients go by the first digit (RFC 1123 §4.1.2.11).
        430
    } else if TransferMode::of(verb).is_some() {
        425
    } else if *verb == Verb::Auth {
        431
    } else {
        450
    };
    format!("{code} {refusal}.").into()
}

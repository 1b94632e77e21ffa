//! What follows from a verdict without a rule of its own: TLS that no rule grants, and features that a
//! rule hides. Sessions, questions and recorded commands are settled here, so that they agree.

use crate::ftp::{self, Verb};
use crate::rules::{Decision, Policy, Request, Tls, Verdict};

use super::secure::names_tls;

/// Turns an allow into the refusal that it comes to: AUTH that is granted no TLS, or is not for TLS,
/// and commands that are hidden from FEAT.
pub(crate) fn settle(
    verdict: &mut Verdict,
    command: &ftp::Command<'_>,
    is_hidden: impl FnOnce(&Verb) -> bool,
) {
    if verdict.decision != Decision::Allow {
        return;
    }
    let reply = if command.verb == Verb::Auth {
        if verdict.grants.tls == Tls::Refuse {
            "534 TLS is not possible here.".to_owned()
        } else if !names_tls(command.trimmed()) {
            "504 Only AUTH TLS is possible here.".to_owned()
        } else {
            return;
        }
    } else if is_hidden(&command.verb) {
        format!("502 {} is not available.", command.verb)
    } else {
        return;
    };
    verdict.decision = Decision::Deny(reply.into());
}

/// The features that the rules hide from who asks; the verb and its argument are FEAT's.
pub(crate) fn hidden_features(policy: &Policy, asking: &Request<'_>) -> Vec<String> {
    let verdict = policy.decide(&Request {
        verb: &Verb::Feat,
        site: None,
        foreign: None,
        path: None,
        ..*asking
    });
    let hidden = verdict.grants.mask.map(|mask| mask.hidden_features.clone());
    hidden.unwrap_or_default()
}

/// Whether a verb is among the hidden features.
pub(crate) fn hides(hidden: &[String], verb: &Verb) -> bool {
    // MLST in FEAT stands for MLSD as well (RFC 3659 §7.8).
    let feature = if *verb == Verb::Mlsd {
        "MLST"
    } else {
        verb.as_str()
    };
    let mut hidden = hidden.iter();
    hidden.any(|hidden| hidden == feature || hidden == verb.as_str())
}

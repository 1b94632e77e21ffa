//! What the client does not see: the text of replies that a rule masks, and features that are not
//! to be had (protocol rules 46, 58 and 68). Codes are never changed.

use std::sync::Arc;

use crate::ftp::Verb;
use crate::rules::{self, Decision, Mask, Policy, Request, Tls};

use super::Inspector;
use super::settle::{hidden_features, hides};

/// What of one reply is hidden.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Veil {
    /// Stands in place of the reply's whole text.
    text: Option<Arc<str>>,
    /// Features that are not listed, in upper case.
    hidden: Vec<String>,
}

/// The commands that mean nothing where AUTH is refused.
const TLS_FEATURES: [&str; 4] = ["AUTH", "PBSZ", "PROT", "CCC"];

impl Veil {
    /// What is hidden of the greeting.
    pub(super) fn of_greeting(policy: &Policy) -> Option<Self> {
        policy.protocol().banner.as_deref().map(Self::of_text)
    }

    fn of_text(text: &str) -> Self {
        Self {
            text: Some(Arc::from(text)),
            hidden: Vec::new(),
        }
    }

    /// Whether a text line of a multi-line reply is hidden. The first line, `211-…`, is kept unless
    /// all text is masked: it opens the reply.
    pub(super) fn hides_line(&self, line: &[u8]) -> bool {
        if self.text.is_some() {
            return true;
        }
        // RFC 2389 §3.2: a feature's line begins with one space.
        let Some(feature) = line.strip_prefix(b" ") else {
            return false;
        };
        let word = feature
            .split(|byte| matches!(byte, b' ' | b';'))
            .next()
            .unwrap_or_default();
        self.hidden
            .iter()
            .any(|hidden| word.eq_ignore_ascii_case(hidden.as_bytes()))
    }

    /// The last line as the client sees it, line end included; `None` where it stays as it is.
    pub(super) fn last_line(&self, code: u16) -> Option<Vec<u8>> {
        self.text
            .as_ref()
            .map(|text| format!("{code} {text}\r\n").into_bytes())
    }
}

impl Inspector {
    /// What is hidden of the reply to a command that a rule with this mask allowed.
    pub(super) fn veil_for(&mut self, verb: &Verb, mask: Option<&Arc<Mask>>) -> Option<Arc<Veil>> {
        let text = mask.and_then(|mask| mask.text.as_deref());
        if *verb != Verb::Feat {
            return text.map(|text| Arc::new(Veil::of_text(text)));
        }
        if let Some(text) = text {
            return Some(Arc::new(Veil::of_text(text)));
        }
        let mut hidden = mask
            .map(|mask| mask.hidden_features.clone())
            .unwrap_or_default();
        if !self.tls_is_offered() {
            hidden.extend(TLS_FEATURES.map(str::to_owned));
        }
        Some(Arc::new(Veil { text: None, hidden }))
    }

    /// Whether the rules hide this verb from FEAT, so that it is refused as well.
    pub(super) fn is_hidden(&mut self, verb: &Verb) -> bool {
        if self.hidden_features.is_none() {
            let hidden = hidden_features(&self.policy, &self.asking(&Verb::Feat));
            self.hidden_features = Some(hidden);
        }
        hides(self.hidden_features.as_deref().unwrap_or_default(), verb)
    }

    fn tls_is_offered(&self) -> bool {
        let verdict = self.policy.decide(&self.asking(&Verb::Auth));
        verdict.decision == Decision::Allow && verdict.grants.tls != Tls::Refuse
    }

    /// A request for a command without argument, as this session would make it.
    pub(super) fn asking<'a>(&'a self, verb: &'a Verb) -> Request<'a> {
        let legs = &self.settings.legs;
        Request {
            user: self.user.as_deref(),
            channel: match self.cleared {
                true => rules::Channel::Cleared,
                false => rules::Channel::Plain,
            },
            host: self.host.as_deref(),
            at: self.wall_clock(),
            ..Request::new(&self.settings.listener, legs.client, legs.server, verb)
        }
    }
}

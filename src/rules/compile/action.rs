//! What a rule says: allow, or deny with a reply.

use std::ops::Range;

use crate::yaml::{Map, Node, quoted};

use super::super::rule::RuleAction;
use super::Compiler;

/// Bytes of a reply to a denied command at most.
const MAX_REPLY: usize = 400;

impl<'a> Compiler<'a> {
    /// Reads `allow` or `deny`, and tells where its value stands.
    pub(super) fn action(&mut self, map: &mut Map<'a>) -> (Option<RuleAction>, Range<usize>) {
        let allow = map.keyed("allow");
        let deny = map.keyed("deny");
        let place = match allow.or(deny) {
            Some((_, node)) => node.span.clone(),
            None => map.head(),
        };
        let action = self.allow_or_deny(map, allow, deny);
        (action, place)
    }

    fn allow_or_deny(
        &mut self,
        map: &Map<'a>,
        allow: Option<(&'a Node, &'a Node)>,
        deny: Option<(&'a Node, &'a Node)>,
    ) -> Option<RuleAction> {
        match (allow, deny) {
            (Some((_, node)), None) => match self.report.boolean(node, "`allow`")? {
                true => Some(RuleAction::Allow),
                false => {
                    let help = "write `deny: true`";
                    let span = node.span.clone();
                    self.report.error(span, "`allow: false`", help);
                    None
                }
            },
            (None, Some((_, node))) => self.reply(node),
            (None, None) if map.misspells("allow") || map.misspells("deny") => None,
            (None, None) => {
                let message = "the rule says neither `allow` nor `deny`";
                let help = "add `allow: true`, `deny: true` or `deny: 550 The reason`";
                self.report.error(map.head(), message, help);
                None
            }
            (Some(_), Some((key, _))) => {
                let message = "the rule says both `allow` and `deny`";
                self.report
                    .error(key.span.clone(), message, "keep one of them");
                None
            }
        }
    }

    fn reply(&mut self, node: &Node) -> Option<RuleAction> {
        let text = self.report.text(node, "`deny`")?;
        if text == "true" {
            return Some(RuleAction::Deny(None));
        }
        let fault = reply_fault(text);
        if let Some((message, help)) = fault {
            let message = format!("the reply {} {message}", quoted(text));
            self.report.error(node.span.clone(), message, help);
            return None;
        }
        Some(RuleAction::Deny(Some(text.into())))
    }
}

/// Says what keeps a text from being a negative reply line (RFC 959 §4.2).
fn reply_fault(text: &str) -> Option<(String, String)> {
    let right = "write a code and a text: `deny: 550 The reason`";
    if text.chars().any(char::is_control) {
        return Some(("has control characters".to_owned(), right.to_owned()));
    }
    let (code, words) = text.split_once(' ').unwrap_or((text, ""));
    let negative = match code.as_bytes() {
        [first, second, third] => {
            matches!(first, b'4' | b'5') && matches!(second, b'0'..=b'5') && third.is_ascii_digit()
        }
        _ => false,
    };
    if !negative {
        let message = "does not begin with a code from 400 to 559".to_owned();
        return Some((message, right.to_owned()));
    }
    if code == "421" {
        let message = "would say that the session ends, which it does not".to_owned();
        return Some((
            message,
            "use 550, or 450 for a refusal that may pass".to_owned(),
        ));
    }
    if words.trim().is_empty() {
        return Some(("has no text".to_owned(), right.to_owned()));
    }
    if text.len() > MAX_REPLY {
        let message = format!("has {} bytes", text.len());
        return Some((message, format!("at most {MAX_REPLY}")));
    }
    None
}

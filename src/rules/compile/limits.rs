//! `limits`: how often, how many at one time and how much, as operators write them.

use std::sync::Arc;

use crate::ftp::Verb;
use crate::yaml::{Node, Report, Value, number, quoted, size};

use super::super::keys;
use super::super::limits::{Limit, Limits, Measure, Per, Period, Rate, RuleKey};
use super::super::rule::Rule;
use super::Compiler;

/// What periods are called elsewhere.
const OTHER_NAMES: [(&str, &str); 7] = [
    ("sec", "s"),
    ("second", "s"),
    ("m", "min"),
    ("minute", "min"),
    ("hour", "h"),
    ("d", "day"),
    ("days", "day"),
];

/// Reads the number of a rate; `None` where it is none.
type ReadCount = fn(&str) -> Option<u64>;

impl Compiler<'_> {
    /// One mapping or a list of them; for the same count, one number.
    pub(super) fn limits(&mut self, node: &Node, rule: &str) -> Option<Arc<Limits>> {
        let items = match &node.value {
            Value::Map(_) => std::slice::from_ref(node),
            Value::List(_) | Value::Scalar { .. } => self.report.one_or_many(node, "`limits`"),
        };
        let mut list: Vec<Limit> = Vec::new();
        for (place, item) in items.iter().enumerate() {
            for (limit, at) in self.limit(item, place + 1) {
                if let Some(first) = list.iter().find(|first| counts_the_same(first, &limit)) {
                    let message = format!(
                        "a second limit on `{}` of the same kind",
                        limit.measure.key()
                    );
                    let help = format!(
                        "entry {} limits it already; keep the smaller one",
                        first.number
                    );
                    self.report.error(at.span.clone(), message, help);
                } else {
                    list.push(limit);
                }
            }
        }
        let rule = Arc::new(RuleKey {
            file: self.report.source().name().to_owned(),
            id: rule.to_owned(),
        });
        (!list.is_empty()).then(|| Arc::new(Limits { rule, list }))
    }

    /// One entry: a limit for each of its keys, with the place of its value.
    fn limit<'n>(&mut self, node: &'n Node, number: usize) -> Vec<(Limit, &'n Node)> {
        let Some(mut map) = self.report.section(node, "`limits`", &keys::LIMIT) else {
            return Vec::new();
        };
        let per = map.required("per", &mut self.report);
        let commands = map.optional("commands");
        let transfers = map.optional("transfers");
        let bytes = map.optional("bytes");
        let misspelt = ["commands", "transfers", "bytes"]
            .iter()
            .any(|name| map.misspells(name));
        let head = map.head();
        map.finish(&mut self.report);
        if commands.or(transfers).or(bytes).is_none() && !misspelt {
            let help = "add `commands: 600/min`, `transfers: 4` or `bytes: 50GB/day`";
            self.report
                .error(head, "an entry of `limits` that limits nothing", help);
        }
        let per = per.and_then(|node| self.report.choice(node, "`per`", &Per::NAMED));
        let commands = commands.and_then(|node| {
            let rate = rate(
                node,
                "`commands`",
                "600/min",
                plain_number,
                &mut self.report,
            )?;
            Some((Measure::Commands(rate), node))
        });
        let transfers = transfers.and_then(|node| {
            let count = self
                .report
                .integer(node, "`transfers`", 1..=keys::MAX_TRANSFERS)?;
            Some((Measure::Transfers(u32::try_from(count).ok()?), node))
        });
        let bytes = bytes.and_then(|node| {
            let rate = rate(node, "`bytes`", "50GB/day", size, &mut self.report)?;
            Some((Measure::Bytes(rate), node))
        });
        let Some(per) = per else { return Vec::new() };
        let measures = [commands, transfers, bytes].into_iter().flatten();
        let limit = |(measure, node)| {
            let limit = Limit {
                number,
                per,
                measure,
            };
            (limit, node)
        };
        measures.map(limit).collect()
    }

    /// Warns of limits that never limit anything.
    pub(super) fn warn_of_idle_limits(&mut self, rule: &Rule, node: &Node) {
        let Some(limits) = &rule.grants.limits else {
            return;
        };
        let transfers = Verb::KNOWN
            .iter()
            .any(|verb| verb.transfers() && rule.can_match(verb));
        // HOST has to come before USER, and nothing else has.
        let nameless = Verb::KNOWN
            .iter()
            .all(|verb| *verb == Verb::Host || !rule.can_match(verb));
        for limit in limits.iter() {
            let at = match &node.value {
                Value::List(items) => items.get(limit.number - 1).map_or(node, |item| item),
                Value::Map(_) | Value::Scalar { .. } => node,
            };
            let key = limit.measure.key();
            if !transfers && !matches!(limit.measure, Measure::Commands(_)) {
                let message = format!("`{key}` in a rule that matches no transfer");
                let help = "it is held against RETR, STOR, STOU, APPE, LIST, NLST and MLSD; \
                            write it in the rule that allows them";
                self.report.warn(at.head(), message, help);
            } else if nameless && limit.per == Per::User {
                let message = "`per: user` in a rule that matches only before USER";
                let help = "there is no name yet; write `per: client`";
                self.report.warn(at.head(), message, help);
            }
        }
    }
}

/// Reads a rate of whole things: a number, a stroke and s, min, h or day. Reports what is none.
pub(crate) fn rate_of_count(
    node: &Node,
    what: &str,
    like: &str,
    report: &mut Report,
) -> Option<Rate> {
    rate(node, what, like, plain_number, report)
}

/// A number, a stroke and s, min, h or day.
fn rate(node: &Node, what: &str, like: &str, read: ReadCount, report: &mut Report) -> Option<Rate> {
    let text = report.text(node, what)?;
    let (count, unit) = text.split_once('/').unwrap_or((text, ""));
    let named = Period::NAMED.iter().find(|(name, _)| *name == unit);
    let fault = match (read(count), named) {
        (Some(0 | u64::MAX), Some(_)) => "which is out of range",
        (Some(count), Some((_, period))) => {
            let period = *period;
            return Some(Rate { count, period });
        }
        (None, _) | (_, None) => "not a rate",
    };
    let meant = OTHER_NAMES.iter().find(|(name, _)| *name == unit);
    let meant = meant.map(|(_, name)| format!("did you mean `{count}/{name}`? "));
    let help = meant.unwrap_or_default()
        + &format!("write a number from 1 and s, min, h or day behind a stroke, such as {like}");
    let message = format!("{what} is {}, {fault}", quoted(text));
    report.error(node.span.clone(), message, help);
    None
}

/// Whether two limits would be held against one count.
fn counts_the_same(one: &Limit, other: &Limit) -> bool {
    let period = |limit: &Limit| match limit.measure {
        Measure::Commands(rate) | Measure::Bytes(rate) => Some(rate.period),
        Measure::Transfers(_) => None,
    };
    one.per == other.per && one.measure.key() == other.measure.key() && period(one) == period(other)
}

/// A whole number in decimal digits.
fn plain_number(text: &str) -> Option<u64> {
    number(text).filter(|_| !text.starts_with("0x"))
}

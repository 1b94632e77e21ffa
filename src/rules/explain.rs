//! Why a command is decided as it is: the rule, as it is written, and why none before it matched.

use std::sync::Arc;

use crate::yaml::Source;

use super::rule::{Rule, RuleAction};
use super::{Channel, Class, Field, Policy, Request, RuleName, Verdict};

/// Bytes of a written condition that are shown.
const MAX_WRITTEN: usize = 200;

/// A verdict and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The answer that [`Policy::decide`] gives.
    pub verdict: Verdict,
    /// The rule as it is written; `None` for the built-in one.
    pub excerpt: Option<Excerpt>,
    /// The rules before it, in the order written; all of them where none matched.
    pub passed_over: Vec<PassedOver>,
}

/// Lines of a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The number of the first one, from 1.
    pub first_line: usize,
    /// Their text, without line ends.
    pub lines: Vec<String>,
}

/// A rule that did not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Which one.
    pub rule: Arc<RuleName>,
    /// The first condition that did not hold.
    pub field: Field,
    /// What the rule says there, on one line; empty where it says nothing (`fxp`).
    pub written: String,
    /// What the command has there; `None` where it has nothing.
    pub asked: Option<String>,
}

/// Decides on one command and tells why; looks at every rule up to the one that decides.
pub fn explain(policy: &Policy, request: &Request<'_>) -> Explanation {
    let class = Class::of(request.verb, request.path.is_some());
    let source = policy.source();
    let mut passed_over = Vec::new();
    let mut first = None;
    for rule in policy.rules() {
        let Some(field) = rule.mismatch(request, class) else {
            first = Some(rule);
            break;
        };
        passed_over.push(PassedOver {
            rule: Arc::clone(&rule.name),
            field,
            written: written(rule, field, source),
            asked: asked(field, request),
        });
    }
    Explanation {
        verdict: policy.verdict(first, request),
        excerpt: first
            .zip(source)
            .map(|(rule, source)| excerpt(rule, source)),
        passed_over,
    }
}

/// A rule of a policy, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenRule {
    /// Its name.
    pub name: Arc<RuleName>,
    /// Whether it allows.
    pub allows: bool,
    /// Its lines; `None` where the policy was not read from a file.
    pub excerpt: Option<Excerpt>,
}

/// Gives the rule with this id, as it is written.
pub fn written_rule(policy: &Policy, id: &str) -> Option<WrittenRule> {
    let rule = policy.rules().iter().find(|rule| rule.name.id == id)?;
    Some(WrittenRule {
        name: Arc::clone(&rule.name),
        allows: rule.action == RuleAction::Allow,
        excerpt: policy.source().map(|source| excerpt(rule, source)),
    })
}

/// The lines of a rule, without blank ones and comments behind it.
fn excerpt(rule: &Rule, source: &Source) -> Excerpt {
    let span = &rule.places.whole;
    let first_line = source.line(span.start);
    let text = source.text().get(span.clone()).unwrap_or_default();
    let last_line = source.line(span.start + text.trim_end().len());
    let lines = (first_line..=last_line).map(|line| source.line_text(line).to_owned());
    let mut lines: Vec<String> = lines.collect();
    let beyond = |line: &String| line.trim().is_empty() || line.trim_start().starts_with('#');
    while lines.len() > 1 && lines.last().is_some_and(beyond) {
        lines.pop();
    }
    Excerpt { first_line, lines }
}

fn written(rule: &Rule, field: Field, source: Option<&Source>) -> String {
    let condition = rule.places.of(field);
    let text = condition
        .zip(source)
        .and_then(|(condition, source)| source.text().get(condition.span.clone()));
    let words: Vec<&str> = text.unwrap_or_default().split_whitespace().collect();
    let mut line = words.join(" ");
    if line.len() > MAX_WRITTEN {
        line = line.chars().take(MAX_WRITTEN).collect();
        line.push('…');
    }
    line
}

fn asked(field: Field, request: &Request<'_>) -> Option<String> {
    match field {
        Field::Command | Field::Mode => Some(match request.site {
            Some(word) => format!("{} {word}", request.verb),
            None => request.verb.to_string(),
        }),
        Field::Fxp => request.foreign.map(|address| address.to_string()),
        Field::Channel => {
            let mut named = Channel::NAMED.iter();
            let name = named.find(|(_, channel)| *channel == request.channel);
            name.map(|(name, _)| (*name).to_owned())
        }
        Field::Listener => Some(request.listener.to_owned()),
        Field::Client => Some(request.client.to_string()),
        Field::Server => Some(request.server.to_string()),
        Field::Host => request.host.map(str::to_owned),
        Field::User => request.user.map(str::to_owned),
        Field::Path => request
            .path
            .map(|path| String::from_utf8_lossy(path).into_owned()),
        Field::When => request.at.map(|at| at.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use crate::ftp::Verb;

    use super::*;

    const TEXT: &str = "rules:
  - { id: office, allow: true, client: [10.0.0.0/8,
      192.168.0.0/16] }
  - id: no-exe
    deny: 553 No programs
    path: '*.exe'
    # All of them.

  - { id: fxp, allow: true, fxp: 192.0.2.0/24 }
";

    fn explained(path: &str) -> Explanation {
        let policy = Policy::parse("edge.yaml", TEXT).unwrap();
        let request = Request {
            path: Some(path.as_bytes()),
            ..Request::new(
                "lan",
                [203, 0, 113, 1].into(),
                [192, 0, 2, 1].into(),
                &Verb::Stor,
            )
        };
        let explanation = explain(&policy, &request);
        assert_eq!(explanation.verdict, policy.decide(&request));
        explanation
    }

    fn told(explanation: &Explanation) -> Vec<(&str, &str, &str, &str)> {
        let passed = explanation.passed_over.iter();
        passed
            .map(|passed| {
                let asked = passed.asked.as_deref().unwrap_or_default();
                (
                    passed.rule.id.as_str(),
                    passed.field.name(),
                    passed.written.as_str(),
                    asked,
                )
            })
            .collect()
    }

    #[test]
    fn shows_the_rule_and_why_none_before_it_matched() {
        let explanation = explained("/a.exe");
        let office = (
            "office",
            "client",
            "[10.0.0.0/8, 192.168.0.0/16]",
            "203.0.113.1",
        );
        assert_eq!(told(&explanation), [office]);
        let excerpt = explanation.excerpt.unwrap();
        assert_eq!(excerpt.first_line, 4);
        assert_eq!(
            excerpt.lines,
            [
                "  - id: no-exe",
                "    deny: 553 No programs",
                "    path: '*.exe'"
            ]
        );
    }

    #[test]
    fn where_none_matched_all_were_passed_over() {
        let explanation = explained("/a.txt");
        let fields: Vec<_> = told(&explanation).iter().map(|told| told.1).collect();
        assert_eq!(fields, ["client", "path", "fxp"]);
        assert_eq!(explanation.excerpt, None);
        assert_eq!(explanation.verdict.rule.id, "default");
    }
}

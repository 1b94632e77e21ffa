//! `portcullis why`: how the rules decide on one command, for people and as JSON.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use jiff::Timestamp;
use serde_json::json;

use crate::config::{Config, Listener};
use crate::ftp::Verb;
use crate::inspect;
use crate::rules::{Channel, Decision, Explanation, PassedOver, Policy, Request};
use crate::yaml::{nearest, quoted};

use super::{Outcome, load, say};

/// One command and who sends it.
#[derive(Clone, Debug)]
pub struct Question {
    /// The listener that took the session.
    pub listener: String,
    /// The client's address, canonical.
    pub client: IpAddr,
    /// The server's own address, canonical.
    pub server: IpAddr,
    /// The name given in USER.
    pub user: Option<String>,
    /// The host given in HOST, in lower case.
    pub host: Option<String>,
    /// When the command comes.
    pub at: Timestamp,
    /// CCC has ended encryption.
    pub cleared: bool,
    /// The line.
    pub command: String,
    /// Whether the answer is JSON.
    pub json: bool,
}

/// Prints how the rules of a configuration decide on one command, and why.
///
/// # Errors
/// Where the configuration has no such listener or host, or the line is no command.
pub fn why(file: &Path, question: &Question) -> anyhow::Result<Outcome> {
    let Some(config) = load(file)? else {
        return Ok(Outcome::Problems);
    };
    let policy = policy(&config, question)?;
    let asking = Request {
        user: question.user.as_deref(),
        host: question.host.as_deref(),
        channel: match question.cleared {
            true => Channel::Cleared,
            false => Channel::Plain,
        },
        at: Some(question.at),
        ..Request::new(
            &question.listener,
            question.client,
            question.server,
            &Verb::Noop,
        )
    };
    let explanation = inspect::ask(policy, &question.command, &asking)
        .map_err(|error| anyhow!("--command {}: {error}", quoted(&question.command)))?;
    let text = match question.json {
        true => as_json(&explanation, question),
        false => as_text(&explanation, question),
    };
    say(&text)?;
    Ok(Outcome::Good)
}

/// The rules that decide: the listener's, or those of the host.
fn policy<'a>(config: &'a Config, question: &Question) -> anyhow::Result<&'a Arc<Policy>> {
    let known = |listener: &&Listener| listener.name == question.listener;
    let Some(listener) = config.listeners.iter().find(known) else {
        let names: Vec<&str> = config.listeners.iter().map(|l| l.name.as_str()).collect();
        return Err(missing("listener", &question.listener, &names));
    };
    match &question.host {
        Some(host) if !listener.hosts.is_empty() => listener.hosts.get(host).ok_or_else(|| {
            let names: Vec<&str> = listener.hosts.keys().map(String::as_str).collect();
            missing("host", host, &names)
        }),
        Some(_) | None => Ok(&listener.policy),
    }
}

fn missing(what: &str, name: &str, known: &[&str]) -> anyhow::Error {
    let near = nearest(name, known.iter().copied());
    let near = near.map(|near| format!("did you mean `{near}`? "));
    anyhow!(
        "no {what} is called {}: {}known: {}",
        quoted(name),
        near.unwrap_or_default(),
        known.join(", ")
    )
}

/// The answer in one word, and the reply where there is one.
fn decided(explanation: &Explanation) -> (&'static str, Option<&str>) {
    match &explanation.verdict.decision {
        Decision::Allow => ("allow", None),
        Decision::Deny(reply) => ("deny", Some(reply)),
    }
}

/// The limits of a rule that allows, in words; what is counted only the running gate knows.
fn limits(explanation: &Explanation) -> impl Iterator<Item = String> {
    let verdict = &explanation.verdict;
    let limits = verdict.grants.limits.iter();
    limits
        .filter(|_| verdict.decision == Decision::Allow)
        .flat_map(|limits| limits.iter())
        .map(ToString::to_string)
}

fn as_json(explanation: &Explanation, question: &Question) -> String {
    let (decision, reply) = decided(explanation);
    let rule = &explanation.verdict.rule;
    let excerpt = explanation.excerpt.as_ref();
    let limits: Vec<String> = limits(explanation).collect();
    let passed = explanation.passed_over.iter().map(|passed| {
        json!({
            "rule": passed.rule.id,
            "rule_at": passed.rule.at,
            "field": passed.field.name(),
            "written": passed.written,
            "asked": passed.asked,
        })
    });
    let answer = json!({
        "command": question.command,
        "at": question.at.to_string(),
        "decision": decision,
        "reply": reply,
        "rule": rule.id,
        "rule_at": rule.at,
        "limits": limits,
        "first_line": excerpt.map(|excerpt| excerpt.first_line),
        "lines": excerpt.map(|excerpt| &excerpt.lines),
        "passed_over": passed.collect::<Vec<_>>(),
    });
    format!("{answer:#}\n")
}

fn as_text(explanation: &Explanation, question: &Question) -> String {
    let (decision, reply) = decided(explanation);
    let reply = reply.map(|reply| format!(", answered {}", quoted(reply)));
    let mut text = format!(
        "{decision}: {}{}\nby {}\n",
        quoted(&question.command),
        reply.unwrap_or_default(),
        explanation.verdict.rule
    );
    for limit in limits(explanation) {
        text.push_str(&format!("while no limit is reached: {limit}\n"));
    }
    if let Some(excerpt) = &explanation.excerpt {
        text.push('\n');
        let last = excerpt.first_line + excerpt.lines.len();
        let width = last.to_string().len();
        for (number, line) in (excerpt.first_line..).zip(&excerpt.lines) {
            text.push_str(&format!("{number:>width$} | {}\n", printable(line)));
        }
    }
    if !explanation.passed_over.is_empty() {
        text.push_str("\nbefore it, these did not match:\n\n");
        text.push_str(&table(&explanation.passed_over));
    }
    text
}

fn table(passed_over: &[PassedOver]) -> String {
    let head = ["rule", "written at", "condition", "says", "asked"].map(str::to_owned);
    let rows = passed_over.iter().map(|passed| {
        [
            passed.rule.id.clone(),
            passed.rule.at.clone(),
            passed.field.name().to_owned(),
            match passed.written.as_str() {
                "" => "(nothing)".to_owned(),
                written => printable(written),
            },
            passed
                .asked
                .as_deref()
                .map_or_else(|| "(nothing)".to_owned(), printable),
        ]
    });
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(rows).collect();
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}  "))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Text without control characters, which could steer a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

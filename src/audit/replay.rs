//! Recorded decisions, decided again: what other rules would have said.
//!
//! Reads `decision` lines. What lines do not tell is taken as it most often is: HOST was accepted
//! unless a refusal is on the record, and a path the old rules did not need the folder of is relative.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Deserialize;

use crate::config::{Config, Listener};
use crate::ftp::{self, Verb};
use crate::inspect::names_tls;
use crate::rules::{Channel, Decision, Policy, Request, Tls};

/// Examples kept of each change.
const MAX_EXAMPLES: usize = 3;

/// Sessions of which more than the listener is remembered; beyond them it is what it was at first.
const MAX_FLOWS: usize = 100_000;

/// All that was found out.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Decisions that were decided again.
    pub decisions: u64,
    /// Those of them with the same outcome, by a rule of another id.
    pub by_another_rule: u64,
    /// Lines that are no record of portcullis.
    pub unreadable: u64,
    /// Decisions of listeners that the configuration does not have.
    pub unknown_listeners: BTreeMap<String, u64>,
    /// Decisions that would differ.
    pub changes: BTreeMap<Change, Found>,
}

/// A decision that would differ, and the two rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The rule that would decide: id and place.
    pub rule: String,
    /// What it would say: `allow`, or `deny` and the reply.
    pub after: String,
    /// The rule that decided.
    pub rule_before: String,
    /// What it said.
    pub before: String,
}

/// How often a change was found, and where.
#[derive(Debug, Default)]
pub struct Found {
    /// How often.
    pub count: u64,
    /// The first ones, each in a few words.
    pub examples: Vec<String>,
}

/// Decides recorded commands by the rules of a configuration.
#[derive(Debug)]
pub struct Replay<'a> {
    listeners: BTreeMap<&'a str, &'a Listener>,
    flows: BTreeMap<u64, Flow>,
    found: Comparison,
}

/// What a session was by the time of a command.
#[derive(Clone, Debug, Default)]
struct Flow {
    /// The rules of the host that HOST named; `None` for the listener's own.
    policy: Option<Arc<Policy>>,
    host: Option<String>,
    /// It came back from TLS (CCC).
    cleared: bool,
}

impl<'a> Replay<'a> {
    /// Takes the listeners and policies to decide by.
    pub fn new(config: &'a Config) -> Self {
        let named = config.listeners.iter().map(|l| (l.name.as_str(), l));
        Self {
            listeners: named.collect(),
            flows: BTreeMap::new(),
            found: Comparison::default(),
        }
    }

    /// Takes one line of a record; lines have to come in the order they were written.
    pub fn take(&mut self, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let Ok(line) = serde_json::from_slice::<Line>(line) else {
            self.found.unreadable += 1;
            return;
        };
        match line.portcullis.event.as_str() {
            "decision" => self.decide(&line),
            "reply" => self.refused_host(&line),
            "tls-end" => self.change(line.flow_id, |flow| flow.cleared = true),
            "session-end" => {
                self.flows.remove(&line.flow_id);
            }
            _ => {}
        }
    }

    /// Gives what was found.
    pub fn finish(self) -> Comparison {
        self.found
    }

    fn decide(&mut self, line: &Line) {
        let facts = &line.portcullis;
        let ends = line.src_ip.zip(server(facts.server.as_deref()));
        let (Some((client, server)), Some(listener), Some(ftp), Some(action)) =
            (ends, &facts.listener, &line.ftp, &facts.action)
        else {
            self.found.unreadable += 1;
            return;
        };
        let Some(configured) = self.listeners.get(listener.as_str()) else {
            let unknown = &mut self.found.unknown_listeners;
            *unknown.entry(listener.clone()).or_default() += 1;
            return;
        };
        let flow = self.flows.get(&line.flow_id).cloned().unwrap_or_default();
        let policy = flow
            .policy
            .unwrap_or_else(|| Arc::clone(&configured.policy));
        let verb = Verb::parse(&ftp.command);
        let argument = ftp.command_data.as_deref().unwrap_or_default();
        let word = argument.split_whitespace().next().unwrap_or_default();
        let word = word.to_ascii_uppercase();
        let request = Request {
            listener,
            client,
            server,
            user: facts.user.as_deref(),
            verb: &verb,
            site: (verb == Verb::Site).then_some(word.as_str()),
            foreign: announced(&verb, argument.trim().as_bytes()).filter(|&ip| ip != client),
            path: facts.path.as_deref().map(str::as_bytes),
            channel: if flow.cleared {
                Channel::Cleared
            } else {
                Channel::Plain
            },
            host: flow.host.as_deref(),
            at: instant(&line.timestamp),
        };
        let verdict = policy.decide(&request);
        let decision = decision_of(
            &policy,
            &request,
            argument,
            verdict.decision,
            &verdict.grants.tls,
        );
        let after = match &decision {
            Decision::Allow => "allow".to_owned(),
            Decision::Deny(reply) => format!("deny {reply}"),
        };
        let before = match action.as_str() {
            // The rule allowed it; counts can't be told from a record.
            _ if facts.limit.is_some() => "allow".to_owned(),
            "deny" => format!("deny {} {}", first(&ftp.completion_code), first(&ftp.reply)),
            other => other.to_owned(),
        };
        self.found.decisions += 1;
        if before.trim_end() != after.trim_end() {
            let rule = |id: &Option<String>, at: &Option<String>| {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                format!("{} ({})", text(id), text(at))
            };
            let change = Change {
                rule: verdict.rule.to_string(),
                after,
                rule_before: rule(&facts.rule, &facts.rule_at),
                before,
            };
            let found = self.found.changes.entry(change).or_default();
            found.count += 1;
            if found.examples.len() < MAX_EXAMPLES {
                found.examples.push(example(line, client, ftp));
            }
        } else if facts.rule.as_deref() != Some(verdict.rule.id.as_str()) {
            self.found.by_another_rule += 1;
        }
        if verb == Verb::Host && action == "allow" {
            self.choose_host(line.flow_id, listener, argument);
        }
    }

    /// HOST chooses the rules for what follows (RFC 7151).
    fn choose_host(&mut self, flow: u64, listener: &str, argument: &str) {
        let Some(name) = ftp::host_name(argument.trim().as_bytes()) else {
            return;
        };
        let hosts = self.listeners.get(listener).map(|listener| &listener.hosts);
        let policy = hosts.and_then(|hosts| hosts.get(&name)).map(Arc::clone);
        self.change(flow, |flow| {
            flow.policy = policy;
            flow.host = Some(name);
        });
    }

    /// Notes something about a session; past the bound, sessions stay what they were.
    fn change(&mut self, flow: u64, note: impl FnOnce(&mut Flow)) {
        if self.flows.len() < MAX_FLOWS || self.flows.contains_key(&flow) {
            note(self.flows.entry(flow).or_default());
        }
    }

    /// 500, 502 and 530 say that the server does not know HOST, and the rules are still those asked for.
    fn refused_host(&mut self, line: &Line) {
        let Some(ftp) = line.ftp.as_ref().filter(|ftp| ftp.command == "HOST") else {
            return;
        };
        let code = first(&ftp.completion_code);
        if code.starts_with(['4', '5']) && !["500", "502", "530"].contains(&code) {
            self.change(line.flow_id, |flow| {
                flow.policy = None;
                flow.host = None;
            });
        }
    }
}

/// What follows from a verdict without a rule of its own, as the session has it: TLS that no rule
/// grants, and features that a rule hides.
fn decision_of(
    policy: &Policy,
    request: &Request<'_>,
    argument: &str,
    decision: Decision,
    tls: &Tls,
) -> Decision {
    if decision != Decision::Allow {
        return decision;
    }
    if *request.verb == Verb::Auth {
        return if *tls == Tls::Refuse {
            Decision::Deny("534 TLS is not possible here.".into())
        } else if !names_tls(argument.trim().as_bytes()) {
            Decision::Deny("504 Only AUTH TLS is possible here.".into())
        } else {
            Decision::Allow
        };
    }
    let features = policy.decide(&Request {
        verb: &Verb::Feat,
        site: None,
        foreign: None,
        path: None,
        ..*request
    });
    let verb = request.verb.as_str();
    let feature = if verb == "MLSD" { "MLST" } else { verb };
    let hides = |mask: &Arc<crate::rules::Mask>| {
        let mut hidden = mask.hidden_features.iter();
        hidden.any(|hidden| hidden == feature || hidden == verb)
    };
    match features.grants.mask.as_ref().is_some_and(hides) {
        true => Decision::Deny(format!("502 {verb} is not available.").into()),
        false => Decision::Allow,
    }
}

/// The instant that a line of the record names.
fn instant(timestamp: &str) -> Option<jiff::Timestamp> {
    jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", timestamp)
        .and_then(|parsed| parsed.to_timestamp())
        .ok()
}

/// The address that an announcement names, canonical.
fn announced(verb: &Verb, argument: &[u8]) -> Option<IpAddr> {
    let endpoint = ftp::read_announcement(verb, argument)?.ok()?;
    Some(endpoint.ip().to_canonical())
}

fn server(text: Option<&str>) -> Option<IpAddr> {
    let address: SocketAddr = text?.parse().ok()?;
    Some(address.ip())
}

fn example(line: &Line, client: IpAddr, ftp: &LineFtp) -> String {
    let facts = &line.portcullis;
    let user = facts.user.as_deref().unwrap_or("-");
    let what = facts.path.as_deref().or(ftp.command_data.as_deref());
    let (time, verb, what) = (&line.timestamp, &ftp.command, what.unwrap_or_default());
    format!("{time} {client} {user} {verb} {what}")
}

fn first(list: &[String]) -> &str {
    list.first().map_or("", String::as_str)
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    timestamp: String,
    #[serde(default)]
    flow_id: u64,
    src_ip: Option<IpAddr>,
    ftp: Option<LineFtp>,
    portcullis: LineFacts,
}

#[derive(Deserialize)]
struct LineFtp {
    #[serde(default)]
    command: String,
    command_data: Option<String>,
    #[serde(default)]
    reply: Vec<String>,
    #[serde(default)]
    completion_code: Vec<String>,
}

#[derive(Deserialize)]
struct LineFacts {
    #[serde(default)]
    event: String,
    listener: Option<String>,
    server: Option<String>,
    user: Option<String>,
    path: Option<String>,
    action: Option<String>,
    rule: Option<String>,
    rule_at: Option<String>,
    limit: Option<String>,
}

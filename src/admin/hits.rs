//! What the store knows of rules, beside how they are written, as JSON.

use std::collections::BTreeMap;

use axum::extract::{Query, State as Given};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::audit::{Filter, Hits, Row, Series};
use crate::inspect::ListenerRules;
use crate::rules::{WrittenRule, written_rule};

use super::State;
use super::record::{Answer, Asked, ask, event, known, misread};
use super::routes::Refusal;

/// Clients named for each rule where all are told.
const TOP_CLIENTS: u32 = 3;

/// Clients named for one rule.
const RULE_CLIENTS: u32 = 20;

/// Events of one rule that are looked at for its latest hits.
const RECENT: usize = 50;

/// An hour, the step of counts over time, in microseconds.
const HOUR: i64 = 3_600_000_000;

/// Time that counts can be asked for at once: 400 days, in microseconds.
const MAX_SPAN: i64 = 400 * 24 * HOUR;

/// `GET /api/hits`.
pub(super) async fn hits(Given(state): Given<State>) -> Answer {
    let configured = configured(&state);
    ask(&state, move |reader| {
        let begun = reader.begun()?;
        let found = reader.hits(TOP_CLIENTS)?;
        Ok(json!({ "begun": begun, "rules": with_unused(configured, &found) }))
    })
    .await
}

/// What `GET /api/hits/series` takes; times in microseconds since 1970.
#[derive(Debug, Deserialize)]
pub(super) struct Span {
    from: i64,
    to: i64,
    rule: Option<String>,
    file: Option<String>,
}

/// `GET /api/hits/series`.
pub(super) async fn series(Given(state): Given<State>, asked: Asked<Span>) -> Answer {
    let Query(span) = asked.map_err(misread)?;
    if span.to <= span.from || span.to.saturating_sub(span.from) > MAX_SPAN {
        let text = "`from` and `to` are microseconds since 1970, `to` the later one, 400 days apart at most";
        return Err(Refusal(StatusCode::BAD_REQUEST, text.to_owned()));
    }
    if span.rule.is_some() != span.file.is_some() {
        let text = "`rule` and `file` go together: ids are those of one file";
        return Err(Refusal(StatusCode::BAD_REQUEST, text.to_owned()));
    }
    ask(&state, move |reader| {
        let rule = span.file.as_deref().zip(span.rule.as_deref());
        let found = reader.series(span.from, span.to, rule)?;
        let series: Vec<Value> = found.iter().map(one_series).collect();
        Ok(json!({ "step": HOUR, "from": span.from, "to": span.to, "series": series }))
    })
    .await
}

fn one_series(series: &Series) -> Value {
    let points = series.points.iter();
    let points: Vec<_> = points.map(|p| json!([p.hour, p.hits, p.bytes])).collect();
    json!({ "rule": series.rule, "file": series.file, "points": points })
}

/// What `GET /api/rule` takes.
#[derive(Debug, Deserialize)]
pub(super) struct OneRule {
    rule: String,
    file: String,
}

/// `GET /api/rule`.
pub(super) async fn rule(Given(state): Given<State>, asked: Asked<OneRule>) -> Answer {
    let Query(OneRule { rule, file }) = asked.map_err(misread)?;
    let key = (file.clone(), rule.clone());
    let own = configured(&state).remove(&key);
    let written = written(&state, &file, &rule);
    ask(&state, move |reader| {
        let hits = reader.rule(&file, &rule, RULE_CLIENTS)?;
        let filter = Filter {
            rule: Some(rule.clone()),
            kind: Some("decision".to_owned()),
            ..Filter::default()
        };
        let recent = reader.latest(&filter, None, RECENT)?;
        let of_file = |row: &&Row| row.rule_at.as_deref().is_some_and(|at| is_in(at, &file));
        let recent: Vec<Value> = recent.rows.iter().filter(of_file).map(event).collect();
        let mut told = match (&hits, &own) {
            (Some(hits), own) => shown(hits, own.as_ref()),
            (None, Some(own)) => unused(&file, &rule, own),
            (None, None) => return Ok(Value::Null),
        };
        if let Some(fields) = told.as_object_mut() {
            let excerpt = written.and_then(|written| written.excerpt);
            let source = excerpt.as_ref().map(|excerpt| excerpt.lines.join("\n"));
            fields.insert("configured".to_owned(), own.is_some().into());
            fields.insert(
                "first_line".to_owned(),
                json!(excerpt.map(|e| e.first_line)),
            );
            fields.insert("source".to_owned(), json!(source));
            fields.insert("recent".to_owned(), recent.into());
        }
        Ok(told)
    })
    .await
    .and_then(|told| {
        known(told, || {
            "neither the record nor the configuration knows this rule".to_owned()
        })
    })
}

/// Whether a place in a file, `file:line`, is in this file.
fn is_in(at: &str, file: &str) -> bool {
    at == file || at.rsplit_once(':').is_some_and(|(own, _)| own == file)
}

/// A rule as it is written in a policy that is in force.
fn written(state: &State, file: &str, rule: &str) -> Option<WrittenRule> {
    state.sources.listeners.iter().find_map(|listener| {
        let ListenerRules { policy, hosts } = listener.rules.borrow().clone();
        let mut policies = std::iter::once(&policy).chain(hosts.values());
        let own = policies.find(|policy| policy.file() == file)?;
        written_rule(own, rule)
    })
}

/// A rule of the configuration.
#[derive(Clone, Debug)]
struct Configured {
    at: String,
    allows: bool,
    listeners: Vec<String>,
}

/// The file and the id of a rule.
type Key = (String, String);

/// All rules that are in force, by file and id; a file may be that of several listeners.
fn configured(state: &State) -> BTreeMap<Key, Configured> {
    let mut all: BTreeMap<Key, Configured> = BTreeMap::new();
    for listener in &state.sources.listeners {
        let ListenerRules { policy, hosts } = listener.rules.borrow().clone();
        for policy in std::iter::once(&policy).chain(hosts.values()) {
            for (name, allows) in policy.actions() {
                let key = (policy.file().to_owned(), name.id.clone());
                let entry = all.entry(key).or_insert_with(|| Configured {
                    at: name.at.clone(),
                    allows,
                    listeners: Vec::new(),
                });
                if !entry.listeners.contains(&listener.name) {
                    entry.listeners.push(listener.name.clone());
                }
            }
        }
    }
    all
}

/// The rules that decided, the busiest first, then those of the configuration that never did.
fn with_unused(mut configured: BTreeMap<Key, Configured>, found: &[Hits]) -> Vec<Value> {
    let mut rules: Vec<Value> = Vec::new();
    for hits in found {
        let own = configured.remove(&(hits.file.clone(), hits.rule.clone()));
        rules.push(shown(hits, own.as_ref()));
    }
    for ((file, rule), own) in configured {
        rules.push(unused(&file, &rule, &own));
    }
    rules
}

fn unused(file: &str, rule: &str, own: &Configured) -> Value {
    json!({
        "rule": rule, "file": file, "at": own.at, "action": action(own.allows),
        "listeners": own.listeners, "hits": 0, "bytes": 0,
        "first_use": null, "last_use": null, "clients": [],
    })
}

fn shown(hits: &Hits, own: Option<&Configured>) -> Value {
    let clients: Vec<Value> = hits
        .clients
        .iter()
        .map(|(client, hits)| json!({ "client": client, "hits": hits }))
        .collect();
    json!({
        "rule": hits.rule, "file": hits.file,
        "at": own.map_or(&hits.at, |own| &own.at),
        "action": own.map(|own| action(own.allows)),
        "listeners": own.map(|own| own.listeners.clone()).unwrap_or_default(),
        "hits": hits.hits, "bytes": hits.bytes,
        "first_use": hits.first_use, "last_use": hits.last_use,
        "clients": clients,
    })
}

fn action(allows: bool) -> &'static str {
    if allows { "allow" } else { "deny" }
}

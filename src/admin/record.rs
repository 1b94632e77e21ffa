//! What the store knows, as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use axum::Json;
use axum::extract::State as Given;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::audit::{Hits, Reader, StoreError};
use crate::inspect::ListenerRules;

use super::State;
use super::routes::Refusal;

/// Clients named for each rule.
const TOP_CLIENTS: u32 = 3;

type Answer = Result<Json<Value>, Refusal>;

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

pub(super) async fn series() -> Answer {
    Err(Refusal(StatusCode::NOT_FOUND, String::new()))
}
pub(super) async fn rule() -> Answer {
    Err(Refusal(StatusCode::NOT_FOUND, String::new()))
}
pub(super) async fn events() -> Answer {
    Err(Refusal(StatusCode::NOT_FOUND, String::new()))
}
pub(super) async fn story() -> Answer {
    Err(Refusal(StatusCode::NOT_FOUND, String::new()))
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
        rules.push(json!({
            "rule": rule, "file": file, "at": own.at, "action": action(own.allows),
            "listeners": own.listeners, "hits": 0, "bytes": 0,
            "first_use": null, "last_use": null, "clients": [],
        }));
    }
    rules
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

/// Asks the store, off the threads that serve sessions.
async fn ask<A>(state: &State, question: A) -> Answer
where
    A: FnOnce(&Reader) -> Result<Value, StoreError> + Send + 'static,
{
    let Some(path) = state.sources.store.clone() else {
        let text =
            "this portcullis keeps no store; add `audit: { store: /var/lib/portcullis/audit.db }`";
        return Err(Refusal(StatusCode::NOT_FOUND, text.to_owned()));
    };
    let unanswered = |error: String| Refusal(StatusCode::SERVICE_UNAVAILABLE, error);
    let place = state.questions.acquire().await;
    let place = place.map_err(|error| unanswered(error.to_string()))?;
    let asked = tokio::task::spawn_blocking(move || answer(&path, question)).await;
    drop(place);
    let answered = asked.map_err(|error| unanswered(error.to_string()))?;
    let value = answered.map_err(|error| unanswered(error.to_string()))?;
    Ok(Json(value))
}

fn answer(
    path: &Path,
    question: impl FnOnce(&Reader) -> Result<Value, StoreError>,
) -> Result<Value, StoreError> {
    question(&Reader::open(path)?)
}

//! What the store knows of events, as JSON; and how the store is asked.

use std::net::IpAddr;
use std::str::FromStr;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Given};
use axum::http::StatusCode;
use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::{Value, json};

use crate::audit::{Filter, Reader, Row, Store, StoreError};
use crate::config::StoreSettings;

use super::State;
use super::routes::Refusal;

/// Events that one search gives.
const MAX_EVENTS: usize = 500;

/// Events of one session that are told.
const MAX_STORY: u32 = 5000;

pub(super) type Answer = Result<Json<Value>, Refusal>;

/// What `GET /api/record` takes; what is left out, or empty, is not asked.
#[derive(Debug, Deserialize)]
pub(super) struct Search {
    #[serde(default, deserialize_with = "number")]
    since: Option<i64>,
    #[serde(default, deserialize_with = "number")]
    until: Option<i64>,
    rule: Option<String>,
    user: Option<String>,
    client: Option<String>,
    path: Option<String>,
    outcome: Option<String>,
    kind: Option<String>,
    #[serde(default, deserialize_with = "number")]
    flow: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    before: Option<i64>,
    #[serde(default, deserialize_with = "number")]
    limit: Option<usize>,
}

/// A number; a form that is not filled in sends an empty text.
fn number<'de, D, N>(given: D) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: FromStr,
{
    let text = Option::<String>::deserialize(given)?;
    let text = text.filter(|text| !text.is_empty());
    let wrong = |text: String| D::Error::custom(format!("`{text}` is not a number that fits here"));
    text.map(|text| text.parse().map_err(|_| wrong(text)))
        .transpose()
}

/// `GET /api/record`.
pub(super) async fn events(Given(state): Given<State>, asked: Asked<Search>) -> Answer {
    let Query(search) = asked.map_err(misread)?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let client = given(search.client)
        .map(|text| network(&text))
        .transpose()?;
    let filter = Filter {
        since: search.since,
        until: search.until,
        rule: given(search.rule),
        user: given(search.user),
        client,
        path: given(search.path),
        outcome: given(search.outcome),
        kind: given(search.kind),
        flow: search.flow,
    };
    let limit = search.limit.unwrap_or(100).clamp(1, MAX_EVENTS);
    ask(&state, move |reader| {
        let found = reader.latest(&filter, search.before, limit)?;
        let events: Vec<Value> = found.rows.iter().map(event).collect();
        Ok(json!({ "events": events, "next": found.next }))
    })
    .await
}

fn network(text: &str) -> Result<IpNet, Refusal> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let read = address.or_else(|_| text.parse::<IpNet>().map_err(drop));
    read.map_err(|()| {
        let text =
            format!("`client` is neither an address nor a network such as 10.0.0.0/8: {text}");
        Refusal(StatusCode::BAD_REQUEST, text)
    })
}

/// What `GET /api/story` takes.
#[derive(Debug, Deserialize)]
pub(super) struct OneSession {
    flow: u64,
}

/// `GET /api/story`.
pub(super) async fn story(Given(state): Given<State>, asked: Asked<OneSession>) -> Answer {
    let Query(OneSession { flow }) = asked.map_err(misread)?;
    ask(&state, move |reader| {
        let Some(story) = reader.story(flow, MAX_STORY)? else {
            return Ok(Value::Null);
        };
        let events = story.rows.iter().map(|row| {
            let mut told = event(row);
            if let Some(fields) = told.as_object_mut() {
                let line: Value = serde_json::from_str(&row.line).unwrap_or(Value::Null);
                fields.insert("eve".to_owned(), line);
            }
            told
        });
        let events: Vec<Value> = events.collect();
        let session = &story.session;
        Ok(json!({
            "flow": flow, "session": session.session, "client": session.client,
            "server": session.server, "listener": session.listener, "user": session.user,
            "started": session.started, "ended": session.ended,
            "events": events, "more": story.more,
        }))
    })
    .await
    .and_then(|told| {
        known(told, || {
            format!("the record knows no session {flow}; it may be older than `keep`")
        })
    })
}

pub(super) fn event(row: &Row) -> Value {
    json!({
        "seq": row.seq, "time": row.time, "session": row.session, "flow": row.flow,
        "kind": row.kind, "client": row.client, "server": row.server,
        "listener": row.listener, "user": row.user, "rule": row.rule,
        "rule_at": row.rule_at, "verb": row.verb, "path": row.path,
        "outcome": row.outcome, "code": row.code, "bytes": row.bytes,
        "packets": row.packets, "duration_ms": row.duration_ms,
    })
}

/// Parameters, or what is wrong with them.
pub(super) type Asked<T> = Result<Query<T>, QueryRejection>;

pub(super) fn misread(rejection: QueryRejection) -> Refusal {
    let text = rejection.body_text();
    let wrong = text
        .split_once("query string: ")
        .map_or(&*text, |(_, wrong)| wrong);
    Refusal(
        StatusCode::BAD_REQUEST,
        format!("a parameter is wrong or missing: {wrong}"),
    )
}

/// An answer, or that there is none.
pub(super) fn known(Json(told): Json<Value>, otherwise: impl FnOnce() -> String) -> Answer {
    if told.is_null() {
        return Err(Refusal(StatusCode::NOT_FOUND, otherwise()));
    }
    Ok(Json(told))
}

/// Asks the store, off the threads that serve sessions.
pub(super) async fn ask<A>(state: &State, question: A) -> Answer
where
    A: FnOnce(&Reader) -> Result<Value, StoreError> + Send + 'static,
{
    let Some(store) = state.sources.store.clone() else {
        let text =
            "this portcullis keeps no store; add `audit: { store: /var/lib/portcullis/audit.db }`";
        return Err(Refusal(StatusCode::NOT_FOUND, text.to_owned()));
    };
    let unanswered = |error: String| Refusal(StatusCode::SERVICE_UNAVAILABLE, error);
    let place = state.questions.acquire().await;
    let place = place.map_err(|error| unanswered(error.to_string()))?;
    let asked = tokio::task::spawn_blocking(move || answer(&store, question)).await;
    drop(place);
    let answered = asked.map_err(|error| unanswered(error.to_string()))?;
    let value = answered.map_err(|error| unanswered(error.to_string()))?;
    Ok(Json(value))
}

fn answer(
    store: &StoreSettings,
    question: impl FnOnce(&Reader) -> Result<Value, StoreError>,
) -> Result<Value, StoreError> {
    question(&Reader::open(&Store::current(store))?)
}

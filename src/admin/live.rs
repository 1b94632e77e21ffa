//! What goes on at this moment, as JSON.

use axum::Json;
use axum::extract::State as Given;
use serde_json::{Value, json};

use crate::inspect::Mode;
use crate::monitor::{LivePinhole, LiveSession, SessionState};

use super::State;

/// `GET /api/sessions`.
pub(super) async fn sessions(Given(state): Given<State>) -> Json<Value> {
    let sessions = state.sources.monitor.sessions();
    let shown: Vec<Value> = sessions.iter().map(session).collect();
    Json(json!({ "sessions": shown }))
}

/// `GET /api/pinholes`.
pub(super) async fn pinholes(Given(state): Given<State>) -> Json<Value> {
    let sessions = state.sources.monitor.sessions();
    let open = sessions.iter().filter_map(|session| {
        let own = session.pinhole.as_ref()?;
        Some(pinhole(session, own))
    });
    Json(json!({ "pinholes": open.collect::<Vec<_>>() }))
}

fn session(session: &LiveSession) -> Value {
    let about = &session.about;
    let (verb, path) = command(session);
    let rule = session.rule.as_ref();
    json!({
        "session": about.id,
        "flow": about.flow_id,
        "listener": *about.listener,
        "client": about.client.to_string(),
        "server": about.server.to_string(),
        "seen": about.seen.map(|seen| seen.to_string()),
        "user": session.user.as_deref(),
        "started": session.started,
        "active": session.active,
        "state": state_of(session.state),
        "command": verb,
        "path": path,
        "rule": rule.map(|rule| rule.id.as_str()),
        "rule_at": rule.map(|rule| rule.at.as_str()),
        "transfers": session.transfers,
        "bytes": session.bytes,
        "denied": session.denied,
        "pinhole": session.pinhole.as_ref().map(|own| pinhole(session, own)),
    })
}

fn pinhole(session: &LiveSession, own: &LivePinhole) -> Value {
    let about = &session.about;
    let moving = session.state == SessionState::Transfer;
    let (verb, path) = match moving {
        true => command(session),
        false => (None, None),
    };
    json!({
        "session": about.id,
        "flow": about.flow_id,
        "pinhole": own.id.0,
        "listener": *about.listener,
        "client": about.client.to_string(),
        "server": about.server.to_string(),
        "user": session.user.as_deref(),
        "mode": match own.mode { Mode::Active => "active", Mode::Passive => "passive" },
        "from": own.from(),
        "to": own.pinhole.announced.to_string(),
        "target": own.pinhole.target.to_string(),
        "rule": own.rule.id,
        "opened": own.opened,
        "state": if own.used { "used" } else { "open" },
        "command": verb,
        "path": path,
    })
}

/// The command last decided on, and its path.
fn command(session: &LiveSession) -> (Option<String>, Option<&str>) {
    match &session.command {
        Some((verb, path)) => (Some(verb.to_string()), path.as_deref()),
        None => (None, None),
    }
}

fn state_of(state: SessionState) -> &'static str {
    match state {
        SessionState::Login => "login",
        SessionState::Idle => "idle",
        SessionState::Transfer => "transfer",
        SessionState::Tls => "tls",
    }
}

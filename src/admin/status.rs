//! What runs, and whether it is well, as JSON.

use axum::Json;
use axum::extract::State as Given;
use serde_json::{Value, json};

use crate::audit::micros;
use crate::monitor::SessionState;

use super::{ListenerView, State, now};

/// `GET /api/status`.
pub(super) async fn status(Given(state): Given<State>) -> Json<Value> {
    let sources = &state.sources;
    let sessions = sources.monitor.sessions();
    let moving = |state| state == SessionState::Transfer;
    let record = sources.audit.health();
    let loaded = sources.rules_loaded.borrow().clone();
    let listeners: Vec<Value> = sources.listeners.iter().map(listener).collect();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started": micros(sources.monitor.started()),
        "at": now(),
        "sessions": sessions.len(),
        "pinholes": sessions.iter().filter(|s| s.pinhole.is_some()).count(),
        "transfers_running": sessions.iter().filter(|s| moving(s.state)).count(),
        "listeners": listeners,
        "store": sources.store.as_ref().map(|path| path.display().to_string()),
        "record": {
            "state": if record.error.is_some() { "failing" } else { "writing" },
            "error": record.error,
            "waiting": record.waiting,
            "written": record.written,
            "unrecorded": record.unrecorded,
        },
        "rules_loaded": {
            "at": micros(loaded.at),
            "ok": loaded.ok,
            "text": loaded.text,
        },
    }))
}

fn listener(listener: &ListenerView) -> Value {
    let rules = listener.rules.borrow();
    json!({
        "name": listener.name,
        "kind": listener.kind,
        "address": listener.address,
        "policy": rules.policy.file(),
        "rules": rules.policy.rule_names().count(),
    })
}

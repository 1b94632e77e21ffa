//! What runs, and the shape of each answer: the fields that the page and scripts rely on.

use serde_json::{Value, json};

use crate::ground::Gate;

/// Exactly these fields, in any order.
pub(crate) fn expect_fields(value: &Value, fields: &str) {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value}"));
    let mut found: Vec<&str> = object.keys().map(String::as_str).collect();
    let mut wanted: Vec<&str> = fields.split_whitespace().collect();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "{value}");
}

const SESSION: &str = "session flow listener client server seen user started active state command \
    path rule rule_at transfers bytes denied pinhole";

const PINHOLE: &str = "session flow pinhole listener client server user mode from to target rule \
    opened state command path";

#[test]
fn the_status_says_what_runs() {
    let gate = Gate::start();
    let status = gate.json("/api/status");
    expect_fields(
        &status,
        "version started at sessions pinholes transfers_running listeners store record rules_loaded",
    );
    expect_fields(&status["listeners"][0], "name kind address policy rules");
    expect_fields(&status["record"], "state error waiting written unrecorded");
    expect_fields(&status["rules_loaded"], "at ok text");
    let listener = &status["listeners"][0];
    assert_eq!(listener["kind"], "published");
    assert_eq!(listener["address"], gate.ftp().to_string());
    assert_eq!(listener["rules"], 3);
    assert_eq!(status["record"]["state"], "writing");
    assert_eq!(status["record"]["error"], Value::Null);
    assert!(status["started"].as_i64() <= status["at"].as_i64());
    // Microseconds: 2020 to 2100.
    let at = status["at"].as_i64().unwrap();
    assert!(
        (1_577_836_800_000_000..4_102_444_800_000_000).contains(&at),
        "{at}"
    );
}

#[test]
fn sessions_and_pinholes_have_their_fields_and_agree() {
    let gate = Gate::start();
    let mut client = gate.login("anna");
    let data = client.begin("/slow");
    gate.json_when("/api/pinholes", |all| all["pinholes"][0]["state"] == "used");
    let sessions = gate.json("/api/sessions");
    let pinholes = gate.json("/api/pinholes");
    expect_fields(&sessions, "sessions");
    expect_fields(&pinholes, "pinholes");
    let session = &sessions["sessions"][0];
    expect_fields(session, SESSION);
    expect_fields(&session["pinhole"], PINHOLE);
    assert_eq!(session["pinhole"], pinholes["pinholes"][0]);
    let status = gate.json("/api/status");
    let counted = ["sessions", "pinholes", "transfers_running"].map(|key| &status[key]);
    assert_eq!(counted, [&json!(1), &json!(1), &json!(1)]);
    gate.server.let_go();
    client.end(data);
}

#[test]
fn what_is_not_there_is_404_and_the_wrong_method_405() {
    let gate = Gate::start();
    assert_eq!(gate.get("/api/nothing").status, 404);
    assert!(gate.get("/").error().contains("/api/status"));
    let answer = gate.get("/api/reload");
    assert_eq!(answer.status, 405);
    assert!(answer.error().contains("POST"));
}

//! The page's side: who gets in, from where, and the token's file.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::ground::{Folder, Gate, Setup};
use crate::http::{Answer, on_page};

const WRONG: &str = "Authorization: Bearer 0123456789abcdef";

fn ask(gate: &Gate, request: &str, fields: &[&str]) -> Answer {
    on_page(gate.page(), request, fields, "")
}

fn bearer(gate: &Gate) -> String {
    format!("Authorization: Bearer {}", gate.token())
}

fn sign_in(gate: &Gate, token: &str) -> Answer {
    let body = format!("{{\"token\":\"{token}\"}}");
    on_page(gate.page(), "POST /api/login", &[], &body)
}

#[test]
fn nothing_is_told_without_the_token() {
    let gate = Gate::start();
    for request in [
        "GET /api/status",
        "GET /api/sessions",
        "GET /api/pinholes",
        "GET /api/hits",
        "GET /api/hits/series?from=0&to=1",
        "GET /api/rule?rule=a&file=b",
        "GET /api/record",
        "GET /api/story?flow=1",
        "POST /api/reload",
        "GET /metrics",
        "GET /api/nothing",
    ] {
        let answer = ask(&gate, request, &[]);
        assert_eq!(answer.status, 401, "{request}");
        assert!(
            answer.error().contains("Authorization: Bearer"),
            "{request}"
        );
    }
    assert!(gate.log().lines().all(|line| !line.contains("reloaded")));
}

#[test]
fn the_page_itself_is_for_anybody_and_may_load_nothing_from_elsewhere() {
    let gate = Gate::start();
    let answer = ask(&gate, "GET /", &[]);
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .header("Content-Type")
            .unwrap()
            .starts_with("text/html")
    );
    let policy = answer.header("Content-Security-Policy").unwrap();
    assert!(policy.starts_with("default-src 'self'"), "{policy}");
    assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
}

#[test]
fn the_token_opens() {
    let gate = Gate::start();
    let right = bearer(&gate);
    let answer = ask(&gate, "GET /api/status", &[&right]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    let metrics = ask(&gate, "GET /metrics", &[&right]);
    assert_eq!(metrics.status, 200);
    let kind = metrics.header("Content-Type").unwrap();
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    assert_eq!(ask(&gate, "POST /api/reload", &[&right]).status, 200);
    assert_eq!(ask(&gate, "GET /api/nothing", &[&right]).status, 404);
    assert_eq!(ask(&gate, "GET /api/reload", &[&right]).status, 405);
}

#[test]
fn a_browser_signs_in_and_out() {
    let gate = Gate::start();
    let answer = sign_in(&gate, &gate.token());
    assert_eq!(answer.status, 204);
    let cookie = answer.header("Set-Cookie").unwrap().to_owned();
    for part in ["portcullis=", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let key = format!("Cookie: {}", cookie.split(';').next().unwrap());
    assert!(!key.contains(&gate.token()));
    assert_eq!(ask(&gate, "GET /api/status", &[&key]).status, 200);
    assert_eq!(ask(&gate, "POST /api/logout", &[&key]).status, 204);
    assert_eq!(ask(&gate, "GET /api/status", &[&key]).status, 401);
    assert_eq!(
        ask(&gate, "GET /api/status", &["Cookie: portcullis="]).status,
        401
    );
}

#[test]
fn a_login_that_is_none_is_told_why() {
    let gate = Gate::start();
    let answer = on_page(gate.page(), "POST /api/login", &[], "{\"tokin\":\"x\"}");
    assert_eq!(answer.status, 400);
    assert!(answer.error().contains("token"), "{}", answer.body);
    assert_eq!(sign_in(&gate, "wrong").status, 401);
}

#[test]
fn guessing_ends_after_ten_wrong_tokens() {
    let gate = Gate::start();
    let right = bearer(&gate);
    for _ in 0..5 {
        assert_eq!(ask(&gate, "GET /api/status", &[WRONG]).status, 401);
        assert_eq!(sign_in(&gate, "wrong").status, 401);
    }
    let answer = ask(&gate, "GET /api/status", &[WRONG]);
    assert_eq!(answer.status, 429);
    let wait: u64 = answer.header("Retry-After").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(answer.error().contains("too many wrong tokens"));
    // Not looked at: an answer would tell which guess is right.
    assert_eq!(ask(&gate, "GET /api/status", &[&right]).status, 429);
    let page = gate.get("/metrics").body;
    for line in [
        "portcullis_admin_refusals_total{reason=\"wrong_token\"} 10",
        "portcullis_admin_refusals_total{reason=\"too_many_tokens\"} 2",
    ] {
        assert!(page.contains(line), "{line} is missing in\n{page}");
    }
}

#[test]
fn browsers_that_are_signed_in_work_while_others_guess() {
    let gate = Gate::start();
    let cookie = sign_in(&gate, &gate.token());
    let cookie = cookie
        .header("Set-Cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    for _ in 0..11 {
        ask(&gate, "GET /api/status", &[WRONG]);
    }
    let key = format!("Cookie: {cookie}");
    assert_eq!(ask(&gate, "GET /api/status", &[&key]).status, 200);
}

#[test]
fn foreign_names_and_pages_are_turned_away_even_with_the_token() {
    let gate = Gate::start();
    let right = bearer(&gate);
    let own = format!("Origin: http://{}", gate.page());
    assert_eq!(ask(&gate, "GET /api/status", &[&right, &own]).status, 200);
    let port = gate.page().port();
    let rebound = format!("Host: evil.example:{port}");
    for foreign in [
        &*rebound,
        "Host: ",
        "Origin: http://evil.example",
        "Origin: null",
    ] {
        let answer = ask(&gate, "GET /api/status", &[&right, foreign]);
        assert_eq!(answer.status, 403, "{foreign}");
        let answer = ask(&gate, "GET /", &[foreign]);
        assert_eq!(answer.status, 403, "{foreign}");
    }
}

#[test]
fn a_token_is_made_where_there_is_none_for_its_owner_alone() {
    let gate = Gate::start();
    let about = fs::metadata(gate.folder.path("token")).unwrap();
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    assert_eq!(gate.token().len(), 64);
    assert!(
        !gate.log().contains(&gate.token()),
        "the token is in the log"
    );
}

/// What the program says to a token's file.
fn refused(token: &str, mode: u32) -> String {
    let folder = Folder::new();
    let file = folder.write("token", token);
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    match Gate::within(folder, &Setup::default()) {
        Ok(_) => panic!("it was started"),
        Err(said) => said,
    }
}

#[test]
fn a_token_that_others_may_read_is_refused() {
    let said = refused("0123456789abcdef0123456789abcdef\n", 0o644);
    assert!(said.contains("chmod 600"), "{said}");
}

#[test]
fn a_token_that_can_be_guessed_is_refused() {
    let said = refused("short\n", 0o600);
    assert!(said.contains("16 visible characters"), "{said}");
}

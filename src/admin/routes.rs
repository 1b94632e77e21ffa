//! Which question is answered by whom, and what must be shown first on the page's side.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Request, State as Given};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST, ORIGIN,
    REFERRER_POLICY, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, extract::DefaultBodyLimit};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

use crate::monitor::{AdminRefusal, Monitor};

use super::auth::{Keeper, Shown};
use super::places::Place;
use super::{State, hits, live, record, status};

/// Bytes of a request's body.
const MAX_BODY: usize = 16 * 1024;

/// The name of the page's cookie.
const COOKIE_NAME: &str = "portcullis";

/// The content type of OpenMetrics text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A question that cannot be answered: the status, and a sentence for the operator.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

/// The questions that have answers, for whoever may ask.
pub(super) fn api(state: State) -> Router {
    Router::new()
        .route("/api/status", get(status::status))
        .route("/api/sessions", get(live::sessions))
        .route("/api/pinholes", get(live::pinholes))
        .route("/api/hits", get(hits::hits))
        .route("/api/hits/series", get(hits::series))
        .route("/api/rule", get(hits::rule))
        .route("/api/record", get(record::events))
        .route("/api/story", get(record::story))
        .route("/api/reload", post(reload))
        .route("/metrics", get(metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(misasked)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state)
}

/// What stands before the answers on the page's side.
#[derive(Clone, Debug)]
pub(super) struct Door {
    keeper: Arc<Keeper>,
    monitor: Arc<Monitor>,
}

impl Door {
    pub(super) fn new(keeper: Keeper, monitor: Arc<Monitor>) -> Self {
        let keeper = Arc::new(keeper);
        Self { keeper, monitor }
    }

    /// Looks at a token; gives the refusal where it does not open.
    fn refusal(&self, token: &[u8]) -> Option<Response> {
        match self.keeper.show(token, Instant::now()) {
            Shown::Right => None,
            Shown::Wrong => {
                self.monitor.admin_refused(AdminRefusal::WrongToken);
                let text =
                    "this is not the token; it stands in the file that `admin: token-file` names";
                Some(Refusal(StatusCode::UNAUTHORIZED, text.to_owned()).into_response())
            }
            Shown::Wait(time) => {
                self.monitor.admin_refused(AdminRefusal::TooManyTokens);
                let seconds = time.as_secs() + 1;
                let text =
                    format!("too many wrong tokens; the next one is looked at in {seconds} s");
                let refusal = Refusal(StatusCode::TOO_MANY_REQUESTS, text);
                Some(([(RETRY_AFTER, seconds.to_string())], refusal).into_response())
            }
        }
    }
}

/// The same behind the token, with the page before it.
pub(super) fn guarded(api: Router, page: Router, door: Door) -> Router {
    let signing = Router::new()
        .route("/api/login", post(sign_in))
        .route("/api/logout", post(sign_out))
        .with_state(door.clone());
    let asked = api.layer(middleware::from_fn_with_state(door.clone(), guard));
    page.merge(signing)
        .fallback_service(asked)
        .layer(middleware::from_fn_with_state(door, harden))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

async fn metrics(Given(state): Given<State>) -> Response {
    ([(CONTENT_TYPE, OPENMETRICS)], state.scrape()).into_response()
}

async fn reload(Given(state): Given<State>) -> Response {
    let (tell, told) = oneshot::channel();
    let asked = state.sources.reloads.send(tell).await;
    let (true, Ok(loaded)) = (asked.is_ok(), told.await) else {
        let text = "portcullis is stopping; nothing was reloaded";
        return Refusal(StatusCode::SERVICE_UNAVAILABLE, text.to_owned()).into_response();
    };
    let status = if loaded.ok {
        StatusCode::OK
    } else {
        StatusCode::CONFLICT
    };
    (
        status,
        Json(json!({ "ok": loaded.ok, "text": loaded.text })),
    )
        .into_response()
}

async fn unknown() -> Refusal {
    let text = "there is nothing here; /api/status says what runs";
    Refusal(StatusCode::NOT_FOUND, text.to_owned())
}

async fn misasked() -> Refusal {
    let text = "this is asked by another method: /api/reload by POST, everything else by GET";
    Refusal(StatusCode::METHOD_NOT_ALLOWED, text.to_owned())
}

#[derive(Deserialize)]
struct Login {
    token: String,
}

async fn sign_in(
    Given(door): Given<Door>,
    login: Result<Json<Login>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(login) =
        login.map_err(|rejection| Refusal(StatusCode::BAD_REQUEST, rejection.body_text()))?;
    if let Some(refusal) = door.refusal(login.token.trim().as_bytes()) {
        return Ok(refusal);
    }
    Ok(match door.keeper.sign_in(Instant::now()) {
        Ok(key) => {
            let cookie = format!("{COOKIE_NAME}={key}; HttpOnly; SameSite=Strict; Path=/");
            (StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response()
        }
        Err(error) => {
            let text = format!("no session could be made: {error}");
            Refusal(StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    })
}

async fn sign_out(Given(door): Given<Door>, headers: HeaderMap) -> Response {
    if let Some(key) = cookie(&headers) {
        door.keeper.sign_out(key);
    }
    let gone = format!("{COOKIE_NAME}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    (StatusCode::NO_CONTENT, [(SET_COOKIE, gone)]).into_response()
}

/// Lets through who has shown the token, by header or as a browser that is signed in.
async fn guard(Given(door): Given<Door>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if let Some(token) = bearer(headers) {
        if let Some(refusal) = door.refusal(token) {
            return refusal;
        }
        return trusted(request, next).await;
    }
    if cookie(headers).is_some_and(|key| door.keeper.knows(key, Instant::now())) {
        return trusted(request, next).await;
    }
    door.monitor.admin_refused(AdminRefusal::NoToken);
    let text = "please sign in, or send `Authorization: Bearer` with the token";
    let refusal = Refusal(StatusCode::UNAUTHORIZED, text.to_owned());
    ([(WWW_AUTHENTICATE, "Bearer")], refusal).into_response()
}

/// Answers somebody who may ask; the connection keeps its place meanwhile.
pub(super) async fn trusted(request: Request, next: Next) -> Response {
    let place = request.extensions().get::<Arc<Place>>();
    let busy = place.map(Place::trust);
    let answer = next.run(request).await;
    drop(busy);
    answer
}

/// Turns away what a foreign page could have sent, and says what answers may do.
async fn harden(Given(door): Given<Door>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = text(headers.get(HOST)).unwrap_or_default().to_owned();
    let mut response = if !is_loopback(&host) {
        // A foreign name that leads to this address (DNS rebinding).
        door.monitor.admin_refused(AdminRefusal::ForeignHost);
        let text =
            "ask by 127.0.0.1, [::1] or localhost; a proxy before the page has to set Host so";
        Refusal(StatusCode::FORBIDDEN, text.to_owned()).into_response()
    } else if let Some(origin) = text(headers.get(ORIGIN))
        && origin != format!("http://{host}")
    {
        door.monitor.admin_refused(AdminRefusal::ForeignOrigin);
        let text = "this was sent by a page of another origin";
        Refusal(StatusCode::FORBIDDEN, text.to_owned()).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    let policy = "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let address = bare.unwrap_or(name).parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = text(headers.get(AUTHORIZATION))?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().as_bytes())
}

fn cookie(headers: &HeaderMap) -> Option<&[u8]> {
    let values = headers.get_all(COOKIE).iter();
    let mut pairs = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(name, value)| (name == COOKIE_NAME).then_some(value.as_bytes()))
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value.and_then(|value| value.to_str().ok())
}

/// Makes an answer of text with its type.
pub(super) fn typed(kind: &'static str, body: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, kind)], body.into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_name_is_not_taken_for_this_machine() {
        for host in [
            "127.0.0.1:8021",
            "localhost",
            "LOCALHOST:1",
            "[::1]:8021",
            "127.9.9.9",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8021",
            "10.0.0.1",
            "localhost.evil",
            "[2001:db8::1]:8021",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("a=b; portcullis=key; c=d"));
        assert_eq!(cookie(&headers), Some(b"key".as_slice()));
    }
}

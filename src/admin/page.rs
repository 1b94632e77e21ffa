//! The page: static files that are part of the program.

use axum::Router;
use axum::routing::get;

use super::routes::typed;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Each file with its route and its type.
const FILES: [(&str, &str, &str); 20] = [
    ("/", HTML, include_str!("page/index.html")),
    (
        "/favicon.svg",
        "image/svg+xml",
        include_str!("page/favicon.svg"),
    ),
    ("/base.css", CSS, include_str!("page/base.css")),
    ("/views.css", CSS, include_str!("page/views.css")),
    ("/theme.js", SCRIPT, include_str!("page/theme.js")),
    ("/app.js", SCRIPT, include_str!("page/app.js")),
    ("/api.js", SCRIPT, include_str!("page/api.js")),
    ("/chart.js", SCRIPT, include_str!("page/chart.js")),
    ("/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/events.js", SCRIPT, include_str!("page/events.js")),
    ("/format.js", SCRIPT, include_str!("page/format.js")),
    ("/live.js", SCRIPT, include_str!("page/live.js")),
    ("/login.js", SCRIPT, include_str!("page/login.js")),
    ("/record.js", SCRIPT, include_str!("page/record.js")),
    ("/rule.js", SCRIPT, include_str!("page/rule.js")),
    ("/rules.js", SCRIPT, include_str!("page/rules.js")),
    ("/steps.js", SCRIPT, include_str!("page/steps.js")),
    ("/story.js", SCRIPT, include_str!("page/story.js")),
    ("/strip.js", SCRIPT, include_str!("page/strip.js")),
    ("/table.js", SCRIPT, include_str!("page/table.js")),
];

/// Serves the files, to anybody: they say nothing.
pub(super) fn routes() -> Router {
    FILES
        .into_iter()
        .fold(Router::new(), |router, (route, kind, text)| {
            router.route(route, get(move || async move { typed(kind, text) }))
        })
}

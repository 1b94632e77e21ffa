//! The page: static files that are part of the program.

use axum::Router;
use axum::routing::get;

use super::routes::typed;

/// Each file with its route and its type.
const FILES: [(&str, &str, &str); 1] = [(
    "/",
    "text/html; charset=utf-8",
    include_str!("page/index.html"),
)];

/// Serves the files, to anybody: they say nothing.
pub(super) fn routes() -> Router {
    FILES
        .into_iter()
        .fold(Router::new(), |router, (route, kind, text)| {
            router.route(route, get(move || async move { typed(kind, text) }))
        })
}

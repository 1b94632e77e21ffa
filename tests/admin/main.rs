//! Asking a running gate: the socket, the page, the commands, the counts; the real program on loopback.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

mod answers;
mod deployed;
mod ftp;
mod ground;
mod http;
mod live;
mod metrics;
mod openmetrics;
mod page;
mod patience;
mod reload;
mod socket;
mod store;

//! Portcullis, the FTP gate for Linux edges: the library behind the `portcullis` program.
//!
//! Dependencies point one way: `cli → app → proxy · admin → monitor → keeper → firewall · relay · conntrack ·
//! audit → net · sandbox → config → inspect → rules · nat → ftp · pinhole · yaml`. `ftp`, `nat`, `rules`, `inspect`, `pinhole` and
//! `yaml` are pure: no socket,
//! no clock, no randomness, no async. `tests/architecture.rs` holds both statements.
#![cfg_attr(
    test,
    expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a failed unwrap is a failed test"
    )
)]

pub mod admin;
pub mod app;
pub mod audit;
pub mod cli;
pub mod config;
pub mod conntrack;
pub mod firewall;
pub mod ftp;
pub mod inspect;
pub mod keeper;
pub mod monitor;
pub mod nat;
pub mod net;
pub mod pinhole;
pub mod proxy;
pub mod relay;
pub mod rules;
pub mod sandbox;
pub mod yaml;

//! New rules for a running gate: read as at the start, all of them or none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::{self, Config, Listener};
use crate::proxy::{RulesSender, rules_of};

/// Reads the files again when it is told to.
#[derive(Debug)]
pub(super) struct Reload {
    file: PathBuf,
    /// What the program was started with, policies aside; changes in it need a restart.
    fixed: String,
    senders_by_listener: BTreeMap<String, RulesSender>,
}

impl Reload {
    pub(super) fn new(file: &Path, config: &Config) -> Self {
        let (file, fixed) = (file.to_owned(), fixed(config));
        Self {
            file,
            fixed,
            senders_by_listener: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, listener: String, rules: RulesSender) {
        self.senders_by_listener.insert(listener, rules);
    }

    /// Reads configuration and rules; new rules decide from the next command of every session on.
    /// Files with problems change nothing, and the problems are logged.
    pub(super) fn run(&self) {
        let config = match config::load(&self.file, &config::interface_names()) {
            Ok((config, warnings)) => {
                if !warnings.is_empty() {
                    tracing::warn!("{warnings}");
                }
                config
            }
            Err(problems) => {
                tracing::error!("nothing was reloaded, the rules in force stay:\n{problems}");
                return;
            }
        };
        if fixed(&config) != self.fixed {
            let file = self.file.display();
            tracing::warn!("{file}: rules are reloaded; what else was changed needs a restart");
        }
        for listener in &config.listeners {
            match self.senders_by_listener.get(&listener.name) {
                Some(sender) => {
                    sender.send_replace(rules_of(listener));
                }
                None => tracing::warn!("listener {} needs a restart", listener.name),
            }
        }
        tracing::info!(
            "reloaded the rules of {} listener(s)",
            config.listeners.len()
        );
    }
}

/// All of a configuration that a running gate can't change, in one comparable text.
fn fixed(config: &Config) -> String {
    let of_listener = |listener: &Listener| {
        let Listener {
            name,
            kind,
            server_sees,
            data,
            convert,
            nat64,
            policy: _,
            hosts: _,
        } = listener;
        format!("{name:?} {kind:?} {server_sees:?} {data:?} {convert:?} {nat64:?}")
    };
    let listeners: Vec<String> = config.listeners.iter().map(of_listener).collect();
    let Config {
        limits,
        audit,
        kernel,
        ..
    } = config;
    let windows = config.windows();
    format!("{listeners:?} {limits:?} {audit:?} {kernel:?} {windows:?}")
}

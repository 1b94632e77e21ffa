//! New rules for a running gate: read as at the start, all of them or none.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use crate::config::{self, Config, Listener};
use crate::inspect::ListenerRules;
use crate::monitor::RulesLoaded;
use crate::proxy::{RulesSender, rules_of};

/// Reads the files again when it is told to.
#[derive(Debug)]
pub(super) struct Reload {
    file: PathBuf,
    /// What the program was started with, policies aside; changes in it need a restart.
    fixed: String,
    senders_by_listener: BTreeMap<String, RulesSender>,
    last: watch::Sender<RulesLoaded>,
    /// Rules that were replaced and that sessions may still hold: to drop ten thousand takes milliseconds,
    /// which is not for a session's thread to do.
    replaced: RefCell<Vec<ListenerRules>>,
}

impl Reload {
    pub(super) fn new(file: &Path, config: &Config) -> Self {
        let (file, fixed) = (file.to_owned(), fixed(config));
        let text = format!("read the rules of {} listener(s)", config.listeners.len());
        let (last, _) = watch::channel(loaded(true, text));
        Self {
            file,
            fixed,
            senders_by_listener: BTreeMap::new(),
            last,
            replaced: RefCell::default(),
        }
    }

    pub(super) fn add(&mut self, listener: String, rules: RulesSender) {
        self.senders_by_listener.insert(listener, rules);
    }

    /// How reading the rules went the last time, and goes from here on.
    pub(super) fn last(&self) -> watch::Receiver<RulesLoaded> {
        self.last.subscribe()
    }

    /// Reads configuration and rules; new rules decide from the next command of every session on.
    /// Files with problems change nothing; the problems are logged and given.
    pub(super) fn run(&self) -> RulesLoaded {
        let (ok, text) = match self.read() {
            Ok(text) => {
                tracing::info!("{text}");
                (true, text)
            }
            Err(text) => {
                tracing::error!("{text}");
                (false, text)
            }
        };
        let loaded = loaded(ok, text);
        self.last.send_replace(loaded.clone());
        loaded
    }

    /// Whether there are rules to be dropped by [`Self::drop_replaced`].
    pub(super) fn has_replaced(&self) -> bool {
        !self.replaced.borrow().is_empty()
    }

    /// Drops the replaced rules that no session holds any more.
    pub(super) fn drop_replaced(&self) {
        self.replaced.borrow_mut().retain(|rules| {
            Arc::strong_count(&rules.policy) > 1 || Arc::strong_count(&rules.hosts) > 1
        });
    }

    fn read(&self) -> Result<String, String> {
        let mut notes = String::new();
        let config = match config::load(&self.file, &config::interface_names()) {
            Ok((config, warnings)) => {
                if !warnings.is_empty() {
                    notes = format!("\n{warnings}");
                }
                config
            }
            Err(problems) => {
                return Err(format!(
                    "nothing was reloaded, the rules in force stay:\n{problems}"
                ));
            }
        };
        if fixed(&config) != self.fixed {
            let file = self.file.display();
            notes += &format!("\n{file}: what else was changed needs a restart");
        }
        for listener in &config.listeners {
            match self.senders_by_listener.get(&listener.name) {
                Some(sender) => {
                    let before = sender.send_replace(rules_of(listener));
                    self.replaced.borrow_mut().push(before);
                }
                None => notes += &format!("\nlistener {} needs a restart", listener.name),
            }
        }
        let count = config.listeners.len();
        Ok(format!("reloaded the rules of {count} listener(s){notes}"))
    }
}

fn loaded(ok: bool, text: String) -> RulesLoaded {
    let at = SystemTime::now();
    RulesLoaded { at, ok, text }
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
        admin,
        kernel,
        sandbox,
        listeners: _,
    } = config;
    let windows = config.windows();
    format!("{listeners:?} {limits:?} {audit:?} {admin:?} {kernel:?} {sandbox:?} {windows:?}")
}

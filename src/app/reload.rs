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
use crate::rules::Policy;

/// Reads the files again when it is told to.
#[derive(Debug)]
pub(super) struct Reload {
    file: PathBuf,
    /// What the program was started with, policies aside; changes in it need a restart.
    fixed: String,
    senders_by_listener: BTreeMap<String, RulesSender>,
    last: watch::Sender<RulesLoaded>,
    /// Policies that were replaced and that sessions may still hold, each once: to drop ten thousand rules takes
    /// milliseconds, which is not for a session's thread to do.
    replaced: RefCell<Vec<Arc<Policy>>>,
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
        // Here as well: reloads that follow each other closely leave no pause for it.
        self.drop_replaced();
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
        let mut replaced = self.replaced.borrow_mut();
        replaced.retain(|policy| Arc::strong_count(policy) > 1);
    }

    /// Keeps what sessions may still hold of these rules. Listeners that name one file share its policy, so that two
    /// entries for it would hold each other for ever.
    fn keep_replaced(&self, rules: &ListenerRules) {
        let mut replaced = self.replaced.borrow_mut();
        for policy in rules.hosts.values().chain([&rules.policy]) {
            if !replaced.iter().any(|kept| Arc::ptr_eq(kept, policy)) {
                replaced.push(Arc::clone(policy));
            }
        }
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
                    self.keep_replaced(&before);
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

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::config::ListenerKind;
    use crate::proxy::Gate;

    use super::*;

    /// Three listeners with one policy, and one of them with it as a host's too.
    const CONFIG: &str = r#"listeners:
  - { name: a, published: { listen: ["127.0.0.1:2121"], server: ["192.0.2.1:21"] }, server-sees: edge, data: relay, rules: policy.yaml }
  - { name: b, published: { listen: ["127.0.0.1:2122"], server: ["192.0.2.1:21"] }, server-sees: edge, data: relay, rules: policy.yaml }
  - { name: c, published: { listen: ["127.0.0.1:2123"], server: ["192.0.2.1:21"] }, server-sees: edge, data: relay, rules: policy.yaml,
      hosts: { ftp.example.org: policy.yaml, other.example.org: other.yaml } }
audit: { output: stdout }
"#;

    #[test]
    fn rules_that_listeners_share_are_dropped_once_no_session_holds_them() {
        let name = format!("portcullis-reload-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in [
            ("portcullis.yaml", CONFIG),
            ("policy.yaml", "rules:\n  - { id: all, allow: true }\n"),
            ("other.yaml", "rules:\n  - { id: none, deny: true }\n"),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
        let file = folder.join("portcullis.yaml");
        let (config, _) = config::load(&file, &config::interface_names()).unwrap();
        let mut reload = Reload::new(&file, &config);
        for mut listener in config.listeners {
            if let ListenerKind::Published { listen, .. } = &mut listener.kind {
                *listen = vec!["127.0.0.1:0".parse().unwrap()];
            }
            let name = listener.name.clone();
            let (_, sender) = Gate::bind(listener).unwrap();
            reload.add(name, sender);
        }

        let rules = reload.senders_by_listener["a"].subscribe();
        let held = rules.borrow().policy.clone();
        for _ in 0..5 {
            assert!(reload.run().ok);
        }
        reload.drop_replaced();
        let kept = reload.replaced.borrow().clone();
        assert!(matches!(&kept[..], [one] if Arc::ptr_eq(one, &held)));
        drop((held, kept));
        reload.drop_replaced();
        assert!(!reload.has_replaced());
        fs::remove_dir_all(&folder).unwrap();
    }
}

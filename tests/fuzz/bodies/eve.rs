//! Lines of a record, as `replay-rules` reads them from files that anybody may have written.

use std::collections::BTreeSet;
use std::fs;
use std::sync::OnceLock;

use portcullis::audit::Replay;
use portcullis::config::{Config, load};

use super::folder;

/// The listener, and the rules of a host beside its own.
const CONFIGURATION: &str = "
listeners:
  - name: lan
    published: { listen: '127.0.0.1:2121', server: '127.0.0.1:21' }
    server-sees: edge
    data: relay
    rules: policy.yaml
    hosts: { upload: upload.yaml }
audit: { output: stdout }
";

const POLICY: &str = "
groups: { partners: [198.51.100.0/24] }
rules:
  - { id: no-exec, deny: 550 No, command: SITE EXEC }
  - { id: night, deny: true, command: [STOR], when: { from: '20:00', to: '23:00', zone: Europe/Berlin } }
  - { id: features, allow: true, command: [FEAT], hide-features: [MLST] }
  - { id: fxp, allow: true, fxp: [partners] }
  - { id: secret, deny: 550 Secret, path: '/secret/**' }
  - { id: ann, allow: true, user: 'ann*', client: 10.0.0.0/8 }
  - { id: reads, allow: true, command: [list, read] }
";

/// Replays the bytes line by line.
pub fn run(data: &[u8]) {
    static LOADED: OnceLock<Config> = OnceLock::new();
    let config = LOADED.get_or_init(configuration);
    let mut replay = Replay::new(config);
    let mut taken = 0;
    for line in data.split(|&byte| byte == b'\n') {
        replay.take(line);
        taken += 1;
    }
    let found = replay.finish();
    let unknown: u64 = found.unknown_listeners.values().sum();
    assert!(found.decisions + found.unreadable + unknown <= taken);
    let differ: u64 = found.changes.values().map(|found| found.count).sum();
    assert!(differ + found.by_another_rule <= found.decisions);
    for found in found.changes.values() {
        assert!(!found.examples.is_empty() && found.examples.len() <= 3);
    }
}

fn configuration() -> Config {
    let folder = folder("eve");
    fs::write(folder.join("policy.yaml"), POLICY).unwrap();
    let upload = "rules: [{ id: up, allow: true, command: [write] }]";
    fs::write(folder.join("upload.yaml"), upload).unwrap();
    fs::write(folder.join("portcullis.yaml"), CONFIGURATION).unwrap();
    let loaded = load(&folder.join("portcullis.yaml"), &BTreeSet::new());
    fs::remove_dir_all(&folder).unwrap();
    match loaded {
        Ok((config, _)) => config,
        Err(problems) => panic!("{problems}"),
    }
}

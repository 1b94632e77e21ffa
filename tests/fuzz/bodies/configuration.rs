//! Configuration files, by way of a folder with two policies: every text loads, or is refused with problems that
//! can be shown; what loads gives a table that holds no more than its names.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use portcullis::config::{Config, ListenerKind, load, places};
use portcullis::firewall::{Intercept, Settings, ruleset};

use super::folder;
use super::policy::shown;

/// Loads the bytes as a configuration file.
pub fn run(data: &[u8]) {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = folder("configuration");
        fs::write(
            folder.join("open.yaml"),
            "rules: [{ id: all, allow: true }]",
        )
        .unwrap();
        let bounded = "rules: [{ id: all, allow: true, max-bytes: 1MB }]";
        fs::write(folder.join("bounded.yaml"), bounded).unwrap();
        folder
    });
    let path = folder.join("portcullis.yaml");
    fs::write(&path, data).unwrap();
    let interfaces: BTreeSet<String> = ["lan0", "wan0"].map(str::to_owned).into();
    match load(&path, &interfaces) {
        Ok((config, warnings)) => {
            assert!(!warnings.has_errors());
            shown(&warnings);
            assert!(places(&path).is_ok(), "loads, but has no places");
            table(config);
        }
        Err(problems) => {
            assert!(problems.has_errors(), "refused without a reason");
            shown(&problems);
            if let Err(problems) = places(&path) {
                shown(&problems);
            }
        }
    }
}

fn table(config: Config) {
    assert!(config.limits.pinholes > 0 && config.limits.sessions > 0);
    assert!(*config.kernel.data_ports.start() >= 1024);
    let windows = config.windows();
    for window in &windows {
        assert!(window.first >= 1024 && window.first <= window.last);
    }
    let intercepts = config
        .listeners
        .iter()
        .filter_map(|listener| match &listener.kind {
            ListenerKind::Transparent {
                interfaces,
                ports,
                bind_port,
            } => Some(Intercept {
                interfaces: interfaces.clone(),
                ports: ports.clone(),
                bind_port: *bind_port,
            }),
            ListenerKind::Published { .. } => None,
        });
    let intercepts: Vec<Intercept> = intercepts.collect();
    let name = config.kernel.table.clone();
    assert!(
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)),
        "{name:?}"
    );
    let text = ruleset(&Settings {
        kernel: config.kernel,
        intercepts,
        windows,
        capacity: config.limits.pinholes,
        pinhole_lifetime: config.limits.pinhole_lifetime,
        servers: BTreeSet::new(),
    });
    let tables = text
        .lines()
        .filter(|line| line.starts_with("table "))
        .count();
    assert_eq!(tables, 2, "{text}");
}

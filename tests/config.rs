//! The configuration at hand loads, and what is wrong with one is reported in full, policies included.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis::config::{
    AuditOutput, Config, Kernel, Limits, ListenerKind, ServerSees, interface_names, load,
};
use support::{expect_report, uncommented, yaml_files};

fn interfaces() -> BTreeSet<String> {
    ["lan0", "wan0"].map(str::to_owned).into()
}

fn loaded(path: &Path) -> Config {
    match load(path, &interfaces()) {
        Ok((config, warnings)) => {
            assert!(warnings.is_empty(), "{warnings}");
            config
        }
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn the_configuration_at_hand_loads() {
    let config = loaded(Path::new("deploy/portcullis.yaml"));
    let [lan] = config.listeners.as_slice() else {
        panic!("not one listener");
    };
    assert_eq!(
        lan.kind,
        ListenerKind::Transparent {
            interfaces: vec!["lan0".to_owned()],
            ports: vec![21],
            bind_port: 2121,
        }
    );
    assert_eq!(lan.server_sees, ServerSees::Edge);
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.kernel, Kernel::default());
    let output = PathBuf::from("/var/log/portcullis/eve.json");
    assert_eq!(config.audit, AuditOutput::File(output));
}

#[test]
fn what_is_commented_out_in_it_is_right_and_shows_the_defaults() {
    let text = fs::read_to_string("deploy/portcullis.yaml").unwrap();
    let lines: Vec<String> = text.lines().map(uncommented).collect();
    let folder = std::env::temp_dir().join(format!("portcullis-config-{}", std::process::id()));
    for part in ["deploy", "rules"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    for file in yaml_files("rules") {
        fs::copy(&file, folder.join(&file)).unwrap();
    }
    let path = folder.join("deploy/portcullis.yaml");
    fs::write(&path, lines.join("\n")).unwrap();
    let config = loaded(&path);
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.kernel, Kernel::default());
    let [_, published] = config.listeners.as_slice() else {
        panic!("not two listeners");
    };
    assert_eq!(
        published.kind,
        ListenerKind::Published {
            listen: ["198.51.100.1:21", "[2001:db8::1]:21"]
                .map(|a| a.parse().unwrap())
                .into(),
            servers: ["10.70.0.2:21", "[fd70::2]:21"]
                .map(|a| a.parse().unwrap())
                .into(),
        }
    );
    assert_eq!(published.server_sees, ServerSees::Client);
}

#[test]
fn bad_configurations_are_reported_in_full() {
    let files = yaml_files("tests/bad-config");
    assert!(!files.is_empty());
    for file in files {
        let problems = load(Path::new(&file), &interfaces()).unwrap_err();
        expect_report(&file, &problems);
    }
}

#[test]
fn a_folder_that_is_a_link_is_followed_as_the_system_does() {
    let folder = std::env::temp_dir().join(format!("portcullis-links-{}", std::process::id()));
    fs::create_dir_all(folder.join("real/etc")).unwrap();
    fs::create_dir_all(folder.join("rules")).unwrap();
    fs::create_dir_all(folder.join("real/rules")).unwrap();
    std::os::unix::fs::symlink(folder.join("real/etc"), folder.join("etc")).unwrap();
    let config = "listeners:\n  - { name: lan, transparent: { interfaces: lan0 }, server-sees: edge, rules: ../rules/a.yaml }\naudit: { output: stdout }\n";
    fs::write(folder.join("etc/edge.yaml"), config).unwrap();
    fs::write(folder.join("rules/a.yaml"), "wrong").unwrap();
    fs::write(
        folder.join("real/rules/a.yaml"),
        "rules: [{ id: a, allow: true }]",
    )
    .unwrap();
    loaded(&folder.join("etc/edge.yaml"));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_missing_file_is_a_problem() {
    let problems = load(Path::new("/nowhere/edge.yaml"), &interfaces()).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "error: cannot be read: No such file or directory (os error 2)\n--> /nowhere/edge.yaml"
    );
}

#[test]
fn the_machine_has_a_loopback_interface() {
    assert!(interface_names().contains("lo"));
}

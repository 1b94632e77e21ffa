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
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis::config::{
    AuditOutput, AuditSettings, Config, Kernel, Limits, ListenerKind, OnFailure, ServerSees,
    StoreSettings, SyslogPeer, interface_names, load,
};
use portcullis::rules::DataPath;
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
    let mut expected = AuditSettings::to(AuditOutput::File(output));
    expected.store = Some(StoreSettings::at("/var/lib/portcullis/audit.db"));
    assert_eq!(config.audit, expected);
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
    let store = StoreSettings::at("/var/lib/portcullis/audit.db");
    assert_eq!(config.audit.store, Some(store));
    assert_eq!(config.audit.on_failure, OnFailure::Deny);
    assert!(!config.audit.journald);
    let peer = SyslogPeer::Udp("logs.example.org:514".into());
    assert_eq!(config.audit.syslog, Some(peer));
    let [lan, published] = config.listeners.as_slice() else {
        panic!("not two listeners");
    };
    for listener in [lan, published] {
        assert_eq!((listener.data, listener.convert), (DataPath::Kernel, true));
    }
    assert_eq!(lan.nat64, Some("64:ff9b::/96".parse().unwrap()));
    assert!(lan.hosts.is_empty());
    let hosts: Vec<_> = published.hosts.keys().collect();
    assert_eq!(hosts, ["upload.example.org"]);
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

/// Loads a configuration of listeners that take their rules from `policy`, which has the text given.
fn with_policy(listeners: &[&str], policy: &str) -> Config {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("portcullis-options-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("policy"), policy).unwrap();
    fs::write(folder.join("plain"), PLAIN).unwrap();
    let listeners: Vec<String> = listeners
        .iter()
        .enumerate()
        .map(|(place, keys)| format!("  - {{ name: l{place}, {keys} }}\n"))
        .collect();
    let text = format!(
        "listeners:\n{}audit: {{ output: stdout }}\n",
        listeners.concat()
    );
    fs::write(folder.join("edge.yaml"), text).unwrap();
    let config = loaded(&folder.join("edge.yaml"));
    fs::remove_dir_all(&folder).unwrap();
    config
}

const PLAIN: &str = "rules: [{ id: all, allow: true }]";

const RELAYED: &str = "published: { listen: 198.51.100.1, server: 10.70.0.2 }, rules: policy, data: relay, server-sees: edge";

#[test]
fn a_published_listener_that_relays_needs_no_kernel() {
    assert!(!with_policy(&[RELAYED], PLAIN).needs_kernel());
    let address = "published: { listen: 198.51.100.1, server: 10.70.0.2 }, rules: policy, data: relay, server-sees: 192.0.2.1";
    assert!(!with_policy(&[address], PLAIN).needs_kernel());
    for other in [
        "transparent: { interfaces: lan0 }, rules: policy, data: relay, server-sees: edge",
        "published: { listen: 198.51.100.2, server: 10.70.0.2 }, rules: policy, server-sees: edge",
        "published: { listen: 198.51.100.2, server: 10.70.0.2 }, rules: policy, data: relay, server-sees: client",
    ] {
        assert!(with_policy(&[other], PLAIN).needs_kernel(), "{other}");
        assert!(with_policy(&[RELAYED, other], PLAIN).needs_kernel());
    }
}

#[test]
fn rules_may_need_the_kernel_where_the_listener_does_not() {
    for rule in [
        "rules: [{ id: a, allow: true, data: kernel }]",
        "rules: [{ id: a, allow: true, tls: { window: { ports: 50000-50100 } } }]",
    ] {
        assert!(with_policy(&[RELAYED], rule).needs_kernel(), "{rule}");
        let by_host = "published: { listen: 198.51.100.1, server: 10.70.0.2 }, rules: plain, data: relay, server-sees: edge, hosts: { a.example: policy }";
        assert!(with_policy(&[by_host], rule).needs_kernel(), "{rule}");
    }
}

#[test]
fn families_without_a_server_of_their_own_are_relayed() {
    let crossed =
        "published: { listen: '2001:db8::1', server: 10.70.0.2 }, rules: policy, server-sees: edge";
    let config = with_policy(&[crossed], PLAIN);
    assert_eq!(config.listeners.first().unwrap().data, DataPath::Relay);
    assert!(!config.needs_kernel());
    let half = "published: { listen: ['2001:db8::1', 198.51.100.1], server: 10.70.0.2 }, rules: policy, server-sees: client";
    let config = with_policy(&[half], PLAIN);
    assert_eq!(config.listeners.first().unwrap().data, DataPath::Kernel);
}

#[test]
fn each_host_has_its_own_rules() {
    let listener = "published: { listen: 198.51.100.1, server: 10.70.0.2 }, rules: policy, server-sees: edge, hosts: { FTP.Example.org: plain, '2001:DB8::1': policy }";
    let config = with_policy(&[listener], "rules: [{ id: named, allow: true }]");
    let listener = config.listeners.first().unwrap();
    let hosts: Vec<&str> = listener.hosts.keys().map(String::as_str).collect();
    assert_eq!(hosts, ["[2001:db8::1]", "ftp.example.org"]);
    let own = listener.hosts.get("[2001:db8::1]").unwrap();
    assert!(Arc::ptr_eq(own, &listener.policy));
    let other = listener.hosts.get("ftp.example.org").unwrap();
    assert!(!Arc::ptr_eq(other, &listener.policy));
}

#[test]
fn windows_of_all_policies_come_sorted_and_each_once() {
    let other = "published: { listen: 198.51.100.2, server: 10.70.0.2 }, rules: plain, server-sees: edge, hosts: { a.example: policy }";
    let policy = "rules:\n  - { id: a, allow: true, user: a, tls: { window: { ports: 50000-50100 } } }\n  - { id: b, allow: true, tls: { window: { ports: 2000 } } }\n";
    let windows = with_policy(&[RELAYED, other], policy).windows();
    let windows: Vec<_> = windows.iter().map(|w| (w.first, w.last)).collect();
    assert_eq!(windows, [(2000, 2000), (50_000, 50_100)]);
}

#[test]
fn the_configuration_at_hand_explains_every_key_of_a_listener() {
    let text = fs::read_to_string("deploy/portcullis.yaml").unwrap();
    let report = fs::read_to_string("tests/bad-config/options.txt").unwrap();
    let (_, keys) = report.split_once("known keys: ").unwrap();
    let keys: Vec<&str> = keys.lines().next().unwrap().split(", ").collect();
    assert_eq!(keys.len(), 9);
    for key in keys {
        assert!(
            text.contains(&format!(" {key}: ")) || text.contains(&format!(" {key}:\n")),
            "{key}"
        );
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

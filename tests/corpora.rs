//! Every committed input of every fuzz target, run through what the target runs.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

#[path = "fuzz/bodies/mod.rs"]
pub mod bodies;

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// Bytes that all committed inputs have together, at most.
const MAX_BYTES: usize = 1_000_000;

/// The inputs of a target by name, in order.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut found: Vec<_> = fs::read_dir(folder.join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    found.sort();
    found
}

fn replay(target: &str) {
    let (_, body) = bodies::TARGETS
        .iter()
        .find(|(name, _)| *name == target)
        .unwrap();
    let inputs = inputs(target);
    assert!(inputs.len() >= 12, "{target}: only {} inputs", inputs.len());
    let failed: Vec<&str> = inputs
        .iter()
        .filter(|(_, input)| catch_unwind(|| body(input)).is_err())
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn lines_commands_replies_and_endpoints() {
    replay("codec");
}

#[test]
fn configuration_files() {
    replay("configuration");
}

#[test]
fn lines_of_a_record() {
    replay("eve");
}

#[test]
fn requests_to_the_admin_interface() {
    replay("http");
}

#[test]
fn sessions() {
    replay("inspect");
}

#[test]
fn answers_of_the_kernel() {
    replay("netlink");
}

#[test]
fn rules_files() {
    replay("policy");
}

#[test]
fn every_target_has_inputs_and_they_are_small() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let mut named: Vec<String> = fs::read_dir(folder.join("corpus"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    named.sort();
    let targets: Vec<&str> = bodies::TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(named, targets);
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for target in &targets {
        assert!(
            manifest.contains(&format!("name = \"{target}\"")),
            "{target}"
        );
    }
    let bytes =
        |target: &&str| -> usize { inputs(target).iter().map(|(_, input)| input.len()).sum() };
    assert!(targets.iter().map(bytes).sum::<usize>() < MAX_BYTES);
}

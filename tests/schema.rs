//! The printed schemas: the files at hand are valid by them, and what is wrong by form alone is not.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]

#[expect(dead_code, reason = "shared with tests that compare reports")]
mod support;

use std::fs;
use std::sync::Arc;

use jsonschema::Validator;
use portcullis::yaml::{Node, Source, Value as Yaml, number, parse};
use portcullis::{config, rules};
use serde_json::{Value, json};
use support::{uncommented, yaml_files};

/// A tree as editors see it: plain words are booleans, numbers or null where they look so.
fn as_json(node: &Node) -> Value {
    match &node.value {
        Yaml::Scalar { .. } if node.is_nothing() => Value::Null,
        Yaml::Scalar { text, plain: true } => match text.as_str() {
            "true" => json!(true),
            "false" => json!(false),
            text => number(text).map_or_else(|| json!(text), |number| json!(number)),
        },
        Yaml::Scalar { text, plain: false } => json!(text),
        Yaml::List(items) => items.iter().map(as_json).collect(),
        Yaml::Map(entries) => {
            let entries = entries.iter().filter_map(|(key, value)| match &key.value {
                Yaml::Scalar { text, .. } => Some((text.clone(), as_json(value))),
                Yaml::List(_) | Yaml::Map(_) => None,
            });
            Value::Object(entries.collect())
        }
    }
}

fn read(file: &str, text: &str) -> Option<Value> {
    let source = Arc::new(Source::new(file, text));
    parse(&source).ok().map(|root| as_json(&root))
}

fn policy_schema() -> Validator {
    jsonschema::validator_for(&rules::schema()).unwrap()
}

fn expect_valid(schema: &Validator, file: &str, text: &str) {
    let value = read(file, text).unwrap();
    let faults: Vec<String> = schema
        .iter_errors(&value)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{file}: {faults:#?}");
}

#[test]
fn the_schemas_are_schemas() {
    for schema in [rules::schema(), config::schema()] {
        assert!(jsonschema::meta::is_valid(&schema));
    }
}

#[test]
fn every_file_at_hand_is_valid() {
    let policy = policy_schema();
    for file in yaml_files("rules") {
        let text = fs::read_to_string(&file).unwrap();
        expect_valid(&policy, &file, &text);
        let lines: Vec<String> = text.lines().map(uncommented).collect();
        expect_valid(&policy, &file, &lines.join("\n"));
    }
    let configuration = jsonschema::validator_for(&config::schema()).unwrap();
    let file = "deploy/portcullis.yaml";
    let text = fs::read_to_string(file).unwrap();
    expect_valid(&configuration, file, &text);
    let lines: Vec<String> = text.lines().map(uncommented).collect();
    expect_valid(&configuration, file, &lines.join("\n"));
}

#[test]
fn the_examples_of_the_readme_are_valid() {
    let policy = policy_schema();
    let readme = fs::read_to_string("rules/README.md").unwrap();
    for example in readme.split("```yaml\n").skip(1) {
        let mut text = example.split("```").next().unwrap().to_owned();
        if !text.contains("rules:") {
            text.push_str("rules: []\n");
        }
        expect_valid(&policy, "rules/README.md", &text);
    }
}

/// What is wrong with these no schema can tell: what a word names, or what another value makes of it.
const NO_MATTER_OF_FORM: &[&str] = &[
    "actions.yaml port",
    "conditions.yaml groups.10.0.0.1",
    "conditions.yaml groups.empty",
    "conditions.yaml groups.partners",
    "conditions.yaml networks",
    "conditions.yaml commands",
    "grants.yaml too-much",
    "grants.yaml networks",
    "ids.yaml same",
    "ids.yaml same",
    "ids.yaml same",
    "keys.yaml c",
    "limits.yaml too-much",
    "limits.yaml twice",
    "limits.yaml idle",
    "limits.yaml nameless",
    "protocol.yaml protocol.bad-password-delay",
    "times.yaml no-group",
    "times.yaml zone",
    "times.yaml quiet",
];

#[test]
fn each_bad_rule_that_is_wrong_by_form_is_invalid() {
    let policy = policy_schema();
    let mut passed = Vec::new();
    let mut checked = 0;
    for file in yaml_files("tests/bad-rules") {
        // What cannot be read as YAML has no form.
        let Some(value) = read(&file, &fs::read_to_string(&file).unwrap()) else {
            continue;
        };
        let mut cases = Vec::new();
        for section in ["protocol", "groups", "user-groups"] {
            let Some(Value::Object(keys)) = value.get(section) else {
                continue;
            };
            for (key, written) in keys {
                let case = json!({ section: { key: written }, "rules": [] });
                cases.push((format!("{file} {section}.{key}"), case));
            }
        }
        let rules = value.get("rules").and_then(Value::as_array);
        for (place, rule) in rules.into_iter().flatten().enumerate() {
            let id = rule.get("id").and_then(Value::as_str).map(str::to_owned);
            let name = id.unwrap_or_else(|| place.to_string());
            cases.push((format!("{file} {name}"), json!({ "rules": [rule] })));
        }
        if cases.is_empty() {
            cases.push((file.clone(), value));
        }
        for (name, case) in cases {
            checked += 1;
            if policy.is_valid(&case) {
                passed.push(name.replace("tests/bad-rules/", ""));
            }
        }
    }
    assert!(checked > 60);
    assert_eq!(passed, NO_MATTER_OF_FORM);
}

#[test]
fn each_bad_section_of_a_configuration_is_invalid() {
    let schema = jsonschema::validator_for(&config::schema()).unwrap();
    for file in yaml_files("tests/bad-config") {
        if let Some(value) = read(&file, &fs::read_to_string(&file).unwrap()) {
            // That two places are the same is no matter of form.
            let by_form = !file.ends_with("same-file.yaml");
            assert_eq!(schema.is_valid(&value), !by_form, "{file}");
        }
    }
}

#[test]
fn the_schema_tells_every_key_that_the_reader_knows() {
    let text = "zzz: 1\nprotocol: { zzz: 1 }\nrules: [{ zzz: 1 }]\n";
    let problems = rules::Policy::parse("edge.yaml", text).unwrap_err();
    let schema = rules::schema();
    let places = [
        "/properties",
        "/properties/protocol/properties",
        "/properties/rules/items/properties",
    ];
    let mut lists = Vec::new();
    for help in problems
        .iter()
        .filter_map(|problem| problem.help.as_deref())
    {
        if let Some((_, keys)) = help.split_once("known keys: ") {
            let mut keys: Vec<&str> = keys.split(", ").collect();
            keys.sort_unstable();
            lists.push(keys);
        }
    }
    assert_eq!(lists.len(), places.len());
    for (keys, place) in lists.iter().zip(places) {
        let Some(Value::Object(properties)) = schema.pointer(place) else {
            panic!("{place}");
        };
        let mut told: Vec<&str> = properties.keys().map(String::as_str).collect();
        told.sort_unstable();
        assert_eq!(*keys, told, "{place}");
    }
}

//! The dashboard and the alerts of `deploy/`: every count they name is told by the program, with its labels.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::ground::Gate;
use crate::openmetrics::Scrape;

/// Labels that Prometheus adds.
const ADDED: [&str; 2] = ["instance", "job"];

/// Words of PromQL that stand without a bracket behind them.
const WORDS: [&str; 12] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "and",
    "or",
    "unless",
    "bool",
    "offset",
    "inf",
];

/// A count that an expression names, with its matchers.
#[derive(Debug)]
struct Named {
    name: String,
    matchers: Vec<(String, String, String)>,
}

/// A scrape of the program after something of every kind has happened.
fn scrape() -> Scrape {
    let gate = Gate::start();
    let mut client = gate.login("anna");
    client.fetch("/a");
    client.quit();
    gate.json_when("/api/sessions", |all| {
        all["sessions"].as_array().unwrap().is_empty()
    });
    Scrape::read(&gate.get("/metrics").body)
}

/// The names and matchers of an expression, and the labels it groups by.
fn read(expression: &str) -> (Vec<Named>, BTreeSet<String>) {
    let (mut named, mut groups) = (Vec::<Named>::new(), BTreeSet::new());
    let mut rest = expression;
    let mut last = String::new();
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            name.clone_into(&mut last);
            rest = behind;
            let next = behind.trim_start();
            let call = ["(", "by ", "by(", "without"]
                .iter()
                .any(|word| next.starts_with(word));
            if !call && !WORDS.contains(&name) {
                let matchers = Vec::new();
                named.push(Named {
                    name: last.clone(),
                    matchers,
                });
            }
        } else if first == '(' && ["by", "on", "without", "ignoring"].contains(&last.as_str()) {
            let (inside, behind) = rest.split_at(1).1.split_once(')').unwrap();
            groups.extend(inside.split(',').map(|label| label.trim().to_owned()));
            rest = behind;
            last.clear();
        } else if first == '{' {
            let (inside, behind) = rest.split_at(1).1.split_once('}').unwrap();
            let own = named.last_mut().unwrap();
            for matcher in inside.split(',').filter(|text| !text.trim().is_empty()) {
                let at = matcher.find(['=', '!']).unwrap();
                let (label, behind) = matcher.split_at(at);
                let quote = behind.find('"').unwrap();
                let (operator, value) = behind.split_at(quote);
                let value = value.trim().trim_matches('"').to_owned();
                own.matchers
                    .push((label.trim().to_owned(), operator.trim().to_owned(), value));
            }
            rest = behind;
        } else if first == '[' {
            rest = rest.split_once(']').unwrap().1;
        } else if first.is_ascii_digit() {
            // A number, or a duration behind `offset`.
            let end = rest
                .find(|c: char| !word(c) && c != '.')
                .unwrap_or(rest.len());
            rest = rest.split_at(end).1;
        } else {
            rest = rest.split_at(first.len_utf8()).1;
        }
    }
    (named, groups)
}

fn expect_exported(scrape: &Scrape, expression: &str) {
    let (named, groups) = read(expression);
    assert!(!named.is_empty(), "names nothing: {expression}");
    let mut labels: BTreeSet<&str> = ADDED.into_iter().collect();
    for Named { name, matchers } in &named {
        let samples = scrape.samples_of(name);
        let known = name == "up" || !samples.is_empty();
        assert!(known, "{name} is not exported: {expression}");
        let mut own = scrape.labels_of(name);
        own.extend(ADDED);
        for (label, operator, value) in matchers {
            assert!(
                own.contains(label.as_str()),
                "{name} has no label {label}: {expression}"
            );
            if operator == "=" && !ADDED.contains(&label.as_str()) {
                let there = samples
                    .iter()
                    .any(|sample| sample.labels.get(label) == Some(value));
                assert!(there, "{name} has no {label}={value}: {expression}");
            }
        }
        labels.extend(own);
    }
    for label in &groups {
        assert!(
            labels.contains(label.as_str()),
            "no label {label}: {expression}"
        );
    }
}

/// Every text under a key, wherever it stands.
fn texts<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (own, inner) in fields {
                match inner.as_str().filter(|_| own == key) {
                    Some(text) => found.push(text),
                    None => texts(inner, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string("deploy/grafana-dashboard.json").unwrap()).unwrap()
}

fn alerts() -> Value {
    serde_yaml::from_str(&fs::read_to_string("deploy/alerts.yaml").unwrap()).unwrap()
}

#[test]
fn every_count_of_dashboard_and_alerts_is_exported() {
    let scrape = scrape();
    let (dashboard, alerts) = (dashboard(), alerts());
    let mut expressions = Vec::new();
    texts(&dashboard, "expr", &mut expressions);
    assert!(expressions.len() > 20, "the dashboard's were not found");
    let before = expressions.len();
    texts(&alerts, "expr", &mut expressions);
    assert!(
        expressions.len() >= before + 8,
        "those of the alerts were not found"
    );
    for expression in expressions {
        expect_exported(&scrape, expression);
    }
    // What the variables of the dashboard ask, and the words of the alerts.
    for file in ["deploy/grafana-dashboard.json", "deploy/alerts.yaml"] {
        let text = fs::read_to_string(file).unwrap();
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with("portcullis_") || word.starts_with("process_") {
                assert!(!scrape.samples_of(word).is_empty(), "{file}: {word}");
            }
        }
    }
}

#[test]
fn every_count_is_shown_on_the_dashboard() {
    let (scrape, dashboard) = (scrape(), dashboard());
    let mut expressions = Vec::new();
    texts(&dashboard, "expr", &mut expressions);
    let shown: BTreeSet<String> = expressions
        .into_iter()
        .flat_map(|expression| read(expression).0)
        .map(|named| named.name)
        .collect();
    for (name, family) in &scrape.families {
        let samples: BTreeSet<&str> = scrape
            .samples
            .iter()
            .filter(|sample| &sample.family == name)
            .map(|sample| sample.name.as_str())
            .collect();
        let is_shown = samples.iter().any(|sample| shown.contains(*sample));
        assert!(is_shown, "{name} ({}) is on no panel", family.kind);
    }
}

#[test]
fn panels_have_titles_units_places_and_the_data_source_of_the_variable() {
    let dashboard = dashboard();
    assert_eq!(dashboard["id"], Value::Null);
    assert!(
        dashboard["schemaVersion"].as_u64().unwrap() >= 38,
        "Grafana 10"
    );
    let (mut ids, mut rows, mut taken) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{title}: the id is taken"
        );
        let place = &panel["gridPos"];
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| place[key].as_u64().unwrap());
        assert!(x + w <= 24, "{title} is too wide");
        for cell in (y..y + h).flat_map(|y| (x..x + w).map(move |x| (x, y))) {
            assert!(taken.insert(cell), "{title} lies on another panel");
        }
        if panel["type"] == "row" {
            rows.push(title);
            continue;
        }
        assert!(panel["description"].as_str().unwrap().len() > 10, "{title}");
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{title} has no unit"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in panel["targets"].as_array().unwrap() {
            assert!(
                target["expr"].is_string() && target["refId"].is_string(),
                "{title}"
            );
        }
    }
    let wanted = [
        "Traffic",
        "Pinholes",
        "Rules and refusals",
        "Record and program",
    ];
    assert_eq!(rows, wanted);
    assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource");
}

#[test]
fn alerts_say_what_is_wrong_and_what_to_do() {
    let alerts = alerts();
    let mut names = BTreeSet::new();
    for group in alerts["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            let name = rule["alert"].as_str().unwrap();
            assert!(
                name.starts_with("Portcullis") && names.insert(name),
                "{name}"
            );
            let severity = rule["labels"]["severity"].as_str().unwrap();
            assert!(
                ["critical", "warning"].contains(&severity),
                "{name}: {severity}"
            );
            for text in ["summary", "description"] {
                let text = rule["annotations"][text].as_str().unwrap();
                assert!(text.len() > 20, "{name}: {text}");
            }
        }
    }
    assert!(names.len() >= 8, "{names:?}");
}

#[test]
fn expressions_are_read_as_prometheus_does() {
    let text = "histogram_quantile(0.99, sum by (le, instance) (rate(a_bucket{x=\"1\",y=~\"a|b\"}[5m]))) \
                > 2 and on (instance) b offset 5m";
    let (named, groups) = read(text);
    let names: Vec<&str> = named.iter().map(|named| named.name.as_str()).collect();
    assert_eq!(names, ["a_bucket", "b"]);
    assert_eq!(named[0].matchers.len(), 2);
    assert_eq!(groups.into_iter().collect::<Vec<_>>(), ["instance", "le"]);
}

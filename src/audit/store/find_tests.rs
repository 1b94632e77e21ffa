//! How questions are carried out: by an index wherever one serves, in the order that is wanted.

use ipnet::IpNet;

use crate::config::StoreSettings;

use super::super::Store;
use super::*;

/// What SQLite says it will do, one step a line.
fn plan(reader: &Reader, query: &str, values: Vec<Value>) -> String {
    let mut explain = reader
        .connection
        .prepare(&format!("EXPLAIN QUERY PLAN {query}"))
        .unwrap();
    let steps = explain.query_map(params_from_iter(values), |row| {
        row.get::<_, String>("detail")
    });
    let steps: Vec<String> = steps.unwrap().map(Result::unwrap).collect();
    steps.join("\n")
}

fn filters() -> [(Filter, &'static str); 8] {
    let all = Filter::default();
    let client = |text: &str| Some(text.parse::<IpNet>().unwrap());
    let rule = || Some("all".to_owned());
    [
        (all.clone(), "INTEGER PRIMARY KEY (rowid"),
        (
            Filter {
                flow: Some(3),
                rule: rule(),
                ..all.clone()
            },
            "INDEX events_by_flow (flow=? AND rowid",
        ),
        (
            Filter {
                rule: rule(),
                kind: Some("decision".into()),
                ..all.clone()
            },
            "INDEX events_of_rule (rule=? AND rowid",
        ),
        (
            Filter {
                client: client("10.0.0.1/32"),
                rule: rule(),
                ..all.clone()
            },
            "INDEX events_of_client (client=? AND rowid",
        ),
        (
            Filter {
                client: client("2001:db8::1/128"),
                since: Some(1),
                ..all.clone()
            },
            "INDEX events_of_client (client=? AND rowid",
        ),
        (
            Filter {
                client: client("10.0.0.0/8"),
                ..all.clone()
            },
            "INTEGER PRIMARY KEY (rowid",
        ),
        (
            Filter {
                since: Some(1),
                until: Some(9),
                ..all.clone()
            },
            "INTEGER PRIMARY KEY (rowid",
        ),
        (
            Filter {
                outcome: Some("deny".into()),
                user: Some("a*".into()),
                ..all
            },
            "INTEGER PRIMARY KEY (rowid",
        ),
    ]
}

#[test]
fn no_question_goes_through_all_events_where_an_index_serves_and_none_is_sorted() {
    let name = format!("portcullis-plans-{}.db", std::process::id());
    let settings = StoreSettings::at(std::env::temp_dir().join(name));
    drop(Store::open(&settings).unwrap());
    let reader = Reader::open(&settings.path).unwrap();
    for (filter, wanted) in filters() {
        let search = Search::new(&filter);
        for (query, values) in [search.forwards(7), search.backwards(2, 7)] {
            let plan = plan(&reader, &query, values);
            assert!(plan.starts_with("SEARCH events USING "), "{query}: {plan}");
            assert!(plan.contains(wanted), "{query}: {plan}");
            assert_eq!(plan.lines().count(), 1, "{query}: {plan}");
        }
    }
    let span = plan(&reader, SPAN, vec![1.into(), 9.into()]);
    assert!(
        span.contains("COVERING INDEX events_by_time (time>? AND time<?)"),
        "{span}"
    );
    drop(reader);
    std::fs::remove_file(&settings.path).unwrap();
}

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
        (all.clone(), "events"),
        (
            Filter {
                flow: Some(3),
                rule: rule(),
                ..all.clone()
            },
            "blocks_of_flow",
        ),
        (
            Filter {
                rule: rule(),
                kind: Some("decision".into()),
                ..all.clone()
            },
            "blocks_of_rule",
        ),
        (
            Filter {
                client: client("10.0.0.1/32"),
                rule: rule(),
                ..all.clone()
            },
            "blocks_of_client",
        ),
        (
            Filter {
                client: client("2001:db8::1/128"),
                since: Some(1),
                ..all.clone()
            },
            "blocks_of_client",
        ),
        (
            Filter {
                client: client("10.0.0.0/8"),
                ..all.clone()
            },
            "events",
        ),
        (
            Filter {
                since: Some(1),
                until: Some(9),
                ..all.clone()
            },
            "events",
        ),
        (
            Filter {
                outcome: Some("deny".into()),
                user: Some("a*".into()),
                ..all
            },
            "events",
        ),
    ]
}

#[test]
fn no_question_goes_through_all_events_where_an_index_serves_and_none_is_sorted() {
    let name = format!("portcullis-plans-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let settings = StoreSettings::at(folder.join("audit.db"));
    drop(Store::open(&settings).unwrap());
    let reader = Reader::open(&settings.path).unwrap();
    for (filter, wanted) in filters() {
        let search = Search::new(&filter, true);
        let by_block = wanted.starts_with("blocks_of_");
        for (query, values) in [search.forwards(7), search.backwards(2, 7)] {
            let plan = plan(&reader, &query, values);
            let mut steps = plan.lines();
            if by_block {
                let first = steps.next().unwrap();
                let by = format!("SEARCH {wanted} USING PRIMARY KEY (value=? AND block>?");
                assert!(first.starts_with(&by), "{query}: {plan}");
            }
            let events = steps.next().unwrap();
            let by = "SEARCH events USING INTEGER PRIMARY KEY (rowid>?";
            assert!(events.starts_with(by), "{query}: {plan}");
            assert_eq!(steps.next(), None, "{query}: {plan}");
        }
    }
    let span = plan(&reader, SPAN, vec![1.into(), 9.into()]);
    assert!(
        span.contains("SEARCH blocks USING INDEX blocks_by_time (earliest<?)"),
        "{span}"
    );
    drop(reader);
    std::fs::remove_dir_all(folder).unwrap();
}

//! What is told from the store: hits, series, rules, events, stories.

use serde_json::{Value, json};

use crate::answers::expect_fields;
use crate::ground::{Gate, Setup};

const EVENT: &str = "seq time session flow kind client server listener user rule rule_at verb path \
    outcome code bytes packets duration_ms";

/// A gate after anna has fetched /a and /b, was not let remove /a, and has left; bela only looked.
fn recorded() -> (Gate, Value) {
    let gate = Gate::start();
    let mut anna = gate.login("anna");
    anna.fetch("/a");
    anna.fetch("/b");
    anna.ask("DELE /a", "550");
    anna.quit();
    let mut bela = gate.login("bela");
    bela.ask("CWD /pub", "250");
    bela.quit();
    let ended = "/api/record?kind=session-end";
    gate.json_when(ended, |found| {
        found["events"].as_array().unwrap().len() == 2
    });
    let rules = gate.json("/api/hits");
    (gate, rules)
}

fn rule<'a>(hits: &'a Value, id: &str) -> &'a Value {
    let rules = hits["rules"].as_array().unwrap();
    let found = rules.iter().find(|rule| rule["rule"] == id);
    found.unwrap_or_else(|| panic!("{id} is not in {hits}"))
}

fn events(answer: &Value) -> &Vec<Value> {
    answer["events"].as_array().unwrap()
}

fn file(gate: &Gate) -> String {
    let status = gate.json("/api/status");
    status["listeners"][0]["policy"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn hits_tell_every_rule_those_that_never_decided_too() {
    let (gate, hits) = recorded();
    expect_fields(&hits, "begun rules");
    let fields = "rule file at action listeners hits bytes first_use last_use clients";
    for rule in hits["rules"].as_array().unwrap() {
        expect_fields(rule, fields);
        assert_eq!(rule["file"], file(&gate));
        assert_eq!(rule["listeners"], json!(["pub"]));
    }
    let removals = rule(&hits, "no-removals");
    assert_eq!(
        (&removals["hits"], &removals["action"]),
        (&json!(1), &json!("deny"))
    );
    assert_eq!(
        removals["clients"],
        json!([{ "client": "127.0.0.1", "hits": 1 }])
    );
    assert!(removals["at"].as_str().unwrap().ends_with("rules.yaml:3"));
    let spare = rule(&hits, "spare");
    assert_eq!(
        (&spare["hits"], &spare["action"]),
        (&json!(0), &json!("deny"))
    );
    assert_eq!(
        (&spare["first_use"], &spare["last_use"]),
        (&Value::Null, &Value::Null)
    );
    let rest = rule(&hits, "rest");
    assert!(rest["hits"].as_u64().unwrap() >= 10, "{rest}");
    assert!(rest["bytes"].as_u64().unwrap() > 0, "{rest}");
    assert!(rest["first_use"].as_i64() <= rest["last_use"].as_i64());
}

#[test]
fn series_count_by_the_hour() {
    let (gate, hits) = recorded();
    let at = gate.json("/api/status")["at"].as_i64().unwrap();
    let (from, to) = (at - 7_200_000_000, at + 3_600_000_000);
    let all = gate.json(&format!("/api/hits/series?from={from}&to={to}"));
    expect_fields(&all, "step from to series");
    assert_eq!(all["step"], 3_600_000_000_i64);
    for one in all["series"].as_array().unwrap() {
        expect_fields(one, "rule file points");
        let id = one["rule"].as_str().unwrap();
        let points = one["points"].as_array().unwrap();
        let counted: u64 = points.iter().map(|point| point[1].as_u64().unwrap()).sum();
        assert_eq!(counted, rule(&hits, id)["hits"].as_u64().unwrap(), "{id}");
        assert!(
            points
                .iter()
                .all(|point| point[0].as_i64().unwrap() % 3_600_000_000 == 0)
        );
    }
    let file = file(&gate);
    let route = format!("/api/hits/series?from={from}&to={to}&rule=no-removals&file={file}");
    let one = gate.json(&route);
    assert_eq!(one["series"].as_array().unwrap().len(), 1, "{one}");
}

#[test]
fn a_rule_is_told_as_it_is_written() {
    let (gate, _) = recorded();
    let file = file(&gate);
    let told = gate.json(&format!("/api/rule?rule=no-removals&file={file}"));
    expect_fields(
        &told,
        "rule file at action listeners configured first_line source hits bytes first_use last_use \
         clients recent",
    );
    assert_eq!(told["configured"], true);
    assert_eq!(told["first_line"], 3);
    let source = told["source"].as_str().unwrap();
    assert!(
        source.contains("deny: 550 Nothing is removed here"),
        "{source}"
    );
    assert!(
        source.contains("command: DELE") && !source.contains("rest"),
        "{source}"
    );
    let recent = told["recent"].as_array().unwrap();
    assert_eq!(recent.len(), 1);
    expect_fields(&recent[0], EVENT);
    assert_eq!(recent[0]["verb"], "DELE");
    let unused = gate.json(&format!("/api/rule?rule=spare&file={file}"));
    assert_eq!(
        (&unused["hits"], &unused["recent"]),
        (&json!(0), &json!([]))
    );
    let unknown = gate.get(&format!("/api/rule?rule=other&file={file}"));
    assert_eq!(unknown.status, 404);
    assert!(
        unknown
            .error()
            .contains("neither the record nor the configuration")
    );
}

#[test]
fn the_record_is_searched_newest_first_in_pages() {
    let (gate, _) = recorded();
    let all = gate.json("/api/record?limit=500");
    expect_fields(&all, "events next");
    assert_eq!(all["next"], Value::Null);
    for event in events(&all) {
        expect_fields(event, EVENT);
    }
    let seqs: Vec<i64> = events(&all)
        .iter()
        .map(|event| event["seq"].as_i64().unwrap())
        .collect();
    assert!(seqs.windows(2).all(|pair| pair[0] > pair[1]), "{seqs:?}");

    let mut paged = Vec::new();
    let mut route = "/api/record?limit=7".to_owned();
    loop {
        let page = gate.json(&route);
        assert!(events(&page).len() <= 7);
        paged.extend(
            events(&page)
                .iter()
                .map(|event| event["seq"].as_i64().unwrap()),
        );
        match page["next"].as_i64() {
            Some(next) => route = format!("/api/record?limit=7&before={next}"),
            None => break,
        }
    }
    assert_eq!(paged, seqs);
}

#[test]
fn the_record_is_searched_by_what_an_operator_knows() {
    let (gate, _) = recorded();
    let some = gate.json("/api/record?user=bela");
    let flow = events(&some)[0]["flow"].clone();
    let first = gate.json("/api/record?limit=500");
    let first = events(&first).last().unwrap()["time"].clone();
    for (query, key, value) in [
        ("user=bel*".to_owned(), "user", json!("bela")),
        ("rule=no-removals".to_owned(), "rule", json!("no-removals")),
        ("outcome=deny".to_owned(), "outcome", json!("deny")),
        ("kind=transfer".to_owned(), "kind", json!("transfer")),
        ("path=/a".to_owned(), "path", json!("/a")),
        (
            "client=127.0.0.0/8&kind=decision".to_owned(),
            "client",
            json!("127.0.0.1"),
        ),
        (format!("flow={flow}"), "flow", flow.clone()),
        (format!("until={first}"), "kind", json!("session-start")),
        (
            "since=&until=&flow=&limit=&user=anna".to_owned(),
            "user",
            json!("anna"),
        ),
    ] {
        let found = gate.json(&format!("/api/record?{query}"));
        let found = events(&found);
        assert!(
            !found.is_empty() || query.starts_with("until"),
            "{query} finds nothing"
        );
        assert!(
            found.iter().all(|event| event[key] == value),
            "{query}: {found:?}"
        );
    }
    for nothing in ["client=203.0.113.1", "user=carla", "since=4000000000000000"] {
        let found = gate.json(&format!("/api/record?{nothing}"));
        assert_eq!(found, json!({ "events": [], "next": null }), "{nothing}");
    }
}

#[test]
fn a_story_has_all_lines_of_a_session_with_what_was_rewritten() {
    let (gate, _) = recorded();
    let some = gate.json("/api/record?user=anna&limit=1");
    let flow = &events(&some)[0]["flow"];
    let story = gate.json(&format!("/api/story?flow={flow}"));
    expect_fields(
        &story,
        "flow session client server listener user started ended events more",
    );
    assert_eq!(
        (&story["user"], &story["more"]),
        (&json!("anna"), &json!(false))
    );
    assert!(story["started"].as_i64().unwrap() <= story["ended"].as_i64().unwrap());
    let told = events(&story);
    for event in told {
        expect_fields(event, &format!("{EVENT} eve"));
        assert_eq!(
            event["eve"]["portcullis"]["event"], event["kind"],
            "{event}"
        );
        assert_eq!(event["eve"]["flow_id"], *flow);
    }
    let kinds: Vec<&str> = told
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        (kinds[0], *kinds.last().unwrap()),
        ("session-start", "session-end")
    );
    assert_eq!(kinds.iter().filter(|kind| **kind == "transfer").count(), 2);
    let rewritten = told
        .iter()
        .find(|event| event["kind"] == "rewrite")
        .unwrap();
    let own = &rewritten["eve"]["portcullis"];
    assert!(own["before"].as_str().unwrap().starts_with("227 "), "{own}");
    assert_ne!(own["before"], own["after"]);
    let unknown = gate.get("/api/story?flow=1");
    assert_eq!(unknown.status, 404);
    assert!(unknown.error().contains("knows no session 1"));
}

#[test]
fn wrong_parameters_are_told() {
    let gate = Gate::start();
    for (route, named) in [
        ("/api/record?since=yesterday", "since"),
        ("/api/record?limit=-1", "limit"),
        ("/api/record?before=x", "before"),
        ("/api/record?flow=x", "flow"),
        ("/api/record?client=10.0.0.300", "client"),
        ("/api/hits/series", "from"),
        ("/api/hits/series?from=2&to=1", "from"),
        ("/api/hits/series?from=0&to=9000000000000000", "400 days"),
        ("/api/hits/series?from=0&to=1&rule=rest", "file"),
        ("/api/rule?rule=rest", "file"),
        ("/api/story", "flow"),
        ("/api/story?flow=x", "flow"),
    ] {
        let answer = gate.get(route);
        assert_eq!(answer.status, 400, "{route}");
        let error = answer.error();
        assert!(
            error.contains(named) && error.contains(' '),
            "{route}: {error}"
        );
    }
}

#[test]
fn without_a_store_it_is_said_how_to_have_one() {
    let gate = Gate::with(&Setup {
        store: false,
        ..Setup::default()
    });
    for route in [
        "/api/hits",
        "/api/hits/series?from=0&to=1",
        "/api/rule?rule=rest&file=x",
        "/api/record",
        "/api/story?flow=1",
    ] {
        let answer = gate.get(route);
        assert_eq!(answer.status, 404, "{route}");
        assert!(answer.error().contains("add `audit: { store:"), "{route}");
    }
    assert_eq!(gate.json("/api/status")["store"], Value::Null);
}

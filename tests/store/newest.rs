//! Newest first: places, pages, spans of time, and the stories of sessions.

use std::time::{Duration, SystemTime};

use portcullis::audit::{Filter, Reader, Row, Store, micros};

use crate::{Folder, row};

const CLIENTS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "2001:db8::1"];

/// Events numbered from 1, each a second behind the one before; every tenth is a deny by `no`.
fn written(folder: &Folder, count: u64) -> (Reader, i64) {
    let begun = SystemTime::now() - Duration::from_secs(count);
    let rows: Vec<Row> = (0..count)
        .map(|n| {
            let mut row = row(begun + Duration::from_secs(n), n % 7);
            row.client = CLIENTS[usize::try_from(n % 3).unwrap()].into();
            if n % 10 == 0 {
                row.rule = Some("no".into());
                row.outcome = Some("deny".into());
                row.user = Some("anna".into());
                row.path = Some(format!("/in/{n}"));
            }
            row
        })
        .collect();
    let mut store = Store::open(&folder.store()).unwrap();
    store.write(&rows).unwrap();
    (Reader::open(&folder.store().path).unwrap(), micros(begun))
}

/// All places that a filter gives, page by page.
fn pages(reader: &Reader, filter: &Filter, limit: usize) -> Vec<i64> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let found = reader.latest(filter, before, limit).unwrap();
        assert!(found.rows.len() <= limit);
        all.extend(found.rows.iter().map(|row| row.seq));
        match found.next {
            Some(next) => before = Some(next),
            None => return all,
        }
    }
}

#[test]
fn pages_give_each_event_once_and_the_newest_first() {
    let folder = Folder::new("pages");
    let (reader, _) = written(&folder, 100);
    let wanted: Vec<i64> = (1..=100).rev().collect();
    for limit in [1, 7, 50, 100, 1000] {
        assert_eq!(pages(&reader, &Filter::default(), limit), wanted, "{limit}");
    }
    let first = reader.latest(&Filter::default(), None, 100).unwrap();
    assert_eq!(first.next, None, "nothing is left");
}

#[test]
fn each_filter_gives_what_the_order_of_writing_gives() {
    let folder = Folder::new("filters");
    let (reader, begun) = written(&folder, 3000);
    let all = Filter::default();
    let text = |text: &str| Some(text.to_owned());
    let second = |n: i64| Some(begun + n * 1_000_000);
    for filter in [
        Filter {
            rule: text("no"),
            ..all.clone()
        },
        Filter {
            rule: text("no"),
            outcome: text("allow"),
            ..all.clone()
        },
        Filter {
            flow: Some(3),
            client: "10.0.0.2".parse::<std::net::IpAddr>().ok().map(Into::into),
            ..all.clone()
        },
        Filter {
            client: "10.0.0.0/30".parse().ok(),
            ..all.clone()
        },
        Filter {
            client: "2001:db8::1/128".parse().ok(),
            ..all.clone()
        },
        Filter {
            user: text("an*"),
            path: text("/in/1*"),
            ..all.clone()
        },
        Filter {
            since: second(1000),
            until: second(2000),
            ..all.clone()
        },
        Filter {
            until: second(500),
            outcome: text("deny"),
            ..all.clone()
        },
        Filter {
            since: second(9000),
            ..all.clone()
        },
        Filter {
            kind: text("transfer"),
            ..all.clone()
        },
    ] {
        let mut wanted = Vec::new();
        let each = |row: Row| {
            wanted.push(row.seq);
            std::ops::ControlFlow::Continue(())
        };
        reader.events(&filter, 0, each).unwrap();
        wanted.reverse();
        assert_eq!(pages(&reader, &filter, 64), wanted, "{filter:?}");
    }
}

#[test]
fn one_call_looks_at_so_many_events_only_and_says_where_to_go_on() {
    let folder = Folder::new("bounded");
    let mut store = Store::open(&folder.store()).unwrap();
    let now = SystemTime::now();
    let mut rare = row(now, 1);
    rare.kind = "violation".into();
    store.write(&[rare]).unwrap();
    for _ in 0..6 {
        let rows: Vec<Row> = (0..10_000).map(|n| row(now, n)).collect();
        store.write(&rows).unwrap();
    }
    let reader = Reader::open(&folder.store().path).unwrap();
    let filter = Filter {
        kind: Some("violation".into()),
        ..Filter::default()
    };
    let first = reader.latest(&filter, None, 10).unwrap();
    assert_eq!((first.rows.len(), first.next), (0, Some(10_002)));
    let second = reader.latest(&filter, first.next, 10).unwrap();
    assert_eq!(second.next, None);
    assert_eq!(second.rows[0].seq, 1);
}

#[test]
fn a_clock_that_was_set_back_hides_nothing() {
    let folder = Folder::new("clock");
    let mut store = Store::open(&folder.store()).unwrap();
    let now = SystemTime::now();
    let ago = |seconds| now - Duration::from_secs(seconds);
    let rows = [ago(100), ago(10), ago(50), ago(20), ago(90)].map(|time| row(time, 1));
    store.write(&rows).unwrap();
    let reader = Reader::open(&folder.store().path).unwrap();
    let filter = Filter {
        since: Some(micros(ago(60))),
        until: Some(micros(ago(15))),
        ..Filter::default()
    };
    assert_eq!(pages(&reader, &filter, 1), [4, 3]);
}

#[test]
fn a_story_has_its_session_and_its_events_in_order() {
    let folder = Folder::new("story");
    let (reader, begun) = written(&folder, 100);
    let story = reader.story(3, 5).unwrap().unwrap();
    assert!(story.more);
    let places: Vec<i64> = story.rows.iter().map(|row| row.seq).collect();
    assert_eq!(places, [4, 11, 18, 25, 32]);
    assert!(story.rows[0].line.starts_with("{\"flow_id\":3"));
    // No start of it is on the record: what it is, its events say.
    assert_eq!(story.session.started, begun + 3_000_000);
    assert_eq!(story.session.ended, None);
    assert!(!reader.story(3, 100).unwrap().unwrap().more);
    assert_eq!(reader.story(99, 5).unwrap(), None);

    let mut store = Store::open(&folder.store()).unwrap();
    let mut rows = ["session-start", "transfer", "session-end"].map(|kind| Row {
        kind: kind.into(),
        ..row(SystemTime::now(), 500)
    });
    rows[1].bytes = Some(70);
    rows[2].outcome = Some("client_closed".into());
    store.write(&rows).unwrap();
    let story = reader.story(500, 100).unwrap().unwrap();
    assert_eq!((story.session.transfers, story.session.bytes), (1, 70));
    assert_eq!(story.session.ended, Some(rows[2].time));
    assert_eq!(story.session.reason.as_deref(), Some("client_closed"));
    assert_eq!((story.rows.len(), story.more), (3, false));
}

#[test]
fn one_rule_is_told_with_its_clients() {
    let folder = Folder::new("rule");
    let (reader, _) = written(&folder, 100);
    let hits = reader.rule("rules.yaml", "no", 2).unwrap().unwrap();
    assert_eq!((hits.hits, hits.clients.len()), (10, 2));
    assert_eq!(hits.clients[0], ("10.0.0.1".to_owned(), 4));
    assert!(reader.hits(2).unwrap().contains(&hits));
    assert_eq!(reader.rule("other.yaml", "no", 2).unwrap(), None);
}

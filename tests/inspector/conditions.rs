//! What the rules are told of a session beside its addresses: the host, the channel, the time; and
//! how loud their decisions are.

use std::time::Duration;

use portcullis::inspect::{Event, Record};
use portcullis::rules::Loudness;

use crate::dialogue::{BEHIND_NAT, Dialogue};

fn decisions(dialogue: &Dialogue) -> Vec<(String, Loudness)> {
    let decided = dialogue.records.iter().filter_map(|event| {
        let Event::Decided { command, verdict } = event else {
            return None;
        };
        Some((command.verb.to_string(), verdict.audit))
    });
    decided.collect()
}

#[test]
fn each_decision_is_told_and_says_how_loud_it_is() {
    let policy = "rules:
  - {id: no, deny: true, command: [DELE], audit: quiet}
  - {id: hush, allow: true, command: [NOOP], audit: quiet}
  - {id: loud, allow: true, command: [SYST], audit: alert}
  - {id: all, allow: true}
";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy);
    dialogue.server("220 ready").records.clear();
    dialogue.client("NOOP").server("200 ok");
    dialogue.client("SYST").server("215 UNIX");
    dialogue.client("DELE a");
    let quiet = Loudness::Quiet;
    assert_eq!(
        decisions(&dialogue),
        [
            ("NOOP".to_owned(), quiet),
            ("SYST".to_owned(), Loudness::Alert),
            ("DELE".to_owned(), quiet),
        ]
    );
    let user = None;
    let records = dialogue.records.into_iter();
    let hushed = records.filter(|event| {
        let (user, event) = (user.clone(), event.clone());
        Record { user, event }.is_quiet()
    });
    assert_eq!(hushed.count(), 1, "a deny is never quiet");
}

#[test]
fn a_host_counts_once_the_server_has_taken_it() {
    let policy = "rules:
  - {id: host, allow: true, command: [HOST, QUIT]}
  - {id: a, allow: true, host: a.example}
  - {id: none, deny: 530 No host}
";
    let mut taken = Dialogue::with_policy(BEHIND_NAT, policy);
    taken.server("220 ready").client("HOST A.example");
    taken.server("220 taken").forget();
    taken.client("USER ann").expect(&["S< USER ann"]);
    let mut refused = Dialogue::with_policy(BEHIND_NAT, policy);
    refused.server("220 ready").client("HOST A.example");
    refused.server("504 unknown").forget();
    refused.client("USER ann");
    refused.expect(&["deny USER by none", "C< 530 No host"]);
}

#[test]
fn the_time_of_day_goes_on_with_the_session() {
    let policy = "rules:
  - {id: day, allow: true, when: {from: '08:00', to: '18:00', zone: Europe/Berlin}}
  - {id: night, deny: 450 Come back tomorrow, command: [NOOP]}
";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy);
    dialogue.server("220 ready").forget();
    dialogue.client("NOOP");
    dialogue.expect(&["deny NOOP by night", "C< 450 Come back tomorrow"]);
    // 17:59:50 in Berlin.
    let at = "2026-11-20T16:59:50Z".parse().expect("a time");
    dialogue.inspector.handle_clock(at, dialogue.now);
    dialogue.client("NOOP").server("200 ok").forget();
    dialogue.after(Duration::from_secs(9)).client("NOOP");
    dialogue.expect(&["S< NOOP"]);
    dialogue.server("200 ok").forget();
    dialogue.after(Duration::from_secs(1)).client("NOOP");
    dialogue.expect(&["deny NOOP by night", "C< 450 Come back tomorrow"]);
}

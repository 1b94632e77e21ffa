//! What `check` warns of: only what is certain, with the rule that causes it.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis::ftp::Verb;
use portcullis::rules::{Channel, Policy, Request};
use portcullis::yaml::Source;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// The warnings of a policy whose sessions can log in, each with its line and column.
fn told(text: &str) -> Vec<String> {
    let login = "  - { id: login, allow: true, command: [USER, PASS], audit: quiet }\n";
    let text = text.replacen("rules:\n", &format!("rules:\n{login}"), 1);
    let source = Arc::new(Source::new("f", text));
    match Policy::read(&source, None) {
        Ok((_, warnings)) => warnings
            .iter()
            .map(|w| {
                let help = w.help.as_deref().unwrap_or_default();
                let because = help.split(['`', '(', ')']).nth(2).unwrap_or_default();
                let because = if because.starts_with("f:") {
                    because
                } else {
                    ""
                };
                format!("{}:{} {} {because}", w.line, w.column, w.message)
                    .trim_end()
                    .to_owned()
            })
            .collect(),
        Err(problems) => panic!("{problems}"),
    }
}

fn quiet(text: &str) {
    assert_eq!(told(text), Vec::<String>::new(), "{text}");
}

#[test]
fn a_rule_behind_one_that_matches_all_it_matches_is_never_reached() {
    for (first, second) in [
        ("client: 10.0.0.0/8", "client: [10.1.0.0/16, 10.2.3.4]"),
        ("client: [10.0.0.0/9, 10.128.0.0/9]", "client: 10.0.0.0/8"),
        ("client: ['0.0.0.0/0', '::/0']", "user: x"),
        ("user: 'adm-*'", "user: [adm-7, 'adm-x-*']"),
        ("user: '*'", "user: [a, 'b*']"),
        (
            "command: [read, list]",
            "command: [RETR, NLST, STAT], path: /x",
        ),
        ("command: [admin]", "command: [SITE CHMOD]"),
        ("path: /pub/**", "path: [/pub/a, '/pub/*/b?']"),
        ("path: /pub/**", "path: /pub/**"),
        ("path: ['/pub/*.a', '/pub/*.b']", "path: '/pub/x*.a'"),
        ("path: '*.exe'", "path: '/x/*.exe'"),
        ("listener: [a, b]", "listener: b"),
        ("host: '*.example.org'", "host: FTP.example.org"),
        ("mode: passive", "mode: passive, client: 10.0.0.1"),
        ("command: [PORT, EPRT, LPRT]", "mode: active, user: x"),
        ("channel: cleared", "channel: cleared, user: x"),
        (
            "when: { days: mon-fri }",
            "when: { days: tue, from: '08:00' }",
        ),
        ("when: {}", "user: x"),
    ] {
        let text = format!(
            "rules:\n  - {{ id: first, deny: true, {first} }}\n  - {{ id: second, allow: true, {second} }}\n"
        );
        let told = told(&text);
        let named = "4:7 the rule `second` is never reached f:3";
        assert!(
            told.iter().any(|told| told == named),
            "{first} / {second}: {told:?}"
        );
    }
}

#[test]
fn the_rule_that_shadows_is_named_with_its_line() {
    let text = "rules:\n  - id: wide\n    deny: true\n    client: 10.0.0.0/8\n  - id: narrow\n    allow: true\n    client: 10.1.0.0/16\n";
    assert_eq!(told(text), ["6:5 the rule `narrow` is never reached f:3"]);
}

#[test]
fn rules_that_only_overlap_are_not_told() {
    for (first, second) in [
        ("client: 10.0.0.0/16", "client: [10.0.0.0/8, 11.0.0.0]"),
        ("client: 0.0.0.0/0", "user: x"),
        ("user: 'adm-?'", "user: 'adm-*'"),
        ("user: '*'", "command: [read]"),
        ("command: [NLST]", "command: [list, write]"),
        ("path: /pub/**", "command: [read]"),
        ("path: /pub/*", "path: /pub/**"),
        ("mode: passive", "command: [data]"),
        ("channel: plain", "user: x"),
        ("host: '*.example.org'", "host: '*'"),
        (
            "when: { days: mon, zone: Europe/Berlin }",
            "when: { days: mon }",
        ),
    ] {
        quiet(&format!(
            "rules:\n  - {{ id: first, deny: true, {first} }}\n  - {{ id: second, allow: true, {second} }}\n"
        ));
    }
    quiet(
        "rules:\n  - { id: no-exe, deny: true, path: '*.exe' }\n  - { id: pub, allow: true, path: '/pub/**' }\n  - { id: boss, allow: true, user: boss }\n  - { id: no-delete, deny: true, command: [delete] }\n  - { id: rest, allow: true }\n",
    );
}

#[test]
fn an_allow_of_paths_from_the_root_leaves_those_of_unknown_folder() {
    quiet(
        "rules:\n  - { id: a, allow: true, path: /** }\n  - { id: d, deny: true, path: /secret/** }\n",
    );
    let both = "rules:\n  - { id: a, deny: true, path: /** }\n  - { id: d, deny: true, path: /secret/** }\n";
    assert_eq!(told(both), ["4:7 the rule `d` is never reached f:3"]);
}

#[test]
fn rules_that_share_out_the_week_leave_nothing_to_a_third() {
    let text = "rules:\n  - { id: week, allow: true, client: 10.0.0.0/8, when: { days: mon-fri } }\n  - { id: weekend, allow: true, when: { days: sat-sun } }\n  - { id: late, deny: true, client: 10.0.0.1, command: read }\n";
    assert_eq!(
        told(text),
        ["5:7 the rule `late` is never reached at any time f:3"]
    );
    quiet(&text.replace("mon-fri", "mon-thu"));
}

#[test]
fn a_value_that_is_always_decided_the_other_way_is_told() {
    let text = "rules:\n  - { id: keep, deny: true, command: delete }\n  - { id: work, allow: true, command: [read, write, delete] }\n";
    let message = "4:53 `delete` in `command` of the rule `work` never counts f:3";
    assert_eq!(told(text), [message]);
    quiet(&text.replace("deny: true", "allow: true"));
    let nets = "rules:\n  - { id: lab, deny: true, client: 10.9.0.0/16 }\n  - { id: work, allow: true, client: [10.8.0.0/16, 10.9.1.0/24], command: read }\n";
    let message = "4:52 `10.9.1.0/24` in `client` of the rule `work` never counts f:3";
    assert_eq!(told(nets), [message]);
}

#[test]
fn a_deny_of_a_kind_of_file_behind_an_allowed_folder_is_told_with_an_example() {
    let text = "rules:\n  - { id: in, allow: true, user: 'up-*', command: [read, write], path: /in/** }\n  - { id: no-exe, deny: true, command: write, path: '*.exe' }\n";
    let message =
        "4:53 the rule `no-exe` does not deny `STOR /in/x.exe`: `in (f:3)` allows it before";
    assert_eq!(told(text), [message]);
    quiet(&text.replace("command: [read, write]", "command: [read]"));
    quiet(&text.replace("'*.exe'", "/in/private/**"));
}

#[test]
fn windows_that_add_nothing_are_told() {
    let text = "rules:\n  - id: a\n    allow: true\n    when:\n      - { days: mon, from: '08:00', to: '08:00' }\n      - { days: mon-fri, from: '08:00', to: '18:00' }\n      - { days: tue, from: '09:00', to: '10:00' }\n      - { days: fri, from: '17:00', to: '19:00' }\n";
    assert_eq!(
        told(text),
        [
            "6:11 a window that is empty: it ends when it begins",
            "8:11 a window that lies within another of the same rule",
        ]
    );
}

#[test]
fn groups_that_are_empty_or_in_no_use_are_told() {
    let text = "groups: { none: [], some: 10.0.0.0/8 }\nuser-groups: { staff: [a], temps: [b] }\nrules:\n  - { id: a, deny: true, client: [none, 192.0.2.1], user: '@temps' }\n";
    assert_eq!(
        told(text),
        [
            "1:11 the group `none` has no members",
            "1:21 no rule uses the group `some`",
            "2:16 no rule uses the group `staff`",
        ]
    );
}

#[test]
fn paths_and_modes_that_no_command_fits_are_told() {
    let text = "rules:\n  - { id: a, allow: true, command: [login, SYST], path: /a }\n  - { id: b, allow: true, command: [PWD, read, SITE], path: /b }\n  - { id: c, allow: true, command: [list], mode: active }\n";
    assert_eq!(
        told(text),
        [
            "3:57 `path` in a rule whose commands name no path; it never matches",
            "4:37 `PWD` names no path, so it never matches here",
            "4:48 `SITE` names no path, so it never matches here",
            "5:50 `mode` in a rule whose commands announce no data connection; it never matches",
        ]
    );
}

#[test]
fn codes_that_do_not_fit_their_commands_are_told() {
    let text = "rules:\n  - { id: a, deny: 550 No, command: [login], client: 10.0.0.1 }\n  - { id: b, deny: 552 Full, command: [write, RETR], client: 10.0.0.2 }\n  - { id: c, deny: 553 No, command: AUTH, client: 10.0.0.3 }\n  - { id: d, deny: 530 No, command: [login, read], client: 10.0.0.4 }\n  - { id: e, deny: 553 No, command: [write, delete], path: '*.exe' }\n  - { id: f, deny: 550 Not here }\n";
    assert_eq!(
        told(text),
        [
            "3:20 the code 550 answers USER, PASS, ACCT, which want 530",
            "4:20 the code 552 answers RETR, which want 550",
            "5:20 the code 553 answers AUTH, which want 534",
            "7:20 the code 553 answers DELE, RMD, which want 550",
        ]
    );
}

/// Conditions that the commands of [`each_command`] tell from each other.
const CONDITIONS: &[&str] = &[
    "client: 10.0.0.0/8",
    "client: 10.0.0.0/16",
    "client: [10.0.0.5, 10.1.0.5]",
    "client: [10.0.0.0/16, 192.0.2.0/24]",
    "user: '*'",
    "user: 'adm-*'",
    "user: adm-1",
    "user: [adm-1, bob]",
    "command: read",
    "command: RETR",
    "command: [read, write]",
    "command: [RETR, STOR, DELE]",
    "command: [PASV, EPSV]",
    "command: [PASV, PORT]",
    "command: [list, data]",
    "mode: passive",
    "mode: active",
    "channel: cleared",
    "path: /pub/**",
    "path: /pub/*",
    "path: /pub/a.txt",
    "path: '*.txt'",
    "path: [/pub/**, '*.exe']",
    "when: { days: mon-fri }",
    "when: { days: mon }",
    "when: { days: sat-sun }",
    "when: {}",
];

/// Two to five rules, and their texts one by one.
fn any_rules() -> impl Strategy<Value = Vec<String>> {
    let conditions = prop::collection::vec(select(CONDITIONS), 0..3);
    let rule = (select(&["allow", "deny"][..]), conditions);
    prop::collection::vec(rule, 2..6).prop_map(|rules| {
        let texts = rules
            .iter()
            .enumerate()
            .map(|(number, (action, conditions))| {
                let conditions: String =
                    conditions.iter().map(|text| format!(", {text}")).collect();
                format!("  - {{ id: r{number}, {action}: true{conditions} }}\n")
            });
        texts.collect()
    })
}

fn policy_of(rules: &[String]) -> String {
    format!("rules:\n{}", rules.concat())
}

/// Calls with one command for each combination of what the conditions look at.
fn each_command(mut each: impl FnMut(&Request<'_>)) {
    let clients = [
        [10, 0, 0, 5],
        [10, 0, 9, 9],
        [10, 1, 0, 5],
        [10, 7, 7, 7],
        [192, 0, 2, 9],
        [203, 0, 113, 1],
    ];
    let users = [
        None,
        Some("adm-1"),
        Some("adm-2"),
        Some("bob"),
        Some("carl"),
    ];
    let files = [
        Verb::Retr,
        Verb::Stor,
        Verb::Dele,
        Verb::Nlst,
        Verb::Size,
        Verb::Mkd,
    ];
    let others = [
        Verb::Pasv,
        Verb::Epsv,
        Verb::Lpsv,
        Verb::Port,
        Verb::Eprt,
        Verb::Noop,
        Verb::User,
        Verb::Feat,
        Verb::Site,
        Verb::Auth,
        Verb::Stat,
        Verb::parse("XFOO"),
    ];
    // `**` begins the path of a folder that is not known.
    let paths = [
        "/pub/a.txt",
        "/pub/b.txt",
        "/pub/c",
        "/pub/d/e.exe",
        "/in/a.txt",
        "/in/b",
        "/x.exe",
        "**/a.txt",
        "**/b",
        "**/c.exe",
    ];
    let times = [
        "2026-11-16T12:00:00Z",
        "2026-11-17T12:00:00Z",
        "2026-11-21T12:00:00Z",
    ];
    let named = files
        .iter()
        .flat_map(|verb| paths.map(|path| (verb, Some(path))));
    let mut named: Vec<_> = named
        .chain(others.iter().map(|verb| (verb, None)))
        .map(|(verb, path)| (verb, path, None))
        .collect();
    let third = Some([192, 0, 2, 77].into());
    named.extend([(&Verb::Port, None, third), (&Verb::Eprt, None, third)]);
    for client in clients {
        for user in users {
            for time in times {
                for channel in [Channel::Plain, Channel::Cleared] {
                    for (verb, path, foreign) in &named {
                        each(&Request {
                            user,
                            channel,
                            at: Some(time.parse().unwrap()),
                            path: path.map(str::as_bytes),
                            foreign: *foreign,
                            ..Request::new("lan", client.into(), [192, 0, 2, 1].into(), verb)
                        });
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_never_reached_agrees_with_trying_all_commands() {
    let mut runner = TestRunner::new(Config {
        cases: 120,
        max_global_rejects: 2_000,
        failure_persistence: None,
        ..Config::default()
    });
    let all = runner.run(&any_rules(), |rules| {
        let text = policy_of(&rules);
        let read = |text: &str| Policy::read(&Arc::new(Source::new("f", text)), None);
        let Ok((policy, warnings)) = read(&text) else {
            return Err(TestCaseError::reject("no policy"));
        };
        let of_rule = |number: usize, said: &str| format!("the rule `r{number}` is {said}");
        let told = |number: usize, said: &str| {
            let message = of_rule(number, said);
            warnings.iter().any(|warning| warning.message == message)
        };
        let alone: Vec<Policy> = rules
            .iter()
            .map(|rule| read(&policy_of(std::slice::from_ref(rule))).unwrap().0)
            .collect();
        let mut reached = BTreeSet::new();
        // For each rule, the earlier ones that match all that it matches.
        let mut covered: Vec<BTreeSet<usize>> =
            (0..rules.len()).map(|rule| (0..rule).collect()).collect();
        let mut fits = vec![false; rules.len()];
        each_command(|request| {
            reached.insert(policy.decide(request).rule.id.clone());
            let matches: Vec<bool> = alone
                .iter()
                .map(|policy| policy.decide(request).rule.id != "default")
                .collect();
            for (rule, earlier) in covered.iter_mut().enumerate() {
                if matches[rule] {
                    fits[rule] = true;
                    earlier.retain(|first| matches[*first]);
                }
            }
        });
        for rule in 0..rules.len() {
            let never = told(rule, "never reached");
            let at_no_time = told(rule, "never reached at any time");
            let id = format!("r{rule}");
            prop_assert!(
                !(never || at_no_time) || !reached.contains(&id),
                "{id} is reached: {text}"
            );
            // By an earlier rule alone, for rules that match anything at all.
            prop_assert_eq!(
                never,
                fits[rule] && !covered[rule].is_empty(),
                "{}: {}",
                id,
                text
            );
        }
        Ok(())
    });
    if let Err(failure) = all {
        panic!("{failure}");
    }
}

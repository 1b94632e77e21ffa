//! What rules ask beyond addresses and commands: user groups, mode, channel, host, time; and how loud
//! they are on the record.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]

use std::net::{IpAddr, Ipv4Addr};

use portcullis::ftp::Verb;
use portcullis::rules::{Channel, Decision, Loudness, Policy, Request};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 20));

fn policy(text: &str) -> Policy {
    Policy::parse("edge.yaml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn asking(verb: &Verb) -> Request<'_> {
    Request::new("lan", CLIENT, SERVER, verb)
}

fn rule(policy: &Policy, request: &Request<'_>) -> String {
    policy.decide(request).rule.id.clone()
}

#[test]
fn a_group_of_users_is_named_behind_an_at_sign() {
    let policy = policy(
        "user-groups: { staff: [alice, 'adm-*'], staff-b: bob }\nrules:\n  - { id: s, allow: true, user: ['@staff', carol] }\n  - { id: b, allow: true, user: '@staff-b' }\n  - { id: odd, allow: true, user: '?staff' }\n",
    );
    for (user, id) in [
        (Some("alice"), "s"),
        (Some("adm-7"), "s"),
        (Some("carol"), "s"),
        (Some("bob"), "b"),
        (Some("@staff"), "odd"),
        (Some("mallory"), "default"),
        (None, "default"),
    ] {
        let request = Request {
            user,
            ..asking(&Verb::Retr)
        };
        assert_eq!(rule(&policy, &request), id, "{user:?}");
    }
}

#[test]
fn a_mode_is_about_announcements_alone() {
    let policy = policy(
        "rules:\n  - { id: a, deny: true, mode: active }\n  - { id: p, allow: true, mode: passive }\n",
    );
    for (verb, id) in [
        (Verb::Port, "a"),
        (Verb::Eprt, "a"),
        (Verb::Lprt, "a"),
        (Verb::Pasv, "p"),
        (Verb::Epsv, "p"),
        (Verb::Lpsv, "p"),
        (Verb::Retr, "default"),
        (Verb::User, "default"),
    ] {
        assert_eq!(rule(&policy, &asking(&verb)), id, "{verb}");
    }
}

#[test]
fn the_channel_behind_ccc_is_told_from_one_that_was_plain() {
    let policy = policy(
        "rules:\n  - { id: c, allow: true, channel: cleared }\n  - { id: p, allow: true, channel: plain }\n",
    );
    let mut request = asking(&Verb::Retr);
    assert_eq!(rule(&policy, &request), "p");
    request.channel = Channel::Cleared;
    assert_eq!(rule(&policy, &request), "c");
}

#[test]
fn hosts_are_named_in_any_letter_case_and_only_after_host() {
    let policy =
        policy("rules:\n  - { id: h, allow: true, host: ['*.Example.org', '[2001:db8::1]'] }\n");
    let verb = Verb::Retr;
    let of = |host| {
        let request = Request {
            host,
            ..asking(&verb)
        };
        rule(&policy, &request)
    };
    assert_eq!(of(Some("ftp.example.org")), "h");
    assert_eq!(of(Some("[2001:db8::1]")), "h");
    assert_eq!(of(Some("example.org")), "default");
    assert_eq!(of(None), "default");
}

#[test]
fn a_rule_with_times_holds_within_them() {
    let policy = policy(
        "rules:\n  - id: office\n    allow: true\n    when:\n      - { days: mon-fri, from: '08:00', to: '18:00', zone: Europe/Berlin }\n      - { days: [sat, sun], from: '22:00', to: '02:00', zone: America/New_York }\n",
    );
    let verb = Verb::Retr;
    let at = |at: &str| {
        let request = Request {
            at: Some(at.parse().unwrap()),
            ..asking(&verb)
        };
        rule(&policy, &request)
    };
    // 2026-11-20 is a Friday.
    assert_eq!(at("2026-11-20T07:00:00Z"), "office");
    assert_eq!(at("2026-11-20T17:00:00Z"), "default");
    assert_eq!(at("2026-11-21T12:00:00Z"), "default");
    assert_eq!(at("2026-11-22T06:59:59Z"), "office");
    assert_eq!(at("2026-11-22T07:00:00Z"), "default");
}

#[test]
fn at_an_unknown_time_a_deny_holds_and_an_allow_does_not() {
    let when = "when: { days: mon }";
    let allow = policy(&format!("rules: [{{ id: a, allow: true, {when} }}]"));
    assert_eq!(rule(&allow, &asking(&Verb::Retr)), "default");
    let deny = policy(&format!(
        "rules: [{{ id: d, deny: true, {when} }}, {{ id: rest, allow: true }}]"
    ));
    assert_eq!(rule(&deny, &asking(&Verb::Retr)), "d");
}

#[test]
fn rules_say_how_loud_they_are() {
    let policy = policy(
        "rules:\n  - { id: q, allow: true, command: list, audit: quiet }\n  - { id: a, allow: true, command: read, audit: alert }\n  - { id: n, allow: true }\n",
    );
    for (verb, audit) in [
        (Verb::List, Loudness::Quiet),
        (Verb::Retr, Loudness::Alert),
        (Verb::Stor, Loudness::Normal),
    ] {
        let verdict = policy.decide(&asking(&verb));
        assert_eq!(verdict.audit, audit, "{verb}");
        assert_eq!(verdict.decision, Decision::Allow);
    }
}
